//! A router of the kernel's: rules are loaded and dumped in it, and packets go through it.

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use lanekeeper::import::{self, Imported, Traffic, file};
use lanekeeper::model::Model;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind,
    recvmsg, sendto, socket,
};
use xtask::lab::netns::Netns;

use crate::imported::Decider;
use crate::imported::packet::{INGRESS, Packet, packet};
use crate::random::Random;

/// Packets come in by `lan0`, `lan1` and links that are added, from their other ends, and leave by `wan`.
pub struct Router {
    pub netns: Netns,
    /// A link's other end is `peer` and its place here.
    links: Vec<String>,
}

impl Router {
    pub fn new(name: &str) -> Self {
        let netns = Netns::new(name).unwrap();
        netns
            .sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 \
                    net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_dad=0
                 ip link add wan type veth peer name far
                 for link in wan far; do ip link set $link up; done
                 ip addr add 10.255.255.1/24 dev wan
                 ip -6 addr add fd00::1/64 dev wan nodad
                 for next in 10.255.255.2 fd00::2; do ip neigh add $next lladdr 02:00:00:00:02:00 dev wan nud permanent; done
                 ip route add default via 10.255.255.2
                 ip -6 route add default via fd00::2")
            .unwrap();
        let mut router = Self { netns, links: Vec::new() };
        INGRESS.iter().for_each(|name| router.link(name));
        router
    }

    /// Adds a link that packets come in by, unless there is one of this name.
    pub fn link(&mut self, name: &str) {
        if self.links.iter().any(|own| own == name) {
            return;
        }
        let peer = format!("peer{}", self.links.len());
        self.netns
            .sh(&format!(
                "ip link add '{name}' address 02:00:00:00:00:00 type veth peer name {peer}
                 ip link set '{name}' up
                 ip link set {peer} up"
            ))
            .unwrap();
        self.links.push(name.to_owned());
    }

    /// What a program prints that is given this.
    pub fn pipe(&self, program: &[&str], text: &str) -> String {
        self.try_pipe(program, text).unwrap_or_else(|error| panic!("{program:?}: {error}\n{text}"))
    }

