//! Three lines about one row: what does not fit into a table.

use super::View;
use super::number::{full, known, short};
use super::rates::{Row, lane_name, lane_state, rule_name, tenant_name};
use super::sample::Sample;
use crate::status::{Detour, TunnelStatus, span};

/// Of a row that this sample has; nothing of one that it has not.
pub fn about(sample: &Sample, view: View, row: &Row) -> Vec<String> {
    match view {
        View::Classes => class(sample, row),
        View::Lanes => lane(sample, row),
        View::Tunnels => tunnel(sample, &row.name),
        View::Tenants => tenant(sample, row),
        View::Rules => rule(sample, &row.name),
    }
    .unwrap_or_default()
}

fn class(sample: &Sample, row: &Row) -> Option<Vec<String>> {
    let name = &row.name;
    let class = sample.status.classes.iter().find(|class| class.name == *name)?;
    let outer = class.outer_dscp.map(|dscp| format!(", outer DSCP {dscp}")).unwrap_or_default();
    let of_class = sample.classes.iter().filter(|count| count.class == *name);
    let blocked: u64 = of_class.map(|count| count.blocked).sum();
    let lanes = sample.lanes.iter().filter(|lane| lane.class == *name);
    let (replayed, forged) =
        lanes.fold((0, 0), |(replayed, forged), lane| (replayed + lane.replay_errors, forged + lane.integrity_errors));
    Some(vec![
        format!("class {name}: lanes in a tunnel {}, if none is up {}{outer}", class.lanes, way(&class.fallback)),
        format!("in all: {} blocked, {} replayed, {} not authentic", full(blocked), full(replayed), full(forged)),
        or_latency(off(sample, |detour| detour.class == *name, |detour| &detour.tunnel), row),
    ])
}

/// What is wrong, or else how long its packets took.
fn or_latency(wrong: String, row: &Row) -> String {
    match row.latency {
        Some(latency) if wrong.is_empty() => latency.text(),
        Some(_) | None => wrong,
    }
}

fn lane(sample: &Sample, row: &Row) -> Option<Vec<String>> {
    let name = &row.name;
    let count = sample.lanes.iter().find(|lane| lane_name(&lane.tunnel, &lane.class, lane.lane) == *name)?;
    let tunnel = sample.status.tunnels.iter().find(|tunnel| tunnel.name == count.tunnel)?;
    let lane = tunnel.lanes.iter().find(|lane| (&lane.class, lane.lane) == (&count.class, count.lane))?;
    let since = match lane.since {
        0 => String::new(),
        since => format!(" for {}", span(sample.now.saturating_sub(since))),
    };
    let (state, _) = lane_state(lane);
    Some(vec![
        format!("lane {name}: {state}{since}, mark {:#x}, reqid {:#x}", lane.mark, lane.reqid),
        format!(
            "in all: {} packets out, {} in; {} rekeys, {} replayed, {} not authentic",
            full(count.out.packets),
            full(count.into.packets),
            full(count.rekeys),
            full(count.replay_errors),
            full(count.integrity_errors)
        ),
        or_latency(if lane.up { String::new() } else { trouble(tunnel) }, row),
    ])
}

fn tunnel(sample: &Sample, name: &str) -> Option<Vec<String>> {
    let tunnel = sample.status.tunnels.iter().find(|tunnel| tunnel.name == name)?;
    Some(vec![
        format!("tunnel {name}: {} to {}, {}, {}", tunnel.local, tunnel.remote, tunnel.device, tunnel.keying),
        trouble(tunnel),
        off(sample, |detour| detour.tunnel == name, |detour| &detour.class),
    ])
}

/// The first line of what went wrong.
fn trouble(tunnel: &TunnelStatus) -> String {
    tunnel.trouble.as_deref().and_then(|trouble| trouble.lines().next()).unwrap_or_default().to_owned()
}

fn tenant(sample: &Sample, row: &Row) -> Option<Vec<String>> {
    let of_tenant: Vec<_> = sample.classes.iter().filter(|count| tenant_name(&count.tenant) == row.name).collect();
    let blocked: u64 = of_tenant.iter().map(|count| count.blocked).sum();
    let classes: Vec<String> =
        of_tenant.iter().map(|count| format!("{} {}/{}", count.class, count.out.packets, count.into.packets)).collect();
    let name = match row.name.as_str() {
        "-" => "no tenant".to_owned(),
        name => format!("tenant {name}"),
    };
    Some(vec![
        format!("{name}: {} packets blocked in all", full(blocked)),
        format!("packets out/in: {}", classes.join(", ")),
    ])
}

fn rule(sample: &Sample, name: &str) -> Option<Vec<String>> {
    let rule = sample.rules.iter().find(|rule| rule_name(&rule.tenant, &rule.rule) == name)?;
    let tenant = if rule.tenant.is_empty() { String::new() } else { format!(" of tenant {}", rule.tenant) };
    Some(vec![
        format!("rule {:?}{tenant}: class {}", rule.rule, rule.class),
        format!("in all: {} packets, {}B", full(rule.count.packets), short(rule.count.bytes as f64)),
    ])
}

/// The first of these that are off their way, why, and how many more; those that have lanes and could go their way first.
fn off<'a>(sample: &'a Sample, is: impl Fn(&Detour) -> bool, name: impl Fn(&'a Detour) -> &'a str) -> String {
    let (down, without): (Vec<&Detour>, Vec<&Detour>) = sample
        .status
        .detours
        .iter()
        .filter(|detour| is(detour))
        .partition(|detour| sample.status.carries(&detour.tunnel, &detour.class));
    let all: Vec<&Detour> = down.into_iter().chain(without).collect();
    let Some(first) = all.first() else { return String::new() };
    let more = match all.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{} {}: {}{more}", name(first), way(&first.to), first.reason)
}

fn way(to: &str) -> String {
    match to {
        "block" => "blocked".to_owned(),
        "clear" => "in clear".to_owned(),
        class => format!("to {class}"),
    }
}

/// One line for all of the gateway: what goes out, what comes in.
pub fn totals(row: &Row) -> [String; 2] {
    [("out", row.out), ("in", row.into)].map(|(way, rate)| {
        let (packets, bits) = (rate.map(|rate| rate.packets), rate.map(|rate| rate.bits));
        format!("{way} {:>5} pkt/s {:>5}bit/s", known(packets), known(bits))
    })
}
