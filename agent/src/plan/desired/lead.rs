//! Where packets are led: addresses and routes that the file has, and those that follow SAs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Desired;
use crate::plan::{Address, Asks, Mark, Route, RouteVia, Rule, Table, UNREACHABLE_METRIC};
use crate::policy::{ClassIndex, Policy, Tunnel};

/// Addresses and routes that nobody wrote down: whether they can be had nobody here has a say in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// Of [`Desired::addresses`].
    pub addresses: BTreeSet<Address>,
    /// Of [`Desired::routes`].
    pub routes: BTreeSet<Route>,
    /// Of [`Desired::vrf_routes`], by VRF.
    pub vrf_routes: BTreeSet<(String, IpNet)>,
}

/// Traffic selectors that are not routed into their tunnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LeftOut {
    /// Another tunnel has the prefix: by the file, or because it comes before in the file.
    #[error(
        "tunnel \"{tunnel}\": {prefix} of its traffic selectors is not routed into it: tunnel \"{other}\" has that prefix; give each \
         its own in swanctl.conf, or its device a vrf"
    )]
    Taken {
        /// Of the selectors.
        prefix: IpNet,
        /// Whose they are.
        tunnel: String,
        /// Whose the prefix is.
        other: String,
    },
    /// ESP and IKE go there.
    #[error(
        "tunnel \"{tunnel}\": {prefix} of its traffic selectors is not routed into it: that is a peer's own address, to which ESP \
         and IKE go"
    )]
    Peer {
        /// Of the selectors.
        prefix: IpNet,
        /// Whose they are.
        tunnel: String,
    },
}

/// By what IKE and ESP packets are known, which are to stay out of the tunnels.
struct Outside {
    /// Where they go.
    peers: BTreeSet<IpAddr>,
    /// Bits of their mark; 0 for none.
    mark: u32,
}

impl Desired {
    /// Makes devices, addresses, routes and rules anew, with what is known of the inside of SAs by now.
    pub fn lead(&mut self, policy: &Policy) {
        (self.addresses, self.routes, self.vrf_routes) = Default::default();
        (self.rules, self.followed, self.left_out) = Default::default();
        (self.links, self.attached, self.tuns) = Default::default();
        policy.tunnels.iter().for_each(|tunnel| self.add_devices(tunnel));
        let peers: BTreeSet<IpAddr> = policy.tunnels.iter().filter_map(Tunnel::peer).collect();
        let outside = Outside { peers, mark: policy.mark_outer };
        let mut holders: Holders<'_> = BTreeMap::new();
        for tunnel in &policy.tunnels {
            // Of the devices of several lanes the first has them: more than one would have the same network.
            let addressed = if tunnel.has_lane_devices() { 1 } else { usize::MAX };
            for (device, _) in tunnel.devices().into_iter().take(addressed) {
                let of_device = |&address: &IpNet| Address { device: device.clone(), address };
                self.addresses.extend(tunnel.device.addresses.iter().map(of_device));
            }
            for address in &tunnel.device.addresses {
                self.block_network(tunnel, address.trunc(), &outside);
            }
            // Of several devices none has what is behind all of them.
            let into = Some(tunnel.device.name.as_str()).filter(|_| !tunnel.device.is_each());
            let into = into.map(|device| via(tunnel, device));
            for &destination in &tunnel.routes {
                holders.insert((tunnel.device.vrf.as_deref(), destination), tunnel);
                self.add_route(tunnel, destination, into.clone(), &outside);
            }
            if tunnel.has_lane_devices() {
                self.lead_by_mark(policy, tunnel, &outside);
            }
        }
        if policy.tunnels.iter().all(|tunnel| tunnel.inside().is_none()) {
            return;
        }
        let (addresses, routes, in_vrfs) = (self.addresses.clone(), self.routes.clone(), self.vrf_prefixes());
        let written = holders.clone();
        for tunnel in &policy.tunnels {
            self.follow(tunnel, &outside, &mut holders);
            self.block_gone(tunnel, &outside, &written);
        }
        self.followed = Followed {
            addresses: self.addresses.difference(&addresses).cloned().collect(),
            // Without what passes peers on, nothing may ask the table.
            routes: self.routes.difference(&routes).filter(|route| route.via != RouteVia::Throw).cloned().collect(),
            vrf_routes: self.vrf_prefixes().difference(&in_vrfs).cloned().collect(),
        };
    }

