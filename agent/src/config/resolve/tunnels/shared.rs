//! What tunnels must not share: if_ids, keys, ends of VTIs, device names, routes, marks of unlike ESP packets.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{gre, joint};
use crate::config::caution::Caution;
use crate::config::document::{Device, Document, Tunnel};
use crate::config::findings::{At, Findings, Spot};
use crate::config::problem::Problem;
use crate::config::value::DeviceType;
use crate::policy::lanes::Carried;
use crate::policy::{self, Class, ClassIndex, Lane};

/// Who has what, and where it says so.
struct Taken<'d, T>(HashMap<T, (&'d Tunnel, Spot)>);

impl<'d, T: Hash + Eq> Taken<'d, T> {
    /// Takes it, or tells who has it.
    fn take(&mut self, value: T, tunnel: &'d Tunnel, spot: Spot) -> Option<(&'d Tunnel, Spot)> {
        match self.0.get(&value) {
            Some(&holder) => Some(holder),
            None => {
                self.0.insert(value, (tunnel, spot));
                None
            }
        }
    }
}

/// Every clash between two tunnels.
pub fn check(document: &Document, classes: &[Class], mask: u32, findings: &mut Findings<'_>) {
    check_ends(document, findings);
    check_wildcards(document, findings);
    check_owned(document, findings);
    check_links(document, findings);
    check_keys(document, classes, mask, findings);
    let if_ids: HashSet<u32> =
        document.tunnels.iter().filter_map(|tunnel| Some(tunnel.device.as_ref()?.if_id.as_ref()?.value)).collect();
    let (mut by_if_id, mut by_device, mut by_route) =
        (Taken(HashMap::new()), Taken(HashMap::new()), Taken(HashMap::new()));
    for tunnel in &document.tunnels {
        let object = tunnel.object.clone();
        if let Some(if_id) = tunnel.device.as_ref().and_then(|device| device.if_id.as_ref())
            && let Some((holder, spot)) = by_if_id.take(if_id.value, tunnel, if_id.spot)
            && (joint::is_external(tunnel) || !joint::may_join(tunnel, holder))
        {
            let free = (if_id.value..=u32::MAX).chain(1..).find(|free| !if_ids.contains(free)).unwrap_or_default();
            let (other, first) = (holder.object.clone(), findings.place(spot));
            let object = object.clone();
            findings.problem(if_id.spot, Problem::IfIdTaken { object, if_id: if_id.value, other, first, free });
        }
        let spot = tunnel.device.as_ref().and_then(|device| device.name.as_ref()).map_or(tunnel.spot, |name| name.spot);
        for name in gre::names(tunnel) {
            if let Some((holder, first)) = by_device.take(name.clone(), tunnel, spot)
                && !joint::may_join(tunnel, holder)
            {
                let (object, other, first) = (object.clone(), holder.object.clone(), findings.place(first));
                findings.problem(spot, Problem::DeviceTaken { object, name, other, first });
            }
        }
        // In another VRF the same prefix is another's.
        let vrf = tunnel.device.as_ref().and_then(|device| device.vrf.as_ref()).map(|vrf| vrf.value.as_str());
        for route in &tunnel.routes {
            if let Some((holder, spot)) = by_route.take((vrf, route.value), tunnel, route.spot)
                // Twice in one tunnel is reported as such.
                && !std::ptr::eq(holder, tunnel)
            {
                let (other, first) = (holder.object.clone(), findings.place(spot));
                let (object, text) = (object.clone(), route.value.to_string());
                findings.problem(route.spot, Problem::RouteTaken { object, route: text, other, first });
            }
        }
    }
}

/// A device that the file makes leads into a tunnel, and is not there before it.
fn check_links(document: &Document, findings: &mut Findings<'_>) {
    let devices = || document.tunnels.iter().filter_map(|tunnel| Some((tunnel, tunnel.device.as_ref()?)));
    for (tunnel, device) in devices() {
        let Some(link) = &device.link else { continue };
        let named = |device: &Device| device.name.as_ref().is_some_and(|name| name.value == link.value);
        if let Some((of, _)) = devices().find(|(_, device)| named(device)) {
            let (object, name, of) = (tunnel.object.clone(), link.value.clone(), of.object.clone());
            findings.problem(link.spot, Problem::LinkIsTunnel { object, name, of });
        }
    }
}

/// What comes in by a tunnel of a tenant's own is known by the tunnel's one device.
fn check_owned(document: &Document, findings: &mut Findings<'_>) {
    for tenant in &document.tenants {
        for name in &tenant.tunnels {
            let named = |tunnel: &&Tunnel| tunnel.name.as_ref().is_some_and(|of| of.value == name.value);
            let tunnel = document.tunnels.iter().find(named);
            if let Some(tunnel) =
                tunnel.filter(|tunnel| tunnel.device.as_ref().is_some_and(|device| device.each.is_some()))
            {
                let (object, tunnel) = (tenant.object.clone(), tunnel.object.clone());
                findings.problem(name.spot, Problem::EachOwned { object, tunnel });
            }
        }
    }
}

