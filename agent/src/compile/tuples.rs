//! Records -> tuples, chains and candidates: see `lanekeeper_common::rules` for how a packet goes through them.
//!
//! A prefix is filed by its length rounded down to a multiple of 8 (IPv4) or 16 (IPv6), a port by its value where a rule
//! gives one and not a range: 20 to 100 tuples, and chains of a few records, for lists like those that ClassBench makes.
//! Where there would be more than [`MAX_TUPLES`], the smallest are filed in a coarser one.

use std::collections::BTreeMap;
use std::fmt;

use lanekeeper_common::abi::{
    ANY_PROTOCOL, Candidates, FIELDS, Generation, Heads, MAX_HEADS, MAX_TUPLES, Record, Tenant, Tuple, TupleSet, field,
};
use lanekeeper_common::rules::{chain, place4, place6, ports};

use super::expand::Expanded;
use super::halves;

/// The large values of a generation.
#[derive(Clone)]
pub struct Filed {
    /// By number; the first is none.
    pub records: Vec<Record>,
    /// First record of each chain.
    pub heads: Box<Heads>,
    /// By [`field`].
    pub candidates: Vec<Box<Candidates>>,
}

impl fmt::Debug for Filed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filed").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

/// Files the records; the small tables go into generation and tenants.
pub fn file(expanded: &[Expanded], generation: &mut Generation, tenants: &mut [Tenant]) -> Filed {
    let shapes = assign(expanded);
    let mut numbers: BTreeMap<Shape, usize> = BTreeMap::new();
    let mut tuples = Vec::new();
    for (one, shape) in expanded.iter().zip(&shapes) {
        numbers.entry(*shape).or_insert_with(|| {
            tuples.push(Tuple { first_rule: one.record.rule, ..shape.tuple() });
            tuples.len() - 1
        });
    }
    generation.tuples[..tuples.len()].copy_from_slice(&tuples);
    let placed: Vec<(usize, &Expanded)> = shapes.iter().map(|shape| numbers[shape]).zip(expanded).collect();

    let mut records = vec![Record::default()];
    records.extend(expanded.iter().map(|one| one.record));
    let mut heads: Box<Heads> = zeroed(MAX_HEADS);
    // From the last to the first, so that each chain is in the order of its rules.
    for (place, (tuple, one)) in placed.iter().enumerate().rev() {
        let record = &one.record;
        let ports = ports(record.source_port[0], record.destination_port[0]);
        let chain =
            chain(*tuple as u32, &tuples[*tuple], record.tenant, record.source, record.destination, ports) as usize;
        records[place + 1].next = heads[chain];
        heads[chain] = place as u32 + 1;
    }
    small_fields(&placed, generation, tenants);
    Filed { records, heads, candidates: candidates(&placed, tuples.len()) }
}

/// How much of a rule's fields its tuple looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    family: u8,
    source: u8,
    destination: u8,
    source_port: bool,
    destination_port: bool,
}

impl Shape {
    fn of(one: &Expanded) -> Self {
        let record = &one.record;
        let floor = |length: u8| length - length % unit(record.family);
        Self {
            family: record.family,
            source: floor(one.source),
            destination: floor(one.destination),
            source_port: record.source_port[0] == record.source_port[1],
            destination_port: record.destination_port[0] == record.destination_port[1],
        }
    }

    fn tuple(&self) -> Tuple {
        let mask = |length: u8| match self.family {
            6 => halves(u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)),
            _ => halves(u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0).into()),
        };
        let port = |whole: bool| if whole { u16::MAX } else { 0 };
        Tuple {
            source_mask: mask(self.source),
            destination_mask: mask(self.destination),
            first_rule: 0,
            ports_mask: ports(port(self.source_port), port(self.destination_port)),
        }
    }

    /// The next coarser one: ports are given up before addresses, the longer prefix before the shorter.
    fn coarser(&self) -> Self {
        let unit = unit(self.family);
        match *self {
            Self { source_port: true, .. } => Self { source_port: false, ..*self },
            Self { destination_port: true, .. } => Self { destination_port: false, ..*self },
            Self { source, destination, .. } if source > destination => Self { source: source - unit, ..*self },
            Self { destination, .. } => Self { destination: destination.saturating_sub(unit), ..*self },
        }
    }
}

