//! XFRM interfaces that several tunnels have: a packet's destination says which of them it takes, so that each says by `routes` what is
//! behind it. An external interface takes the if_id from the route; of any other the tunnels have one if_id, and the kernel tells
//! their SAs apart by selectors.

use ipnet::IpNet;

use super::MTU;
use crate::config::document::{Device, Document, Tunnel};
use crate::config::findings::{At, Findings, Spot};
use crate::config::problem::Problem;
use crate::config::value::DeviceType;

/// Whether several tunnels have its device, or may.
pub fn is_joint(document: &Document, tunnel: &Tunnel) -> bool {
    is_external(tunnel) || document.tunnels.iter().any(|other| !std::ptr::eq(other, tunnel) && may_join(tunnel, other))
}

/// Whether the two may have one device: both say the same of what a packet's if_id is.
pub fn may_join(one: &Tunnel, other: &Tunnel) -> bool {
    let (Some(one_device), Some(other_device)) = (&one.device, &other.device) else { return false };
    let (Some(name), Some(other_name)) = (&one_device.name, &other_device.name) else { return false };
    let if_id = |device: &Device| device.if_id.as_ref().map(|if_id| if_id.value);
    let is_one = match (is_external(one), is_external(other)) {
        (true, true) => true,
        (false, false) => if_id(one_device).is_some() && if_id(one_device) == if_id(other_device),
        (true, false) | (false, true) => false,
    };
    name.value == other_name.value && is_xfrm(one_device) && is_xfrm(other_device) && is_one
}

/// Whether its device takes the if_id from the route.
pub fn is_external(tunnel: &Tunnel) -> bool {
    let device = tunnel.device.as_ref().filter(|device| is_xfrm(device));
    device.and_then(|device| device.external.as_ref()).is_some_and(|external| external.value)
}

fn is_xfrm(device: &Device) -> bool {
    device.kind.as_ref().is_none_or(|kind| kind.value == DeviceType::Xfrm)
}

/// Every such tunnel, by itself and beside the first that has the device.
pub fn check(document: &Document, findings: &mut Findings<'_>) {
    check_external(document, findings);
    for (at, tunnel) in document.tunnels.iter().enumerate().filter(|(_, tunnel)| is_joint(document, tunnel)) {
        let Some(device) = &tunnel.device else { continue };
        check_one(tunnel, device, findings);
        let earlier = &document.tunnels[..at];
        if let Some(first) = earlier.iter().find(|other| may_join(tunnel, other)) {
            check_same(tunnel, device, first, findings);
        }
        check_tables(document, tunnel, earlier, findings);
        if !is_external(tunnel) && tunnel.adopt.is_none() {
            check_selectors(tunnel, earlier, findings);
        }
    }
    for tenant in &document.tenants {
        for name in &tenant.tunnels {
            let named = |tunnel: &&Tunnel| tunnel.name.as_ref().is_some_and(|of| of.value == name.value);
            let tunnel = document.tunnels.iter().find(named);
            if let Some(tunnel) = tunnel.filter(|tunnel| is_joint(document, tunnel)) {
                let (object, tunnel) = (tenant.object.clone(), tunnel.object.clone());
                findings.problem(name.spot, Problem::JointOwned { object, tunnel });
            }
        }
    }
}

/// Linux has one of them.
fn check_external(document: &Document, findings: &mut Findings<'_>) {
    let name = |tunnel: &Tunnel| tunnel.device.as_ref().and_then(|device| device.name.as_ref().map(|name| name.spot));
    let mut external = document.tunnels.iter().filter(|tunnel| is_external(tunnel));
    let Some(first) = external.next() else { return };
    for tunnel in external.filter(|tunnel| !may_join(tunnel, first)) {
        if let (Some(spot), Some(at)) = (name(tunnel), name(first)) {
            let (object, other) = (tunnel.object.clone(), first.object.clone());
            findings.problem(spot, Problem::SecondExternal { object, other, first: findings.place(at) });
        }
    }
}

