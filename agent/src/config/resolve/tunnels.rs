//! Tunnels: their ends, classes, lanes, devices and routes.

mod adopt;
mod bare;
mod ends;
mod gre;
mod joint;
mod keying;
mod room;
mod shared;
mod tun;

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::names::Names;
use crate::config::Source;
use crate::config::caution::Caution;
use crate::config::document::{self, Document};
use crate::config::findings::{At, Findings};
use crate::config::problem::Problem;
use crate::config::value::{DeviceType, SELECTORS, VIRTUAL};
use crate::policy::lanes::{self, Carried};
use crate::policy::{Class, ClassIndex, Device, DeviceKind, EACH, Fallback, Keying, Policy, Tunnel, TunnelIndex};

/// Anti-replay window of a tunnel that names none: wide enough for what CPUs and queues reorder inside one class.
const REPLAY_WINDOW: u32 = 128;
/// MTU of a device that names none: 1500 less ESP, UDP and an IPv6 header with room to spare.
const MTU: u32 = 1400;
/// TTL of a GRE device that names none: the kernel's own for what it sends.
const TTL: u8 = 64;

/// Every tunnel with its lanes.
pub fn resolve(
    document: &Document,
    names: &Names<'_>,
    classes: &[Class],
    mask: u32,
    sources: &[Source],
    findings: &mut Findings<'_>,
) -> Vec<Tunnel> {
    shared::check(document, classes, mask, findings);
    bare::check(document, findings);
    joint::check(document, findings);
    gre::check(document, classes, findings);
    tun::check(document, classes, findings);
    let mut tunnels = Vec::with_capacity(document.tunnels.len());
    for tunnel in &document.tunnels {
        let (local, remote) = ends::resolve(tunnel, findings);
        check_inside(tunnel, findings);
        let carried = carried(tunnel, names, classes, findings);
        let keying = keying::resolve(tunnel, names, &carried, sources, findings);
        tunnels.push(Tunnel {
            name: tunnel.name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
            local,
            remote,
            classes: carried,
            lanes: Vec::new(),
            device: Device { joint: joint::is_joint(document, tunnel), ..device(tunnel) },
            routes: tunnel.routes.iter().map(|route| route.value).collect(),
            keying,
            replay_window: tunnel.replay_window.as_ref().map_or(REPLAY_WINDOW, |window| window.value),
            local_ts: selectors(&tunnel.local_ts),
            remote_ts: selectors(&tunnel.remote_ts),
        });
    }
    shared::check_clients(document, findings);
    for (entry, tunnel) in document.tunnels.iter().zip(&tunnels) {
        keying::check_identities(entry, tunnel, findings);
        keying::check_idle(entry, tunnel, classes, findings);
    }
    if fits(document, &tunnels, classes, mask, findings) & room::check(document, &tunnels, classes, findings) {
        let names: Vec<Carried<'_>> = tunnels.iter().map(|tunnel| carried_by(tunnel, classes)).collect();
        let assigned = lanes::assign(&names, mask);
        for (tunnel, lanes) in tunnels.iter_mut().zip(assigned) {
            tunnel.lanes = lanes;
            if let Keying::Adopted(_) = tunnel.keying {
                crate::policy::adopt::unlearn(&mut tunnel.lanes);
            }
        }
        shared::check_outer_dscp(document, &tunnels, classes, findings);
    }
    tunnels
}

/// Warns of a tunnel that drops what rules give it, for want of a lane of the class and of its fallbacks.
pub fn warn_blocked(
    document: &Document,
    policy: &Policy,
    tunnel: TunnelIndex,
    used: &BTreeSet<ClassIndex>,
    findings: &mut Findings<'_>,
) {
    let (tunnel, entry) = (&policy.tunnels[tunnel.0], &document.tunnels[tunnel.0]);
    for &class in used {
        let mut at = class;
        let mut blocked = false;
        // A circle has been reported; it is at most as long as there are classes.
        for _ in 0..=policy.classes.len() {
            if tunnel.classes.contains(&at) {
                break;
            }
            match policy.classes[at.0].fallback {
                Fallback::Class(next) => at = next,
                Fallback::Clear => break,
                Fallback::Block => {
                    blocked = true;
                    break;
                }
            }
        }
        if blocked {
            let (object, class) = (entry.object.clone(), policy.classes[class.0].name.clone());
            let spot = entry.classes.first().map_or(entry.spot, |first| first.spot);
            findings.caution(spot, Caution::ClassBlocked { object, class });
        }
    }
}

