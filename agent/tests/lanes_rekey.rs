//! Rekeys under traffic.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::gateways::Gateways;
use xtask::lab::metrics::{Metrics, Series};
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};

/// Rekeys of each of the five lanes.
const ROUNDS: u64 = 20;

fn series(metrics: &Metrics) -> BTreeSet<Series> {
    metrics.0.keys().cloned().collect()
}

fn rekeys(metrics: &Metrics) -> u64 {
    metrics.count("lanekeeper_lane_rekeys_total", &[])
}

#[test]
fn lanes_keep_packets_series_and_counters_over_a_hundred_rekeys() {
    let gateways =
        Gateways::start("rekey", Scenario::four_classes(Keying::Psk), Path::new(env!("CARGO_BIN_EXE_lanekeeper")))
            .unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    let lanes: Vec<String> = gateways.scenario().lanes().map(|(class, index)| format!("{class}.{index}")).collect();
    let wanted = ROUNDS * lanes.len() as u64;
    assert_eq!(wanted, 100);

    let ports = [(5060, 46), (5004, 0), (9000, 0), (9001, 0), (7000, 0)];
    let flows: Vec<Flow> = [Side::A, Side::B]
        .into_iter()
        .flat_map(|from| ports.map(|(port, dscp)| Flow { dscp, rate: 10, ..lab.flow("rekey", from, Family::V4, port) }))
        .collect();
    let first = [Side::A, Side::B].map(|side| gateways.agent_of(side).metrics().unwrap());
    let mut last = first.clone();
    let traffic = Traffic::start(&flows).unwrap();
    for round in 1..=ROUNDS {
        for (lane, done) in lanes.iter().zip(1..) {
            gateways.charon(Side::A).unwrap().swanctl(&format!("--rekey --child {lane}")).unwrap();
            let target = rekeys(&first[0]) + (round - 1) * lanes.len() as u64 + done;
            let reached = || gateways.agent_of(Side::A).metrics().is_ok_and(|metrics| rekeys(&metrics) >= target);
            assert!(until(Duration::from_secs(20), reached), "{lane} was not rekeyed in round {round}");
        }
        for side in [Side::A, Side::B] {
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

    for (side, first) in [Side::A, Side::B].into_iter().zip(&first) {
        let agent = gateways.agent_of(side);
        let complete = || agent.metrics().is_ok_and(|metrics| rekeys(&metrics) - rekeys(first) == wanted);
        assert!(until(Duration::from_secs(5), complete), "gateway {side:?}: {:?}", agent.metrics().map(|m| rekeys(&m)));
        // Totals outlive the SAs that counted them.
        let now = agent.metrics().unwrap();
        let moved = |metrics: &Metrics| metrics.count("lanekeeper_lane_packets_total", &[]);
        assert!(moved(&now) - moved(first) >= sent, "{} of {sent}", moved(&now) - moved(first));
    }
}
