//! Desired against observed: the operations between them, in an order in which nothing leaks.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{
    Address, Desired, Extent, Link, LinkKind, Observed, Op, PolicyDirection, Route, RouteVia, Rule, State, StateId,
    Table, Treatment,
};

/// What must change, in the order in which it must.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// First to last.
    pub ops: Vec<Op>,
}

/// Something that is not ours has a name or number that we need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A foreign device of that name.
    #[error(
        "device {name} exists and is not ours ({kind}, without our alias \"{alias}\"): give the tunnel another device name, or \
         remove it with `ip link del {name}`",
        alias = super::ALIAS
    )]
    DeviceTaken {
        /// Its name.
        name: String,
        /// IFLA_INFO_KIND.
        kind: String,
    },
    /// A foreign XFRM interface of that if_id, of which the kernel allows one.
    #[error(
        "device {name} needs if_id {if_id}, which the XFRM interface {other} has and which is not ours: give the tunnel another \
         if-id, or remove it with `ip link del {other}`"
    )]
    IfIdTaken {
        /// Our device.
        name: String,
        /// Wanted by both.
        if_id: u32,
        /// The device that has it.
        other: String,
    },
    /// A foreign external XFRM interface.
    #[error(
        "device {name} is an external XFRM interface, as {other} is, which is not ours, and Linux has one in a network namespace: take \
         external out, or remove it with `ip link del {other}`"
    )]
    ExternalTaken {
        /// Our device.
        name: String,
        /// The device that is one.
        other: String,
    },
    /// A foreign VTI between the same ends, of which the kernel allows one, or GRE device, whose packets our policies would take.
    #[error(
        "device {name} is a {kind} between {local} and {remote}, as {other} is, which is not ours: take other addresses or an XFRM \
         interface, or remove it with `ip link del {other}`"
    )]
    EndsTaken {
        /// Our device.
        name: String,
        /// What both are.
        kind: &'static str,
        /// Outer address here.
        local: IpAddr,
        /// That of the peer.
        remote: IpAddr,
        /// The device that has them.
        other: String,
    },
}

/// Every conflict at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Conflicts(pub Vec<Conflict>);

/// When an operation's turn is. What stops a leak comes first and goes last; what receives comes before what sends; what is
/// new comes before what is old; teardown is the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    PassPeers,
    BlockRoutes,
    AskTables,
    ClearPlace,
    ClearOutboundPolicies,
    ClearOutboundStates,
    ClearInboundPolicies,
    ClearInboundStates,
    Links,
    InboundStates,
    InboundPolicies,
    OutboundStates,
    OutboundPolicies,
    Tables,
    Programs,
    LinksUp,
    Addresses,
    Routes,
    Connections,
    StaleRoutes,
    StaleConnections,
    StaleLanes,
    StalePrograms,
    StaleAddresses,
    FlushedRoutes,
    StaleLinks,
    StaleOutboundPolicies,
    StaleOutboundStates,
    StaleInboundPolicies,
    StaleInboundStates,
    UnaskTables,
    UnblockRoutes,
    /// Of what ports and sockets need some may not be to be had, and no tunnel is to wait for it.
    Spared,
    Dataplane,
}

/// The operations that make `observed` into `desired`. Applied in order, and observed again, nothing remains.
pub fn diff(desired: &Desired, observed: &Observed) -> Result<Plan, Conflicts> {
    let conflicts = conflicts(desired, observed);
    if !conflicts.is_empty() {
        return Err(Conflicts(conflicts));
    }
    let mut steps = Steps::default();
    let (desired, lacking) = &desired.on(observed);
    for (name, lack) in lacking {
        steps.push(Turn::Spared, Op::Await { name: name.clone(), lack: lack.clone() });
    }
    for (name, &namespace) in &observed.elsewhere {
        // Who wants it waits for it.
        if lacking.iter().all(|(waits, _)| waits != name) {
            steps.push(Turn::StaleLinks, Op::RemoveElsewhere { name: name.clone(), namespace });
        }
    }
    let mut cleared = steps.links(desired, observed);
    cleared.extend(steps.stale_pins(observed));
    let kept = moved(without(observed, &cleared), desired);
    steps.routes(desired, &kept);
    steps.rules(desired, observed);
    steps.addresses(desired, &kept);
    steps.dataplane(desired, &kept);
    steps.ports(desired, observed);
    steps.sockets(desired, observed);
    steps.states(desired, observed);
    steps.policies(desired, observed);
    steps.charon(desired, observed);
    Ok(steps.into_plan())
}

