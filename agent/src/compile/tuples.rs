//! Records -> tuples, chains and candidates: see `lanekeeper_common::rules` for how a packet goes through them.
//!
//! A prefix is filed by its length rounded down to a multiple of 8 (IPv4) or 16 (IPv6), a port by its value where a rule
//! gives one and not a range: 20 to 100 tuples, and chains of a few records, for lists like those that ClassBench makes.
//! Where there would be too many, the smallest are filed in a coarser one.
//!
//! Those of a tenant that has no more than [`FEW`] are in a chain of its own, and side by side in memory.

use std::collections::BTreeMap;
use std::fmt;

use lanekeeper_common::abi::{
    ANY_PROTOCOL, Candidates, FIELDS, Generation, Heads, MAX_HEADS, Record, Tenant, Tuple, TupleSet, field,
};
use lanekeeper_common::rules::{chain, place4, place6, ports};

use super::expand::Expanded;
use super::shape::{Shape, assign};

/// The large values of a generation, and what the host alone keeps of them.
#[derive(Clone)]
pub struct Filed {
    /// By number; the first is none.
    pub records: Vec<Record>,
    /// First record of each chain.
    pub heads: Box<Heads>,
    /// By number of the record, what a walk along a chain asks of it: some chains have thousands of records, which lie far
    /// apart.
    pub(super) links: Vec<Link>,
    /// By [`field`].
    pub candidates: Vec<Box<Candidates>>,
    /// By place in the list.
    pub(super) rules: Vec<Numbered>,
    /// By number of the record.
    pub(super) filing: Vec<Filing>,
    /// By number of the tuple.
    pub(super) shapes: Vec<Shape>,
    /// By [`field`], the tuples that are candidates for every value by one record alone.
    pub(super) whole: [TupleSet; FIELDS],
    /// Records of rules that are no more.
    pub(super) unused: Unused,
}

/// A rule as records know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbered {
    /// [`Record::rule`].
    pub number: u32,
    /// One of its records; 0 where it has none.
    pub first: u32,
    /// Of what its records say.
    pub digest: u64,
}

/// What of a record leads along its chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// [`Record::rule`].
    pub rule: u32,
    /// [`Record::next`].
    pub next: u32,
}

impl Link {
    pub fn of(record: &Record) -> Self {
        Self { rule: record.rule, next: record.next }
    }
}

/// Records that a tenant has in a chain of its own at most: some more than the ten of the tenants that are measured. From how
/// many on tuples are cheaper is not known.
pub(super) const FEW: usize = 16;

/// Where a record is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filing {
    /// Number of its tuple; `None` in its tenant's own chain.
    pub tuple: Option<u8>,
    /// Another record of its rule; 0 for the last.
    pub sibling: u32,
}

/// Records that are in no chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unused {
    /// Packets that are under way may stand on these.
    pub retired: Vec<u32>,
    /// And on these none does.
    pub free: Vec<u32>,
}

impl Filed {
    /// Place in the list of the rule that records of that number are of.
    pub fn place(&self, number: u32) -> Option<usize> {
        self.rules.binary_search_by_key(&number, |rule| rule.number).ok()
    }

    /// How many rules the list has.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Places of the rules that can match: some are about what this machine does not have.
    pub fn matching(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().enumerate().filter(|(_, rule)| rule.first != 0).map(|(place, _)| place)
    }

    /// Of the list.
    pub(super) fn digest(&self) -> u64 {
        self.rules.iter().fold(0, |hash, rule| mix(hash, rule.digest))
    }
}

impl fmt::Debug for Filed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filed").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

