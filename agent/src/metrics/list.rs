//! Every metric: name, kind, labels and what it says. The one place where they are spelled.

/// What a metric may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Says how it is now.
    Gauge,
    /// Counts by size, up to each of some bounds.
    Histogram,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// One sentence for the reader of a dashboard.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

const LANE: &[&str] = &["tunnel", "class", "lane"];
const LANE_WAY: &[&str] = &["tunnel", "class", "lane", "direction"];
const CLASS_WAY: &[&str] = &["tenant", "class", "direction"];

// Each says of itself what it is.
#[allow(missing_docs)]
#[rustfmt::skip]
mod all {
    use super::*;

    pub const CLASS_PACKETS: Metric = counter("lanekeeper_class_packets_total", CLASS_WAY, "Packets of a class that got through; direction out is into the tunnel, without those that were blocked. An empty tenant is traffic of no tenant.");
    pub const CLASS_BYTES: Metric = counter("lanekeeper_class_bytes_total", CLASS_WAY, "Bytes of a class that got through, before encryption or after decryption.");
    pub const LANE_PACKETS: Metric = counter("lanekeeper_lane_packets_total", LANE_WAY, "Packets that took a lane.");
    pub const LANE_BYTES: Metric = counter("lanekeeper_lane_bytes_total", LANE_WAY, "Bytes that took a lane, before encryption or after decryption.");
    pub const LANE_UP: Metric = gauge("lanekeeper_lane_up", LANE, "Whether packets may take a lane (1) or not (0).");
    pub const LANE_ON_DEMAND: Metric = gauge("lanekeeper_lane_on_demand", LANE, "Whether a lane that packets may take has no SA yet and gets one with its next packet (1) or not (0).");
    pub const LANE_CHANGED: Metric = gauge("lanekeeper_lane_change_timestamp_seconds", LANE, "When a lane last became what it is: up, on demand or down; or when the agent first looked, in seconds since 1970.");
    pub const LANE_REKEYS: Metric = counter("lanekeeper_lane_rekeys_total", LANE, "Times that a lane's CHILD_SA was replaced by a new one.");
    pub const LANE_REPLAY: Metric = counter("lanekeeper_lane_replay_errors_total", LANE, "Packets dropped because the anti-replay window of a lane's SA had passed them.");
    pub const LANE_INTEGRITY: Metric = counter("lanekeeper_lane_integrity_errors_total", LANE, "Packets dropped because they did not authenticate under a lane's SA.");
    pub const LANE_USED: Metric = gauge("lanekeeper_lane_sequence_used_ratio", LANE, "How much of its sequence numbers a lane's SA has used, 0 to 1: 2^32 there are, or 2^64 extended ones. After the last it carries nothing.");
    pub const LANE_LATENCY: Metric = histogram("lanekeeper_lane_latency_seconds", LANE, "How long packets of a lane took from their tunnel's device to the wire, encryption and queue included; of one packet in as many as latency-every says, and there only where the file has that.");
    pub const FALLBACK: Metric = counter("lanekeeper_fallback_packets_total", &["tunnel", "class", "to"], "Packets of a class without a lane that took another class's lane, or left in clear where the file says so.");
    pub const BLOCKED: Metric = counter("lanekeeper_blocked_packets_total", &["tenant", "class", "reason"], "Packets dropped rather than sent another way than the file says.");
    pub const RULE: Metric = counter("lanekeeper_rule_packets_total", &["tenant", "rule"], "Packets that a named rule decided.");
    pub const UNPARSED: Metric = counter("lanekeeper_unparsed_packets_total", &["reason"], "Packets that took the default class because they could not be read.");
    pub const PORT_PACKETS: Metric = counter("lanekeeper_port_packets_total", &["interface", "by"], "Packets that got the mark of their class where they came in, by who classified them: xdp, or tc by itself. What the device merged into one is one.");
    pub const TUNNEL_UP: Metric = gauge("lanekeeper_tunnel_up", &["tunnel"], "Whether any lane of a tunnel is up (1) or none (0).");
    pub const TUNNEL_CLIENTS: Metric = gauge("lanekeeper_tunnel_clients", &["tunnel"], "Clients that share a tunnel now: IKE_SAs of its connection that stand.");
    pub const XFRM_ERRORS: Metric = counter("lanekeeper_xfrm_errors_total", &["error"], "Lines of /proc/net/xfrm_stat: errors of the kernel's IPsec, ours or not, since boot.");
    pub const GENERATION: Metric = gauge("lanekeeper_generation", &[], "Which loading of the tables the data path uses.");
    pub const RELOAD_SUCCESS: Metric = gauge("lanekeeper_reload_success", &[], "Whether the last loading of the file was applied (1) or refused (0).");
    pub const RELOAD_AT: Metric = gauge("lanekeeper_reload_timestamp_seconds", &[], "When the file was last applied, in seconds since 1970.");
    pub const DRIFT: Metric = counter("lanekeeper_drift_repairs_total", &["kind"], "Things of ours that somebody changed and that were put back, by kind.");
    pub const OVERRUNS: Metric = counter("lanekeeper_netlink_overruns_total", &[], "Times that the kernel had more to tell than we took in time, followed by a fresh look at all.");
    pub const REFUSED: Metric = counter("lanekeeper_metrics_refused_total", &["reason"], "Callers that the metrics listener turned away, by why: password, certificate, handshake, or full.");
    pub const SCRAPE_DURATION: Metric = gauge("lanekeeper_scrape_duration_seconds", &[], "How long the agent took to read what this page shows, before it wrote it.");
    pub const SCRAPE_ERRORS: Metric = counter("lanekeeper_scrape_errors_total", &["part"], "Times since the agent started that a part of the page could not be read: events, counters, latency, or xfrm_stat.");
    pub const TENANTS_TOGETHER: Metric = gauge("lanekeeper_tenants_counted_together", &[], "Tenants with one set of counters for all classes, under class *, because those before them have all sets that there are.");
    pub const BUILD: Metric = gauge("lanekeeper_build_info", &["version"], "Always 1; says which version runs.");
}
pub use all::*;

/// All of them, in the order of the page.
pub const METRICS: [Metric; 30] = [
    CLASS_PACKETS,
    CLASS_BYTES,
    LANE_PACKETS,
    LANE_BYTES,
    LANE_UP,
    LANE_ON_DEMAND,
    LANE_CHANGED,
    LANE_REKEYS,
    LANE_REPLAY,
    LANE_INTEGRITY,
    LANE_USED,
    LANE_LATENCY,
    FALLBACK,
    BLOCKED,
    RULE,
    UNPARSED,
    PORT_PACKETS,
    TUNNEL_UP,
    TUNNEL_CLIENTS,
    XFRM_ERRORS,
    GENERATION,
    RELOAD_SUCCESS,
    RELOAD_AT,
    DRIFT,
    OVERRUNS,
    REFUSED,
    SCRAPE_DURATION,
    SCRAPE_ERRORS,
    TENANTS_TOGETHER,
    BUILD,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_only_counters_end_in_total() {
        for metric in METRICS {
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        }
    }

    #[test]
    fn names_and_labels_are_what_prometheus_wants() {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        for metric in METRICS {
            assert!(metric.name.starts_with("lanekeeper_") && plain(metric.name), "{}", metric.name);
            assert!(metric.labels.iter().all(|label| plain(label)), "{}", metric.name);
            assert!(metric.help.len() > 20 && metric.help.ends_with('.'), "{}", metric.name);
        }
        let mut names = METRICS.map(|metric| metric.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