fn carried(
    tunnel: &document::Tunnel,
    names: &Names<'_>,
    all: &[Class],
    findings: &mut Findings<'_>,
) -> Vec<ClassIndex> {
    super::rules::no_twice(&tunnel.classes, &tunnel.object, "classes", String::clone, findings);
    let mut classes = Vec::with_capacity(tunnel.classes.len());
    for name in &tunnel.classes {
        let class = names.find(name, &tunnel.object, "class", "classes", findings).map(ClassIndex);
        if let Some(class) = class {
            check_room(tunnel, classes.len(), name, all[class.0].lanes, findings);
            classes.push(class);
        }
    }
    classes
}

/// Whether the device can carry a class more beside the `before` that come before it.
fn check_room(tunnel: &document::Tunnel, before: usize, name: &At<String>, lanes: u8, findings: &mut Findings<'_>) {
    let kind =
        tunnel.device.as_ref().and_then(|device| device.kind.as_ref()).map_or(DeviceType::Xfrm, |kind| kind.value);
    if device(tunnel).kind.most_lanes().is_none_or(|most| before + usize::from(lanes) <= most) {
        return;
    }
    let class = &name.value;
    let what = match before {
        0 => format!("class \"{class}\" has {lanes}"),
        _ => format!("class \"{class}\" would be one more"),
    };
    findings.problem(name.spot, Problem::OneLane { object: tunnel.object.clone(), device: kind.title(), what });
}

/// What the lanes of a tunnel are made from.
fn carried_by<'a>(tunnel: &'a Tunnel, classes: &'a [Class]) -> Carried<'a> {
    let of_class = |&class: &ClassIndex| (class, classes[class.0].name.as_str(), classes[class.0].lanes);
    let by_mark = !tunnel.device.kind.is_device() || tunnel.has_lane_devices();
    let by_class = by_mark.then_some(classes.len());
    Carried { tunnel: &tunnel.name, classes: tunnel.classes.iter().map(of_class).collect(), by_class }
}

/// Whether the lanes of every tunnel have a mark.
fn fits(document: &Document, tunnels: &[Tunnel], classes: &[Class], mask: u32, findings: &mut Findings<'_>) -> bool {
    let room = mask >> mask.trailing_zeros().min(31);
    let spot = document.mark.as_ref().and_then(|mark| mark.mask.as_ref()).map(|mask| mask.spot);
    let mut fit = true;
    for (tunnel, entry) in tunnels.iter().zip(&document.tunnels) {
        let lanes = carried_by(tunnel, classes).last_mark();
        if lanes > room {
            let object = entry.object.clone();
            findings.problem(spot.unwrap_or(entry.spot), Problem::MaskSmall { mask, room, object, lanes });
            fit = false;
        }
    }
    fit
}

fn device(tunnel: &document::Tunnel) -> Device {
    let device = tunnel.device.as_ref();
    // What has been reported stands for a number that is not there.
    let number = |at: Option<&At<u32>>| at.map_or(1, |at| at.value);
    let kind = device.and_then(|device| device.kind.as_ref()).map_or(DeviceType::Xfrm, |kind| kind.value);
    Device {
        kind: match kind {
            DeviceType::Xfrm if device.is_some_and(|device| device.each.is_some()) => DeviceKind::Xfrm { if_id: 0 },
            DeviceType::Vti if device.is_some_and(|device| device.each.is_some()) => {
                DeviceKind::Vti { input_key: 0, output_key: 0 }
            }
            DeviceType::Xfrm => DeviceKind::Xfrm { if_id: number(device.and_then(|device| device.if_id.as_ref())) },
            DeviceType::Vti => {
                let (input, output) = device.map_or((None, None), document::Device::keys);
                DeviceKind::Vti { input_key: number(input), output_key: number(output) }
            }
            DeviceType::Gre => DeviceKind::Gre {
                key: device.and_then(|device| device.key.as_ref()).map(|key| key.value),
                ttl: device.and_then(|device| device.ttl.as_ref()).map_or(TTL, |ttl| ttl.value as u8),
            },
            DeviceType::Tun => DeviceKind::Tun,
            DeviceType::Bare => DeviceKind::Bare,
        },
        name: device.and_then(|device| device.name.as_ref()).map(|name| name.value.clone()).unwrap_or_default(),
        mtu: device.and_then(|device| device.mtu.as_ref()).map_or(MTU, |mtu| mtu.value),
        addresses: device.map(|device| device.addresses.iter().map(|at| at.value).collect()).unwrap_or_default(),
        external: joint::is_external(tunnel),
        joint: false,
        vrf: device.and_then(|device| device.vrf.as_ref()).map(|vrf| vrf.value.clone()),
        namespace: device.and_then(|device| device.namespace.as_ref()).map(|name| name.value.clone()),
        link: device.and_then(|device| device.link.as_ref()).map(|link| link.value.clone()),
    }
}

