//! The reason for lanes: a WAN that lets EF overtake, and what the far gateway's replay window makes of it.

use std::time::Duration;

use anyhow::Result;

use super::traffic::{Flow, Tally, Traffic};
use super::wan::{self, Queue, STRICT_PRIORITY};
use super::{Family, Lab, Side, sa};

/// Port of the voice flow.
pub const VOICE: u16 = 5060;

/// Port of the bulk flow, in the range of the demo's bulk rule.
pub const BULK: u16 = 9000;

/// What one load through the bottleneck came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// 400 kbit/s of EF.
    pub voice: Tally,
    /// 6 Mbit/s of what is not urgent.
    pub bulk: Tally,
    /// The router's queue of what is not urgent: full queues drop, with lanes or without.
    pub queue: Queue,
    /// Growth of XfrmInStateSeqError at the far gateway: dropped as too old by the replay window.
    pub sequence_errors: u64,
}

impl Outcome {
    /// Bulk packets that the WAN delivered to the far gateway. What the queue drops may also be a packet of IKE's or a
    /// neighbour's: no fewer arrived there than reached the host.
    pub fn bulk_arrived(&self) -> u64 {
        self.bulk.sent.saturating_sub(self.queue.dropped).max(self.bulk.received)
    }

    /// Of the bulk that the WAN delivered, the share that never reached the host, in percent.
    pub fn bulk_loss_percent(&self) -> f64 {
        let arrived = self.bulk_arrived().max(1) as f64;
        100.0 * (arrived - self.bulk.received as f64).max(0.0) / arrived
    }
}

/// Sends voice and bulk from A to B for `time` through [`STRICT_PRIORITY`].
pub fn measure(lab: &Lab, time: Duration) -> Result<Outcome> {
    let (router, device) = (lab.wan(), Side::B.router_device());
    STRICT_PRIORITY.set_up(&router, device)?;
    let far = lab.gateway(Side::B);
    let before = sequence_errors(&far)?;
    let tallies = Traffic::run(&load(lab, time))?;
    let outcome = Outcome {
        voice: tallies[0],
        bulk: tallies[1],
        queue: wan::queue(&router, device, "20:")?,
        sequence_errors: sequence_errors(&far)? - before,
    };
    wan::clear(&router, device)?;
    Ok(outcome)
}

/// 400 kbit/s of EF voice and 6 Mbit/s of bulk, counted with their inner IP headers. One CPU sends and forwards both, as
/// the receive queue of a card keeps a flow: what overtakes is then the WAN's doing, not a stalled CPU's.
fn load(lab: &Lab, time: Duration) -> [Flow; 2] {
    let count = |rate: u32| Some(u64::from(rate) * time.as_secs());
    let flow = |name, port| Flow { cpu: Some(0), eager: true, ..lab.flow(name, Side::A, Family::V4, port) };
    let voice = Flow { dscp: 46, payload: 172, rate: 250, count: count(250), ..flow("voice", VOICE) };
    let bulk = Flow { payload: 1172, rate: 625, count: count(625), ..flow("bulk", BULK) };
    [voice, bulk]
}

fn sequence_errors(gateway: &super::netns::Ns) -> Result<u64> {
    Ok(sa::errors(gateway)?.get("XfrmInStateSeqError").copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sent: u64, received: u64, dropped: u64) -> Outcome {
        let bulk = Tally { sent, received, ..Tally::default() };
        let queue = Queue { dropped, ..Queue::default() };
        Outcome { voice: Tally::default(), bulk, queue, sequence_errors: 0 }
    }

    #[test]
    fn loss_is_of_what_the_wan_delivered() {
        assert_eq!(outcome(1000, 300, 400).bulk_arrived(), 600);
        assert_eq!(outcome(1000, 300, 400).bulk_loss_percent(), 50.0);
    }

    #[test]
    fn a_dropped_packet_of_others_makes_no_bulk_disappear() {
        assert_eq!(outcome(1000, 600, 401).bulk_arrived(), 600);
        assert_eq!(outcome(1000, 600, 401).bulk_loss_percent(), 0.0);
    }
}
