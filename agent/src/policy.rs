//! What the operator wants, checked and typed: every name resolved to an index, every value in its range.
//!
//! Made from [`crate::config`] alone. Knows nothing of the kernel or charon; no I/O.

pub mod adopt;
pub mod cgroup;
pub mod dscp;
pub mod icmp;
pub mod identity;
pub mod lanes;
pub mod protocol;
mod selection;
pub mod tcp;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

pub use adopt::Adopt;
pub use selection::{Masked, Mode, Selection, Selectors};

/// What the operator writes as `i-know` so that a key file may hold keys of counter-mode ciphers (GCM, CTR, CCM,
/// ChaCha20-Poly1305): after a reboot the sequence numbers, and with them the nonces, begin again under the same key,
/// which gives away plaintext and authentication key (RFC 4106 section 2, RFC 7634 section 2).
pub const STATIC_KEY_CONSENT: &str = "static keys repeat nonces after a reboot";

/// Where charon listens unless the file says otherwise: strongSwan's own default.
pub const DEFAULT_VICI: &str = "/var/run/charon.vici";

/// Index into [`Policy::classes`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassIndex(pub usize);

/// Index into [`Policy::tunnels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelIndex(pub usize);

/// Index into [`Policy::tenants`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantIndex(pub usize);

/// The least that may be set for [`Policy::memory_limit`]: tables without a rule take about half of it.
pub const MIN_MEMORY: u64 = 32 << 20;

/// The whole of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The fwmark bits that are ours: contiguous, not zero.
    pub mark_mask: u32,
    /// The fwmark bits, none of `mark_mask`, that IKE and ESP packets have as they leave and nothing else has; 0 for none.
    pub mark_outer: u32,
    /// Where `/metrics` and the page at `/` are served; `None` serves nothing.
    pub metrics_listen: Option<SocketAddr>,
    /// The web-config file of that listener.
    pub web_config: Option<PathBuf>,
    /// One packet in so many is timed on its way to the wire; `None` times none.
    pub latency_every: Option<u32>,
    /// charon's VICI socket.
    pub vici: PathBuf,
    /// Bytes that compiling and keeping it may take; `None` for what a full data path takes.
    pub memory_limit: Option<u64>,
    /// Sockets of cgroups that rules name get the mark of their class before the route lookup: that of class n is as with
    /// [`Port`].
    pub mark_sockets: bool,
    /// What becomes of a file whose rules name what this machine has not.
    pub missing: Missing,
    /// In the file's order.
    pub classes: Vec<Class>,
    /// In the file's order.
    pub tunnels: Vec<Tunnel>,
    /// In the file's order, which is their precedence.
    pub rules: Vec<Rule>,
    /// The class of what no rule matches.
    pub default_class: ClassIndex,
    /// In the file's order.
    pub tenants: Vec<Tenant>,
    /// In the file's order.
    pub ports: Vec<Port>,
}

/// A QoS class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// At most 31 bytes of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// Identical CHILD_SAs of this class in each tunnel, 1..=32.
    pub lanes: u8,
    /// Where its packets go while none of its lanes is up.
    pub fallback: Fallback,
    /// What the ESP packet carries, 0..=63; `None` leaves what the kernel copied.
    pub outer_dscp: Option<u8>,
    /// Whether its lanes come up with their first packet, where this end begins; `None` as the tunnel says.
    pub on_demand: Option<bool>,
}

/// Where packets go while none of a class's lanes is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Drop and count.
    Block,
    /// The operator's written wish: send without IPsec.
    Clear,
    /// That class's lanes. Chains never loop.
    Class(ClassIndex),
}

/// One IPsec peer and its device.
#[derive(Debug, Clone, PartialEq)]
pub struct Tunnel {
    /// At most 31 bytes of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// Outer address here.
    pub local: IpAddr,
    /// Outer address of the peer, of the same family; the unspecified one where clients come from anywhere, see [`Tunnel::peer`].
    pub remote: IpAddr,
    /// The classes that it carries, in the file's order, none twice.
    pub classes: Vec<ClassIndex>,
    /// Every lane, class by class in the order of `classes`; marks rise from 1.
    pub lanes: Vec<Lane>,
    /// The device that leads to it.
    pub device: Device,
    /// What lies behind it.
    pub routes: Vec<IpNet>,
    /// Who makes its SAs.
    pub keying: Keying,
    /// Anti-replay window of each SA in packets, 0..=4096.
    pub replay_window: u32,
    /// Inner selectors here; 0.0.0.0/0 and ::/0 where the file says none.
    pub local_ts: Vec<IpNet>,
    /// Inner selectors of the peer; 0.0.0.0/0 and ::/0 where the file says none.
    pub remote_ts: Vec<IpNet>,
}

