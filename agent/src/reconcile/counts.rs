//! What the kernel counts per SA, for the lane: an SA's errors go with it at a rekey, a lane's stay. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::compile::series::{LaneEvent, Series};
use crate::kernel::SaCounts;
use crate::lane::LaneId;
use crate::policy::Policy;

/// Counts as last seen, by SA.
#[derive(Debug, Default)]
pub struct Errors(Option<BTreeMap<(IpAddr, u32), (u32, u32)>>);

impl Errors {
    /// What is new on each lane since the last look. The first look counts nothing: what it finds an agent before this one
    /// may have counted, and a counter had better miss some than count them twice.
    pub fn since(&mut self, policy: &Policy, sas: &[SaCounts]) -> Vec<(Series, u64)> {
        let mut counts = Vec::new();
        let before = self.0.take();
        for sa in sas {
            let Some(before) = &before else { break };
            let (replay, integrity) = before.get(&(sa.destination, sa.spi)).copied().unwrap_or_default();
            for (event, n) in [
                (LaneEvent::ReplayError, new(replay, sa.replay)),
                (LaneEvent::IntegrityError, new(integrity, sa.integrity)),
            ] {
                if n > 0 {
                    counts.extend(series(policy, sa.reqid, event).map(|series| (series, n.into())));
                }
            }
        }
        self.0 = Some(sas.iter().map(|sa| ((sa.destination, sa.spi), (sa.replay, sa.integrity))).collect());
        counts
    }
}

/// The kernel's counters wrap at 32 bits; and one that seems to have run through more than half of them between two looks is
/// of a static SA that was made anew under its SPI, and began again at nothing.
fn new(before: u32, now: u32) -> u32 {
    let difference = now.wrapping_sub(before);
    if difference > u32::MAX / 2 { now } else { difference }
}

/// How much of its sequence numbers the SA of each lane has used that has used most, 0 to 1. One that was rekeyed goes soon.
pub fn used(policy: &Policy, sas: &[SaCounts]) -> BTreeMap<LaneId, f64> {
    let mut lanes = BTreeMap::new();
    for sa in sas {
        if let Some(lane) = lane(policy, sa.reqid) {
            let used: &mut f64 = lanes.entry(lane).or_default();
            *used = used.max(sa.used());
        }
    }
    lanes
}

fn series(policy: &Policy, reqid: u32, event: LaneEvent) -> Option<Series> {
    lane(policy, reqid).map(|LaneId { tunnel, class, index }| Series::Event { tunnel, class, index, event })
}

/// Request ids are unique in the policy.
fn lane(policy: &Policy, reqid: u32) -> Option<LaneId> {
    policy.tunnels.iter().find_map(|tunnel| {
        let lane = tunnel.lanes.iter().find(|lane| lane.has(reqid))?;
        let class = policy.classes[lane.class.0].name.clone();
        Some(LaneId { tunnel: tunnel.name.clone(), class, index: lane.index })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::policy;

    fn sa(spi: u32, reqid: u32, replay: u32, integrity: u32) -> SaCounts {
        SaCounts {
            destination: "192.0.2.1".parse().unwrap(),
            spi,
            reqid,
            replay,
            integrity,
            sequence: u64::from(spi) << 28,
            extended: false,
        }
    }

    fn counts(errors: &mut Errors, sas: &[SaCounts]) -> Vec<(String, LaneEvent, u64)> {
        let counts = errors.since(&policy(), sas).into_iter();
        counts
            .map(|(series, n)| match series {
                Series::Event { class, index, event, .. } => (format!("{class}.{index}"), event, n),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    const VOICE: u32 = 0x4c4b_0001;

    #[test]
    fn what_the_sas_of_clients_count_is_the_lanes() {
        let mut policy = policy();
        let lane = &mut policy.tunnels[0].lanes[1];
        lane.reqid = 0;
        lane.clients = [5, 6].map(|reqid| (reqid, "192.0.2.9".parse().unwrap())).into();
        let mut errors = Errors::default();
        errors.since(&policy, &[]);
        let found = errors.since(&policy, &[sa(1, 5, 2, 0), sa(2, 6, 1, 0), sa(3, 0, 9, 0)]);
        let event =
            Series::Event { tunnel: "branch-7".into(), class: "bulk".into(), index: 0, event: LaneEvent::ReplayError };
        assert_eq!(found, [(event.clone(), 2), (event, 1)]);
    }

    #[test]
    fn a_lane_has_used_what_the_furthest_of_its_sas_has() {
        let used = used(&policy(), &[sa(1, VOICE, 0, 0), sa(8, VOICE, 0, 0), sa(2, VOICE, 0, 0), sa(12, 7, 0, 0)]);
        let voice = LaneId { tunnel: "branch-7".into(), class: "voice".into(), index: 0 };
        assert_eq!(used, BTreeMap::from([(voice, 0.5)]));
    }

    #[test]
    fn a_lane_adds_up_what_its_sas_count() {
        let mut errors = Errors::default();
        assert_eq!(counts(&mut errors, &[]), []);
        assert_eq!(counts(&mut errors, &[sa(1, VOICE, 5, 0)]), [("voice.0".into(), LaneEvent::ReplayError, 5)]);
        assert_eq!(counts(&mut errors, &[sa(1, VOICE, 5, 0)]), []);
        // A rekey: the old SA lingers and goes on counting, the new one begins at nothing.
        let both = [sa(1, VOICE, 7, 0), sa(2, VOICE, 0, 3)];
        let expected =
            [("voice.0".into(), LaneEvent::ReplayError, 2), ("voice.0".into(), LaneEvent::IntegrityError, 3)];
        assert_eq!(counts(&mut errors, &both), expected);
        assert_eq!(counts(&mut errors, &[sa(2, VOICE, 0, 3)]), []);
    }

    #[test]
    fn what_is_found_at_the_start_is_not_counted_again() {
        let mut errors = Errors::default();
        assert_eq!(counts(&mut errors, &[sa(1, VOICE, 100, 100)]), []);
        assert_eq!(counts(&mut errors, &[sa(1, VOICE, 101, 100)]), [("voice.0".into(), LaneEvent::ReplayError, 1)]);
    }

    #[test]
    fn an_sa_made_anew_under_its_spi_counts_from_nothing() {
        let mut errors = Errors::default();
        counts(&mut errors, &[sa(1, VOICE, 100, 7)]);
        assert_eq!(counts(&mut errors, &[sa(1, VOICE, 0, 3)]), [("voice.0".into(), LaneEvent::IntegrityError, 3)]);
        assert_eq!(counts(&mut errors, &[sa(1, VOICE, 2, 3)]), [("voice.0".into(), LaneEvent::ReplayError, 2)]);
    }

    #[test]
    fn a_counter_that_wraps_goes_on_and_a_stranger_counts_for_nobody() {
        let mut errors = Errors::default();
        counts(&mut errors, &[sa(1, VOICE, u32::MAX, 0)]);
        assert_eq!(
            counts(&mut errors, &[sa(1, VOICE, 1, 0), sa(9, 7, 5, 5)]),
            [("voice.0".into(), LaneEvent::ReplayError, 2)]
        );
    }
}
