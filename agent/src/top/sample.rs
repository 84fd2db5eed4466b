//! What the running agent hands out for `top`: how it stands, and all that the policy implies of what it has counted.

use std::collections::{BTreeMap, HashMap};

use lanekeeper_common::latency::{BUCKETS, Delays};
use lanekeeper_common::verdict::{BlockReason, ParseReason};
use serde::{Deserialize, Serialize};

use crate::compile::series::{ALL_CLASSES, Direction, LaneEvent, Reading, Series, counts_by_class};
use crate::lane::LaneId;
use crate::metrics::detours;
use crate::policy::{ClassIndex, Policy};
use crate::status::Status;

/// One look. Every number has counted since before the agent: counters survive it, but not `lanekeeper down`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When the counters were read, in microseconds of the kernel's monotonic clock, which a restarted agent shares.
    pub at: u64,
    /// The same in seconds since 1970.
    pub now: u64,
    /// How it stands.
    pub status: Status,
    /// Each class of each tenant; tenants behind the bound of `/metrics` have class `*`, and no tenant is `""`.
    pub classes: Vec<ClassCount>,
    /// Each lane.
    pub lanes: Vec<LaneCount>,
    /// What has left its class, tunnel by tunnel, for each way that the file allows.
    pub fallbacks: Vec<FallbackCount>,
    /// Each named rule.
    pub rules: Vec<RuleCount>,
    /// Blocked because no tables were there.
    pub without_tables: u64,
    /// Taken for the default class because they could not be read.
    pub unparsed: u64,
}

/// Packets and their bytes from the inner network header on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A class of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub class: String,
    /// Into tunnels, before any fallback; what was blocked is not in it.
    pub out: Count,
    /// Out of tunnels.
    #[serde(rename = "in")]
    pub into: Count,
    /// Dropped at a tunnel's device.
    pub blocked: u64,
}

/// A lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneCount {
    /// Tunnel's name.
    pub tunnel: String,
    /// Class's name.
    pub class: String,
    /// Its index in the class.
    pub lane: u8,
    /// Into the tunnel.
    pub out: Count,
    /// Out of the tunnel.
    #[serde(rename = "in")]
    pub into: Count,
    /// CHILD_SAs that were replaced.
    pub rekeys: u64,
    /// Packets that fell out of the anti-replay window.
    pub replay_errors: u64,
    /// Packets that failed authentication.
    pub integrity_errors: u64,
    /// Packets that were timed on their way to the wire, by the buckets of [`lanekeeper_common::latency`]; `None` where the file
    /// does not ask for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delays: Option<[u64; BUCKETS]>,
}

/// What took another class's lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackCount {
    /// Tunnel's name.
    pub tunnel: String,
    /// The class that the packets have.
    pub class: String,
    /// The class whose lane they took, or `clear`.
    pub to: String,
    /// How much.
    pub count: Count,
}

/// What a named rule decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// Whose rule.
    pub tenant: String,
    /// Its name.
    pub rule: String,
    /// The class that it gives.
    pub class: String,
    /// How much.
    pub count: Count,
}

impl Sample {
    /// Of what runs and what was read. What the policy does not imply any more is left out, as in `/metrics`.
    pub fn of(
        policy: &Policy,
        status: Status,
        readings: &[Reading],
        delays: &BTreeMap<LaneId, Delays>,
        at: u64,
        now: u64,
    ) -> Self {
        let read = Read(readings.iter().map(|reading| (&reading.series, reading)).collect());
        let without_tables =
            Series::Blocked { tenant: String::new(), class: String::new(), reason: BlockReason::NoTables };
        Self {
            at,
            now,
            status,
            classes: classes(policy, &read),
            lanes: lanes(policy, &read, delays),
            fallbacks: fallbacks(policy, &read),
            rules: rules(policy, &read),
            without_tables: read.packets(&without_tables),
            unparsed: ParseReason::ALL.iter().map(|&reason| read.packets(&Series::Parse { reason })).sum(),
        }
    }
}

/// Readings by their series.
struct Read<'a>(HashMap<&'a Series, &'a Reading>);

impl Read<'_> {
    fn count(&self, series: &Series) -> Count {
        let read = self.0.get(series);
        read.map_or_else(Count::default, |reading| Count { packets: reading.packets, bytes: reading.bytes })
    }

    fn packets(&self, series: &Series) -> u64 {
        self.count(series).packets
    }
}

