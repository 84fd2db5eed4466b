//! The kernel and charon as a model: what each operation does, and what the kernel does by itself.

use std::cmp::Reverse;
use std::net::IpAddr;

use lanekeeper::plan::{
    Address, Asks, Desired, DeviceInUse, Extent, Lack, LaneTraces, Link, LinkKind, Observed, Op, Route, RouteVia, Rule,
    State, Table, Treatment, diff,
};

/// Panics where the kernel would refuse.
pub fn carry_out(machine: &mut Observed, op: &Op) {
    match op.clone() {
        Op::AddRoute(route) | Op::FollowRoute(route) => {
            let place = |other: &Route| {
                (other.table, other.destination, other.metric) == (route.table, route.destination, route.metric)
            };
            assert!(!machine.routes.iter().any(place), "EEXIST: {op}");
            if let Some(device) = route.via.device() {
                let is_up = machine.links.get(device).map_or(machine.others.contains_key(device), |link| link.up);
                assert!(is_up, "ENETDOWN: {op}");
            }
            machine.routes.insert(route);
        }
        Op::AddRule(rule) => assert!(machine.rules.insert(rule), "EEXIST: {op}"),
        Op::RemoveRule(rule) => assert!(machine.rules.remove(&rule), "ENOENT: {op}"),
        Op::AddLink(link) => {
            // The kernel tells GRE devices between the same ends apart by their keys.
            let key = |link: &Link| if let LinkKind::Gre { key, .. } = link.kind { key } else { None };
            let same = |other: &Link| other.kind.excludes(&link.kind) && key(other) == key(&link);
            let taken = |other: &Link| other.name == link.name || same(other);
            assert!(!machine.links.values().any(taken), "EEXIST: {op}");
            assert!(!machine.attached.contains(&link.name), "a stale pin: {op}");
            assert!(link.vrf.as_ref().is_none_or(|vrf| machine.vrfs.contains_key(vrf)), "ENODEV: {op}");
            assert!(link.link.as_ref().is_none_or(|link| machine.others.contains_key(link)), "ENODEV: {op}");
            machine
                .links
                .insert(link.name.clone(), Link { up: false, disable_policy: false, source_by_mark: false, ..link });
        }
        Op::SetMtu { name, to, .. } => machine.links.get_mut(&name).unwrap().mtu = to,
        Op::SetVrf { name, vrf } => {
            assert!(vrf.as_ref().is_none_or(|vrf| machine.vrfs.contains_key(vrf)), "ENODEV: {op}");
            set_vrf(machine, &name, vrf);
        }
        Op::Await { name, lack } => {
            let is_there = match lack {
                Lack::Vrf(vrf) => machine.vrfs.contains_key(&vrf),
                Lack::NoVrf(other) => machine.vrfs.contains_key(&other) || !machine.others.contains_key(&other),
                Lack::Link(link) => machine.others.contains_key(&link),
                Lack::Elsewhere(_) => !machine.elsewhere.contains_key(&name),
                Lack::Namespace(_) | Lack::Tcx => false,
                Lack::Tun => machine.others.contains_key(&name),
            };
            assert!(!is_there && !machine.links.contains_key(&name), "{op}");
        }
        Op::SourceByMark { name } => machine.links.get_mut(&name).unwrap().source_by_mark = true,
        Op::DisablePolicy { name } => machine.links.get_mut(&name).unwrap().disable_policy = true,
        Op::LinkUp { name } => machine.links.get_mut(&name).unwrap().up = true,
        Op::AddAddress(address) | Op::FollowAddress(address) => {
            assert!(machine.links.contains_key(&address.device), "ENODEV: {op}");
            assert!(machine.addresses.insert(address), "EEXIST: {op}");
        }
        Op::AddState(state) => {
            // As __xfrm_state_lookup compares: by the new one's value under the mask of the one that is there.
            let value = state.id.mark.map_or(0, |mark| mark.value);
            let taken = |other: &State| {
                let (v, m) = other.id.mark.map_or((0, 0), |mark| (mark.value, mark.mask));
                (other.id.destination, other.id.spi) == (state.id.destination, state.id.spi) && value & m == v
            };
            assert!(!machine.states.iter().any(taken), "EEXIST: {op}");
            machine.states.push(state);
        }
        Op::AddPolicy(policy) => {
            assert!(machine.policies.iter().all(|other| other.id != policy.id), "EEXIST: {op}");
            // One that blocks is beside charon's.
            let blocks = policy.treatment == Treatment::Block;
            let charons = machine.charon.contains_key(&(policy.reqid, policy.id.if_id));
            assert!(blocks || !charons, "charon's is there: {op}");
            machine.policies.push(policy);
        }
        Op::UpdatePolicy(policy) => {
            let place = machine.policies.iter().position(|other| other.id == policy.id).expect("ENOENT");
            machine.policies[place] = policy;
        }
        Op::LoadTables { digest } => machine.tables = Some(digest),
        Op::Attach { device } => {
            assert!(machine.links.contains_key(&device) && machine.tables.is_some(), "no place: {op}");
            assert!(machine.attached.insert(device), "twice: {op}");
        }
        Op::LoadConnection { name, digest, changed } => {
            assert_eq!(machine.connections.insert(name, digest).is_some(), changed, "{op}");
        }
        Op::UnloadConnection { name } => assert!(machine.connections.remove(&name).is_some(), "{op}"),
        Op::FlushLane { reqid, if_id } => assert!(machine.charon.remove(&(reqid, if_id)).is_some(), "{op}"),
        Op::Detach { device } => assert!(machine.attached.remove(&device), "{op}"),
        Op::AttachPort { interface, classify } => {
            let exists = machine.links.contains_key(&interface) || machine.others.contains_key(&interface);
            assert!(exists && machine.tables.is_some(), "no place: {op}");
            machine.ports.insert(interface, Some(classify));
        }
        Op::DetachPort { interface } => assert!(machine.ports.remove(&interface).is_some(), "{op}"),
        Op::AttachSockets => {
            assert!(machine.sockets != Extent::Whole && machine.tables.is_some(), "no place: {op}");
            machine.sockets = Extent::Whole;
        }
        Op::DetachSockets => {
            assert_ne!(machine.sockets, Extent::None, "{op}");
            machine.sockets = Extent::None;
        }
        Op::RemoveAddress(address) => {
            assert!(machine.addresses.remove(&address), "{op}");
            let is_ipv4 = |other: &Address| other.device == address.device && other.address.addr().is_ipv4();
            if is_ipv4(&address) && !machine.addresses.iter().chain(&machine.other_addresses).any(is_ipv4) {
                let into = |route: &Route| route.via.device() == Some(&address.device);
                machine.routes.retain(|route| !into(route) || !route.destination.addr().is_ipv4());
            }
        }
        Op::RemovePolicy(id) => machine.policies.retain(|policy| policy.id != id),
        Op::RemoveState(id) => machine.states.retain(|state| state.id != id),
        Op::RemoveLink { name } => {
            assert!(machine.links.remove(&name).is_some(), "ENODEV: {op}");
            assert!(!machine.attached.contains(&name), "a pinned link would stay: {op}");
            machine.addresses.retain(|address| address.device != name);
            machine.routes.retain(|route| route.via.device() != Some(&name));
        }
        Op::SetNamespace { name, namespace } => {
            let link = machine.links.get_mut(&name).unwrap();
            (link.namespace, link.up) = (Some(namespace), true);
        }
        Op::RemoveElsewhere { name, .. } => assert!(machine.elsewhere.remove(&name).is_some(), "ENODEV: {op}"),
        Op::RemoveRoute(route) => assert!(machine.routes.remove(&route), "ESRCH: {op}"),
        Op::RemoveDataplane => machine.tables = None,
    }
}

