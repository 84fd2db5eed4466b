//! What somebody is called for.
//!
//! Thresholds leave out what is normal: a lane that is down while its tunnel comes up, a packet that meets an SA in its
//! making, an operator's own change that is repaired once. What is counted over a window has to last longer than that: one
//! burst, however large, calls nobody.

use lanekeeper::metrics::list::{
    BUILD, DRIFT, LANE_INTEGRITY, LANE_REKEYS, LANE_UP, LANE_USED, OVERRUNS, RELOAD_SUCCESS, TUNNEL_CLIENTS, TUNNEL_UP,
    XFRM_ERRORS,
};
use lanekeeper_common::verdict::BlockReason;

use super::recorded::{BLOCKING, FALLING_BACK, REPLAYED, REPLAYED_SHARE};
use super::{Alert, Severity};
use crate::boards::target::UP;
use crate::query::Scope;

const GATEWAY: &[&str] = &["job", "instance"];
const TUNNEL: &[&str] = &["job", "instance", "tunnel"];
const LANE: &[&str] = &["job", "instance", "tunnel", "class", "lane"];
/// For what is seldom, or comes in bursts.
const QUARTER: Scope = Scope::rule("15m");
const DAY: Scope = Scope::rule("1d");
/// Six intervals of charon's own.
const SINCE_REKEY: &str = "6h";
/// Of a target that is gone nothing else tells that it was ours.
const REMEMBERED: Scope = DAY;

/// All of them, the worst first.
pub fn alerts() -> Vec<Alert> {
    let now = |metric| QUARTER.of(metric).now();
    vec![
        Alert {
            name: "LanekeeperAgentGone",
            query: now(&UP).equal("0").and(GATEWAY, REMEMBERED.of(&BUILD).seen()),
            lasting: "5m",
            severity: Severity::Critical,
            summary: "The agent on {instance} does not answer",
        },
        Alert {
            name: "LanekeeperTunnelDown",
            // Where clients share it and none is there, none needs to be.
            query: now(&TUNNEL_UP).equal("0").unless(TUNNEL, now(&TUNNEL_CLIENTS).equal("0")),
            lasting: "2m",
            severity: Severity::Critical,
            summary: "Tunnel {tunnel} is down on {instance}",
        },
        Alert {
            name: "LanekeeperBlocked",
            query: now_blocked(&[BlockReason::NoLane, BlockReason::NoTables]),
            lasting: "6m",
            severity: Severity::Critical,
            summary: "Traffic of class {class} is dropped on {instance}: {reason}",
        },
        Alert {
            name: "LanekeeperLaneDown",
            query: now(&LANE_UP).equal("0").and(TUNNEL, now(&TUNNEL_UP).equal("1")),
            lasting: "5m",
            severity: Severity::Warning,
            summary: "Lane {class}.{lane} of tunnel {tunnel} is down on {instance}",
        },
        Alert {
            name: "LanekeeperFallingBack",
            query: now(&FALLING_BACK).above("1"),
            lasting: "10m",
            severity: Severity::Warning,
            summary: "Class {class} of tunnel {tunnel} takes another class's lane on {instance}",
        },
        Alert {
            name: "LanekeeperMisrouted",
            query: now_blocked(&[BlockReason::NotCarried, BlockReason::Tenant]),
            lasting: "30m",
            severity: Severity::Warning,
            summary: "Traffic of class {class} is led into a tunnel that is not for it on {instance}: {reason}",
        },
        Alert {
            name: "LanekeeperCleartextStopped",
            query: QUARTER
                .of(&XFRM_ERRORS)
                .among("error", &["XfrmOutPolBlock", "XfrmOutNoStates"])
                .increase()
                .sum(&["job", "instance", "error"])
                .above("10"),
            lasting: "20m",
            severity: Severity::Warning,
            summary: "The kernel on {instance} stops packets that have no SA: {error}",
        },
        Alert {
            name: "LanekeeperReplayErrors",
            query: now(&REPLAYED_SHARE).above("0.001").and(LANE, now(&REPLAYED).above("0.1")),
            lasting: "10m",
            severity: Severity::Warning,
            summary: "Lane {class}.{lane} of tunnel {tunnel} loses packets to its replay window on {instance}",
        },
        Alert {
            name: "LanekeeperIntegrityErrors",
            query: QUARTER.of(&LANE_INTEGRITY).increase().sum(LANE).above("10"),
            lasting: "20m",
            severity: Severity::Warning,
            summary: "Packets on lane {class}.{lane} of tunnel {tunnel} do not authenticate on {instance}",
        },
        Alert {
            name: "LanekeeperRekeyOverdue",
            query: Scope::rule(SINCE_REKEY)
                .of(&LANE_REKEYS)
                .increase()
                .equal("0")
                .and(LANE, DAY.of(&LANE_REKEYS).increase_before(SINCE_REKEY).at_least("12"))
                .and(LANE, now(&LANE_UP).equal("1")),
            lasting: "15m",
            severity: Severity::Warning,
            summary: "Lane {class}.{lane} of tunnel {tunnel} is not rekeyed any more on {instance}",
        },
        Alert {
            name: "LanekeeperSequenceNearEnd",
            // A million packets a second take a quarter of an hour for the rest.
            query: now(&LANE_USED).above("0.8"),
            lasting: "2m",
            severity: Severity::Critical,
            summary: "The SA of lane {class}.{lane} of tunnel {tunnel} has used most of its sequence numbers on {instance}",
        },
        Alert {
            name: "LanekeeperReloadFailed",
            query: now(&RELOAD_SUCCESS).equal("0"),
            lasting: "5m",
            severity: Severity::Warning,
            summary: "The file of {instance} was refused; what ran before still runs",
        },
        Alert {
            name: "LanekeeperDriftStorm",
            query: QUARTER.of(&DRIFT).increase().sum(&["job", "instance", "kind"]).above("10"),
            lasting: "20m",
            severity: Severity::Warning,
            summary: "Something on {instance} changes what the agent sets up, again and again: {kind}",
        },
        Alert {
            name: "LanekeeperNetlinkOverruns",
            query: QUARTER.of(&OVERRUNS).increase().above("3"),
            lasting: "20m",
            severity: Severity::Warning,
            summary: "The agent on {instance} does not keep up with the kernel's messages",
        },
    ]
}

/// Above one packet a second, for one of these reasons.
fn now_blocked(reasons: &[BlockReason]) -> crate::query::Query {
    let reasons: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    QUARTER.of(&BLOCKING).among("reason", &reasons).now().above("1")
}