/// What is not possible with such a device.
fn check_one(tunnel: &Tunnel, device: &Device, findings: &mut Findings<'_>) {
    let object = || tunnel.object.clone();
    // Those of another namespace are refused as such.
    if let Some(word) = tunnel.selectors.first() {
        findings.problem(word.spot, Problem::JointLearnt { object: object() });
    } else if tunnel.routes.is_empty() && device.namespace.is_none() {
        findings.problem(tunnel.spot, Problem::JointUnrouted { object: object() });
    }
    let of_device = format!("{}: device", tunnel.object);
    let external = is_external(tunnel);
    for (key, spot) in [
        ("namespace", device.namespace.as_ref().map(|namespace| namespace.spot)),
        ("%unique", device.each),
        ("link", device.link.as_ref().map(|link| link.spot).filter(|_| external)),
    ] {
        if let Some(spot) = spot {
            findings.problem(spot, Problem::OfJoint { object: of_device.clone(), key, external });
        }
    }
}

/// There is one device, and so it has one of each.
fn check_same(tunnel: &Tunnel, device: &Device, first: &Tunnel, findings: &mut Findings<'_>) {
    let (Some(other), Some(name)) = (&first.device, &device.name) else { return };
    // What is written, and where; or where it could be.
    let text = |at: &Option<At<String>>, device: &Device| (at.as_ref().map(|at| at.value.clone()), spot(at, device));
    let mtu = |device: &Device| {
        let mtu = device.mtu.as_ref().map_or(MTU, |mtu| mtu.value);
        (Some(mtu.to_string()), spot(&device.mtu, device))
    };
    for (key, (have, here), (want, there)) in [
        ("mtu", mtu(device), mtu(other)),
        ("vrf", text(&device.vrf, device), text(&other.vrf, other)),
        ("link", text(&device.link, device), text(&other.link, other)),
    ] {
        if let (true, Some(spot), Some(there)) = (have != want, here, there) {
            let (object, name, other) = (tunnel.object.clone(), name.value.clone(), first.object.clone());
            let first = findings.place(there);
            findings.problem(spot, Problem::JointDiffers { object, key, name, other, first });
        }
    }
}

/// Programs know no tables: where two VRFs have a prefix, or one has what is behind a tunnel without a device, a destination says too
/// little.
fn check_tables(document: &Document, tunnel: &Tunnel, earlier: &[Tunnel], findings: &mut Findings<'_>) {
    let vrf = |tunnel: &Tunnel| tunnel.device.as_ref().and_then(|device| Some(device.vrf.as_ref()?.value.clone()));
    let mine = vrf(tunnel);
    let by_destination = |other: &&Tunnel| match other.device.as_ref().and_then(|device| device.kind.as_ref()) {
        Some(kind) if kind.value == DeviceType::Bare => mine.is_some(),
        Some(_) | None => {
            let is_earlier = earlier.iter().any(|one| std::ptr::eq(one, *other));
            is_earlier && is_joint(document, other) && vrf(other) != mine
        }
    };
    for other in document.tunnels.iter().filter(by_destination) {
        let theirs = if other.routes.is_empty() { &other.remote_ts } else { &other.routes };
        for route in &tunnel.routes {
            if let Some(theirs) = theirs.iter().find(|theirs| meet(&theirs.value, &route.value)) {
                let (prefix, first) = (route.value.to_string(), findings.place(theirs.spot));
                let (object, other, theirs) = (tunnel.object.clone(), other.object.clone(), theirs.value.to_string());
                findings.problem(route.spot, Problem::JointTables { object, prefix, other, theirs, first });
            }
        }
    }
}

/// Where something is written of a device, or could be.
fn spot<T>(at: &Option<At<T>>, device: &Device) -> Option<Spot> {
    at.as_ref().map(|at| at.spot).or_else(|| device.name.as_ref().map(|name| name.spot))
}

/// Policies of one if_id and one mark are told apart by what they are for.
fn check_selectors(tunnel: &Tunnel, earlier: &[Tunnel], findings: &mut Findings<'_>) {
    let object = || tunnel.object.clone();
    if tunnel.remote_ts.is_empty() {
        findings.problem(tunnel.spot, Problem::JointSelectors { object: object() });
    }
    for other in earlier.iter().filter(|other| may_join(tunnel, other)) {
        for remote in &tunnel.remote_ts {
            let meets = |theirs: &&At<IpNet>| meet(&theirs.value, &remote.value);
            if let Some(theirs) = other.remote_ts.iter().find(meets) {
                let (prefix, first) = (remote.value.to_string(), findings.place(theirs.spot));
                let (other, theirs) = (other.object.clone(), theirs.value.to_string());
                findings.problem(remote.spot, Problem::JointMeet { object: object(), prefix, other, theirs, first });
            }
        }
    }
}

fn meet(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}