fn conflicts(desired: &Desired, observed: &Observed) -> Vec<Conflict> {
    let mut found = Vec::new();
    for link in &desired.links {
        for (other, device) in &observed.others {
            if *other == link.name {
                let kind = if device.kind.is_empty() { "hardware".to_owned() } else { device.kind.clone() };
                found.push(Conflict::DeviceTaken { name: link.name.clone(), kind });
            } else if link.kind.excludes(&device.link) {
                found.push(match link.kind {
                    LinkKind::Xfrm { if_id } => {
                        Conflict::IfIdTaken { name: link.name.clone(), if_id, other: other.clone() }
                    }
                    LinkKind::Vti { local, remote, .. } => {
                        let (name, other) = (link.name.clone(), other.clone());
                        Conflict::EndsTaken { name, kind: "VTI", local, remote, other }
                    }
                    LinkKind::Gre { local, remote, .. } => {
                        let (name, other) = (link.name.clone(), other.clone());
                        Conflict::EndsTaken { name, kind: "GRE device", local, remote, other }
                    }
                    LinkKind::External => Conflict::ExternalTaken { name: link.name.clone(), other: other.clone() },
                    LinkKind::Other => continue,
                });
            }
        }
    }
    found
}

/// The same state, as far as the kernel shows: under lockdown it dumps zeros for keys.
fn is(have: &State, want: &State) -> bool {
    have == want || have.key.is_blank() && State { key: want.key.clone(), ..have.clone() } == *want
}

/// Its last IPv4 address goes, at which the kernel silently flushes every IPv4 route through it (`fib_disable_ip`).
fn loses_ipv4(device: &str, desired: &Desired, observed: &Observed) -> bool {
    let on = |address: &&Address| address.device == device && address.address.addr().is_ipv4();
    let stays = desired.addresses.iter().chain(&observed.other_addresses).any(|address| on(&address));
    !stays && observed.addresses.iter().any(|address| on(&address))
}

/// What is left once the devices of `cleared` are gone.
fn without(observed: &Observed, cleared: &BTreeSet<String>) -> Observed {
    let mut kept = observed.clone();
    kept.links.retain(|name, _| !cleared.contains(name));
    kept.addresses.retain(|address| !cleared.contains(&address.device));
    kept.other_addresses.retain(|address| !cleared.contains(&address.device));
    kept.routes.retain(|route| route.via.device().is_none_or(|device| !cleared.contains(device)));
    kept.attached.retain(|device| !cleared.contains(device));
    kept
}

/// Whether it is in another namespace, where nobody here can change it, and is not as it should be.
fn is_lost(have: &Link, want: &Link, observed: &Observed) -> bool {
    let differs = (&have.namespace, have.mtu) != (&want.namespace, want.mtu);
    have.namespace.is_some() && (differs || !observed.attached.contains(&have.name))
}

/// Whether the device is there and is to be in another VRF, or in none.
fn moves(have: &Link, want: &Link) -> bool {
    have.name == want.name && have.vrf != want.vrf
}

/// What the kernel leaves of devices that come into a VRF or out of it: no routes (`fib_disable_ip`, `rt6_disable_ip`) and no
/// addresses of IPv6 (`addrconf_ifdown`).
fn moved(mut observed: Observed, desired: &Desired) -> Observed {
    let moving = |have: &Link| desired.links.iter().any(|want| moves(have, want));
    let moving: BTreeSet<String> =
        observed.links.values().filter(|have| moving(have)).map(|have| have.name.clone()).collect();
    let stays = |address: &Address| address.address.addr().is_ipv4() || !moving.contains(&address.device);
    observed.addresses.retain(stays);
    observed.other_addresses.retain(stays);
    observed.routes.retain(|route| route.via.device().is_none_or(|device| !moving.contains(device)));
    observed
}

#[derive(Default)]
struct Steps(Vec<(Turn, Op)>);

impl Steps {
    fn push(&mut self, turn: Turn, op: Op) {
        self.0.push((turn, op));
    }

    fn into_plan(mut self) -> Plan {
        self.0.sort_by_key(|(turn, _)| *turn);
        Plan { ops: self.0.into_iter().map(|(_, op)| op).collect() }
    }

