//! `/metrics`: every series that the policy implies is there from the start, and none is born or lost at a rekey.
//!
//! Made anew at each scrape from the policy, the lanes' standing and the data path's counters, so that nothing here can
//! drift from them. `list` names all metrics, `page` writes them in the `format` that is asked for, [`server`] serves them,
//! [`front`] shows them to people.

mod format;
pub mod front;
pub mod list;
mod page;
pub mod server;
pub mod xfrm_stat;

use std::collections::BTreeMap;
use std::time::Duration;

use lanekeeper_common::latency::Delays;
use lanekeeper_common::verdict::{BlockReason, ParseReason};

pub use self::format::Format;
use self::list::*;
pub use self::list::{Kind, METRICS, Metric};
pub use self::page::Error;
use self::page::Page;
use crate::compile::series::{
    ALL_CLASSES, By, Direction, LaneEvent, REPAIR_KINDS, Reading, Refusal, Series, counts_by_class,
};
use crate::lane::{Condition, LaneId};
use crate::policy::{ClassIndex, Fallback, Policy};
use crate::status::Standing;

/// All that one scrape shows.
#[derive(Debug, Clone)]
pub struct Scrape<'a> {
    /// What runs.
    pub policy: &'a Policy,
    /// How lanes are.
    pub lanes: &'a dyn Standings,
    /// How many clients each tunnel has that clients share.
    pub clients: &'a BTreeMap<String, usize>,
    /// What the data path and the tallies have counted.
    pub readings: &'a [Reading],
    /// How long packets have waited, of lanes of which some have been timed.
    pub delays: &'a BTreeMap<LaneId, Delays>,
    /// How much of its sequence numbers the SA of each lane has used, 0 to 1, of those that have one.
    pub used: &'a BTreeMap<LaneId, f64>,
    /// Which loading of the tables the data path uses.
    pub generation: u64,
    /// Whether the last loading of the file was applied.
    pub reload_success: bool,
    /// When the file was last applied, in seconds since 1970.
    pub reload_at: u64,
    /// Each line of /proc/net/xfrm_stat.
    pub xfrm_errors: &'a [(String, u64)],
    /// How reading it all went.
    pub effort: Effort,
}

/// How reading went what a scrape shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// How long it took.
    pub time: Duration,
    /// How often each part could not be read since the agent started, in the order of [`Part::ALL`].
    pub failures: [u64; Part::ALL.len()],
}

/// What is read for a scrape, each in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What happened outside the data path, to be counted there.
    Events,
    /// The data path's counters.
    Counters,
    /// How long packets waited.
    Latency,
    /// /proc/net/xfrm_stat.
    XfrmStat,
}

impl Part {
    /// All of them, so that each has its series from the start.
    pub const ALL: [Self; 4] = [Self::Events, Self::Counters, Self::Latency, Self::XfrmStat];

    /// As the label says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Counters => "counters",
            Self::Latency => "latency",
            Self::XfrmStat => "xfrm_stat",
        }
    }
}

/// Knows how lanes are, and since when.
pub trait Standings: std::fmt::Debug {
    /// Of one lane.
    fn standing(&self, lane: &LaneId) -> Standing;
}

impl Standings for BTreeMap<LaneId, Standing> {
    fn standing(&self, lane: &LaneId) -> Standing {
        self.get(lane).copied().unwrap_or_default()
    }
}

