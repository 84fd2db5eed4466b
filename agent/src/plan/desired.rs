//! What there should be, from the policy and the keys.

mod lead;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use lead::blocked;
pub use lead::{Followed, LeftOut};

use super::{
    Address, BLOCK_PRIORITY, Direction, Lack, Link, LinkKind, List, Mark, Observed, POLICY_PRIORITY, PolicyDirection,
    Route, RouteVia, Rule, Selector, State, StateId, Table, Treatment, XfrmPolicy, XfrmPolicyId,
};
use crate::keyfile::Keys;
use crate::policy::{
    Classify, DeviceKind, Keying, Lane, Mode, Policy, STATIC_KEY_CONSENT, Selection, Selectors, Static, Tunnel, lanes,
};

/// What there should be. `Desired::default()` is a machine without Lanekeeper: what `down` wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Devices.
    pub links: Vec<Link>,
    /// Their addresses.
    pub addresses: BTreeSet<Address>,
    /// Routes, those to nowhere included.
    pub routes: BTreeSet<Route>,
    /// By VRF, what is routed into which of its devices, or blocked: the number of its table is the kernel's to say.
    pub vrf_routes: BTreeMap<String, BTreeSet<(IpNet, Option<RouteVia>)>>,
    /// What of addresses and routes follows somebody's SAs.
    pub followed: Followed,
    /// What of that there is no route for.
    pub left_out: BTreeSet<LeftOut>,
    /// Rules, where a route is around a peer.
    pub rules: BTreeSet<Rule>,
    /// Static states; inbound ones first.
    pub states: List<State>,
    /// Static policies.
    pub policies: List<XfrmPolicy>,
    /// Lanes whose states and policies are charon's, by request id and if_id.
    pub charon_lanes: BTreeSet<(u32, u32)>,
    /// charon's connections by name with the digest of their form; filled by `reconcile`.
    pub connections: BTreeMap<String, u64>,
    /// Digest of the compiled tables, `None` for no data path at all; filled by `reconcile`.
    pub tables: Option<u64>,
    /// Devices that carry our programs.
    pub attached: BTreeSet<String>,
    /// Those of them that are charon's, and there while it runs.
    pub tuns: BTreeSet<String>,
    /// Interfaces whose packets are classified as they come in, whether or not they exist.
    pub ports: BTreeMap<String, Classify>,
    /// Sockets of cgroups that rules name are marked.
    pub sockets: bool,
}

/// Why a policy and its keys make no desired state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The shell read no key file for a static tunnel.
    #[error("tunnel \"{tunnel}\": its key file {file} was not read")]
    NoKeys {
        /// Tunnel.
        tunnel: String,
        /// As the policy names it.
        file: String,
    },
    /// A lane without a key.
    #[error("tunnel \"{tunnel}\": {file} has no sa with lane \"{lane}\" and direction \"{direction}\"; add one")]
    MissingSa {
        /// Tunnel.
        tunnel: String,
        /// Key file.
        file: String,
        /// `CLASS.INDEX`.
        lane: String,
        /// Of the missing SA.
        direction: Direction,
    },
    /// A key without a lane.
    #[error("tunnel \"{tunnel}\": {file} has an sa for lane \"{lane}\", which the tunnel does not have; remove it")]
    UnknownLane {
        /// Tunnel.
        tunnel: String,
        /// Key file.
        file: String,
        /// As the file names it.
        lane: String,
    },
    /// Two tunnels would receive by the same SPI.
    #[error(
        "tunnel \"{tunnel}\": {file} gives lane \"{lane}\" the spi {spi:#x} at {destination}, which another static tunnel has \
         too; choose another on both ends"
    )]
    SharedSpi {
        /// The later tunnel.
        tunnel: String,
        /// Its key file.
        file: String,
        /// `CLASS.INDEX`.
        lane: String,
        /// Of both.
        spi: u32,
        /// Outer destination of both.
        destination: IpAddr,
    },
    /// Counter mode without the operator's word for it.
    #[error(
        "tunnel \"{tunnel}\": {algorithm} in {file} repeats its nonces when the machine restarts with the same key; \
         if you can live with that write \
         i-know = \"{STATIC_KEY_CONSENT}\" in [tunnel.static], else use aes128-sha256"
    )]
    NoConsent {
        /// Tunnel.
        tunnel: String,
        /// Key file.
        file: String,
        /// Counter-mode algorithm.
        algorithm: String,
    },
}