/// One of a tunnel's identical CHILD_SAs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The class that it belongs to.
    pub class: ClassIndex,
    /// 0..lanes of that class.
    pub index: u8,
    /// skb->mark under [`Policy::mark_mask`], already shifted into the mask; not zero; unique in the tunnel. An adopted
    /// tunnel's is what its CHILD_SA has: 0 before that is known.
    pub mark: u32,
    /// Fixed request id of its states and policies; unique in the policy, the same at every run while tunnel, class and
    /// index keep their names. An adopted tunnel's is charon's own: 0 before that is known, and where clients share the tunnel.
    pub reqid: u32,
    /// Of a tunnel that clients share: the request ids of their CHILD_SAs in it, as charon has them now, and each client's outer
    /// address. Empty otherwise.
    pub clients: Clients,
    /// What tells it from its twins in IKE, `CLASS.INDEX`; both ends derive the same. Also the name of its CHILD_SA, where
    /// that is ours.
    pub label: String,
}

/// Outer addresses of clients by the request ids of their CHILD_SAs.
pub type Clients = BTreeMap<u32, IpAddr>;

impl Lane {
    /// Whether states and policies with that request id are its own.
    pub fn has(&self, reqid: u32) -> bool {
        reqid != 0 && (self.reqid == reqid || self.clients.contains_key(&reqid))
    }
}

impl Tunnel {
    /// The peer's outer address; `None` where clients come from anywhere and share the tunnel: each lane then is a set of
    /// CHILD_SAs, one a client, which have the lane's mark and are told apart by their selectors.
    pub fn peer(&self) -> Option<IpAddr> {
        (!self.remote.is_unspecified()).then_some(self.remote)
    }

    /// Whether many IKE_SAs of its connection have it at once: clients from anywhere, or each with a device of its own.
    pub fn is_shared(&self) -> bool {
        self.peer().is_none() || self.device.is_each()
    }
}

impl Tunnel {
    /// Whether each of its classes has a device of its own, chosen by the mark of the class when packets are routed.
    pub fn has_lane_devices(&self) -> bool {
        matches!(self.device.kind, DeviceKind::Gre { .. }) && self.classes.len() > 1
    }

    /// The kind of its device of that name; `None` for another device.
    pub fn named(&self, name: &str) -> Option<DeviceKind> {
        if !self.has_lane_devices() {
            return self.device.named(name);
        }
        self.devices().into_iter().find(|(device, _)| device == name).map(|(_, kind)| kind)
    }

    /// The lane of the device of that name, where each class has one.
    pub fn lane_of(&self, name: &str) -> Option<&Lane> {
        let own = self.has_lane_devices().then(|| self.devices())?;
        own.iter().zip(&self.lanes).find(|((device, _), _)| device == name).map(|(_, lane)| lane)
    }

    /// What tables call a device that several tunnels have.
    pub fn name_of_device(device: &str) -> String {
        format!("/{device}")
    }

    /// What tables call what leads to one of its lanes alone; no name of a tunnel has a slash.
    pub fn name_of(&self, lane: &Lane) -> String {
        format!("{}/{}", self.name, lane.label)
    }

    /// The class whose lane its packets take: itself, or the first that it falls back to and the tunnel carries.
    pub fn carrier(&self, class: ClassIndex, classes: &[Class]) -> Option<ClassIndex> {
        let mut at = class;
        // A circle has been reported; it is at most as long as there are classes.
        for _ in 0..=classes.len() {
            if self.classes.contains(&at) {
                return Some(at);
            }
            match classes[at.0].fallback {
                Fallback::Class(next) => at = next,
                Fallback::Block | Fallback::Clear => return None,
            }
        }
        None
    }
}

/// In a device's name: the if_id, or the key of a VTI. The kernel has it in patterns of names.
pub const EACH: &str = "%d";

