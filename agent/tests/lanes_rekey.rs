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
use xtask::setup::strongswan::Version;

const SIDES: [Side; 2] = [Side::A, Side::B];

/// A class, and the lane's place in it.
type Lane = (&'static str, String);

/// In each, both ends rekey all of the five lanes: one, for a guest's processor is emulated, or as many as are asked for. `cargo xtask
/// guest -- env LANEKEEPER_ROUNDS=20 ...` of this target rekeys a hundred times.
fn rounds() -> u64 {
    std::env::var("LANEKEEPER_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// Until both ends have begun at once for some lane.
const MOST_ROUNDS: u64 = 10;

fn series(metrics: &Metrics) -> BTreeSet<Series> {
    metrics.0.keys().cloned().collect()
}

/// Both begin before either has heard of the other: who has drawn the lower nonce gives his new SA up (RFC 7296, 2.8.1).
fn rekey_from_both_ends(gateways: &Gateways, (class, lane): &Lane) {
    thread::scope(|scope| {
        for side in SIDES {
            // Of two CREATE_CHILD_SAs one may be refused, or find the old SA gone; what becomes of the lane is looked at.
            scope.spawn(move || gateways.charon(side).unwrap().swanctl(&format!("--rekey --child {class}.{lane}")));
        }
    });
}

/// How many rekeys charon has seen the other end begin, too.
fn collisions(gateways: &Gateways) -> usize {
    SIDES
        .map(|side| {
            let log = gateways.charon(side).unwrap().log().unwrap();
            // The first is of strongSwan 5, the other one of 6.
            log.lines()
                .filter(|line| line.contains("CHILD_REKEY collision") || line.contains("rekey collision"))
                .count()
        })
        .iter()
        .sum()
}

fn rekeys(metrics: &Metrics, (class, lane): &Lane) -> u64 {
    metrics.count("lanekeeper_lane_rekeys_total", &[("class", class), ("lane", lane)])
}

/// What of one strongSwan its log begins with, of the machine's 5.9 or of those of other suites.
fn is_of(version: Version, log: &str) -> bool {
    let major = if version == Version::Machine { "5." } else { "6." };
    log.contains(&format!("strongSwan {major}"))
}

#[test]
fn fault_packets_series_and_counters_outlive_rekeys_that_both_ends_begin_at_once() {
    outlive_rekeys("rekey", Version::Machine);
}

#[test]
fn fault_packets_series_and_counters_outlive_rekeys_of_strongswan_6_0() {
    outlive_rekeys("rekey60", Version::V6_0);
}

#[test]
fn fault_packets_series_and_counters_outlive_rekeys_of_strongswan_6_1() {
    outlive_rekeys("rekey61", Version::V6_1);
}

fn outlive_rekeys(name: &str, strongswan: Version) {
    let scenario = Scenario { strongswan, ..Scenario::four_classes(Keying::Psk) };
    let gateways = Gateways::start(name, scenario, Path::new(env!("CARGO_BIN_EXE_lanekeeper"))).unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    let lanes: Vec<Lane> = gateways.scenario().lanes().map(|(class, lane)| (class, lane.to_string())).collect();
    for side in SIDES {
        let log = gateways.charon(side).unwrap().log().unwrap();
        assert!(is_of(strongswan, &log), "gateway {side:?}: {:?}", log.lines().next());
    }

    let ports = [(5060, 46), (5004, 0), (9000, 0), (9001, 0), (7000, 0)];
    let flows: Vec<Flow> = SIDES
        .into_iter()
        .zip([Family::V4, Family::V6])
        .flat_map(|(from, family)| {
            ports.map(|(port, dscp)| Flow { dscp, rate: 5, ..lab.flow("rekey", from, family, port) })
        })
        .collect();
    let first = SIDES.map(|side| gateways.agent_of(side).metrics().unwrap());
    let mut last = first.clone();
    let stat = |side| sa::errors(&lab.gateway(side)).unwrap();
    let errors = SIDES.map(stat);
    let traffic = Traffic::start(&flows).unwrap();
    let mut round = 0;
    // Who begins at once is up to two processors' schedulers.
    while round < rounds() || (collisions(&gateways) == 0 && round < MOST_ROUNDS) {
        round += 1;
        for lane in &lanes {
            rekey_from_both_ends(&gateways, lane);
        }
        for (side, last) in SIDES.into_iter().zip(&last) {
            let lacking = |metrics: Metrics| {
                lanes.iter().filter(|lane| rekeys(&metrics, lane) == rekeys(last, lane)).cloned().collect::<Vec<_>>()
            };
            let all = || {
                // Whoever asks takes time from those who rekey.
                thread::sleep(Duration::from_millis(500));
                gateways.agent_of(side).metrics().is_ok_and(|metrics| lacking(metrics).is_empty())
            };
            if !until(Duration::from_secs(40), all) {
                let lacking = lacking(gateways.agent_of(side).metrics().unwrap());
                panic!("not rekeyed in round {round} at gateway {side:?}: {lacking:?}");
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
        // Totals outlive the SAs that counted them.
        let now = agent.metrics().unwrap();
        let moved = |metrics: &Metrics| metrics.count("lanekeeper_lane_packets_total", &[]);
        assert!(moved(&now) - moved(first) >= sent, "{} of {sent}", moved(&now) - moved(first));
    }
    assert_eq!(SIDES.map(stat), errors, "xfrm_stat");
    let all = |metrics: &Metrics| lanes.iter().map(|lane| rekeys(metrics, lane)).sum::<u64>();
    let counted = SIDES.map(|side| all(&last[side as usize]) - all(&first[side as usize]));
    let collided = collisions(&gateways);
    println!("{sent} packets, {round} rounds: {counted:?} rekeys counted, {collided} collisions seen");
    assert!(collided > 0, "the ends never began at once");
}