/// At which the kernel takes the routes and the IPv6 addresses away.
fn set_vrf(machine: &mut Observed, device: &str, vrf: Option<String>) {
    machine.links.get_mut(device).unwrap().vrf = vrf;
    let stays = |address: &Address| address.device != device || address.address.addr().is_ipv4();
    machine.addresses.retain(stays);
    machine.other_addresses.retain(stays);
    machine.routes.retain(|route| route.via.device() != Some(device));
}

/// A machine with a VRF on which `desired` was applied, with charon's lanes up.
pub fn machine(desired: &Desired) -> Observed {
    let mut machine = bare();
    for op in diff(desired, &machine).unwrap().ops {
        carry_out(&mut machine, &op);
    }
    for lane in &desired.charon_lanes {
        machine.charon.insert(*lane, LaneTraces { states: 2, policies: 6, asked: false });
    }
    machine
}

/// Something of ours gone or changed behind our back.
pub fn drift(machine: &mut Observed, which: usize) {
    let device = machine.links.keys().next().cloned();
    match (which, device) {
        (1, Some(device)) => {
            machine.links.remove(&device);
            machine.addresses.retain(|address| address.device != device);
            machine.routes.retain(|route| route.via.device() != Some(&device));
        }
        (2, Some(device)) => {
            machine.links.get_mut(&device).unwrap().up = false;
            machine.routes.retain(|route| route.via.device() != Some(&device));
        }
        (3, _) => machine.states.truncate(1),
        (4, _) => {
            machine.policies.pop();
        }
        (5, _) => machine.routes.clear(),
        (6, _) => machine.policies.iter_mut().for_each(|policy| policy.priority += 1),
        (7, _) => machine.tables = None,
        (8, _) => {
            machine.rules.pop_first();
        }
        (9, Some(device)) => {
            let vrf = if machine.links[&device].vrf.is_some() { None } else { Some("blue".to_owned()) };
            set_vrf(machine, &device, vrf);
        }
        _ => {}
    }
}