/// Longest name of a device: IFNAMSIZ less its zero byte.
pub const DEVICE_MOST: usize = 15;

impl Device {
    /// Whether each IKE_SA has one of its own.
    pub fn is_each(&self) -> bool {
        matches!(self.kind, DeviceKind::Xfrm { if_id: 0 } | DeviceKind::Vti { input_key: 0, output_key: 0 })
    }

    /// The name of the one with that if_id or key; `None` where that is too long for the kernel.
    pub fn of(&self, if_id: u32) -> Option<String> {
        let name = self.name.replace(EACH, &if_id.to_string());
        (name.len() <= DEVICE_MOST).then_some(name)
    }

    /// The name of that lane's, where each lane has one: the first one's is the one in the file.
    pub fn of_lane(&self, lane: usize) -> String {
        if lane == 0 { self.name.clone() } else { format!("{}-{}", self.name, lane + 1) }
    }

    /// The kind of the one of that name; `None` for another device.
    pub fn named(&self, name: &str) -> Option<DeviceKind> {
        let Some((before, after)) = self.name.split_once(EACH).filter(|_| self.is_each()) else {
            return (self.name == name).then_some(self.kind);
        };
        let number = name.strip_prefix(before)?.strip_suffix(after)?;
        let if_id = number.parse().ok().filter(|if_id| self.of(*if_id).as_deref() == Some(name))?;
        Some(self.kind.of(if_id))
    }
}

/// The tunnel's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Kind and what only that kind has.
    pub kind: DeviceKind,
    /// Its name, at most 15 bytes. With if_id or keys 0 each IKE_SA has a device of its own, whose if_id or key stands in the place
    /// of [`EACH`].
    pub name: String,
    /// Inner MTU in bytes, 576..=65535 (1280 at least where IPv6 addresses or routes are there).
    pub mtu: u32,
    /// Its own addresses.
    pub addresses: Vec<IpNet>,
    /// Whether it is an XFRM interface that takes the if_id from the route of each packet (IFLA_XFRM_COLLECT_METADATA).
    pub external: bool,
    /// Whether a packet's destination says which tunnel it takes, as the routes of each have it: several have the device, or may.
    pub joint: bool,
    /// The operator's VRF that it is in, with all routes of its tunnel.
    pub vrf: Option<String>,
    /// The network namespace that it is taken to, where nothing else is ours.
    pub namespace: Option<String>,
    /// The device in whose VRF its ESP packets are routed.
    pub link: Option<String>,
}

/// Kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// XFRM interface of this if_id, which no other device in the policy has.
    Xfrm {
        /// XFRMA_IF_ID of states and policies, and of the device or the routes into it; 0 where each IKE_SA has one of its own, as `%unique` gives it.
        if_id: u32,
    },
    /// VTI, or VTI6 between IPv6 addresses: one lane, found by keys, which are whole marks of policies and states.
    Vti {
        /// IFLA_VTI_IKEY: the mark of the policies for what comes in; unique in the policy. 0 where each IKE_SA has a VTI of its own,
        /// with the mark that `%unique` gives it.
        input_key: u32,
        /// IFLA_VTI_OKEY: the mark of what leaves, whatever mark the packet has; likewise.
        output_key: u32,
    },
    /// GRE over transport-mode SAs that are for nothing but GRE between the tunnel's ends: one lane, whose mark its outer
    /// packets have. Of several classes each has such a device.
    Gre {
        /// In the GRE header, both ways; of several devices the first one's, and the next ones have those behind it.
        key: Option<u32>,
        /// Of the outer packets, not zero.
        ttl: u8,
    },
    /// The TUN device of charon's plugin kernel-libipsec, which encrypts by itself, in UDP: one lane, without a state or a policy in
    /// the kernel. It is there while charon runs, and charon picks the SA by the selectors.
    Tun,
    /// None: what is for the tunnel's selectors and has a lane's mark is encrypted where it is routed, and no device has a name,
    /// an MTU or addresses. Ports and sockets write the mark.
    Bare,
}

/// Who makes a tunnel's SAs.
#[derive(Debug, Clone, PartialEq)]
pub enum Keying {
    /// strongSwan over VICI; we load the connection.
    Ike(Ike),
    /// Ourselves by netlink, from a file.
    Static(Static),
    /// strongSwan, by a connection of the operator's own that we follow and leave alone.
    Adopted(Adopt),
}

