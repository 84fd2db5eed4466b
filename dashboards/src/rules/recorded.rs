//! What is worth keeping for long, and computed once for many viewers.

use lanekeeper::metrics::list::{BLOCKED, CLASS_BYTES, FALLBACK, LANE_INTEGRITY, LANE_PACKETS, LANE_REPLAY};
use lanekeeper::metrics::{Kind, Metric};

use super::Recorded;
use crate::query::{Query, Scope};

const RULE: Scope = Scope::rule("5m");
const LANE: &[&str] = &["job", "instance", "tunnel", "class", "lane"];

const fn series(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

/// Bits a second of each class, all tenants together.
pub const CLASS: Metric = series(
    "instance_class:lanekeeper_class_bits:rate5m",
    &["class", "direction"],
    "Bits a second of each class, all tenants together.",
);
/// Packets a second that fall back.
pub const FALLING_BACK: Metric = series(
    "instance_tunnel_class:lanekeeper_fallback_packets:rate5m",
    &["tunnel", "class"],
    "Packets a second of a class that take another class's lane.",
);
/// Packets a second that are blocked.
pub const BLOCKING: Metric = series(
    "instance_class_reason:lanekeeper_blocked_packets:rate5m",
    &["class", "reason"],
    "Packets a second that are dropped, all tenants together.",
);
/// Packets a second that an SA refused as replayed.
pub const REPLAYED: Metric = series(
    "instance_lane:lanekeeper_lane_replay_errors:rate5m",
    &["tunnel", "class", "lane"],
    "Packets a second that a lane's SA refused because its window had passed them.",
);
/// The part of what arrived that an SA refused as replayed.
pub const REPLAYED_SHARE: Metric = series(
    "instance_lane:lanekeeper_lane_replay_errors:ratio_rate5m",
    &["tunnel", "class", "lane"],
    "The part of what arrived on a lane that its SA refused because its window had passed it.",
);

/// All of them, each after those that it is made of.
pub fn recorded() -> Vec<Recorded> {
    let lane = |metric| RULE.of(metric).rate().sum(LANE);
    let arrived = RULE.of(&LANE_PACKETS).is("direction", "in").rate().sum(LANE);
    let arrived = lane(&LANE_REPLAY).plus(lane(&LANE_INTEGRITY)).plus(arrived);
    let of = |metric, query: Query| Recorded { metric, query };
    vec![
        of(&CLASS, RULE.of(&CLASS_BYTES).rate().sum(&["job", "instance", "class", "direction"]).bits()),
        of(&FALLING_BACK, RULE.of(&FALLBACK).rate().sum(&["job", "instance", "tunnel", "class"])),
        of(&BLOCKING, RULE.of(&BLOCKED).rate().sum(&["job", "instance", "class", "reason"])),
        of(&REPLAYED, lane(&LANE_REPLAY)),
        of(&REPLAYED_SHARE, lane(&LANE_REPLAY).of(arrived)),
    ]
}