fn classes(policy: &Policy, read: &Read<'_>) -> Vec<ClassCount> {
    let tenants = std::iter::once("").chain(policy.tenants.iter().map(|tenant| tenant.name.as_str()));
    let mut counts = Vec::new();
    for (number, tenant) in tenants.enumerate() {
        let names: Vec<&str> = match counts_by_class(number, policy.classes.len()) {
            true => policy.classes.iter().map(|class| class.name.as_str()).collect(),
            false => vec![ALL_CLASSES],
        };
        for class in names {
            let (tenant, class) = (tenant.to_owned(), class.to_owned());
            let blocked =
                BlockReason::ALL.map(|reason| Series::Blocked { tenant: tenant.clone(), class: class.clone(), reason });
            counts.push(ClassCount {
                out: read.count(&Series::ClassOut { tenant: tenant.clone(), class: class.clone() }),
                into: read.count(&Series::ClassIn { tenant: tenant.clone(), class: class.clone() }),
                blocked: blocked.iter().map(|series| read.packets(series)).sum(),
                tenant,
                class,
            });
        }
    }
    counts
}

fn lanes(policy: &Policy, read: &Read<'_>, delays: &BTreeMap<LaneId, Delays>) -> Vec<LaneCount> {
    let mut counts = Vec::new();
    for tunnel in &policy.tunnels {
        for lane in &tunnel.lanes {
            let (tunnel, class) = (tunnel.name.clone(), policy.classes[lane.class.0].name.clone());
            let way = |direction| {
                let (tunnel, class) = (tunnel.clone(), class.clone());
                read.count(&Series::Lane { tunnel, class, index: lane.index, direction })
            };
            let event = |event| {
                let (tunnel, class) = (tunnel.clone(), class.clone());
                read.packets(&Series::Event { tunnel, class, index: lane.index, event })
            };
            let id = LaneId { tunnel: tunnel.clone(), class: class.clone(), index: lane.index };
            let buckets = || delays.get(&id).copied().unwrap_or_default().buckets;
            counts.push(LaneCount {
                lane: lane.index,
                out: way(Direction::Out),
                into: way(Direction::In),
                rekeys: event(LaneEvent::Rekey),
                replay_errors: event(LaneEvent::ReplayError),
                integrity_errors: event(LaneEvent::IntegrityError),
                delays: policy.latency_every.map(|_| buckets()),
                tunnel,
                class,
            });
        }
    }
    counts
}

fn fallbacks(policy: &Policy, read: &Read<'_>) -> Vec<FallbackCount> {
    let mut counts = Vec::new();
    for tunnel in &policy.tunnels {
        for (at, class) in policy.classes.iter().enumerate() {
            for to in detours(policy, ClassIndex(at)) {
                let (tunnel, class, to) = (tunnel.name.clone(), class.name.clone(), to.to_owned());
                let series = Series::Fallback { tunnel: tunnel.clone(), class: class.clone(), to: to.clone() };
                counts.push(FallbackCount { count: read.count(&series), tunnel, class, to });
            }
        }
    }
    counts
}