/// A managed IKE connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Ike {
    /// Our identity, as charon takes it.
    pub local_id: String,
    /// The peer's identity.
    pub remote_id: String,
    /// How the peer tells lanes apart.
    pub distinct: Distinct,
    /// How both ends prove who they are.
    pub auth: Auth,
    /// Who begins.
    pub start: Start,
    /// IKE proposals in strongSwan's notation; empty for charon's default.
    pub proposals: Vec<String>,
    /// ESP proposals in strongSwan's notation; empty for charon's default.
    pub esp_proposals: Vec<String>,
    /// Whether the WAN's network card is to encrypt.
    pub hw_offload: bool,
    /// Seconds between CHILD_SA rekeys; `None` for charon's default, 0 for never.
    pub rekey_time: Option<u32>,
    /// Seconds without a packet after which a lane on demand is let go; `None` for never.
    pub idle_timeout: Option<u32>,
}

/// Authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Pre-shared key from a file that only its owner reads.
    Psk {
        /// The file; its contents up to a trailing newline are the secret.
        file: PathBuf,
    },
    /// X.509.
    Certificate {
        /// Our certificate, PEM or DER.
        certificate: PathBuf,
        /// Its private key, readable by its owner alone.
        key: PathBuf,
        /// The CA that signs the peer's.
        ca: PathBuf,
    },
}

/// What tells a tunnel's lanes apart in IKE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Distinct {
    /// The label of each CHILD_SA; all are in one IKE_SA.
    #[default]
    Label,
    /// Identities: each lane has an IKE_SA of its own, in which both ends are called by the lane and their names.
    Identity,
}

/// Who initiates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// This end initiates and re-initiates.
    Start,
    /// This end initiates a lane when a packet wants to take it.
    Trap,
    /// This end only answers.
    None,
}

/// Static keying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Static {
    /// The key file, mode 0600, not yet read.
    pub key_file: PathBuf,
    /// The operator has written that keys repeat (needed for counter-mode ciphers).
    pub consent: bool,
}

/// Match -> class.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Named rules are counted.
    pub name: Option<String>,
    /// Whose rule; `None` is traffic of no tenant.
    pub tenant: Option<TenantIndex>,
    /// What it decides.
    pub class: ClassIndex,
    /// `FILE:LINE:COL` of its head, for messages.
    pub place: String,
    /// Source prefixes, any of them; empty matches every address of either family.
    pub source: Vec<IpNet>,
    /// Destination prefixes.
    pub destination: Vec<IpNet>,
    /// IP protocol (the last header of IPv6's chain).
    pub protocol: Option<u8>,
    /// Inclusive source-port ranges; not empty only matches TCP, UDP, SCTP.
    pub source_port: Vec<(u16, u16)>,
    /// Inclusive destination-port ranges.
    pub destination_port: Vec<(u16, u16)>,
    /// DSCP values, 0..=63.
    pub dscp: Vec<u8>,
    /// Names of ingress interfaces.
    pub interface: Vec<String>,
    /// VLAN ids of the outermost tag, 0..=4094.
    pub vlan: Vec<u16>,
    /// Inclusive ranges of the packet's length in bytes, from its IP header on.
    pub length: Vec<(u16, u16)>,
    /// Flags that are set among those of the second; only matches TCP.
    pub tcp_flags: Option<(u8, u8)>,
    /// ICMP or ICMPv6 types; `protocol` says which of the two.
    pub icmp_type: Vec<u8>,
    /// Whether it is part of a datagram.
    pub fragment: Option<bool>,
    /// The mark that the packet came with, under the second; none of its bits is ours.
    pub mark: Option<(u32, u32)>,
    /// Cgroups, by their paths below the mount; not empty only matches what sockets of this host send that are of one of
    /// them, or of one [below](cgroup::is_below).
    pub cgroup: Vec<String>,
}

/// Whose traffic. What several tenants match is the first one's; what comes in by a tunnel of its own is the tenant's alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    /// At most 31 bytes of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// Ingress interfaces.
    pub interfaces: Vec<String>,
    /// VLAN ids of the outermost tag, 0..=4094.
    pub vlans: Vec<u16>,
    /// VRF devices, for what comes in by their interfaces.
    pub vrfs: Vec<String>,
    /// Source prefixes. The addresses of its own tunnels' devices are its sources, too.
    pub sources: Vec<IpNet>,
    /// The class of what none of its rules matches; `None` for the policy's.
    pub default_class: Option<ClassIndex>,
    /// Tunnels of its own, each in no other tenant: nobody else reaches them, and it reaches no other, unless it has none.
    pub tunnels: Vec<TunnelIndex>,
}