impl Desired {
    /// Of this policy; `keys` holds the read key files by tunnel name.
    pub fn new(policy: &Policy, keys: &BTreeMap<String, Keys>) -> Result<Self, Error> {
        let ports = policy.ports.iter().map(|port| (port.name.clone(), port.classify)).collect();
        let mut desired = Self { ports, sockets: policy.mark_sockets, ..Self::default() };
        desired.lead(policy);
        for tunnel in &policy.tunnels {
            desired.policies.extend(blocks(tunnel));
            let if_id = tunnel.device.kind.if_id();
            match &tunnel.keying {
                Keying::Ike(_) => {
                    desired.charon_lanes.extend(tunnel.lanes.iter().map(|lane| (lane.reqid, if_id)));
                }
                // Its states and policies are between charon and whoever wrote swanctl.conf.
                Keying::Adopted(_) => {}
                Keying::Static(how) => desired.add_lanes(policy.mark_mask, tunnel, how, keys)?,
            }
        }
        Ok(desired)
    }

    fn add_devices(&mut self, tunnel: &Tunnel) {
        for (at, (name, kind)) in tunnel.devices().into_iter().enumerate() {
            let fwmark = tunnel.lanes.get(at).map_or(0, |lane| lane.mark);
            self.add_device(tunnel, name, kind, fwmark);
        }
    }

    fn add_device(&mut self, tunnel: &Tunnel, name: String, kind: DeviceKind, fwmark: u32) {
        let device = &tunnel.device;
        if device.joint && self.attached.contains(&name) {
            return;
        }
        let kind = match kind {
            DeviceKind::Xfrm { .. } if device.external => LinkKind::External,
            DeviceKind::Xfrm { if_id } => LinkKind::Xfrm { if_id },
            DeviceKind::Vti { input_key, output_key } => {
                LinkKind::Vti { local: tunnel.local, remote: tunnel.remote_of(&name), input_key, output_key }
            }
            DeviceKind::Gre { key, ttl } => {
                LinkKind::Gre { local: tunnel.local, remote: tunnel.remote, key, ttl, fwmark }
            }
            // charon's to make.
            DeviceKind::Tun => {
                self.attached.insert(name.clone());
                self.tuns.insert(name);
                return;
            }
            DeviceKind::Bare => return,
        };
        // A VTI has asked for the policy by its key and forgotten the SA: any policy of others that fits would drop the packet. In
        // another namespace it has other settings, and other policies.
        let disable_policy = matches!(device.kind, DeviceKind::Vti { .. }) && device.namespace.is_none();
        self.attached.insert(name.clone());
        self.links.push(Link {
            name,
            kind,
            mtu: device.mtu,
            up: true,
            disable_policy,
            source_by_mark: tunnel.has_lane_devices(),
            vrf: device.vrf.clone(),
            namespace: device.namespace.clone(),
            link: device.link.clone(),
        });
    }

    /// As it can be on that machine: a device whose VRF is not there must not be either, or its own addresses would make routes
    /// in the main table; nor can one whose underlying device is not. Returns those devices, too, with what each lacks.
    pub(super) fn on(&self, machine: &Observed) -> (Self, Vec<(String, Lack)>) {
        let mut desired = self.clone();
        let is_there = |device: &String| machine.others.contains_key(device) || machine.links.contains_key(device);
        let lacks = |link: &Link| {
            // The kernel makes no second one of its if_id, or of its ends.
            if let Some(number) = machine.elsewhere.get(&link.name) {
                return Some(Lack::Elsewhere(*number));
            }
            if let Some(name) = &link.namespace {
                if !machine.keeps_programs {
                    return Some(Lack::Tcx);
                }
                if !machine.namespaces.contains_key(name) {
                    return Some(Lack::Namespace(name.clone()));
                }
            }
            let vrf = link.vrf.iter().find(|vrf| !machine.vrfs.contains_key(*vrf));
            let lack = |vrf: &String| if is_there(vrf) { Lack::NoVrf(vrf.clone()) } else { Lack::Vrf(vrf.clone()) };
            vrf.map(lack).or_else(|| link.link.iter().find(|device| !is_there(device)).cloned().map(Lack::Link))
        };
        let no_tun = |name: &&String| !is_there(name);
        let tuns = self.tuns.iter().filter(no_tun).map(|name| (name.clone(), Lack::Tun));
        let links = self.links.iter().filter_map(|link| Some((link.name.clone(), lacks(link)?)));
        let lacking: Vec<_> = links.chain(tuns).collect();
        let stays = |device: &str| lacking.iter().all(|(name, _)| name != device);
        desired.links.retain(|link| stays(&link.name));
        desired.attached.retain(|device| stays(device));
        desired.addresses.retain(|address| stays(&address.device));
        for (vrf, routes) in std::mem::take(&mut desired.vrf_routes) {
            let Some(&number) = machine.vrfs.get(&vrf) else { continue };
            let table = Table::Vrf(number);
            for (to, via) in routes {
                let found: Vec<Route> = blocked(to, via, table).collect();
                if self.followed.vrf_routes.contains(&(vrf.clone(), to)) {
                    desired.followed.routes.extend(found.clone());
                }
                desired.routes.extend(found);
            }
        }
        desired.routes.retain(|route| route.via.device().is_none_or(stays));
        (desired, lacking)
    }