fn rules(policy: &Policy, read: &Read<'_>) -> Vec<RuleCount> {
    let named = policy.rules.iter().filter_map(|rule| Some((rule, rule.name.clone()?)));
    named
        .map(|(rule, name)| {
            let tenant = rule.tenant.map(|tenant| policy.tenants[tenant.0].name.clone()).unwrap_or_default();
            RuleCount {
                count: read.count(&Series::Rule { tenant: tenant.clone(), rule: name.clone() }),
                class: policy.classes[rule.class.0].name.clone(),
                tenant,
                rule: name,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Rule, Tenant, TenantIndex};
    use crate::status::tests::policy;

    fn reading(series: Series, packets: u64) -> Reading {
        Reading { series, packets, bytes: packets * 100 }
    }

    #[test]
    fn see_counts_land_on_what_the_policy_has_and_nowhere_else() {
        let mut policy = policy();
        policy.tenants.push(Tenant { name: "acme".into(), ..Tenant::default() });
        policy.rules.push(Rule { name: Some("sip".into()), tenant: Some(TenantIndex(0)), ..Rule::default() });
        policy.rules.push(Rule::default());
        let (tunnel, class) = (|| "branch-7".to_owned(), || "voice".to_owned());
        let lane = |class: &str, index| Series::Lane {
            tunnel: tunnel(),
            class: class.into(),
            index,
            direction: Direction::In,
        };
        let event = |event| Series::Event { tunnel: tunnel(), class: "bulk".into(), index: 1, event };
        let blocked =
            |tenant: &str, class: &str, reason| Series::Blocked { tenant: tenant.into(), class: class.into(), reason };
        let readings = [
            reading(Series::ClassOut { tenant: "acme".into(), class: class() }, 1),
            reading(Series::ClassIn { tenant: String::new(), class: class() }, 2),
            reading(blocked("acme", "bulk", BlockReason::NoLane), 3),
            reading(blocked("acme", "bulk", BlockReason::Tenant), 4),
            reading(blocked("", "", BlockReason::NoTables), 5),
            reading(lane("bulk", 1), 6),
            reading(lane("video", 0), 7),
            reading(event(LaneEvent::Rekey), 8),
            reading(event(LaneEvent::ReplayError), 9),
            reading(event(LaneEvent::IntegrityError), 10),
            reading(Series::Fallback { tunnel: tunnel(), class: class(), to: "default".into() }, 11),
            reading(Series::Fallback { tunnel: tunnel(), class: class(), to: "bulk".into() }, 12),
            reading(Series::Rule { tenant: "acme".into(), rule: "sip".into() }, 13),
            reading(Series::Rule { tenant: String::new(), rule: "sip".into() }, 14),
            reading(Series::Parse { reason: ParseReason::Truncated }, 15),
            reading(Series::Parse { reason: ParseReason::NotIp }, 16),
        ];
        let of_bulk = LaneId { tunnel: tunnel(), class: "bulk".into(), index: 1 };
        let mut buckets = [0; BUCKETS];
        buckets[2] = 19;
        let delays = BTreeMap::from([(of_bulk, Delays { buckets, sum: 20 })]);
        let sample = Sample::of(&policy, Status::default(), &readings, &delays, 17, 18);
        assert_eq!((sample.at, sample.now, sample.without_tables, sample.unparsed), (17, 18, 5, 31));
        let names: Vec<(&str, &str)> =
            sample.classes.iter().map(|count| (count.tenant.as_str(), count.class.as_str())).collect();
        let classes = ["voice", "bulk", "default"];
        let all: Vec<(&str, &str)> =
            ["", "acme"].iter().flat_map(|tenant| classes.map(|class| (*tenant, class))).collect();
        assert_eq!(names, all);
        assert_eq!(sample.classes[0].into, Count { packets: 2, bytes: 200 });
        assert_eq!(sample.classes[3].out, Count { packets: 1, bytes: 100 });
        assert_eq!(sample.classes[4].blocked, 7);
        let bulk = LaneCount {
            tunnel: tunnel(),
            class: "bulk".into(),
            lane: 1,
            into: Count { packets: 6, bytes: 600 },
            rekeys: 8,
            replay_errors: 9,
            integrity_errors: 10,
            ..LaneCount::default()
        };
        assert_eq!((sample.lanes.len(), &sample.lanes[2]), (4, &bulk));
        let to: Vec<(&str, u64)> =
            sample.fallbacks.iter().map(|count| (count.to.as_str(), count.count.packets)).collect();
        assert_eq!(to, [("default", 11)]);
        let rules: Vec<(&str, &str, u64)> =
            sample.rules.iter().map(|rule| (rule.tenant.as_str(), rule.rule.as_str(), rule.count.packets)).collect();
        assert_eq!(rules, [("acme", "sip", 13)]);
        assert_eq!(serde_json::from_str::<Sample>(&serde_json::to_string(&sample).unwrap()).unwrap(), sample);

        // What took how long is there where the file asks for it, of each lane.
        policy.latency_every = Some(1);
        let sample = Sample::of(&policy, Status::default(), &readings, &delays, 17, 18);
        let timed: Vec<Option<u64>> = sample.lanes.iter().map(|lane| lane.delays.map(|n| n.iter().sum())).collect();
        assert_eq!(timed, [Some(0), Some(0), Some(19), Some(0)]);
        assert_eq!(serde_json::from_str::<Sample>(&serde_json::to_string(&sample).unwrap()).unwrap(), sample);
    }
}
