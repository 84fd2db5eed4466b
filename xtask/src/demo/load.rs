//! The demo's traffic: every class in both directions, over IPv4 and IPv6.

use crate::lab::traffic::{Flow, Tally};
use crate::lab::{Family, Lab, Side};

/// Bulk flows in each direction, enough that both lanes have some.
pub const BULK_FLOWS: u32 = 8;

/// Each bulk flow sends this many packets and a power of two more, so that a lane's total tells which flows made it up.
pub const BULK_BASE: u64 = 1 << BULK_FLOWS;

/// One flow and the class that the configuration gives it.
#[derive(Debug, Clone)]
pub struct Classed {
    /// Its class.
    pub class: &'static str,
    /// Sent by the host of this side.
    pub from: Side,
    /// The flow.
    pub flow: Flow,
}

/// All flows of the demo, about twelve seconds of them.
pub fn flows(lab: &Lab) -> Vec<Classed> {
    [Side::A, Side::B].into_iter().flat_map(|from| from_side(lab, from)).collect()
}

fn from_side(lab: &Lab, from: Side) -> Vec<Classed> {
    let mut flows = Vec::new();
    for (family, port) in [(Family::V4, 5060), (Family::V6, 5061)] {
        let flow = Flow { dscp: 46, payload: 172, rate: 50, count: Some(600), ..lab.flow("voice", from, family, port) };
        flows.push(Classed { class: "voice", from, flow });
    }
    for (family, port) in [(Family::V4, 5004), (Family::V6, 5005)] {
        let flow = Flow { payload: 900, rate: 40, count: Some(480), ..lab.flow("video", from, family, port) };
        flows.push(Classed { class: "video", from, flow });
    }
    for number in 0..BULK_FLOWS {
        let family = if number % 2 == 0 { Family::V4 } else { Family::V6 };
        let port = 9000 + number as u16;
        let count = Some(BULK_BASE + (1 << number));
        let flow = Flow { payload: 1100, rate: 28, count, ..lab.flow("bulk", from, family, port) };
        flows.push(Classed { class: "bulk", from, flow });
    }
    for (family, port) in [(Family::V4, 7000), (Family::V6, 7001)] {
        let flow = Flow { payload: 300, rate: 20, count: Some(240), ..lab.flow("default", from, family, port) };
        flows.push(Classed { class: "default", from, flow });
    }
    flows
}

/// The tallies of one class in one direction, together.
pub fn sum(flows: &[Classed], tallies: &[Tally], class: &str, from: Side) -> Tally {
    flows
        .iter()
        .zip(tallies)
        .filter(|(flow, _)| flow.class == class && flow.from == from)
        .fold(Tally::default(), |sum, (_, tally)| sum.plus(*tally))
}

/// The flows that a lane carried whole, if its total can be told apart into whole flows: bit N is flow N.
pub fn decode_bulk(total: u64) -> Option<u64> {
    let (flows, bits) = (total / BULK_BASE, total % BULK_BASE);
    (u64::from(bits.count_ones()) == flows).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_whole_flows_is_told_apart() {
        for set in 0u64..1 << BULK_FLOWS {
            let total: u64 =
                (0..BULK_FLOWS).filter(|flow| set >> flow & 1 == 1).map(|flow| BULK_BASE + (1 << flow)).sum();
            assert_eq!(decode_bulk(total), Some(set));
        }
    }

    #[test]
    fn a_flow_cut_in_two_is_seen() {
        assert_eq!(decode_bulk(BULK_BASE + 1 + 100), None);
        assert_eq!(decode_bulk(1), None);
    }
}