    /// Returns the devices that must go before others can come: those that become another kind or
    /// whose if_id, keys, ends or underlying device change or are wanted by another.
    fn links(&mut self, desired: &Desired, observed: &Observed) -> BTreeSet<String> {
        let mut cleared = BTreeSet::new();
        for (name, have) in &observed.links {
            let wanted = desired.links.iter().find(|link| link.name == *name);
            let in_the_way = wanted.is_some_and(|want| (want.kind, &want.link) != (have.kind, &have.link))
                || wanted.is_some_and(|want| is_lost(have, want, observed))
                || wanted.is_none() && desired.links.iter().any(|link| link.kind.excludes(&have.kind));
            let turn = if in_the_way {
                cleared.insert(name.clone());
                if observed.attached.contains(name) && have.namespace.is_none() {
                    self.push(Turn::ClearPlace, Op::Detach { device: name.clone() });
                }
                Turn::ClearPlace
            } else if wanted.is_none() {
                Turn::StaleLinks
            } else {
                continue;
            };
            let namespace = have.namespace.as_ref().and_then(|namespace| observed.namespaces.get(namespace));
            self.push(
                turn,
                match namespace {
                    Some(&namespace) => Op::RemoveElsewhere { name: name.clone(), namespace },
                    None => Op::RemoveLink { name: name.clone() },
                },
            );
        }
        for want in &desired.links {
            let have = observed.links.get(&want.name).filter(|_| !cleared.contains(&want.name));
            match have {
                None => self.push(Turn::Links, Op::AddLink(want.clone())),
                Some(have) if have.mtu != want.mtu => {
                    self.push(Turn::Links, Op::SetMtu { name: want.name.clone(), from: have.mtu, to: want.mtu });
                }
                Some(_) => {}
            }
            if have.is_some_and(|have| moves(have, want)) {
                self.push(Turn::Links, Op::SetVrf { name: want.name.clone(), vrf: want.vrf.clone() });
            }
            if want.disable_policy && !have.is_some_and(|have| have.disable_policy) {
                self.push(Turn::Links, Op::DisablePolicy { name: want.name.clone() });
            }
            if want.source_by_mark && !have.is_some_and(|have| have.source_by_mark) {
                self.push(Turn::Links, Op::SourceByMark { name: want.name.clone() });
            }
            if let Some(namespace) = &want.namespace {
                if have.is_none_or(|have| have.namespace.is_none()) {
                    let (name, namespace) = (want.name.clone(), namespace.clone());
                    self.push(Turn::LinksUp, Op::SetNamespace { name, namespace });
                }
            } else if want.up && !have.is_some_and(|have| have.up) {
                self.push(Turn::LinksUp, Op::LinkUp { name: want.name.clone() });
            }
        }
        cleared
    }

    /// A device that somebody removed took the programs with it, but not their pins. Returns those devices.
    fn stale_pins(&mut self, observed: &Observed) -> Vec<String> {
        let gone = |device: &&String| !observed.links.contains_key(*device) && !observed.others.contains_key(*device);
        let devices: Vec<String> = observed.attached.iter().filter(gone).cloned().collect();
        for device in &devices {
            self.push(Turn::ClearPlace, Op::Detach { device: device.clone() });
        }
        devices
    }

    fn routes(&mut self, desired: &Desired, observed: &Observed) {
        let place = |route: &Route| (route.table, route.destination, route.metric);
        let same_place = |a: &Route, b: &Route| place(a) == place(b);
        for have in observed.routes.difference(&desired.routes) {
            let replaced = desired.routes.iter().any(|want| same_place(want, have));
            let turn = match have.via {
                // The kernel holds one route per place: the old one must go first, and what is behind it blocks meanwhile.
                _ if replaced => Turn::Routes,
                RouteVia::Device(_) | RouteVia::External { .. } => Turn::StaleRoutes,
                RouteVia::Unreachable | RouteVia::Throw => Turn::UnblockRoutes,
            };
            self.push(turn, Op::RemoveRoute(have.clone()));
        }
        for want in &desired.routes {
            let turn = match &want.via {
                RouteVia::Device(device) | RouteVia::External { device, .. }
                    if want.destination.addr().is_ipv4() && loses_ipv4(device, desired, observed) =>
                {
                    Turn::FlushedRoutes
                }
                _ if observed.routes.contains(want) => continue,
                RouteVia::Device(_) | RouteVia::External { .. } => Turn::Routes,
                RouteVia::Unreachable => Turn::BlockRoutes,
                RouteVia::Throw => Turn::PassPeers,
            };
            let follows = desired.followed.routes.contains(want);
            self.push(turn, if follows { Op::FollowRoute(want.clone()) } else { Op::AddRoute(want.clone()) });
        }
    }