/// An interface whose packets get the mark of their class as they come in: that of class n is the n-th of
/// [`Policy::mark_mask`], counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Where its packets are classified.
    pub classify: Classify,
}

/// Where a port's packets are classified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Classify {
    /// At tc ingress.
    #[default]
    Tc,
    /// Before that by XDP, in the driver where it can, else in the kernel's generic way.
    Xdp,
    /// Before that by XDP in the kernel's generic way.
    XdpGeneric,
}

impl Classify {
    /// As the file says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
        }
    }
}

/// What becomes of a list that names interfaces or cgroups which are not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missing {
    /// It is refused whole by whoever puts it in place.
    #[default]
    Refuse,
    /// Nothing matches them until they are there.
    Wait,
}

impl Missing {
    /// As the file says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Wait => "wait",
        }
    }
}

impl Rule {
    /// As a warning at its place calls it.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("rule \"{}\"", name.escape_debug()),
            None => "this rule".to_owned(),
        }
    }

    /// As one elsewhere does.
    pub fn label_at(&self) -> String {
        match &self.name {
            Some(name) => format!("rule \"{}\" ({})", name.escape_debug(), self.place),
            None => format!("the rule at {}", self.place),
        }
    }
}

impl Ike {
    /// Our identity and the peer's in a lane's own IKE_SA.
    pub fn identities_of(&self, lane: &Lane) -> (String, String) {
        (identity::of_lane(&self.local_id, &lane.label), identity::of_lane(&self.remote_id, &lane.label))
    }

    /// How the lanes of that class come up.
    pub fn start_of(&self, class: &Class) -> Start {
        match (self.start, class.on_demand) {
            (Start::None, _) => Start::None,
            (Start::Start | Start::Trap, Some(true)) => Start::Trap,
            (Start::Start | Start::Trap, Some(false)) => Start::Start,
            (start @ (Start::Start | Start::Trap), None) => start,
        }
    }
}

impl Policy {
    /// Whose own each tunnel is, of those that are somebody's.
    pub fn owners(&self) -> BTreeMap<TunnelIndex, TenantIndex> {
        let tenants = self.tenants.iter().enumerate();
        tenants.flat_map(|(at, tenant)| tenant.tunnels.iter().map(move |tunnel| (*tunnel, TenantIndex(at)))).collect()
    }

    /// The lanes of one class in one tunnel, by index.
    pub fn lanes_of(&self, tunnel: TunnelIndex, class: ClassIndex) -> impl Iterator<Item = &Lane> {
        self.tunnels[tunnel.0].lanes.iter().filter(move |lane| lane.class == class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_ike_sas_are_known_by_their_names() {
        let each = Device { name: "lk-rw%d".into(), ..device(0) };
        assert_eq!(each.of(7).as_deref(), Some("lk-rw7"));
        assert_eq!(
            (each.of(u32::MAX).as_deref(), Device { name: "lk-road%d".into(), ..device(0) }.of(u32::MAX)),
            (Some("lk-rw4294967295"), None)
        );
        assert_eq!(each.named("lk-rw7"), Some(DeviceKind::Xfrm { if_id: 7 }));
        for other in ["lk-rw", "lk-rw07", "lk-rw+7", "lk-rw7a", "lk-r7", "lk-rw%d", "lk-rw-7", "lk-rw4294967296"] {
            assert_eq!(each.named(other), None, "{other}");
        }
        assert_eq!(device(42).named("lk-rw"), Some(DeviceKind::Xfrm { if_id: 42 }));
        assert_eq!(device(42).named("lk-rw7"), None);
    }

    fn device(if_id: u32) -> Device {
        let kind = DeviceKind::Xfrm { if_id };
        Device {
            kind,
            name: "lk-rw".into(),
            mtu: 1400,
            addresses: vec![],
            external: false,
            joint: false,
            vrf: None,
            namespace: None,
            link: None,
        }
    }
}