/// A machine with a VRF, a WAN and nothing of ours.
pub fn bare() -> Observed {
    let others = [("wan0".to_owned(), DeviceInUse::default())].into();
    Observed { vrfs: [("blue".to_owned(), 10)].into(), others, ..Observed::default() }
}

/// Where a packet to that address goes, as the kernel looks for it: rule by rule, the longest prefix of a table first.
pub fn lookup(machine: &Observed, to: IpAddr) -> Option<&RouteVia> {
    lookup_marked(machine, to, 0)
}

/// The same of one with a mark.
pub fn lookup_marked(machine: &Observed, to: IpAddr, marked: u32) -> Option<&RouteVia> {
    let longest = |table: Table, longer_than: Option<u8>| {
        let fits = |route: &&Route| {
            let long_enough = longer_than.is_none_or(|length| route.destination.prefix_len() > length);
            route.table == table && long_enough && route.destination.contains(&to)
        };
        let found = machine.routes.iter().filter(fits);
        found.max_by_key(|route| (route.destination.prefix_len(), Reverse(route.metric))).map(|route| &route.via)
    };
    let mut rules: Vec<&Rule> = machine.rules.iter().filter(|rule| rule.ipv4 == to.is_ipv4()).collect();
    rules.sort_by_key(|rule| rule.priority());
    let asked = rules.into_iter().map(|rule| match rule.asks {
        Asks::Longer | Asks::LongerThanMarked => longest(rule.table(), Some(rule.length)),
        Asks::Table { but } => longest(rule.table(), None).filter(|_| but == 0 || marked & but != but),
        Asks::Marked { mark, .. } => longest(rule.table(), None).filter(|_| marked & mark.mask == mark.value),
    });
    let mut found = asked.chain([longest(Table::Main, None)]).flatten();
    found.find(|via| **via != RouteVia::Throw)
}