/// The page as text.
pub fn encode(scrape: &Scrape<'_>, format: Format) -> Result<String, Error> {
    let mut page = Page::default();
    zeros(&mut page, scrape.policy);
    lanes(&mut page, scrape);
    for reading in scrape.readings {
        count(&mut page, reading);
    }
    for (error, n) in scrape.xfrm_errors {
        page.set(&XFRM_ERRORS, &[error], *n);
    }
    page.set(&GENERATION, &[], scrape.generation);
    page.set(&RELOAD_SUCCESS, &[], scrape.reload_success.into());
    page.set(&RELOAD_AT, &[], scrape.reload_at);
    page.set_float(&SCRAPE_DURATION, &[], scrape.effort.time.as_secs_f64());
    for (part, n) in Part::ALL.iter().zip(scrape.effort.failures) {
        page.set(&SCRAPE_ERRORS, &[part.name()], n);
    }
    let together = |number: &usize| !counts_by_class(*number, scrape.policy.classes.len());
    page.set(&TENANTS_TOGETHER, &[], (0..=scrape.policy.tenants.len()).filter(together).count() as u64);
    page.set(&BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    page.encode(format)
}

/// Every counter that the agent has by itself and that the policy implies.
fn zeros(page: &mut Page, policy: &Policy) {
    let mut zero = |metric: &Metric, labels: &[&str]| page.set(metric, labels, 0);
    let tenants = || std::iter::once("").chain(policy.tenants.iter().map(|tenant| tenant.name.as_str()));
    for (number, tenant) in tenants().enumerate() {
        let classes = match counts_by_class(number, policy.classes.len()) {
            true => policy.classes.iter().map(|class| class.name.as_str()).collect(),
            false => vec![ALL_CLASSES],
        };
        for class in classes {
            for way in [Direction::Out, Direction::In] {
                zero(&CLASS_PACKETS, &[tenant, class, direction(way)]);
                zero(&CLASS_BYTES, &[tenant, class, direction(way)]);
            }
            for reason in BlockReason::ALL {
                zero(&BLOCKED, &[tenant, class, reason.name()]);
            }
        }
    }
    // Without tables there is neither tenant nor class.
    zero(&BLOCKED, &["", "", BlockReason::NoTables.name()]);
    for rule in &policy.rules {
        if let Some(name) = &rule.name {
            zero(&RULE, &[rule.tenant.map_or("", |tenant| &policy.tenants[tenant.0].name), name]);
        }
    }
    for port in &policy.ports {
        for who in [By::Xdp, By::Tc] {
            zero(&PORT_PACKETS, &[&port.name, by(who)]);
        }
    }
    for kind in REPAIR_KINDS {
        zero(&DRIFT, &[kind]);
    }
    zero(&OVERRUNS, &[]);
    for reason in Refusal::ALL {
        zero(&REFUSED, &[reason.name()]);
    }
    for reason in ParseReason::ALL {
        zero(&UNPARSED, &[reason.name()]);
    }
    for tunnel in &policy.tunnels {
        for lane in &tunnel.lanes {
            let (class, index) = (&policy.classes[lane.class.0].name, lane.index.to_string());
            for way in [Direction::Out, Direction::In] {
                zero(&LANE_PACKETS, &[&tunnel.name, class, &index, direction(way)]);
                zero(&LANE_BYTES, &[&tunnel.name, class, &index, direction(way)]);
            }
            for metric in [&LANE_REKEYS, &LANE_REPLAY, &LANE_INTEGRITY] {
                zero(metric, &[&tunnel.name, class, &index]);
            }
        }
        for (at, class) in policy.classes.iter().enumerate() {
            for to in detours(policy, ClassIndex(at)) {
                zero(&FALLBACK, &[&tunnel.name, &class.name, to]);
            }
        }
    }
}

/// Where a class's packets may go other than their own lanes; dropped ones count as blocked.
pub(crate) fn detours(policy: &Policy, class: ClassIndex) -> Vec<&str> {
    let mut to = Vec::new();
    let mut at = class;
    // Chains never loop, so their length is below the number of classes.
    for _ in 0..policy.classes.len() {
        match policy.classes[at.0].fallback {
            Fallback::Block => break,
            Fallback::Clear => {
                to.push("clear");
                break;
            }
            Fallback::Class(next) => {
                to.push(&policy.classes[next.0].name);
                at = next;
            }
        }
    }
    to
}

fn lanes(page: &mut Page, scrape: &Scrape<'_>) {
    for tunnel in &scrape.policy.tunnels {
        let mut any = false;
        for lane in &tunnel.lanes {
            let class = &scrape.policy.classes[lane.class.0].name;
            let id = LaneId { tunnel: tunnel.name.clone(), class: class.clone(), index: lane.index };
            let Standing { condition, since } = scrape.lanes.standing(&id);
            let (up, on_demand) = (condition.is_open(), condition == Condition::OnDemand);
            any |= up;
            let labels: [&str; 3] = [&tunnel.name, class, &lane.index.to_string()];
            page.set(&LANE_UP, &labels, up.into());
            page.set(&LANE_ON_DEMAND, &labels, on_demand.into());
            page.set(&LANE_CHANGED, &labels, since);
            page.set_float(&LANE_USED, &labels, scrape.used.get(&id).copied().unwrap_or_default());
            if scrape.policy.latency_every.is_some() {
                page.set_delays(&LANE_LATENCY, &labels, scrape.delays.get(&id).copied().unwrap_or_default());
            }
        }
        if tunnel.is_shared() {
            let clients = scrape.clients.get(&tunnel.name).copied().unwrap_or_default();
            page.set(&TUNNEL_CLIENTS, &[&tunnel.name], clients as u64);
        }
        page.set(&TUNNEL_UP, &[&tunnel.name], any.into());
    }
}

fn count(page: &mut Page, reading: &Reading) {
    let Reading { series, packets, bytes } = reading;
    match series {
        Series::ClassOut { tenant, class } => {
            page.add(&CLASS_PACKETS, &[tenant, class, direction(Direction::Out)], *packets);
            page.add(&CLASS_BYTES, &[tenant, class, direction(Direction::Out)], *bytes);
        }
        Series::ClassIn { tenant, class } => {
            page.add(&CLASS_PACKETS, &[tenant, class, direction(Direction::In)], *packets);
            page.add(&CLASS_BYTES, &[tenant, class, direction(Direction::In)], *bytes);
        }
        Series::Lane { tunnel, class, index, direction: way } => {
            page.add(&LANE_PACKETS, &[tunnel, class, &index.to_string(), direction(*way)], *packets);
            page.add(&LANE_BYTES, &[tunnel, class, &index.to_string(), direction(*way)], *bytes);
        }
        Series::Fallback { tunnel, class, to } => page.add(&FALLBACK, &[tunnel, class, to], *packets),
        Series::Blocked { tenant, class, reason } => page.add(&BLOCKED, &[tenant, class, reason.name()], *packets),
        Series::Rule { tenant, rule } => page.add(&RULE, &[tenant, rule], *packets),
        Series::Port { interface, by: who } => page.add(&PORT_PACKETS, &[interface, by(*who)], *packets),
        Series::Parse { reason } => page.add(&UNPARSED, &[reason.name()], *packets),
        Series::Event { tunnel, class, index, event } => {
            let metric = match event {
                LaneEvent::Rekey => &LANE_REKEYS,
                LaneEvent::ReplayError => &LANE_REPLAY,
                LaneEvent::IntegrityError => &LANE_INTEGRITY,
            };
            page.add(metric, &[tunnel, class, &index.to_string()], *packets);
        }
        Series::Repair { kind } => page.add(&DRIFT, &[kind], *packets),
        Series::Overrun => page.add(&OVERRUNS, &[], *packets),
        Series::Refused { reason } => page.add(&REFUSED, &[reason.name()], *packets),
    }
}

/// As the label says it.
fn direction(way: Direction) -> &'static str {
    match way {
        Direction::Out => "out",
        Direction::In => "in",
    }
}