    /// Of a tunnel with a device for each class: what has the mark of a class, or of one that it carries, is routed into its
    /// device. The main table leads into the first one, which has all else, and drops what is not its class's.
    fn lead_by_mark(&mut self, policy: &Policy, tunnel: &Tunnel, Outside { peers, .. }: &Outside) {
        let shift = policy.mark_mask.trailing_zeros().min(31);
        let devices = tunnel.devices();
        for &destination in &tunnel.routes {
            let (ipv4, length) = (destination.addr().is_ipv4(), destination.prefix_len());
            self.rules.insert(Rule { ipv4, length, asks: Asks::LongerThanMarked });
            for (lane, (device, _)) in tunnel.lanes.iter().zip(&devices) {
                let number = lane.class.0 as u8 + 1;
                let table = Table::Marked { class: number, length };
                self.routes.extend(blocked(destination, Some(RouteVia::Device(device.clone())), table));
                let within = |to: &IpNet| destination.contains(to) && *to != destination;
                let passed = peers.iter().map(|&peer| IpNet::from(peer)).chain(elsewhere(policy, peers)).filter(within);
                let throw =
                    |destination| Route { destination, via: RouteVia::Throw, metric: metric(&destination), table };
                self.routes.extend(passed.map(throw));
                for class in (0..policy.classes.len()).map(ClassIndex) {
                    if tunnel.carrier(class, &policy.classes) == Some(lane.class) {
                        let mark = Mark::new((class.0 as u32 + 1) << shift, policy.mark_mask);
                        self.rules.insert(Rule { ipv4, length, asks: Asks::Marked { mark, class: number } });
                    }
                }
            }
        }
    }

    /// The network of a device's address is routed into it by the kernel, and by nobody once it is gone: behind that, too,
    /// stands a route to nowhere. What is on every link has no such network.
    fn block_network(&mut self, tunnel: &Tunnel, network: IpNet, outside: &Outside) {
        let is_link_local = matches!(network, IpNet::V6(network) if network.addr().is_unicast_link_local());
        let is_host = network.prefix_len() == network.max_prefix_len();
        let has_peer = tunnel.device.vrf.is_none() && outside.peers.iter().any(|peer| network.contains(peer));
        if !is_link_local && !is_host && !has_peer && network.prefix_len() > 0 {
            self.add_route(tunnel, network, None, outside);
        }
    }

    fn vrf_prefixes(&self) -> BTreeSet<(String, IpNet)> {
        let prefixes = |(vrf, routes): (&String, &BTreeSet<(IpNet, Option<RouteVia>)>)| {
            routes.iter().map(|(prefix, _)| (vrf.clone(), *prefix)).collect::<Vec<_>>()
        };
        self.vrf_routes.iter().flat_map(prefixes).collect()
    }

