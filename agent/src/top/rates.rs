//! Two samples make rates: what moved between them, and how all stands.

mod moved;

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use serde::Serialize;

use self::moved::{ClassMoved, FallbackMoved, LaneMoved, Moved};
use super::sample::Sample;
use super::{Latency, View};
use crate::compile::series::ALL_CLASSES;
use crate::status::{Detour, LaneStatus, Status, TunnelStatus};

/// What is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Seconds since 1970 at the later sample.
    pub now: u64,
    /// Seconds between the samples; `None` where there is but one, and no rate is known.
    pub seconds: Option<f64>,
    /// All of the gateway.
    pub total: Row,
    /// In the file's order.
    pub classes: Vec<Row>,
    /// Tunnel by tunnel.
    pub lanes: Vec<Row>,
    /// In the file's order.
    pub tunnels: Vec<Row>,
    /// What is nobody's, then in the file's order.
    pub tenants: Vec<Row>,
    /// In the file's order, which is their precedence.
    pub rules: Vec<Row>,
}

/// One thing and its rates; `None` is what is not known yet, or has no meaning for such a thing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// None other of its view has this name.
    pub name: String,
    /// Into tunnels.
    pub out: Option<Rate>,
    /// Out of tunnels.
    #[serde(rename = "in")]
    pub into: Option<Rate>,
    /// Of the bits of all rows of its view, 0 to 1.
    pub share: Option<f64>,
    /// Packets per second that take another class's lane, or leave in clear.
    pub fallback: Option<f64>,
    /// Packets per second that were blocked, fell out of the replay window or failed authentication.
    pub errors: Option<f64>,
    /// How long its packets took to the wire; [`super::Minute`] knows. `None` where the file does not ask for that, too.
    pub latency: Option<Latency>,
    /// How it stands, in a word or two.
    pub state: String,
    /// How bad that is.
    #[serde(skip)]
    pub health: Health,
}

/// What goes one way in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Packets.
    pub packets: f64,
    /// Bits of the inner packets from the network header on.
    pub bits: f64,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    #[default]
    Good,
    /// It works another way than it should.
    Odd,
    /// It does not work.
    Bad,
}

impl Row {
    /// Bits per second, both ways.
    pub fn bits(&self) -> Option<f64> {
        self.both(|rate| rate.bits)
    }

    /// Packets per second, both ways.
    pub fn packets(&self) -> Option<f64> {
        self.both(|rate| rate.packets)
    }

    fn both(&self, of: impl Fn(Rate) -> f64) -> Option<f64> {
        sum([self.out.map(&of), self.into.map(&of)])
    }
}

impl Rates {
    /// From a sample and the one before it. Without that, or where no time has passed, no rate is known.
    pub fn of(before: Option<&Sample>, after: &Sample) -> Self {
        let moved = Moved::between(before, after);
        let mut rates = Self {
            now: after.now,
            seconds: moved.seconds,
            total: total(&moved),
            classes: classes(&after.status, &moved),
            lanes: lanes(&after.status, &moved),
            tunnels: tunnels(&after.status, &moved),
            tenants: tenants(&moved),
            rules: Vec::new(),
        };
        rates.rules = rules(&rates.classes, &moved);
        for view in View::ALL {
            share(rates.rows_mut(view));
        }
        rates
    }

    /// What a view lists.
    pub fn rows(&self, view: View) -> &[Row] {
        match view {
            View::Classes => &self.classes,
            View::Lanes => &self.lanes,
            View::Tunnels => &self.tunnels,
            View::Tenants => &self.tenants,
            View::Rules => &self.rules,
        }
    }

    fn rows_mut(&mut self, view: View) -> &mut [Row] {
        match view {
            View::Classes => &mut self.classes,
            View::Lanes => &mut self.lanes,
            View::Tunnels => &mut self.tunnels,
            View::Tenants => &mut self.tenants,
            View::Rules => &mut self.rules,
        }
    }
}

/// Of a tenant, as rows name it: what is nobody's has `-`.
pub fn tenant_name(tenant: &str) -> &str {
    if tenant.is_empty() { "-" } else { tenant }
}

/// Of a rule: those of tenants stand behind their tenant's name.
pub fn rule_name(tenant: &str, rule: &str) -> String {
    if tenant.is_empty() { rule.to_owned() } else { format!("{tenant}/{rule}") }
}

/// Of a lane.
pub fn lane_name(tunnel: &str, class: &str, lane: u8) -> String {
    format!("{tunnel}/{class}.{lane}")
}

