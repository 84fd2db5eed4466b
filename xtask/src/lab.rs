//! A laboratory of namespaces: two gateways, a LAN host behind each, a router between them.
//!
//! ```text
//!  lana -- lan0 gwa wan0 -- toa wan tob -- wan0 gwb lan0 -- lanb
//!  10.1.0.2      198.51.100.2          203.0.113.2      10.2.0.2
//! ```
//! It runs inside a guest, or on a host whose kernel has ESP and XFRM interfaces. Every part removes what it started,
//! when it is dropped: by process id and by name, never by pattern.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use nix::unistd::mkdtemp;

pub mod agent;
pub mod board;
pub mod browser;
pub mod capture;
pub mod certificates;
pub mod cgroup;
pub mod charon;
pub mod congestion;
pub mod dump;
pub mod failpoints;
pub mod gateways;
pub mod handmade;
pub mod metrics;
pub mod netns;
pub mod observe;
pub mod process;
pub mod prometheus;
pub mod sa;
pub mod scenario;
pub mod swanctl;
pub mod tmux;
pub mod traffic;
pub mod unit;
pub mod wait;
pub mod wan;

use netns::{Netns, Ns};
use traffic::Flow;

use crate::alone::alone;
use crate::shell;

/// One lab at a time in a process: they would share two CPUs, and tests count packets and milliseconds.
static ALONE: Mutex<()> = Mutex::new(());

/// Added to a flow's port for its source, so that both directions may use one port.
const SOURCE_PORTS: u16 = 20_000;

/// The gateways' two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Initiates.
    A,
    /// Answers.
    B,
}