/// Files the records of that many rules; the small tables go into generation and tenants.
pub fn file(expanded: &[Expanded], rules: usize, generation: &mut Generation, tenants: &mut [Tenant]) -> Filed {
    let mut rules: Vec<Numbered> =
        (0..rules).map(|place| Numbered { number: number(place, rules), first: 0, digest: NOTHING }).collect();
    let (few, many) = by_number_of_records(expanded, tenants.len());
    let shapes = assign(&many);
    let mut numbers: BTreeMap<Shape, usize> = BTreeMap::new();
    let (mut tuples, mut by_number) = (Vec::new(), Vec::new());
    for (one, shape) in many.iter().zip(&shapes) {
        numbers.entry(*shape).or_insert_with(|| {
            tuples.push(Tuple { first_rule: rules[one.record.rule as usize].number, ..shape.tuple() });
            by_number.push(*shape);
            tuples.len() - 1
        });
    }
    generation.tuples[..tuples.len()].copy_from_slice(&tuples);
    let placed: Vec<(usize, &Expanded)> = shapes.iter().map(|shape| numbers[shape]).zip(many).collect();
    let all = placed.iter().map(|(tuple, one)| (Some(*tuple), *one)).chain(few.into_iter().map(|one| (None, one)));

    let (mut records, mut filing) = (vec![Record::default()], vec![Filing::default()]);
    for (tuple, one) in all {
        let rule = &mut rules[one.record.rule as usize];
        records.push(Record { rule: rule.number, ..one.record });
        filing.push(Filing { tuple: tuple.map(|tuple| tuple as u8), sibling: rule.first });
        rule.first = filing.len() as u32 - 1;
        rule.digest = mix(rule.digest, content(&one.record));
    }
    let mut heads: Box<Heads> = zeroed(MAX_HEADS);
    // From the last to the first, so that each chain is in the order of its rules.
    for number in (1..records.len()).rev() {
        let record = &mut records[number];
        let head = match filing[number].tuple {
            Some(tuple) => &mut heads[chain_of(tuple.into(), &tuples[usize::from(tuple)], record) as usize],
            None => &mut tenants[usize::from(record.tenant)].first,
        };
        record.next = std::mem::replace(head, number as u32);
    }
    small_fields(&placed, generation, tenants);
    let mut whole = [TupleSet::default(); FIELDS];
    for (tuple, one) in &placed {
        accepts(one, |field, range| {
            if range == (0, u16::MAX) {
                add(&mut whole[field as usize], *tuple);
            }
        });
    }
    let candidates = candidates(&placed, tuples.len());
    let links = records.iter().map(Link::of).collect();
    Filed { records, heads, links, candidates, rules, filing, shapes: by_number, whole, unused: Unused::default() }
}

/// The records of tenants that have no more than [`FEW`], tenant by tenant, and those of all others; each in their order.
fn by_number_of_records(expanded: &[Expanded], tenants: usize) -> (Vec<&Expanded>, Vec<&Expanded>) {
    let mut numbers = vec![0; tenants];
    expanded.iter().for_each(|one| numbers[usize::from(one.record.tenant)] += 1);
    let has_few = |one: &&Expanded| numbers[usize::from(one.record.tenant)] <= FEW;
    let (mut few, many): (Vec<&Expanded>, Vec<&Expanded>) = expanded.iter().partition(has_few);
    few.sort_by_key(|one| one.record.tenant);
    (few, many)
}

/// The chain that a record of that tuple is in.
pub(super) fn chain_of(number: u32, tuple: &Tuple, record: &Record) -> u32 {
    let ports = ports(record.source_port[0], record.destination_port[0]);
    chain(number, tuple, record.tenant, record.source, record.destination, ports)
}

/// The number of the rule at that place, of so many: in the middle of what there is, the further apart the fewer they are.
fn number(place: usize, rules: usize) -> u32 {
    let step = ((1 << 31) / (rules as u32 + 1)).min(1 << 20);
    (1 << 30) + place as u32 * step
}

/// Digest of a rule without records.
pub(super) const NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// Digest of what a record says, wherever it stands.
pub(super) fn content(record: &Record) -> u64 {
    let record = Record { rule: 0, next: 0, ..*record };
    let words = record.bytes().chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
    words.fold(0, mix)
}

/// FNV-1a over words: tells tables apart, protects against nothing.
pub(super) fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
}

/// Whether a tuple is in the set.
pub(super) fn has(set: &TupleSet, tuple: usize) -> bool {
    set[tuple / 64] >> (tuple % 64) & 1 != 0
}

/// Adds a tuple.
pub(super) fn add(set: &mut TupleSet, tuple: usize) {
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
        accepts(one, |field, range| {
            let ranges = &mut accepted[field as usize][*tuple];
            if ranges.last() != Some(&range) {
                ranges.push(range);
            }
        });
    }
    accepted.into_iter().map(fill).collect()
}

/// Says which places of each field a record accepts.
pub(super) fn accepts(one: &Expanded, mut accept: impl FnMut(u32, (u16, u16))) {
    let record = &one.record;
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
    use super::super::halves;
    use super::*;

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
