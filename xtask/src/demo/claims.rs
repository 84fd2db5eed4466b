//! What the demo claims, decided from counts alone.

use std::fmt;

use super::load::{Classed, decode_bulk, sum};
use crate::lab::Side;
use crate::lab::capture::Seen;
use crate::lab::congestion::Outcome;
use crate::lab::gateways::LanePackets;
use crate::lab::traffic::Tally;

/// One claim and whether it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Did it?
    pub holds: bool,
    /// What was claimed, with the numbers.
    pub text: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", if self.holds { "pass" } else { "FAIL" }, self.text)
    }
}

/// Panics with all claims unless there are some and all hold.
pub fn assert_all_hold(claims: &[Claim]) {
    let report: Vec<String> = claims.iter().map(ToString::to_string).collect();
    println!("{}", report.join("\n"));
    assert!(!claims.is_empty() && claims.iter().all(|claim| claim.holds), "{}", report.join("\n"));
}

/// All counts of the four-class run; `kernel` and `metrics` are differences over the run, by gateway.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What was sent.
    pub flows: &'a [Classed],
    /// What became of it.
    pub tallies: &'a [Tally],
    /// Counters of the kernel's SAs at A and B.
    pub kernel: [LanePackets; 2],
    /// Counters of the agents' metrics at A and B.
    pub metrics: [LanePackets; 2],
    /// What the WAN saw.
    pub wan: &'a Seen,
}

/// The claims of the four-class run.
pub fn lanes(evidence: &Evidence<'_>, classes: &[(&'static str, u8)]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (class, lanes) in classes {
        for from in [Side::A, Side::B] {
            claims.push(own_sa_only(evidence, class, *lanes, from));
        }
    }
    claims.push(kernel_agrees(evidence));
    for from in [Side::A, Side::B] {
        claims.push(bulk_is_spread(evidence, from));
    }
    claims.push(no_cleartext(evidence.wan));
    claims
}

/// Every packet of the class arrived, and its SAs carried that many at both ends.
fn own_sa_only(evidence: &Evidence<'_>, class: &'static str, lanes: u8, from: Side) -> Claim {
    let tally = sum(evidence.flows, evidence.tallies, class, from);
    let through = |side: Side, out: bool| -> u64 {
        let kernel = &evidence.kernel[side as usize];
        (0..lanes).map(|lane| kernel.get(&(class, lane, out)).copied().unwrap_or_default()).sum()
    };
    let (out, inward) = (through(from, true), through(from.other(), false));
    // The gateways' own multicast has no class but the default one.
    let exact = |packets: u64| packets == tally.sent || (class == "default" && packets >= tally.sent);
    let (from, to) = (letter(from), letter(from.other()));
    Claim {
        holds: tally.sent > 0 && tally.lost() == 0 && exact(out) && exact(inward) && out == inward,
        text: format!(
            "{class} {from} to {to}: {} sent, {} received; {out} through its own SA at {from}, {inward} at {to}",
            tally.sent, tally.received
        ),
    }
}

/// SA counters and metrics, lane by lane, both ends, both directions.
fn kernel_agrees(evidence: &Evidence<'_>) -> Claim {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for side in [Side::A, Side::B] {
        for (lane, metric) in &evidence.metrics[side as usize] {
            let kernel = evidence.kernel[side as usize].get(lane).copied().unwrap_or_default();
            compared += 1;
            if kernel != *metric {
                let direction = if lane.2 { "out" } else { "in" };
                wrong.push(format!(
                    "{} {}.{} {direction}: kernel {kernel}, metrics {metric}",
                    letter(side),
                    lane.0,
                    lane.1
                ));
            }
        }
    }
    let detail = if wrong.is_empty() { "to the packet".to_owned() } else { wrong.join("; ") };
    Claim {
        holds: wrong.is_empty() && compared > 0,
        text: format!("{compared} lane counters of the metrics are the kernel's SA counters: {detail}"),
    }
}

/// Both lanes had flows, and each flow's packets are all on one.
fn bulk_is_spread(evidence: &Evidence<'_>, from: Side) -> Claim {
    let kernel = &evidence.kernel[from as usize];
    let totals = [0, 1].map(|lane| kernel.get(&("bulk", lane, true)).copied().unwrap_or_default());
    let sets = totals.map(decode_bulk);
    let holds = match sets {
        [Some(first), Some(second)] => first != 0 && second != 0 && first & second == 0,
        [_, _] => false,
    };
    let flows =
        |set: Option<u64>| set.map_or("flows cut in two".to_owned(), |set| format!("{} whole flows", set.count_ones()));
    Claim {
        holds,
        text: format!(
            "bulk {} to {}: lane 0 carried {} ({} packets), lane 1 {} ({} packets)",
            letter(from),
            letter(from.other()),
            flows(sets[0]),
            totals[0],
            flows(sets[1]),
            totals[1]
        ),
    }
}

fn no_cleartext(wan: &Seen) -> Claim {
    let first = wan.first_clear.as_ref().map(|packet| format!(", first {packet}")).unwrap_or_default();
    Claim {
        holds: wan.clear == 0 && wan.esp_total() > 0,
        text: format!("the WAN saw {} ESP packets and {} in cleartext{first}", wan.esp_total(), wan.clear),
    }
}

/// The claims of the congested WAN.
pub fn congestion(one: &Outcome, lanes: &Outcome) -> Vec<Claim> {
    let behind = |outcome: &Outcome| {
        format!(
            "{} sequence errors, {:.1} % of the bulk that the WAN delivered lost",
            outcome.sequence_errors,
            outcome.bulk_loss_percent()
        )
    };
    vec![
        Claim { holds: one.sequence_errors > 0, text: format!("one SA behind a strict-priority WAN: {}", behind(one)) },
        Claim {
            holds: lanes.sequence_errors == 0 && lanes.voice.lost() == 0 && lanes.bulk.received >= lanes.bulk_arrived(),
            text: format!("lanes behind the same WAN: {}", behind(lanes)),
        },
    ]
}

const fn letter(side: Side) -> &'static str {
    match side {
        Side::A => "A",
        Side::B => "B",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(errors: u64, received: u64) -> Outcome {
        Outcome {
            voice: Tally { sent: 10, received: 10, ..Tally::default() },
            bulk: Tally { sent: 100, received, ..Tally::default() },
            queue: crate::lab::wan::Queue { sent: 60, dropped: 40 },
            sequence_errors: errors,
        }
    }

    #[test]
    fn one_sa_must_lose_and_lanes_must_not() {
        let holds = |claims: Vec<Claim>| claims.iter().map(|claim| claim.holds).collect::<Vec<_>>();
        assert_eq!(holds(congestion(&outcome(59, 1), &outcome(0, 60))), [true, true]);
        assert_eq!(holds(congestion(&outcome(0, 60), &outcome(0, 59))), [false, false]);
    }

    #[test]
    fn a_counter_that_differs_is_named() {
        let wan = Seen::default();
        let kernel = [LanePackets::from([(("voice", 0, true), 5)]), LanePackets::new()];
        let metrics = [LanePackets::from([(("voice", 0, true), 6)]), LanePackets::new()];
        let claim = kernel_agrees(&Evidence { flows: &[], tallies: &[], kernel, metrics, wan: &wan });
        assert!(!claim.holds);
        assert!(claim.text.contains("A voice.0 out: kernel 5, metrics 6"), "{claim}");
    }

    #[test]
    fn cleartext_fails() {
        let clear = Seen { clear: 1, esp: [(([192, 0, 2, 1].into(), 1), 9)].into(), ..Seen::default() };
        assert!(!no_cleartext(&clear).holds);
    }
}