    fn add_lanes(
        &mut self,
        mask: u32,
        tunnel: &Tunnel,
        how: &Static,
        keys: &BTreeMap<String, Keys>,
    ) -> Result<(), Error> {
        let name = || tunnel.name.clone();
        let file = || how.key_file.display().to_string();
        let keys = keys.get(&tunnel.name).ok_or_else(|| Error::NoKeys { tunnel: name(), file: file() })?;
        if let Some(sa) = keys.sas.iter().find(|sa| tunnel.lanes.iter().all(|lane| lane.label != sa.lane)) {
            return Err(Error::UnknownLane { tunnel: name(), file: file(), lane: sa.lane.clone() });
        }
        if let Some(sa) = keys.sas.iter().find(|sa| sa.algorithm.is_counter_mode() && !how.consent) {
            return Err(Error::NoConsent { tunnel: name(), file: file(), algorithm: sa.algorithm.to_string() });
        }
        for direction in [Direction::In, Direction::Out] {
            for lane in &tunnel.lanes {
                let sa = keys.find(&lane.label, direction).ok_or_else(|| Error::MissingSa {
                    tunnel: name(),
                    file: file(),
                    lane: lane.label.clone(),
                    direction,
                })?;
                let selection = tunnel.selection(lane, mask);
                // An inbound state is found by SPI before anything has marked the packet: it must match mark 0, and on an
                // XFRM interface sets the mark that the in and fwd policies then ask for. An outbound one is found by its
                // policy's mark.
                let (source, destination, found_by, set_mark) = match direction {
                    Direction::In => {
                        (tunnel.remote, tunnel.local, None, selection.sets_mark.then(|| selection.input.into()))
                    }
                    Direction::Out => (tunnel.local, tunnel.remote, Some(selection.output.into()), None),
                };
                // The kernel takes no two states of one destination and SPI whose marks overlap.
                if self.states.iter().any(|other| (other.id.destination, other.id.spi) == (destination, sa.spi)) {
                    let (lane, spi) = (lane.label.clone(), sa.spi);
                    return Err(Error::SharedSpi { tunnel: name(), file: file(), lane, spi, destination });
                }
                self.states.push(State {
                    id: StateId { destination, spi: sa.spi, mark: found_by },
                    source,
                    reqid: lane.reqid,
                    if_id: selection.if_id,
                    mode: tunnel.device.kind.mode(),
                    set_mark,
                    replay_window: if direction == Direction::In { tunnel.replay_window } else { 0 },
                    algorithm: sa.algorithm,
                    key: sa.key.clone(),
                });
            }
        }
        for lane in &tunnel.lanes {
            self.policies.extend(policies(tunnel, lane, &tunnel.selection(lane, mask)));
        }
        Ok(())
    }
}