/// Where all other addresses of the world are routed into a tunnel, so are those of clients that come from anywhere, unless their
/// packets are told by a mark.
pub fn check_clients(document: &Document, findings: &mut Findings<'_>) {
    if document.mark.as_ref().is_some_and(|mark| mark.outer.is_some()) {
        return;
    }
    for (of, local) in
        document.tunnels.iter().filter_map(|tunnel| Some((tunnel.any.map(|_| tunnel)?, tunnel.local.as_ref()?)))
    {
        for tunnel in &document.tunnels {
            if tunnel.device.as_ref().is_some_and(|device| device.vrf.is_some()) {
                continue;
            }
            let is_wide = |route: &&At<IpNet>| {
                route.value.addr().is_ipv4() == local.value.is_ipv4() && route.value.prefix_len() <= WIDE
            };
            if let Some(route) = tunnel.routes.iter().find(is_wide) {
                let (object, clients) = (tunnel.object.clone(), of.object.clone());
                let caution = Caution::ClientsRouted { object, clients, route: route.value.to_string() };
                findings.caution(route.spot, caution);
            }
        }
    }
}

/// A default route, or half of one: the longest prefix that nobody has as a network of his own.
const WIDE: u8 = 1;

/// A VTI is found by its ends alone, and what it finds no policy for is dropped (vti_rcv, vti6_rcv): nobody else gets ESP there.
/// The policies of a GRE device name nothing but its ends.
fn check_ends(document: &Document, findings: &mut Findings<'_>) {
    let mut by_ends = Taken(HashMap::new());
    for tunnel in &document.tunnels {
        let (Some(local), Some(remote)) = (&tunnel.local, &tunnel.remote) else { continue };
        let Some((earlier, spot)) = by_ends.take((local.value, remote.value), tunnel, local.spot) else { continue };
        let why = match (kind(tunnel), kind(earlier)) {
            (Some(DeviceType::Vti), _) | (_, Some(DeviceType::Vti)) => "a VTI takes all ESP between them",
            (Some(DeviceType::Gre), Some(DeviceType::Gre)) => "the SAs of both would be for all GRE between them",
            (Some(_) | None, Some(DeviceType::Xfrm | DeviceType::Tun | DeviceType::Bare) | None)
            | (Some(DeviceType::Xfrm | DeviceType::Tun | DeviceType::Bare) | None, Some(DeviceType::Gre)) => continue,
        };
        let problem = Problem::EndsTaken {
            object: tunnel.object.clone(),
            what: "local and remote",
            why,
            other: earlier.object.clone(),
            first: findings.place(spot),
        };
        findings.problem(remote.spot, problem);
    }
}

fn kind(tunnel: &Tunnel) -> Option<DeviceType> {
    let device = tunnel.device.as_ref()?;
    Some(device.kind.as_ref()?.value)
}

/// What comes to the address of a VTI for any peer is its own unless another VTI has both ends (ip_tunnel_lookup,
/// vti6_tnl_lookup), and no other kind of device is asked before.
fn check_wildcards(document: &Document, findings: &mut Findings<'_>) {
    // One for each client has two ends.
    let is_each = |tunnel: &Tunnel| tunnel.device.as_ref().is_some_and(|device| device.each.is_some());
    let is_wild = |tunnel: &Tunnel| tunnel.any.is_some() && kind(tunnel) == Some(DeviceType::Vti) && !is_each(tunnel);
    let mut by_local = Taken(HashMap::new());
    for tunnel in document.tunnels.iter().filter(|tunnel| is_wild(tunnel)) {
        let Some(local) = &tunnel.local else { continue };
        if let Some((earlier, spot)) = by_local.take(local.value, tunnel, local.spot) {
            let why = "the kernel has one VTI for any peer at an address";
            say_local(tunnel, local.spot, (earlier, spot), why, findings);
        }
    }
    for tunnel in document.tunnels.iter().filter(|tunnel| kind(tunnel) != Some(DeviceType::Vti)) {
        let Some(local) = &tunnel.local else { continue };
        if let Some(&holder) = by_local.0.get(&local.value) {
            say_local(tunnel, local.spot, holder, "a VTI for any peer takes all ESP that comes there", findings);
        }
    }
}

fn say_local(tunnel: &Tunnel, at: Spot, holder: (&Tunnel, Spot), why: &'static str, findings: &mut Findings<'_>) {
    let (object, other, first) = (tunnel.object.clone(), holder.0.object.clone(), findings.place(holder.1));
    findings.problem(at, Problem::EndsTaken { object, what: "local", why, other, first });
}