fn unit(family: u8) -> u8 {
    if family == 6 { 16 } else { 8 }
}

/// A shape for every record, no more than [`MAX_TUPLES`] different ones.
fn assign(expanded: &[Expanded]) -> Vec<Shape> {
    let mut sizes: BTreeMap<Shape, usize> = BTreeMap::new();
    for one in expanded {
        *sizes.entry(Shape::of(one)).or_default() += 1;
    }
    let mut becomes: BTreeMap<Shape, Shape> = BTreeMap::new();
    while sizes.len() > MAX_TUPLES {
        // Each step makes one shape coarser, and at the coarsest all of a family meet: it ends.
        let (shape, size) = sizes
            .iter()
            .filter(|(shape, _)| shape.coarser() != **shape)
            .min_by_key(|(_, size)| **size)
            .map(|(shape, size)| (*shape, *size))
            .expect("three coarsest shapes are fewer than there may be");
        sizes.remove(&shape);
        *sizes.entry(shape.coarser()).or_default() += size;
        becomes.insert(shape, shape.coarser());
    }
    let last = |one: &Expanded| {
        let mut shape = Shape::of(one);
        while let Some(coarser) = becomes.get(&shape) {
            shape = *coarser;
        }
        shape
    };
    expanded.iter().map(last).collect()
}

fn add(set: &mut TupleSet, tuple: usize) {
    set[tuple / 64] |= 1 << (tuple % 64);
}

fn small_fields(placed: &[(usize, &Expanded)], generation: &mut Generation, tenants: &mut [Tenant]) {
    let mut any_protocol = TupleSet::default();
    for (tuple, one) in placed {
        let record = &one.record;
        match record.protocol {
            ANY_PROTOCOL => add(&mut any_protocol, *tuple),
            protocol => add(&mut generation.protocol_tuples[usize::from(protocol)], *tuple),
        }
        add(&mut tenants[usize::from(record.tenant)].tuples, *tuple);
        if record.ports == 0 {
            add(&mut generation.head.portless, *tuple);
        }
    }
    for set in &mut generation.protocol_tuples {
        set.iter_mut().zip(any_protocol).for_each(|(word, any)| *word |= any);
    }
}

/// Places of a field that the records of each tuple accept.
type Accepted = Vec<Vec<(u16, u16)>>;

fn candidates(placed: &[(usize, &Expanded)], tuples: usize) -> Vec<Box<Candidates>> {
    let mut accepted: Vec<Accepted> = vec![vec![Vec::new(); tuples]; FIELDS];
    for (tuple, one) in placed {
        let record = &one.record;
        let mut accept = |field: u32, range: (u16, u16)| {
            let ranges = &mut accepted[field as usize][*tuple];
            if ranges.last() != Some(&range) {
                ranges.push(range);
            }
        };
        if record.family != 6 {
            accept(field::SOURCE4, places4(record.source, one.source));
            accept(field::DESTINATION4, places4(record.destination, one.destination));
        }
        if record.family != 4 {
            accept(field::SOURCE6, places6(record.source, one.source));
            accept(field::DESTINATION6, places6(record.destination, one.destination));
        }
        accept(field::SOURCE_PORT, record.source_port.into());
        accept(field::DESTINATION_PORT, record.destination_port.into());
    }
    accepted.into_iter().map(fill).collect()
}

fn places4(address: [u64; 2], length: u8) -> (u16, u16) {
    let first = place4(address);
    (first, if length >= 16 { first } else { first | u16::MAX >> length })
}

fn places6(address: [u64; 2], length: u8) -> (u16, u16) {
    let place = place6(address);
    if length >= 48 { (place, place) } else { (0, u16::MAX) }
}