/// One per direction and pair of selectors of one family.
fn policies(tunnel: &Tunnel, lane: &Lane, selection: &Selection) -> Vec<XfrmPolicy> {
    let mut policies = Vec::new();
    let mode = tunnel.device.kind.mode();
    let Selectors { local, remote, protocol } = tunnel.selectors();
    for &local in &local {
        for &remote in remote.iter().filter(|remote| remote.addr().is_ipv4() == local.addr().is_ipv4()) {
            for &direction in directions(mode) {
                let (selector, mark, source, destination) = match direction {
                    PolicyDirection::Out => {
                        let selector = Selector { source: local, destination: remote, protocol, icmp: None };
                        (selector, selection.output, tunnel.local, tunnel.remote)
                    }
                    PolicyDirection::In | PolicyDirection::Fwd => {
                        let selector = Selector { source: remote, destination: local, protocol, icmp: None };
                        (selector, selection.input, tunnel.remote, tunnel.local)
                    }
                };
                let (mark, if_id) = (Some(Mark::from(mark)), selection.if_id);
                policies.push(XfrmPolicy {
                    id: XfrmPolicyId { direction, selector, mark, if_id },
                    priority: POLICY_PRIORITY,
                    source,
                    destination,
                    reqid: lane.reqid,
                    treatment: Treatment::Encrypt(mode),
                });
            }
        }
    }
    policies
}

/// What a transport-mode SA is for is never forwarded.
fn directions(mode: Mode) -> &'static [PolicyDirection] {
    match mode {
        Mode::Tunnel => &[PolicyDirection::In, PolicyDirection::Fwd, PolicyDirection::Out],
        Mode::Transport => &[PolicyDirection::In, PolicyDirection::Out],
    }
}

/// Type and code by which a gateway without the device that a GRE packet is for answers, with the beginning of what was in it (RFC 792;
/// `gre_rcv`, `ipgre_rcv`): it has been decrypted by then, and no SA is for the answer.
const UNREACHABLE_PORT: (u8, u8) = (3, 3);
/// The same of ICMPv6 (RFC 4443).
const UNREACHABLE_PORT6: (u8, u8) = (1, 4);

/// Below the lanes' policies, where packets are routed like any other: without its SA a GRE device would send in clear, and take
/// what comes in clear, or without the device answer what comes with a part of it in clear; and so would a tunnel without a device of what is for its selectors. An XFRM interface and a VTI do
/// neither.
pub fn blocks(tunnel: &Tunnel) -> Vec<XfrmPolicy> {
    let (ours, ways): (u32, &[PolicyDirection]) = match (tunnel.device.kind, tunnel.lanes.first()) {
        (DeviceKind::Gre { .. } | DeviceKind::Bare, Some(lane)) => {
            let reqid = match tunnel.keying {
                Keying::Ike(_) | Keying::Static(_) => lane.reqid,
                // charon's own, and not always the same.
                Keying::Adopted(_) => lanes::reqid_of_blocks(&tunnel.name),
            };
            (reqid, directions(tunnel.device.kind.mode()))
        }
        (DeviceKind::Gre { .. } | DeviceKind::Bare, None)
        | (DeviceKind::Xfrm { .. } | DeviceKind::Vti { .. } | DeviceKind::Tun, _) => {
            return Vec::new();
        }
    };
    let Selectors { local, remote, protocol } = tunnel.selectors();
    let block = |direction: PolicyDirection, local: IpNet, remote: IpNet, protocol: u8, icmp: Option<(u8, u8)>| {
        let (from, to, source, destination) = match direction {
            PolicyDirection::Out => (local, remote, tunnel.local, tunnel.remote),
            PolicyDirection::In | PolicyDirection::Fwd => (remote, local, tunnel.remote, tunnel.local),
        };
        let selector = Selector { source: from, destination: to, protocol, icmp };
        XfrmPolicy {
            id: XfrmPolicyId { direction, selector, mark: None, if_id: 0 },
            priority: BLOCK_PRIORITY,
            source,
            destination,
            reqid: ours,
            treatment: Treatment::Block,
        }
    };
    let mut blocks = Vec::new();
    for &local in &local {
        for &remote in remote.iter().filter(|remote| remote.addr().is_ipv4() == local.addr().is_ipv4()) {
            blocks.extend(ways.iter().map(|&way| block(way, local, remote, protocol, None)));
            if let DeviceKind::Gre { .. } = tunnel.device.kind {
                let (icmp, error) = if local.addr().is_ipv4() {
                    (libc::IPPROTO_ICMP, UNREACHABLE_PORT)
                } else {
                    (libc::IPPROTO_ICMPV6, UNREACHABLE_PORT6)
                };
                blocks.push(block(PolicyDirection::Out, local, remote, icmp as u8, Some(error)));
            }
        }
    }
    blocks
}