    /// A table is asked once it passes peers on and blocks what is not routed yet; or, where the main table has routed it, is.
    fn rules(&mut self, desired: &Desired, observed: &Observed) {
        let is_routed = |rule: &Rule| {
            let of_it = |net: &IpNet| net.addr().is_ipv4() == rule.ipv4 && net.prefix_len() == rule.length;
            observed
                .routes
                .iter()
                .any(|route| route.table == Table::Main && route.via.device().is_some() && of_it(&route.destination))
        };
        for have in observed.rules.difference(&desired.rules) {
            self.push(Turn::UnaskTables, Op::RemoveRule(*have));
        }
        for want in desired.rules.difference(&observed.rules) {
            let turn = if is_routed(want) { Turn::Routes } else { Turn::AskTables };
            self.push(turn, Op::AddRule(*want));
        }
    }

    fn addresses(&mut self, desired: &Desired, observed: &Observed) {
        for have in observed.addresses.difference(&desired.addresses) {
            // Those of a device that goes, go with it.
            if desired.links.iter().any(|link| link.name == have.device) {
                self.push(Turn::StaleAddresses, Op::RemoveAddress(have.clone()));
            }
        }
        for want in
            desired.addresses.difference(&observed.addresses).filter(|want| !observed.other_addresses.contains(want))
        {
            let follows = desired.followed.addresses.contains(want);
            let op = if follows { Op::FollowAddress(want.clone()) } else { Op::AddAddress(want.clone()) };
            self.push(Turn::Addresses, op);
        }
    }

    fn dataplane(&mut self, desired: &Desired, observed: &Observed) {
        match (desired.tables, observed.tables) {
            (Some(want), have) if have != Some(want) => self.push(Turn::Tables, Op::LoadTables { digest: want }),
            (None, Some(_)) => self.push(Turn::Dataplane, Op::RemoveDataplane),
            _ => {}
        }
        let wanted = |device: &String| desired.tables.is_some() && desired.attached.contains(device);
        for device in observed.attached.iter().filter(|device| !wanted(device)) {
            self.push(Turn::StalePrograms, Op::Detach { device: device.clone() });
        }
        for device in desired.attached.iter().filter(|device| wanted(device) && !observed.attached.contains(*device)) {
            self.push(Turn::Programs, Op::Attach { device: device.clone() });
        }
    }

    fn ports(&mut self, desired: &Desired, observed: &Observed) {
        let exists = |name: &String| observed.links.contains_key(name) || observed.others.contains_key(name);
        let wanted = |name: &String| desired.tables.and(desired.ports.get(name));
        for interface in observed.ports.keys().filter(|name| wanted(name).is_none()) {
            self.push(Turn::StalePrograms, Op::DetachPort { interface: interface.clone() });
        }
        // One that does not exist is a port as soon as it does.
        for (interface, classify) in desired.ports.iter().filter(|(name, _)| exists(name)) {
            if wanted(interface).is_some() && observed.ports.get(interface) != Some(&Some(*classify)) {
                self.push(Turn::Spared, Op::AttachPort { interface: interface.clone(), classify: *classify });
            }
        }
    }

    fn sockets(&mut self, desired: &Desired, observed: &Observed) {
        match (desired.tables.is_some() && desired.sockets, observed.sockets) {
            (true, Extent::None | Extent::Part) => self.push(Turn::Spared, Op::AttachSockets),
            (false, Extent::Part | Extent::Whole) => self.push(Turn::StalePrograms, Op::DetachSockets),
            (true, Extent::Whole) | (false, Extent::None) => {}
        }
    }