fn total(moved: &Moved<'_>) -> Row {
    let blocked = moved.classes.iter().map(|class| class.blocked);
    Row {
        name: "all".to_owned(),
        out: sum_rates(moved.classes.iter().map(|class| class.out)),
        into: sum_rates(moved.classes.iter().map(|class| class.into)),
        share: None,
        fallback: sum(moved.fallbacks.iter().map(|fallback| fallback.packets)),
        errors: sum(blocked.chain(moved.lanes.iter().map(|lane| lane.errors)).chain([moved.without_tables])),
        latency: None,
        state: String::new(),
        health: Health::Good,
    }
}

fn classes(status: &Status, moved: &Moved<'_>) -> Vec<Row> {
    let counts: HashMap<&str, Vec<&ClassMoved<'_>>> = grouped(&moved.classes, |count| count.class);
    let lanes: HashMap<&str, Vec<&LaneMoved<'_>>> = grouped(&moved.lanes, |lane| lane.class);
    let fallbacks: HashMap<&str, Vec<&FallbackMoved<'_>>> = grouped(&moved.fallbacks, |fallback| fallback.class);
    let detours: HashMap<&str, Vec<&Detour>> = grouped(&status.detours, |detour| detour.class.as_str());
    let row = |name: &str, (state, health): (String, Health)| {
        let counts = members(&counts, name);
        let blocked = counts.iter().map(|count| count.blocked);
        Row {
            name: name.to_owned(),
            out: sum_rates(counts.iter().map(|count| count.out)),
            into: sum_rates(counts.iter().map(|count| count.into)),
            share: None,
            fallback: sum(members(&fallbacks, name).iter().map(|fallback| fallback.packets)),
            errors: sum(blocked.chain(members(&lanes, name).iter().map(|lane| lane.errors))),
            latency: None,
            state,
            health,
        }
    };
    let of_file = status.classes.iter().map(|class| class.name.as_str());
    let mut rows: Vec<Row> = of_file
        .map(|name| {
            let carriers = members(&lanes, name).iter().map(|lane| lane.tunnel).collect();
            row(name, class_state(&carriers, members(&detours, name)))
        })
        .collect();
    if counts.contains_key(ALL_CLASSES) {
        rows.push(row(ALL_CLASSES, (String::new(), Health::Good)));
    }
    rows
}

/// A class goes its own way as long as every tunnel that has lanes of it has one that is up. In tunnels that carry it not at
/// all it never does.
fn class_state(carriers: &BTreeSet<&str>, detours: &[&Detour]) -> (String, Health) {
    let off: Vec<&&Detour> = detours.iter().filter(|detour| carriers.contains(detour.tunnel.as_str())).collect();
    let health = off.iter().map(|detour| health_of(&detour.to)).max().unwrap_or_default();
    let state = match off.as_slice() {
        [] if carriers.is_empty() => "no lane".to_owned(),
        [] => "up".to_owned(),
        [first, ..] if off.len() == carriers.len() && off.iter().all(|other| other.to == first.to) => way_of(&first.to),
        some => format!("{} of {} off", some.len(), carriers.len()),
    };
    (state, health)
}

/// Where what falls back goes.
fn way_of(to: &str) -> String {
    match to {
        "block" => "BLOCKED".to_owned(),
        "clear" => "IN CLEAR".to_owned(),
        class => format!("to {class}"),
    }
}

fn health_of(to: &str) -> Health {
    if matches!(to, "block" | "clear") { Health::Bad } else { Health::Odd }
}

fn lanes(status: &Status, moved: &Moved<'_>) -> Vec<Row> {
    let of_tunnel = |tunnel: &'_ TunnelStatus| {
        let lanes = tunnel.lanes.iter();
        lanes.map(|lane| ((tunnel.name.clone(), lane.class.clone(), lane.lane), lane_state(lane))).collect::<Vec<_>>()
    };
    let states: HashMap<(String, String, u8), (&str, Health)> = status.tunnels.iter().flat_map(of_tunnel).collect();
    let row = |lane: &LaneMoved<'_>| {
        let name = (lane.tunnel.to_owned(), lane.class.to_owned(), lane.lane);
        let (state, health) = states.get(&name).copied().unwrap_or_default();
        Row {
            name: lane_name(lane.tunnel, lane.class, lane.lane),
            out: lane.out,
            into: lane.into,
            share: None,
            fallback: None,
            errors: lane.errors,
            latency: None,
            state: state.to_owned(),
            health,
        }
    };
    moved.lanes.iter().map(row).collect()
}

