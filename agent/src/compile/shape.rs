//! How much of a rule is looked up, and how little where there are more shapes than tuples.

use std::collections::BTreeMap;

use lanekeeper_common::abi::{MAX_TUPLES, Tuple};
use lanekeeper_common::rules::ports;

use super::expand::Expanded;
use super::halves;

/// How much of a rule's fields its tuple looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    family: u8,
    source: u8,
    destination: u8,
    source_port: bool,
    destination_port: bool,
}

impl Shape {
    pub fn of(one: &Expanded) -> Self {
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

    pub fn tuple(&self) -> Tuple {
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

    /// Whether what is of that shape can be looked up by this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.family == other.family
            && self.source <= other.source
            && self.destination <= other.destination
            && self.source_port <= other.source_port
            && self.destination_port <= other.destination_port
    }

    /// The more of it is looked up, the more it is.
    pub fn fineness(&self) -> u32 {
        let ports = u32::from(self.source_port) + u32::from(self.destination_port);
        u32::from(self.source) + u32::from(self.destination) + 16 * ports
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
pub fn assign(expanded: &[&Expanded]) -> Vec<Shape> {
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
    expanded.iter().copied().map(last).collect()
}

/// The tuple that what is of that shape is filed in; a new one at the end of `shapes`, where there is room.
pub fn tuple_of(shapes: &mut Vec<Shape>, shape: Shape) -> Option<u8> {
    let own = shapes.iter().position(|known| *known == shape);
    let number = match own {
        Some(number) => Some(number),
        None if shapes.len() < MAX_TUPLES => {
            shapes.push(shape);
            Some(shapes.len() - 1)
        }
        None => {
            let covering = shapes.iter().enumerate().filter(|(_, known)| known.covers(&shape));
            covering.max_by_key(|(_, known)| known.fineness()).map(|(number, _)| number)
        }
    };
    number.map(|number| number as u8)
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::Record;

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
        let shapes = assign(&all.iter().collect::<Vec<_>>());
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
    fn what_has_no_tuple_of_its_own_takes_the_finest_that_covers_it() {
        let shape = |source, destination, port| Shape {
            family: 4,
            source,
            destination,
            source_port: false,
            destination_port: port,
        };
        let mut shapes = vec![shape(0, 0, false), shape(16, 8, false), shape(16, 8, true), shape(24, 24, true)];
        assert_eq!(tuple_of(&mut shapes, shape(16, 16, true)), Some(4));
        shapes.truncate(4);
        shapes.extend(vec![Shape { family: 6, ..shape(128, 128, true) }; MAX_TUPLES - 4]);
        assert_eq!(tuple_of(&mut shapes, shape(16, 16, true)), Some(2));
        assert_eq!(tuple_of(&mut shapes, shape(8, 32, true)), Some(0));
        assert_eq!(tuple_of(&mut shapes, Shape { family: 6, ..shape(0, 0, false) }), None);
        assert_eq!(shapes.len(), MAX_TUPLES);
    }
}