    /// What it prints, or what it complains about.
    pub fn try_pipe(&self, program: &[&str], text: &str) -> Result<String, String> {
        let mut command = self.netns.command(program[0]);
        let mut child = command
            .args(&program[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = text.to_owned();
        // One that gives up early reads no more.
        let write = std::thread::spawn(move || drop(input.write_all(text.as_bytes())));
        let output = child.wait_with_output().unwrap();
        write.join().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    #[allow(dead_code, reason = "netns_foreign loads in its own way")]
    /// Loads rules of iptables or ip6tables and imports the dump.
    pub fn iptables(&self, tool: &str, rules: &str) -> Imported {
        self.pipe(&[&format!("{tool}-legacy-restore")], rules);
        let dump = self.pipe(&[&format!("{tool}-legacy-save")], "");
        import::iptables::import("dump", &dump, Traffic::Forwarded).unwrap_or_else(|error| panic!("{error}\n{dump}"))
    }

    #[allow(dead_code, reason = "netns_foreign loads in its own way")]
    /// Loads rules of nft and imports the dump.
    pub fn nft(&self, rules: &str) -> Imported {
        self.pipe(&["nft", "-f", "-"], rules);
        let dump = self.pipe(&["nft", "-j", "list", "ruleset"], "");
        import::nft::import("dump", &dump, Traffic::Forwarded).unwrap_or_else(|error| panic!("{error}\n{dump}"))
    }

    /// Every packet that the kernel forwards has the mark of its class. How many packets each class had.
    pub fn agrees(&self, imported: &Imported, ingress: &[&str], seed: u64, packets: u32) -> BTreeMap<String, u32> {
        let decider = Decider::new(&imported.file);
        let model = Model::all_up(&decider.tables);
        let mut random = Random::new(seed);
        let (sent, marks) = self.netns.ns().run(|| Ok(self.forward(&decider, ingress, &mut random, packets))).unwrap();
        let mut classes = BTreeMap::new();
        for (id, packet) in sent.iter().enumerate() {
            let Some(mark) = marks.get(&(MAGIC | id as u32)) else { continue };
            let (class, rule) = decider.class(&model, &packet.frame, Some(&packet.ingress));
            let kernel = file::class(*mark);
            assert_eq!(class, kernel, "{packet:?} by {rule}\n{:#?}\n{}", imported.left_out, imported.file);
            *classes.entry(class).or_default() += 1;
        }
        classes
    }

    /// Sends packets, a handful at a time, and gathers the marks of those that come out.
    fn forward(
        &self,
        decider: &Decider,
        ingress: &[&str],
        random: &mut Random,
        packets: u32,
    ) -> (Vec<Packet>, BTreeMap<u32, u32>) {
        let out = listen("wan");
        let into: Vec<OwnedFd> = ingress.iter().map(|_| raw(SockProtocol::EthIp)).collect();
        let place = |name: &&str| self.links.iter().position(|own| own == name).unwrap();
        let links: Vec<LinkAddr> = ingress.iter().map(|name| address_of(&format!("peer{}", place(name)), 0)).collect();
        let (mut sent, mut marks) = (Vec::new(), BTreeMap::new());
        while (sent.len() as u32) < packets {
            let first = sent.len();
            for id in first..first + 64 {
                let packet = packet(random, &decider.policy, ingress, MAGIC | id as u32);
                let place = ingress.iter().position(|name| *name == packet.ingress).unwrap();
                sendto(into[place].as_raw_fd(), &packet.frame, &links[place], MsgFlags::empty()).unwrap();
                sent.push(packet);
            }
            // What is dropped does not come: a batch that is whole needs no waiting.
            let end = Instant::now() + Duration::from_millis(50);
            while marks.range(MAGIC | first as u32..).count() < 64 && Instant::now() < end {
                match receive(&out) {
                    // The kernel sends some of its own.
                    Some((id, mark)) if id >> 16 == MAGIC >> 16 => drop(marks.insert(id, mark)),
                    Some(_) => {}
                    None => std::thread::sleep(Duration::from_micros(200)),
                }
            }
        }
        (sent, marks)
    }
}

/// Upper half of what identifies a packet.
const MAGIC: u32 = 0xa5c3_0000;

fn raw(protocol: SockProtocol) -> OwnedFd {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol).unwrap()
}

/// `ETH_P_ALL` or none.
fn address_of(link: &str, protocol: u16) -> LinkAddr {
    let index = nix::net::if_::if_nametoindex(link).unwrap();
    let raw = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: it points to a whole sockaddr_ll, and the length says so.
    unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(size_of_val(&raw) as u32)) }.unwrap()
}

/// A packet socket that says the mark of what it sees.
fn listen(link: &str) -> OwnedFd {
    let fd = raw(SockProtocol::EthAll);
    bind(fd.as_raw_fd(), &address_of(link, libc::ETH_P_ALL as u16)).unwrap();
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int from `on`, which outlives the call.
    let set = unsafe {
        let size = size_of_val(&on) as u32;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVMARK, (&raw const on).cast(), size)
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    fd
}

/// The next packet's last four bytes and its mark.
fn receive(fd: &OwnedFd) -> Option<(u32, u32)> {
    loop {
        let mut bytes = [0; 2048];
        let mut control = nix::cmsg_space!([u8; 64]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<LinkAddr>(fd.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
        let outgoing = message.address.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
        let mark = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::Unknown(own) if own.cmsg_header.cmsg_type == libc::SO_MARK => {
                Some(u32::from_ne_bytes(own.data_bytes[..4].try_into().unwrap()))
            }
            _ => None,
        });
        let length = message.bytes;
        if outgoing && length >= 38 {
            return Some((u32::from_be_bytes(bytes[length - 4..length].try_into().unwrap()), mark.unwrap()));
        }
    }
}