/// As the label says it.
fn by(who: By) -> &'static str {
    match who {
        By::Xdp => "xdp",
        By::Tc => "tc",
    }
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::MAX_TENANT_CLASSES;

    use super::*;
    use crate::policy::{Classify, Port, Rule, Tenant, TenantIndex};
    use crate::status::tests::policy;

    /// `up` names the classes whose first lane is up, with a question mark where it is on demand.
    fn page(policy: &Policy, up: &[&str], readings: &[Reading]) -> String {
        page_as(policy, up, readings, Format::Prometheus)
    }

    fn page_as(policy: &Policy, up: &[&str], readings: &[Reading], format: Format) -> String {
        let lane = |class: &str| LaneId { tunnel: "branch-7".into(), class: class.to_owned(), index: 0 };
        let standing = |name: &&str| match name.strip_suffix('?') {
            Some(class) => (lane(class), Standing { condition: Condition::OnDemand, since: 1_600_000_000 }),
            None => (lane(name), Standing { condition: Condition::Up, since: 1_650_000_000 }),
        };
        let lanes: BTreeMap<LaneId, Standing> = up.iter().map(standing).collect();
        let scrape = Scrape {
            policy,
            lanes: &lanes,
            clients: &BTreeMap::from([("branch-7".to_owned(), 3)]),
            readings,
            delays: &BTreeMap::new(),
            used: &BTreeMap::from([(lane("voice"), 0.25)]),
            generation: 3,
            reload_success: true,
            reload_at: 1_700_000_000,
            xfrm_errors: &[("XfrmInStateSeqError".to_owned(), 5)],
            effort: Effort { time: Duration::from_micros(2500), failures: [0, 1, 0, 0] },
        };
        encode(&scrape, format).unwrap()
    }

    #[test]
    fn a_tunnel_that_clients_share_says_how_many_there_are() {
        let mut shared = policy();
        assert!(!page(&shared, &[], &[]).contains("lanekeeper_tunnel_clients{"));
        shared.tunnels[0].remote = "0.0.0.0".parse().unwrap();
        shared.tunnels[0].lanes[0].clients = [(5, "192.0.2.9".parse().unwrap())].into();
        assert_eq!(value(&page(&shared, &[], &[]), "lanekeeper_tunnel_clients{tunnel=\"branch-7\"}"), "3");
        // No client has a series.
        assert_eq!(series(&page(&shared, &[], &[])).len(), series(&page(&policy(), &[], &[])).len() + 1);
    }

    fn series(page: &str) -> Vec<&str> {
        page.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect()
    }

    fn value<'a>(page: &'a str, series: &str) -> &'a str {
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap_or_else(|| panic!("{series}"))
    }

    fn lane(class: &str, index: u8, packets: u64) -> Reading {
        let series = Series::Lane { tunnel: "branch-7".into(), class: class.into(), index, direction: Direction::Out };
        Reading { series, packets, bytes: packets * 100 }
    }

    #[test]
    fn tenants_behind_the_bound_have_series_for_all_classes_together() {
        let mut policy = policy();
        let name = |number: usize| Tenant { name: format!("t{number}"), ..Tenant::default() };
        policy.tenants = (1..=MAX_TENANT_CLASSES / policy.classes.len()).map(name).collect();
        let page = page(&policy, &[], &[]);
        let classes = |tenant: usize| {
            let of_it = format!("tenant=\"t{tenant}\"");
            let is_its = |line: &&&str| line.starts_with("lanekeeper_class_packets_total") && line.contains(&of_it);
            series(&page).iter().filter(is_its).count()
        };
        let last = policy.tenants.len();
        assert_eq!((classes(1), classes(last - 1), classes(last)), (6, 6, 2));
        let of_last = format!("lanekeeper_class_packets_total{{tenant=\"t{last}\",class=\"*\",direction=\"in\"}}");
        assert_eq!(value(&page, &of_last), "0");
        assert_eq!(value(&page, "lanekeeper_tenants_counted_together"), "1");
        policy.tenants.pop();
        assert_eq!(value(&self::page(&policy, &[], &[]), "lanekeeper_tenants_counted_together"), "0");
    }

    #[test]
    fn how_reading_went_is_on_the_page() {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let page = page_as(&policy(), &[], &[], format);
            assert_eq!(value(&page, "lanekeeper_scrape_duration_seconds"), "0.0025");
            for (part, n) in [("events", "0"), ("counters", "1"), ("latency", "0"), ("xfrm_stat", "0")] {
                assert_eq!(value(&page, &format!("lanekeeper_scrape_errors_total{{part=\"{part}\"}}")), n);
            }
        }
    }

    #[test]
    fn every_series_is_there_before_the_first_packet_and_none_comes_later() {
        let mut policy = policy();
        policy.tenants.push(Tenant { name: "acme".into(), ..Tenant::default() });
        policy.rules.push(Rule { name: Some("sip".into()), tenant: Some(TenantIndex(0)), ..Rule::default() });
        policy.ports.push(Port { name: "lan0".into(), classify: Classify::Xdp });
        let before = page(&policy, &[], &[]);
        let event = |event| Reading {
            series: Series::Event { tunnel: "branch-7".into(), class: "bulk".into(), index: 1, event },
            packets: 1,
            bytes: 0,
        };
        let acme = || "acme".to_owned();
        let reading = |series| Reading { series, packets: 1, bytes: 1 };
        let all = [
            event(LaneEvent::Rekey),
            event(LaneEvent::ReplayError),
            event(LaneEvent::IntegrityError),
            lane("bulk", 1, 4),
            reading(Series::ClassOut { tenant: acme(), class: "voice".into() }),
            reading(Series::ClassIn { tenant: String::new(), class: "voice".into() }),
            reading(Series::Rule { tenant: acme(), rule: "sip".into() }),
            reading(Series::Fallback { tunnel: "branch-7".into(), class: "voice".into(), to: "default".into() }),
            reading(Series::Blocked { tenant: acme(), class: "bulk".into(), reason: BlockReason::NoLane }),
            reading(Series::Blocked { tenant: String::new(), class: String::new(), reason: BlockReason::NoTables }),
            reading(Series::Port { interface: "lan0".into(), by: By::Xdp }),
            reading(Series::Port { interface: "lan0".into(), by: By::Tc }),
            reading(Series::Parse { reason: ParseReason::Truncated }),
            reading(Series::Repair { kind: "policy".into() }),
            reading(Series::Overrun),
            reading(Series::Refused { reason: Refusal::Password }),
        ];
        let after = page(&policy, &["voice", "bulk"], &all);
        assert_eq!(series(&before), series(&after));
        // Each reading found its series: bytes of class and lane count twice, and two lanes that are up say since when.
        let risen = before.lines().zip(after.lines()).filter(|(a, b)| a != b).count();
        assert_eq!(risen, all.len() + 3 + 3 + 2, "{after}");
    }

    #[test]
    fn counts_land_on_their_lane() {
        let repairs = Reading { series: Series::Repair { kind: "route".into() }, packets: 2, bytes: 0 };
        let page = page(&policy(), &["bulk", "default?"], &[lane("bulk", 0, 7), lane("bulk", 1, 2), repairs]);
        let labels = |n| format!("{{tunnel=\"branch-7\",class=\"bulk\",lane=\"{n}\",direction=\"out\"}}");
        assert_eq!(value(&page, &format!("lanekeeper_lane_packets_total{}", labels(0))), "7");
        assert_eq!(value(&page, &format!("lanekeeper_lane_bytes_total{}", labels(1))), "200");
        assert_eq!(value(&page, "lanekeeper_lane_up{tunnel=\"branch-7\",class=\"bulk\",lane=\"0\"}"), "1");
        assert_eq!(value(&page, "lanekeeper_lane_up{tunnel=\"branch-7\",class=\"bulk\",lane=\"1\"}"), "0");
        let on_demand =
            |class| format!("lanekeeper_lane_on_demand{{tunnel=\"branch-7\",class=\"{class}\",lane=\"0\"}}");
        assert_eq!((value(&page, &on_demand("bulk")), value(&page, &on_demand("default"))), ("0", "1"));
        assert_eq!(value(&page, "lanekeeper_lane_up{tunnel=\"branch-7\",class=\"default\",lane=\"0\"}"), "1");
        assert_eq!(value(&page, "lanekeeper_tunnel_up{tunnel=\"branch-7\"}"), "1");
        assert_eq!(value(&page, "lanekeeper_xfrm_errors_total{error=\"XfrmInStateSeqError\"}"), "5");
        assert_eq!(value(&page, "lanekeeper_drift_repairs_total{kind=\"route\"}"), "2");
    }

    #[test]
    fn a_lane_says_since_when_it_is_so() {
        let page = page(&policy(), &["voice?", "bulk"], &[]);
        for (class, lane, since) in [("voice", 0, "1600000000"), ("bulk", 0, "1650000000"), ("bulk", 1, "0")] {
            let labels = format!("{{tunnel=\"branch-7\",class=\"{class}\",lane=\"{lane}\"}}");
            assert_eq!(value(&page, &format!("lanekeeper_lane_change_timestamp_seconds{labels}")), since);
        }
    }

    #[test]
    fn names_that_the_file_does_not_have_any_more_are_left_out() {
        let page = page(&policy(), &[], &[lane("video", 0, 7)]);
        assert!(!page.contains("video"));
    }

    #[test]
    fn every_metric_of_the_list_is_on_the_page_with_its_help_and_type() {
        let mut policy = policy();
        policy.rules.push(Rule { name: Some("sip".into()), ..Rule::default() });
        policy.ports.push(Port { name: "lan0".into(), classify: Classify::Tc });
        policy.tunnels[0].remote = "0.0.0.0".parse().unwrap();
        policy.latency_every = Some(1024);
        let page = page(&policy, &[], &[]);
        for metric in METRICS {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            assert!(page.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
            assert!(page.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}", metric.name);
        }
    }

    #[test]
    fn a_class_that_may_leave_in_clear_says_so() {
        let mut policy = policy();
        policy.classes[2].fallback = Fallback::Clear;
        let page = page(&policy, &[], &[]);
        assert!(
            page.contains("lanekeeper_fallback_packets_total{tunnel=\"branch-7\",class=\"voice\",to=\"clear\"} 0\n")
        );
        assert!(!page.contains("class=\"bulk\",to="));
    }

    #[test]
    fn latencies_are_those_of_the_lanes_and_only_where_the_file_asks_for_them() {
        let mut policy = policy();
        assert!(!page(&policy, &[], &[]).contains("latency_seconds"));
        policy.latency_every = Some(1);
        let page = page(&policy, &[], &[]);
        let lanes: usize = policy.tunnels.iter().map(|tunnel| tunnel.lanes.len()).sum();
        assert_eq!(page.matches("lanekeeper_lane_latency_seconds_count{").count(), lanes);
        assert_eq!(
            value(&page, "lanekeeper_lane_latency_seconds_count{tunnel=\"branch-7\",class=\"bulk\",lane=\"1\"}"),
            "0"
        );
    }
}
