//! Rekeys under traffic, which both ends begin at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::gateways::Gateways;
use xtask::lab::metrics::{Metrics, Series};
use xtask::lab::sa;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};

const SIDES: [Side; 2] = [Side::A, Side::B];

/// Rekeys of each of the five lanes: 5, for a guest's processor is emulated, or as many as are asked for. `cargo xtask guest -- env
/// LANEKEEPER_ROUNDS=20 ...` of this target has a hundred.
fn rounds() -> u64 {
    std::env::var("LANEKEEPER_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap())
}

fn series(metrics: &Metrics) -> BTreeSet<Series> {
    metrics.0.keys().cloned().collect()
}

/// Both begin before either has heard of the other: who has drawn the lower nonce gives his new SA up (RFC 7296, 2.8.1).
fn rekey_from_both_ends(gateways: &Gateways, lane: &str) {
    thread::scope(|scope| {
        for side in SIDES {
            // Of two CREATE_CHILD_SAs one may be refused, or find the old SA gone; what becomes of the lane is looked at.
            scope.spawn(move || gateways.charon(side).unwrap().swanctl(&format!("--rekey --child {lane}")));
        }
    });
}

/// How many rekeys charon has seen the other end begin, too.
fn collisions(gateways: &Gateways) -> usize {
    SIDES
        .map(|side| gateways.charon(side).unwrap().log().unwrap().matches("CHILD_REKEY collision").count())
        .iter()
        .sum()
}

fn rekeys(metrics: &Metrics) -> u64 {
    metrics.count("lanekeeper_lane_rekeys_total", &[])
}

#[test]
fn fault_packets_series_and_counters_outlive_rekeys_that_both_ends_begin_at_once() {
    let gateways =
        Gateways::start("rekey", Scenario::four_classes(Keying::Psk), Path::new(env!("CARGO_BIN_EXE_lanekeeper")))
            .unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    let lanes: Vec<String> = gateways.scenario().lanes().map(|(class, index)| format!("{class}.{index}")).collect();
    let wanted = rounds() * lanes.len() as u64;

    let ports = [(5060, 46), (5004, 0), (9000, 0), (9001, 0), (7000, 0)];
    let flows: Vec<Flow> = SIDES
        .into_iter()
        .flat_map(|from| ports.map(|(port, dscp)| Flow { dscp, rate: 10, ..lab.flow("rekey", from, Family::V4, port) }))
        .collect();
    let first = SIDES.map(|side| gateways.agent_of(side).metrics().unwrap());
    let mut last = first.clone();
    let stat = |side| sa::errors(&lab.gateway(side)).unwrap();
    let errors = SIDES.map(stat);
    let traffic = Traffic::start(&flows).unwrap();
    for round in 1..=rounds() {
        for (lane, done) in lanes.iter().zip(1..) {
            rekey_from_both_ends(&gateways, lane);
            for (side, first) in SIDES.into_iter().zip(&first) {
                let target = rekeys(first) + (round - 1) * lanes.len() as u64 + done;
                let reached = || gateways.agent_of(side).metrics().is_ok_and(|metrics| rekeys(&metrics) >= target);
                assert!(until(Duration::from_secs(20), reached), "{lane} was not rekeyed in round {round} of {side:?}");
            }
        }
        for side in SIDES {
            let now = gateways.agent_of(side).metrics().unwrap();
            let before = &last[side as usize];
            assert_eq!(now.fallen_since(before), [], "round {round}, gateway {side:?}");
            let (had, has) = (series(before), series(&now));
            assert_eq!(has.symmetric_difference(&had).collect::<Vec<_>>(), [] as [&Series; 0], "round {round}");
            assert_eq!(now.sum("lanekeeper_lane_up", &[]) as usize, lanes.len(), "round {round}, gateway {side:?}");
            last[side as usize] = now;
        }
    }
    let tallies = traffic.stop().unwrap();
    let sent: u64 = tallies.iter().map(|tally| tally.sent).sum();
    for (flow, tally) in flows.iter().zip(&tallies) {
        assert_eq!((tally.lost(), tally.duplicated), (0, 0), "{} > {}: {tally:?}", flow.source, flow.destination);
    }

    for (side, first) in SIDES.into_iter().zip(&first) {
        let agent = gateways.agent_of(side);
        // Where both ends' new SAs came to be, each was a rekey.
        let complete = || agent.metrics().is_ok_and(|metrics| rekeys(&metrics) - rekeys(first) >= wanted);
        assert!(until(Duration::from_secs(5), complete), "gateway {side:?}: {:?}", agent.metrics().map(|m| rekeys(&m)));
        // Totals outlive the SAs that counted them.
        let now = agent.metrics().unwrap();
        let moved = |metrics: &Metrics| metrics.count("lanekeeper_lane_packets_total", &[]);
        assert!(moved(&now) - moved(first) >= sent, "{} of {sent}", moved(&now) - moved(first));
    }
    assert_eq!(SIDES.map(stat), errors, "xfrm_stat");
    let (collided, counted) =
        (collisions(&gateways), SIDES.map(|side| rekeys(&last[side as usize]) - rekeys(&first[side as usize])));
    println!("{sent} packets, {wanted} rekeys from both ends: {counted:?} counted, {collided} collisions seen");
    assert!(collided > 0, "the ends never began at once");
}