fn selectors(written: &[At<IpNet>]) -> Vec<IpNet> {
    if written.is_empty() {
        return vec![IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
    }
    written.iter().map(|at| at.value).collect()
}

/// Routes, selectors and MTU of one tunnel.
fn check_inside(tunnel: &document::Tunnel, findings: &mut Findings<'_>) {
    let object = &tunnel.object;
    super::rules::no_twice(&tunnel.routes, object, "routes", ToString::to_string, findings);
    super::rules::no_twice(&tunnel.selectors, object, "routes", |()| SELECTORS.to_owned(), findings);
    super::rules::no_twice(&tunnel.local_ts, object, "local-ts", ToString::to_string, findings);
    super::rules::no_twice(&tunnel.remote_ts, object, "remote-ts", ToString::to_string, findings);
    for route in &tunnel.routes {
        let inside = |ts: &At<IpNet>| ts.value.contains(&route.value);
        if !tunnel.remote_ts.is_empty() && !tunnel.remote_ts.iter().any(inside) {
            let (object, route_text) = (object.clone(), route.value.to_string());
            findings.caution(route.spot, Caution::RouteOutside { object, route: route_text });
        }
    }
    let Some(device) = &tunnel.device else { return };
    if let Some(DeviceType::Gre) = device.kind.as_ref().map(|kind| kind.value) {
        let of_inside = [("local-ts", &tunnel.local_ts), ("remote-ts", &tunnel.remote_ts)];
        for (key, first) in of_inside.into_iter().filter_map(|(key, ts)| Some((key, ts.first()?))) {
            let (object, kind, of) = (object.clone(), DeviceType::Gre.name(), DeviceType::Xfrm.name());
            findings.problem(first.spot, Problem::OfOtherDevice { object, key, kind, of });
        }
    }
    let of_device = format!("{object}: device");
    check_each(tunnel, device, &of_device, findings);
    check_namespace(tunnel, device, &of_device, findings);
    super::rules::no_twice(&device.addresses, &of_device, "addresses", ToString::to_string, findings);
    super::rules::no_twice(&device.virtual_ips, &of_device, "addresses", |()| VIRTUAL.to_owned(), findings);
    if tunnel.adopt.is_none() {
        for (object, key, word, at) in [
            (object, "routes", SELECTORS, tunnel.selectors.first()),
            (&of_device, "addresses", VIRTUAL, device.virtual_ips.first()),
        ] {
            if let Some(at) = at {
                findings.problem(at.spot, Problem::OfAdopted { object: object.clone(), key, word });
            }
        }
    }
    if let Some(mtu) = &device.mtu
        && mtu.value < IPV6_MTU
    {
        let is_v6 = |at: &&At<IpNet>| matches!(at.value, IpNet::V6(_));
        let address = device.addresses.iter().find(is_v6).map(|at| format!("address {}", at.value));
        let route = tunnel.routes.iter().find(is_v6).map(|at| format!("route {}", at.value));
        let learnt = tunnel.selectors.first().map(|_| format!("routes = \"{SELECTORS}\""));
        let given = device.virtual_ips.first().map(|_| format!("addresses = \"{VIRTUAL}\""));
        if let Some(with) = address.or(route).or(learnt).or(given) {
            let object = format!("{object}: device");
            findings.problem(mtu.spot, Problem::MtuSmall { object, mtu: mtu.value, with });
        }
    }
}

/// Whether several devices may be, and can be called so.
fn check_each(tunnel: &document::Tunnel, device: &document::Device, object: &str, findings: &mut Findings<'_>) {
    let each = device.each.is_some();
    if let Some(spot) = device.each.filter(|_| tunnel.adopt.is_none()) {
        findings.problem(spot, Problem::EachOfOurs { object: object.to_owned() });
    }
    if let Some(name) = device.name.as_ref().filter(|name| name.value.contains(EACH) != each) {
        let (object, text) = (object.to_owned(), name.value.clone());
        findings.problem(name.spot, Problem::EachName { object, name: text, each });
    }
}

/// What a device in another namespace has there is not ours to say.
fn check_namespace(tunnel: &document::Tunnel, device: &document::Device, of_device: &str, findings: &mut Findings<'_>) {
    if device.namespace.is_none() {
        return;
    }
    let routes = tunnel.routes.first().map(|route| route.spot).or(tunnel.selectors.first().map(|word| word.spot));
    let addresses = device.addresses.first().map(|at| at.spot).or(device.virtual_ips.first().map(|word| word.spot));
    for (object, key, spot) in [
        (&tunnel.object[..], "routes", routes),
        (of_device, "addresses", addresses),
        (of_device, "vrf", device.vrf.as_ref().map(|vrf| vrf.spot)),
        (of_device, "%unique", device.each),
    ] {
        if let Some(spot) = spot {
            findings.problem(spot, Problem::OfNamespace { object: object.to_owned(), key });
        }
    }
}

/// The least MTU of a link that carries IPv6 (RFC 8200 section 5).
const IPV6_MTU: u32 = 1280;