    fn states(&mut self, desired: &Desired, observed: &Observed) {
        // The one that sends is found by its policy's mark, the one that receives by its SPI alone.
        let sends = |id: &StateId| id.mark.is_some();
        // No two that are wanted share destination and SPI.
        let in_place_of = |have: &State, want: &State| {
            (have.id.destination, have.id.spi) == (want.id.destination, want.id.spi) && have.id != want.id
        };
        let (there, wanted) = (observed.states.sorted(|state| state.id), desired.states.sorted(|state| state.id));
        for want in &desired.states {
            let turn = if sends(&want.id) { Turn::OutboundStates } else { Turn::InboundStates };
            match there.get(&want.id) {
                Some(have) if is(have, want) => continue,
                // The kernel changes neither key nor marks in place.
                Some(_) => self.push(turn, Op::RemoveState(want.id)),
                // One of the same SPI under another mark is in the way where the masks overlap, as they do when the mask of
                // all marks is resized.
                None => {
                    for have in observed.states.iter().filter(|have| in_place_of(have, want)) {
                        self.push(turn, Op::RemoveState(have.id));
                    }
                }
            }
            self.push(turn, Op::AddState(want.clone()));
        }
        for have in &observed.states {
            if wanted.get(&have.id).is_none() && !desired.states.iter().any(|want| in_place_of(have, want)) {
                let turn = match (desired.charon_lanes.contains(&(have.reqid, have.if_id)), sends(&have.id)) {
                    (true, true) => Turn::ClearOutboundStates,
                    (true, false) => Turn::ClearInboundStates,
                    (false, true) => Turn::StaleOutboundStates,
                    (false, false) => Turn::StaleInboundStates,
                };
                self.push(turn, Op::RemoveState(have.id));
            }
        }
    }

    fn policies(&mut self, desired: &Desired, observed: &Observed) {
        let (there, wanted) =
            (observed.policies.sorted(|policy| policy.id), desired.policies.sorted(|policy| policy.id));
        for want in &desired.policies {
            let turn = match (want.treatment, want.id.direction) {
                (Treatment::Block, _) => Turn::BlockRoutes,
                (Treatment::Encrypt(_), PolicyDirection::Out) => Turn::OutboundPolicies,
                (Treatment::Encrypt(_), PolicyDirection::In | PolicyDirection::Fwd) => Turn::InboundPolicies,
            };
            match there.get(&want.id) {
                Some(have) if have == want => {}
                Some(_) => self.push(turn, Op::UpdatePolicy(want.clone())),
                None => self.push(turn, Op::AddPolicy(want.clone())),
            }
        }
        for have in &observed.policies {
            if wanted.get(&have.id).is_none() {
                // Charon would take over what is in its place, and we would then remove what is charon's.
                let early = desired.charon_lanes.contains(&(have.reqid, have.id.if_id));
                let turn = match (early, have.id.direction) {
                    (true | false, _) if have.treatment == Treatment::Block => Turn::UnblockRoutes,
                    (true, PolicyDirection::Out) => Turn::ClearOutboundPolicies,
                    (true, PolicyDirection::In | PolicyDirection::Fwd) => Turn::ClearInboundPolicies,
                    (false, PolicyDirection::Out) => Turn::StaleOutboundPolicies,
                    (false, PolicyDirection::In | PolicyDirection::Fwd) => Turn::StaleInboundPolicies,
                };
                self.push(turn, Op::RemovePolicy(have.id));
            }
        }
    }

    fn charon(&mut self, desired: &Desired, observed: &Observed) {
        for (name, &digest) in &desired.connections {
            let have = observed.connections.get(name);
            if have != Some(&digest) {
                let op = Op::LoadConnection { name: name.clone(), digest, changed: have.is_some() };
                self.push(Turn::Connections, op);
            }
        }
        // A lane that was charon's and is now static: what charon has in its place goes first.
        let keyed = desired.policies.iter().filter(|policy| policy.treatment != Treatment::Block);
        let static_lanes: BTreeSet<(u32, u32)> = keyed.map(|policy| (policy.reqid, policy.id.if_id)).collect();
        let in_the_way = |lane: &&(u32, u32)| static_lanes.contains(lane);
        let there = || observed.charon.iter().filter(|(_, traces)| traces.is_there()).map(|(lane, _)| lane);
        let early = there().any(|lane| in_the_way(&lane));
        for name in observed.connections.keys().filter(|name| !desired.connections.contains_key(*name)) {
            let turn = if early { Turn::ClearPlace } else { Turn::StaleConnections };
            self.push(turn, Op::UnloadConnection { name: name.clone() });
        }
        for lane in there().filter(|lane| !desired.charon_lanes.contains(lane)) {
            let turn = if in_the_way(&lane) { Turn::ClearPlace } else { Turn::StaleLanes };
            self.push(turn, Op::FlushLane { reqid: lane.0, if_id: lane.1 });
        }
    }
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, conflict) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{conflict}")?;
        }
        Ok(())
    }
}