/// How a lane stands.
pub fn lane_state(lane: &LaneStatus) -> (&'static str, Health) {
    match (lane.up, lane.on_demand) {
        (true, false) => ("up", Health::Good),
        (true, true) => ("on demand", Health::Good),
        (false, _) => ("DOWN", Health::Bad),
    }
}

fn tunnels(status: &Status, moved: &Moved<'_>) -> Vec<Row> {
    let lanes: HashMap<&str, Vec<&LaneMoved<'_>>> = grouped(&moved.lanes, |lane| lane.tunnel);
    let fallbacks: HashMap<&str, Vec<&FallbackMoved<'_>>> = grouped(&moved.fallbacks, |fallback| fallback.tunnel);
    let row = |tunnel: &TunnelStatus| {
        let lanes = members(&lanes, &tunnel.name);
        let up = tunnel.lanes.iter().filter(|lane| lane.up).count();
        let (state, health) = match tunnel.lanes.len() {
            _ if tunnel.on_demand => ("on demand".to_owned(), Health::Good),
            all if up == all => (format!("{up}/{all} up"), Health::Good),
            _ if up == 0 => ("DOWN".to_owned(), Health::Bad),
            all => (format!("{up}/{all} up"), Health::Odd),
        };
        Row {
            name: tunnel.name.clone(),
            out: sum_rates(lanes.iter().map(|lane| lane.out)),
            into: sum_rates(lanes.iter().map(|lane| lane.into)),
            share: None,
            fallback: sum(members(&fallbacks, &tunnel.name).iter().map(|fallback| fallback.packets)),
            errors: sum(lanes.iter().map(|lane| lane.errors)),
            latency: None,
            state,
            health,
        }
    };
    status.tunnels.iter().map(row).collect()
}

fn tenants(moved: &Moved<'_>) -> Vec<Row> {
    let classes = moved.classes.chunk_by(|one, other| one.tenant == other.tenant);
    classes
        .map(|classes| Row {
            name: tenant_name(classes[0].tenant).to_owned(),
            out: sum_rates(classes.iter().map(|class| class.out)),
            into: sum_rates(classes.iter().map(|class| class.into)),
            share: None,
            fallback: None,
            errors: sum(classes.iter().map(|class| class.blocked)),
            latency: None,
            state: String::new(),
            health: Health::Good,
        })
        .collect()
}

/// A rule stands as its class does.
fn rules(classes: &[Row], moved: &Moved<'_>) -> Vec<Row> {
    let healths: HashMap<&str, (&str, Health)> =
        classes.iter().map(|class| (class.name.as_str(), (class.state.as_str(), class.health))).collect();
    let rules = moved.rules.iter().map(|rule| {
        let (state, health) = healths.get(rule.class).copied().unwrap_or_default();
        Row {
            name: rule_name(rule.tenant, rule.rule),
            out: rule.rate,
            into: None,
            share: None,
            fallback: None,
            errors: None,
            latency: None,
            state: match health {
                Health::Good => rule.class.to_owned(),
                Health::Odd | Health::Bad => format!("{} {state}", rule.class),
            },
            health,
        }
    });
    rules.collect()
}

/// Of the bits of all rows.
fn share(rows: &mut [Row]) {
    let all: f64 = rows.iter().filter_map(Row::bits).sum();
    for row in rows {
        row.share = row.bits().map(|bits| if all > 0.0 { bits / all } else { 0.0 });
    }
}

fn grouped<'a, T, K: Eq + Hash>(all: &'a [T], key: impl Fn(&'a T) -> K) -> HashMap<K, Vec<&'a T>> {
    let mut groups: HashMap<K, Vec<&'a T>> = HashMap::new();
    for one in all {
        groups.entry(key(one)).or_default().push(one);
    }
    groups
}

fn members<'a, T>(groups: &'a HashMap<&str, Vec<&'a T>>, name: &str) -> &'a [&'a T] {
    groups.get(name).map_or(&[], Vec::as_slice)
}

/// Of those that are known; `None` where none is.
fn sum(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    values.into_iter().flatten().fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

fn sum_rates(rates: impl IntoIterator<Item = Option<Rate>>) -> Option<Rate> {
    let add = |sum: Rate, rate: Rate| Rate { packets: sum.packets + rate.packets, bits: sum.bits + rate.bits };
    rates.into_iter().flatten().fold(None, |sum, rate| Some(add(sum.unwrap_or_default(), rate)))
}

#[cfg(test)]
mod tests;