/// IP versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Side {
    /// The far end.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its IKE identity.
    pub const fn identity(self) -> &'static str {
        match self {
            Self::A => "moon.example",
            Self::B => "sun.example",
        }
    }

    /// Its gateway's address on the WAN.
    pub const fn outer(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::A, Family::V4) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
            (Self::B, Family::V4) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)),
            (Self::A, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 2)),
            (Self::B, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 2)),
        }
    }

    /// The address of the host on its LAN; the gateway's ends in 1.
    pub const fn host(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::A, Family::V4) => IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2)),
            (Self::B, Family::V4) => IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2)),
            (Self::A, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2)),
            (Self::B, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2)),
        }
    }

    /// The prefix of its LAN.
    pub const fn lan(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::A, Family::V4) => "10.1.0.0/16",
            (Self::B, Family::V4) => "10.2.0.0/16",
            (Self::A, Family::V6) => "2001:db8:1::/48",
            (Self::B, Family::V6) => "2001:db8:2::/48",
        }
    }

    /// The address of its tunnel device.
    pub const fn tunnel_address(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::A, Family::V4) => "10.255.0.1/30",
            (Self::B, Family::V4) => "10.255.0.2/30",
            (Self::A, Family::V6) => "2001:db8:ff::1/64",
            (Self::B, Family::V6) => "2001:db8:ff::2/64",
        }
    }

    /// The router's interface towards it.
    pub const fn router_device(self) -> &'static str {
        match self {
            Self::A => "toa",
            Self::B => "tob",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

/// Five namespaces and their links.
#[derive(Debug)]
pub struct Lab {
    lans: [Netns; 2],
    gateways: [Netns; 2],
    wan: Netns,
    folder: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Lab {
    /// Makes the namespaces `lk-NAME-...`, joins and addresses them. `name` has at most 20 letters. Waits while another lab
    /// of this process is there.
    pub fn new(name: &str) -> Result<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let [lana, lanb, gwa, gwb, wan] =
            Netns::several(["lana", "lanb", "gwa", "gwb", "wan"].map(|role| format!("lk-{name}-{role}")))?;
        // Not named after the process: in a namespace of its own each has the same number.
        let template = format!("/tmp/lk-lab-{name}-XXXXXX");
        let folder = mkdtemp(template.as_str()).with_context(|| template.clone())?;
        let lab = Self { lans: [lana, lanb], gateways: [gwa, gwb], wan, folder, _alone: alone };
        lab.join()?;
        Ok(lab)
    }

    /// The LAN host of `side`.
    pub fn lan(&self, side: Side) -> Ns {
        self.lans[side as usize].ns()
    }

    /// The gateway of `side`.
    pub fn gateway(&self, side: Side) -> Ns {
        self.gateways[side as usize].ns()
    }

    /// The router between the gateways.
    pub fn wan(&self) -> Ns {
        self.wan.ns()
    }

    /// Where files go that belong to both gateways.
    pub fn shared(&self) -> &Path {
        &self.folder
    }

    /// Where the files of a gateway go.
    pub fn files(&self, side: Side) -> PathBuf {
        self.folder.join(format!("gw{}", side.letter()))
    }

    /// A flow from the LAN host of `from` to `port` of that of the other side. `port` is below 40000.
    pub fn flow(&self, name: &str, from: Side, family: Family, port: u16) -> Flow {
        Flow {
            name: name.to_owned(),
            from: self.lan(from),
            to: self.lan(from.other()),
            source: SocketAddr::new(from.host(family), SOURCE_PORTS + port),
            destination: SocketAddr::new(from.other().host(family), port),
            dscp: 0,
            payload: 200,
            rate: 100,
            eager: false,
            window: None,
            count: None,
            mark: None,
            cpu: None,
        }
    }

    /// In few scripts: a lab is made for nearly every test, and in a guest each process takes 30 ms or more.
    fn join(&self) -> Result<()> {
        let all = || [&self.wan].into_iter().chain(&self.gateways).chain(&self.lans);
        let mut links = String::new();
        for side in [Side::A, Side::B] {
            let (lan, gateway) = (&self.lans[side as usize], &self.gateways[side as usize]);
            links += &link("lan0", gateway, "eth0", lan);
            links += &link("wan0", gateway, side.router_device(), &self.wan);
        }
        self.wan.sh(&links)?;
        let addresses = [Side::A, Side::B].map(Addresses::of);
        let [a, b] = &addresses;
        self.wan.sh(&format!("{QUIET}\n{FORWARD}\nip link set lo up\n{}{}", a.router, b.router))?;
        for (at, addresses) in addresses.iter().enumerate() {
            self.gateways[at].sh(&format!("{QUIET}\n{FORWARD}\n{}", addresses.gateway))?;
            self.lans[at].sh(&format!("{QUIET}\n{}", addresses.lan))?;
        }
        all().try_for_each(|netns| netns.sh(CARRIERS).map(drop)).context("links have no carrier after ten seconds")
    }
}

/// What gives each machine of a side its addresses, and brings its links up.
struct Addresses {
    lan: String,
    gateway: String,
    router: String,
}

impl Addresses {
    fn of(side: Side) -> Self {
        let device = side.router_device();
        let (host4, host6) = (side.host(Family::V4), side.host(Family::V6));
        let (outer4, outer6) = (side.outer(Family::V4), side.outer(Family::V6));
        let (lan4, lan6, router4, router6) = (first(host4), first(host6), first(outer4), first(outer6));
        Self {
            lan: format!(
                "ip link set lo up
                 ip addr add {host4}/24 dev eth0
                 ip addr add {host6}/64 dev eth0 nodad
                 ip link set eth0 up
                 ip route add default via {lan4}
                 ip route add default via {lan6}
                 "
            ),
            gateway: format!(
                "ip link set lo up
                 ip addr add {lan4}/24 dev lan0
                 ip addr add {lan6}/64 dev lan0 nodad
                 ip addr add {outer4}/24 dev wan0
                 ip addr add {outer6}/64 dev wan0 nodad
                 ip link set lan0 up
                 ip link set wan0 up
                 ip route add default via {router4}
                 ip route add default via {router6}
                 "
            ),
            router: format!(
                "ip addr add {router4}/24 dev {device}
                 ip addr add {router6}/64 dev {device} nodad
                 ip link set {device} up
                 "
            ),
        }
    }
}

/// A veth pair between two namespaces.
fn link(name: &str, netns: &Netns, peer: &str, peer_netns: &Netns) -> String {
    let (netns, peer_netns) = (netns.name(), peer_netns.name());
    format!("ip link add {name} netns {netns} type veth peer name {peer} netns {peer_netns}\n")
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("lab: its files stay in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// No router solicitations, no duplicate address detection: nothing is sent that nobody asked for.
const QUIET: &str = "for conf in /proc/sys/net/ipv6/conf/*; do
    echo 0 > $conf/accept_dad
    echo 0 > $conf/router_solicitations
done";

/// A router: forwards both families, answers from where it is asked.
const FORWARD: &str = "echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
for conf in /proc/sys/net/ipv4/conf/*; do echo 0 > $conf/rp_filter; done";

/// The kernel tells of a carrier up to a second after both ends are up, and only then makes link-local addresses and routes:
/// a dump before that would differ from one after it. Until then a link's state is unknown, as a loopback's always is.
const CARRIERS: &str = "try=0
while [ $try -lt 200 ]; do
    ip -o link show up | grep -v LOOPBACK | grep -qv ' state UP ' || exit 0
    try=$((try + 1))
    sleep 0.05
done
ip -o link show
exit 1";

/// The same network's address that ends in 1.
fn first(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 1).into()
        }
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[7] = 1;
            Ipv6Addr::from(segments).into()
        }
    }
}

/// Does this kernel have ESP and XFRM interfaces?
pub fn kernel_is_able() -> bool {
    let probe = "ip link add probe type xfrm dev lo if_id 1
        ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 reqid 1 mode tunnel if_id 1 \
            aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128";
    shell::succeeds(alone().args(["sh", "-ec", probe]))
}