/// Keys are marks of policies that have no interface: two tunnels' must differ, and so must they from what ports and sockets
/// are given, and from the marks of lanes, which packets that came in by an XFRM interface keep.
fn check_keys(document: &Document, classes: &[Class], mask: u32, findings: &mut Findings<'_>) {
    let value = |at: &At<u32>| (at.value, at.spot);
    let keys = |tunnel: &Tunnel| {
        let (input, output) = tunnel.device.as_ref().map_or((None, None), |device| device.keys());
        [input.map(value), output.map(value)]
    };
    let used: HashSet<u32> = document.tunnels.iter().flat_map(keys).flatten().map(|(key, _)| key).collect();
    let taken = |key: &u32| used.contains(key) || writer(document, classes, key & mask, mask).is_some();
    let free = |key: u32| (key..=u32::MAX).chain(1..).find(|free| !taken(free)).unwrap_or_default();
    let mut holders = [Taken(HashMap::new()), Taken(HashMap::new())];
    for tunnel in &document.tunnels {
        // Said once of a key for both directions.
        let mut said = None;
        for (holders, key) in holders.iter_mut().zip(keys(tunnel)) {
            let Some((key, spot)) = key else { continue };
            let clash = holders.take(key, tunnel, spot);
            if said == Some(spot) {
                continue;
            }
            let object = tunnel.object.clone();
            if let Some((holder, first)) = clash {
                let (other, first) = (holder.object.clone(), findings.place(first));
                findings.problem(spot, Problem::KeyTaken { object, key, other, first, free: free(key) });
                said = Some(spot);
            } else if let Some(by) = writer(document, classes, key & mask, mask) {
                findings.problem(spot, Problem::KeyIsMark { object, key, by, free: free(key) });
                said = Some(spot);
            }
        }
    }
}

/// Who writes this mark: what gives packets that of their class, or the tunnel one of whose lanes has it.
fn writer(document: &Document, classes: &[Class], mark: u32, mask: u32) -> Option<String> {
    let number = mark >> mask.trailing_zeros().min(31);
    let lanes = |tunnel: &Tunnel| -> u32 {
        let of_class =
            |name: &At<String>| classes.iter().find(|class| class.name == name.value).map_or(0, |class| class.lanes);
        match tunnel.device.as_ref().and_then(|device| device.kind.as_ref()).map(|kind| kind.value) {
            Some(DeviceType::Gre) if gre::has_several(tunnel) => last_mark(tunnel, classes),
            Some(DeviceType::Xfrm | DeviceType::Gre) | None => {
                tunnel.classes.iter().map(|name| u32::from(of_class(name))).sum()
            }
            Some(DeviceType::Bare) => last_mark(tunnel, classes),
            Some(DeviceType::Vti | DeviceType::Tun) => 0,
        }
    };
    let port = document.ports.first().map(|port| port.object.clone());
    let sockets = document.host.as_ref().and_then(|host| host.mark_sockets.as_ref()).filter(|asked| asked.value);
    let of_class = port.or(sockets.map(|_| "[host]".to_owned())).filter(|_| number as usize <= classes.len());
    let tunnel = || document.tunnels.iter().find(|tunnel| number <= lanes(tunnel)).map(|tunnel| tunnel.object.clone());
    if number == 0 { None } else { of_class.or_else(tunnel) }
}

/// The greatest of the marks of a tunnel that ports and sockets mark for.
fn last_mark(tunnel: &Tunnel, classes: &[Class]) -> u32 {
    let find = |name: &At<String>| classes.iter().position(|class| class.name == name.value);
    let carried = tunnel.classes.iter().filter_map(|name| {
        let at = find(name)?;
        Some((ClassIndex(at), classes[at].name.as_str(), classes[at].lanes))
    });
    Carried { tunnel: "", classes: carried.collect(), by_class: Some(classes.len()) }.last_mark()
}

/// Lanes whose ESP packets leave alike by what is read of them there, addresses and mark, and not with the same DSCP. Of
/// two tunnels the first such pair is reported.
pub fn check_outer_dscp(
    document: &Document,
    tunnels: &[policy::Tunnel],
    classes: &[Class],
    findings: &mut Findings<'_>,
) {
    let mut taken: HashMap<(IpAddr, IpAddr, u32), (usize, &Lane)> = HashMap::new();
    for (at, tunnel) in tunnels.iter().enumerate() {
        // What has been reported stands for an address that could not be read.
        if tunnel.local.is_unspecified() || tunnel.remote.is_unspecified() {
            continue;
        }
        // Their marks are strongSwan's to say, once it does.
        if let policy::Keying::Adopted(_) = tunnel.keying {
            continue;
        }
        let mut reported = false;
        for lane in &tunnel.lanes {
            let (holder, other) = *taken.entry((tunnel.local, tunnel.remote, lane.mark)).or_insert((at, lane));
            let dscp = |lane: &Lane| classes[lane.class.0].outer_dscp;
            if !reported && dscp(lane) != dscp(other) {
                reported = true;
                let (entry, earlier) = (&document.tunnels[at], &document.tunnels[holder]);
                let listed = |tunnel: &Tunnel| tunnel.classes.first().map_or(tunnel.spot, |class| class.spot);
                let problem = Problem::OuterDscpDiffers {
                    object: entry.object.clone(),
                    lane: lane.label.clone(),
                    mark: lane.mark,
                    other: earlier.object.clone(),
                    other_lane: other.label.clone(),
                    first: findings.place(listed(earlier)),
                };
                findings.problem(listed(entry), problem);
            }
        }
    }
}