fn fill(accepted: Accepted) -> Box<Candidates> {
    // Where a tuple begins or ends to accept.
    let mut edges: Vec<(usize, usize)> = Vec::new();
    for (tuple, mut ranges) in accepted.into_iter().enumerate() {
        ranges.sort_unstable();
        // Ranges that overlap or touch are one.
        let mut end = None;
        for (first, last) in ranges {
            let (first, after) = (usize::from(first), usize::from(last) + 1);
            match end {
                Some(open) if first <= open => end = Some(open.max(after)),
                Some(_) | None => {
                    edges.extend(end.map(|end| (end, tuple)));
                    edges.push((first, tuple));
                    end = Some(after);
                }
            }
        }
        edges.extend(end.map(|end| (end, tuple)));
    }
    edges.sort_unstable();
    let mut candidates: Box<Candidates> = zeroed(65536);
    let (mut set, mut from) = (TupleSet::default(), 0);
    for (place, tuple) in edges.into_iter().chain([(65536, 0)]) {
        if set != TupleSet::default() {
            candidates[from..place].fill(set);
        }
        from = place;
        set[tuple / 64] ^= 1 << (tuple % 64);
    }
    candidates
}

/// A boxed array of zeros that never was on the stack.
fn zeroed<T: Clone + Default, const N: usize>(len: usize) -> Box<[T; N]> {
    vec![T::default(); len].into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!("{len} are not {N}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(family: u8, source: u8, destination: u8, ports: ([u16; 2], [u16; 2])) -> Expanded {
        let record = Record { family, source_port: ports.0, destination_port: ports.1, ports: 1, ..Record::default() };
        Expanded { record, source, destination }
    }

    #[test]
    fn a_shape_has_rounded_lengths_and_single_ports() {
        let shape = Shape::of(&record(4, 29, 7, ([80, 80], [0, 65535])));
        let tuple = shape.tuple();
        assert_eq!(tuple.source_mask, [0, 0xffff_ff00]);
        assert_eq!(tuple.destination_mask, [0, 0]);
        assert_eq!(tuple.ports_mask, 0xffff_0000);
        let tuple = Shape::of(&record(6, 128, 65, ([0, 65535], [9, 9]))).tuple();
        assert_eq!(tuple.source_mask, [u64::MAX, u64::MAX]);
        assert_eq!(tuple.destination_mask, [u64::MAX, 0]);
        assert_eq!(tuple.ports_mask, 0x0000_ffff);
    }

    #[test]
    fn too_many_shapes_are_filed_in_coarser_ones() {
        let port = |whole: bool| if whole { [5, 5] } else { [1, 9] };
        let mut all = Vec::new();
        for source in (0..=128).step_by(16) {
            for destination in (0..=128).step_by(16) {
                for flags in 0..4 {
                    all.push(record(6, source, destination, (port(flags & 1 != 0), port(flags & 2 != 0))));
                }
            }
        }
        let shapes = assign(&all);
        let mut distinct = shapes.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), MAX_TUPLES);
        for (one, shape) in all.iter().zip(&shapes) {
            let own = Shape::of(one);
            assert!(shape.source <= own.source && shape.destination <= own.destination);
            assert!(shape.source_port <= own.source_port && shape.destination_port <= own.destination_port);
        }
    }

    #[test]
    fn overlapping_ranges_fill_what_they_cover() {
        let candidates = fill(vec![vec![(10, 20), (0, 3), (15, 30), (12, 13)], vec![(65535, 65535)]]);
        let has = |place: usize| candidates[place][0];
        assert_eq!([0, 3, 4, 9, 10, 20, 25, 30, 31].map(has), [1, 1, 0, 0, 1, 1, 1, 1, 0]);
        assert_eq!(has(65535), 2);
    }

    #[test]
    fn a_short_prefix_has_many_places() {
        let address = halves(0x0a40_0000);
        assert_eq!(places4(address, 10), (0x0a40, 0x0a7f));
        assert_eq!(places4(address, 16), (0x0a40, 0x0a40));
        assert_eq!(places4([0, 0], 0), (0, u16::MAX));
    }
}