    /// What the file gives a prefix has it, and of several tunnels the first.
    fn follow<'p>(&mut self, tunnel: &'p Tunnel, outside: &Outside, holders: &mut Holders<'p>) {
        let Some(inside) = tunnel.inside() else { return };
        let given = |device: &str, address: &IpAddr| Address { device: device.to_owned(), address: (*address).into() };
        if tunnel.device.is_each() {
            let each = inside.now.devices.iter();
            self.addresses
                .extend(each.flat_map(|(name, own)| own.addresses.iter().map(|address| given(name, address))));
        } else {
            self.addresses.extend(inside.now.addresses.iter().map(|address| given(&tunnel.device.name, address)));
        }
        let vrf = tunnel.device.vrf.as_deref();
        for &prefix in &inside.now.routes {
            let name = || tunnel.name.clone();
            if is_peers(tunnel, &prefix, outside) {
                self.left_out.insert(LeftOut::Peer { prefix, tunnel: name() });
                continue;
            }
            let holder = *holders.entry((vrf, prefix)).or_insert(tunnel);
            if holder.name == tunnel.name {
                let into = tunnel.device_of(&prefix).map(|device| via(tunnel, device));
                self.add_route(tunnel, prefix, into, outside);
            } else {
                self.left_out.insert(LeftOut::Taken { prefix, tunnel: name(), other: holder.name.clone() });
            }
        }
    }

    /// What no SA is for any more is unreachable, unless a prefix that the file gives the tunnel takes care of it.
    fn block_gone(&mut self, tunnel: &Tunnel, outside: &Outside, written: &Holders<'_>) {
        let vrf = tunnel.device.vrf.as_deref();
        for prefix in tunnel.inside().into_iter().flat_map(|inside| &inside.gone) {
            let around = written.iter().filter(|((of, around), _)| *of == vrf && around.contains(prefix));
            let nearest = around.max_by_key(|((_, around), _)| around.prefix_len());
            let is_routed = nearest.is_some_and(|(_, holder)| holder.name == tunnel.name);
            if !is_routed && !is_peers(tunnel, prefix, outside) {
                self.add_route(tunnel, *prefix, None, outside);
            }
        }
    }

    /// IKE and ESP to a peer are routed like anything else: a route around its address would lead them into a tunnel, its own
    /// even. Such a route has a table of its own, which passes peers on. So has a default route, for the machine has one.
    ///
    /// A VRF's table is not asked for IKE and ESP, which go by the WAN's, and so may have any route.
    ///
    /// Where it leads `into` no device, there is the route to nowhere alone.
    fn add_route(&mut self, tunnel: &Tunnel, destination: IpNet, into: Option<RouteVia>, outside: &Outside) {
        if let Some(vrf) = &tunnel.device.vrf {
            self.vrf_routes.entry(vrf.clone()).or_default().insert((destination, into));
            return;
        }
        let inside: Vec<IpNet> =
            outside.peers.iter().filter(|peer| destination.contains(*peer)).map(|&peer| peer.into()).collect();
        let length = destination.prefix_len();
        let table = if inside.is_empty() && length > 0 { Table::Main } else { Table::Around(length) };
        self.routes.extend(blocked(destination, into, table));
        if table != Table::Main {
            let ipv4 = destination.addr().is_ipv4();
            self.rules.extend([Asks::Longer, Asks::Table { but: outside.mark }].map(|asks| Rule {
                ipv4,
                length,
                asks,
            }));
        }
        for peer in inside {
            self.routes.insert(Route { destination: peer, via: RouteVia::Throw, metric: metric(&peer), table });
        }
    }
}

/// What other tunnels have in tables around peers, which are asked behind those that are chosen by the mark.
fn elsewhere<'p>(policy: &'p Policy, peers: &'p BTreeSet<IpAddr>) -> impl Iterator<Item = IpNet> + 'p {
    let others = policy.tunnels.iter().filter(|tunnel| !tunnel.has_lane_devices() && tunnel.device.vrf.is_none());
    let routes = others.flat_map(|tunnel| tunnel.all_routes());
    routes.filter(|route| peers.iter().any(|peer| route.contains(peer)))
}

/// Who has a prefix, in a VRF or in none.
type Holders<'p> = BTreeMap<(Option<&'p str>, IpNet), &'p Tunnel>;

/// Whether it is a peer's own address, in the tables that ESP is routed by.
fn is_peers(tunnel: &Tunnel, prefix: &IpNet, outside: &Outside) -> bool {
    tunnel.device.vrf.is_none()
        && prefix.prefix_len() == prefix.max_prefix_len()
        && outside.peers.contains(&prefix.addr())
}

/// Into a tunnel by a device of its own.
fn via(tunnel: &Tunnel, device: &str) -> RouteVia {
    let device = device.to_owned();
    match tunnel.device.external {
        true => RouteVia::External { device, if_id: tunnel.device.kind.if_id() },
        false => RouteVia::Device(device),
    }
}

/// A route into a device, if any, and the one to nowhere behind it.
pub(super) fn blocked(destination: IpNet, into: Option<RouteVia>, table: Table) -> impl Iterator<Item = Route> {
    let into = into.map(|via| Route { destination, via, metric: metric(&destination), table });
    let behind = Route { destination, via: RouteVia::Unreachable, metric: UNREACHABLE_METRIC, table };
    into.into_iter().chain([behind])
}

/// A route of another program at the same place must be a conflict that the kernel reports, not one that is silently preferred:
/// so the best metric there is. IPv6 reads 0 as 1024.
fn metric(destination: &IpNet) -> u32 {
    match destination {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}
