//! What the gateways put on the WAN: a packet socket in the router's namespace.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::netns::Ns;

/// `sll_pkttype` of what this machine itself sends on the interface.
const PACKET_OUTGOING: u8 = 4;

/// What was seen since the capture began, on every interface of the namespace, as it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// ESP packets by sender and SPI.
    pub esp: BTreeMap<(IpAddr, u32), u64>,
    /// ESP packets by sender and outer DSCP.
    pub dscp: BTreeMap<(IpAddr, u8), u64>,
    /// IKE: UDP ports 500 and 4500, less the ESP in UDP that is counted as ESP.
    pub ike: u64,
    /// Everything else that is IP and no neighbour discovery or multicast: the leak, if there is one.
    pub clear: u64,
    /// The first such packet, for the message.
    pub first_clear: Option<String>,
    /// ARP, neighbour discovery, multicast, and what a gateway answers to IKE while nobody listens there.
    pub other: u64,
}

impl Seen {
    /// All ESP packets.
    pub fn esp_total(&self) -> u64 {
        self.esp.values().sum()
    }
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    /// Begins to listen; what is sent after this call is seen.
    pub fn start(ns: &Ns) -> Result<Self> {
        let fd = ns.run(listen)?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::default();
        let (until, into) = (Arc::clone(&stop), Arc::clone(&seen));
        Ok(Self { stop, seen, thread: Some(thread::spawn(move || watch(&fd, &until, &into))) })
    }

    /// What has been seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Packets in cleartext so far, and the first of them.
    pub fn clear(&self) -> (u64, Option<String>) {
        let seen = lock(&self.seen);
        (seen.clear, seen.first_clear.clone())
    }

    /// Ends it, after the queue of what has already come in is empty.
    pub fn stop(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(watched)) => watched.map(|()| self.seen()),
            _ => bail!("the capture's thread panicked"),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn listen() -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
        .context("packet socket")?;
    setsockopt(&fd, sockopt::RcvBufForce, &(32 << 20)).context("SO_RCVBUFFORCE")?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100)).context("SO_RCVTIMEO")?;
    Ok(fd)
}

fn watch(fd: &OwnedFd, stop: &AtomicBool, seen: &Mutex<Seen>) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        match recvfrom::<LinkAddr>(fd.as_raw_fd(), &mut buffer) {
            Ok((_, Some(from))) if from.pkttype() == PACKET_OUTGOING => {}
            Ok((length, _)) => lock(seen).add(&buffer[..length.min(buffer.len())]),
            Err(nix::errno::Errno::EAGAIN) if stop.load(Ordering::SeqCst) => return Ok(()),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("read the packet socket"),
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// Counts one packet, from its network header on.
    fn add(&mut self, packet: &[u8]) {
        match Outer::parse(packet) {
            Some(Outer { source, protocol: 50, dscp, rest, .. }) if rest.len() >= 4 => {
                self.add_esp(source, u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]), dscp);
            }
            Some(Outer { source, protocol: 17, dscp, rest, .. }) if is_ike(rest) => match spi_in_udp(rest) {
                Some(spi) => self.add_esp(source, spi, dscp),
                None => self.ike += 1,
            },
            Some(outer) if outer.is_housekeeping() || outer.refuses_ike() => self.other += 1,
            Some(Outer { source, destination, protocol, rest, .. }) => {
                self.clear += 1;
                let begin = &rest[..rest.len().min(64)];
                self.first_clear
                    .get_or_insert_with(|| format!("{source} > {destination} protocol {protocol}: {begin:02x?}"));
            }
            None => self.other += 1,
        }
    }

    fn add_esp(&mut self, source: IpAddr, spi: u32, dscp: u8) {
        *self.esp.entry((source, spi)).or_default() += 1;
        *self.dscp.entry((source, dscp)).or_default() += 1;
    }
}

/// An outer IP header and what follows it.
struct Outer<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    dscp: u8,
    rest: &'a [u8],
}

impl<'a> Outer<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 if packet.len() >= 20 => {
                let source: [u8; 4] = packet[12..16].try_into().ok()?;
                let destination: [u8; 4] = packet[16..20].try_into().ok()?;
                Some(Self {
                    source: source.into(),
                    destination: destination.into(),
                    protocol: packet[9],
                    dscp: packet[1] >> 2,
                    rest: packet.get(usize::from(packet[0] & 15) * 4..)?,
                })
            }
            6 if packet.len() >= 40 => {
                let source: [u8; 16] = packet[8..24].try_into().ok()?;
                let destination: [u8; 16] = packet[24..40].try_into().ok()?;
                let (protocol, rest) = match packet[6] {
                    // Hop-by-hop: only multicast listener reports carry one here.
                    0 if packet.len() > 48 => (packet[40], &packet[48..]),
                    protocol => (protocol, &packet[40..]),
                };
                Some(Self {
                    source: source.into(),
                    destination: destination.into(),
                    protocol,
                    dscp: (u16::from_be_bytes([packet[0], packet[1]]) >> 6) as u8 & 63,
                    rest,
                })
            }
            _ => None,
        }
    }

    /// Neighbour discovery (ICMPv6 133..=137) and multicast: the WAN link's own business.
    fn is_housekeeping(&self) -> bool {
        self.destination.is_multicast()
            || (self.protocol == 58 && self.rest.first().is_some_and(|kind| (133..=137).contains(kind)))
    }

    /// Port unreachable, of ICMP (3, 3) or ICMPv6 (1, 4), to the sender of IKE and about it: charon is away, and the kernel says so.
    fn refuses_ike(&self) -> bool {
        let is_error = match (self.protocol, self.rest) {
            (1, [kind, code, ..]) => (*kind, *code) == (3, 3),
            (58, [kind, code, ..]) => (*kind, *code) == (1, 4),
            _ => false,
        };
        let quoted = self.rest.get(ICMP_HEADER..).filter(|_| is_error).and_then(Outer::parse);
        quoted.is_some_and(|quoted| {
            let ends = (quoted.source, quoted.destination);
            ends == (self.destination, self.source) && quoted.protocol == 17 && is_ike(quoted.rest)
        })
    }
}

/// Bytes of an ICMP or ICMPv6 error in front of the packet that it quotes (RFC 792, RFC 4443).
const ICMP_HEADER: usize = 8;

/// Does this UDP header name an IKE port?
fn is_ike(udp: &[u8]) -> bool {
    udp.len() >= 4
        && [[udp[0], udp[1]], [udp[2], udp[3]]].into_iter().any(|port| matches!(u16::from_be_bytes(port), 500 | 4500))
}

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// Of ESP in UDP between the ports of RFC 3948, which has four zero bytes in that place for IKE, and no more than one for a keepalive.
fn spi_in_udp(udp: &[u8]) -> Option<u32> {
    let ports = [[udp[0], udp[1]], [udp[2], udp[3]]].map(u16::from_be_bytes);
    let spi = udp.get(UDP_HEADER..UDP_HEADER + 4).filter(|_| ports == [4500; 2])?;
    Some(u32::from_be_bytes(spi.try_into().ok()?)).filter(|spi| *spi != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, tos: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn esp_is_counted_by_sender_spi_and_dscp() {
        let mut seen = Seen::default();
        seen.add(&v4(50, 0xb8, &[0, 0, 1, 2, 0, 0, 0, 1]));
        let sender: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(seen.esp.get(&(sender, 0x102)), Some(&1));
        assert_eq!(seen.dscp.get(&(sender, 46)), Some(&1));
        assert_eq!((seen.clear, seen.ike), (0, 0));
    }

    #[test]
    fn esp_in_udp_is_esp() {
        let mut seen = Seen::default();
        let udp = |payload: &[u8]| [&[0x11, 0x94, 0x11, 0x94, 0, 0, 0, 0], payload].concat();
        for payload in [[0u8, 0, 1, 2, 0, 0, 0, 1].as_slice(), &[0, 0, 0, 0, 9, 9, 9, 9], &[0xff]] {
            seen.add(&v4(17, 0, &udp(payload)));
        }
        assert_eq!((seen.esp.get(&([192, 0, 2, 1].into(), 0x102)), seen.esp_total(), seen.ike), (Some(&1), 1, 2));
    }

    #[test]
    fn inner_udp_is_a_leak_and_ike_is_not() {
        let mut seen = Seen::default();
        seen.add(&v4(17, 0, &[0x13, 0x88, 0x13, 0x88, 0, 8, 0, 0]));
        seen.add(&v4(17, 0, &[1, 0xf4, 1, 0xf4, 0, 8, 0, 0]));
        assert_eq!((seen.clear, seen.ike), (1, 1));
    }

    /// Of `kind` and `code`, from 192.0.2.1 to 192.0.2.2, about a packet that went the other way from `source` with `udp`.
    fn error(kind: u8, code: u8, source: u8, udp: &[u8]) -> Vec<u8> {
        let mut quoted = v4(17, 0, udp);
        quoted[15] = source;
        quoted[19] = 1;
        v4(1, 0, &[&[kind, code, 0, 0, 0, 0, 0, 0], &quoted[..]].concat())
    }

    #[test]
    fn that_nobody_listens_for_ike_is_no_leak_and_any_other_error_is_one() {
        let (ike, inner) = ([1, 0xf4, 1, 0xf4, 0, 8, 0, 0], [0x13, 0x88, 0x13, 0x88, 0, 8, 0, 0]);
        let mut seen = Seen::default();
        seen.add(&error(3, 3, 2, &ike));
        assert_eq!((seen.clear, seen.other), (0, 1), "{seen:?}");
        // Of another kind, of another sender, of what was inside, and cut off.
        let others = [error(3, 1, 2, &ike), error(8, 0, 2, &ike), error(3, 3, 7, &ike), error(3, 3, 2, &inner)];
        let cut = v4(1, 0, &[3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0]);
        others.iter().chain([&cut]).for_each(|packet| seen.add(packet));
        assert_eq!((seen.clear, seen.other, seen.ike), (5, 1, 0), "{seen:?}");
        let first = seen.first_clear.unwrap();
        assert!(first.starts_with("192.0.2.1 > 192.0.2.2 protocol 1: [03, 01, "), "{first}");
    }

    #[test]
    fn the_same_of_icmpv6() {
        let v6 = |from: u8, to: u8, protocol: u8, rest: &[u8]| {
            let mut packet = [0; 40];
            (packet[0], packet[6], packet[23], packet[39]) = (0x60, protocol, from, to);
            [&packet[..], rest].concat()
        };
        let ike = v6(2, 1, 17, &[0x11, 0x94, 0x11, 0x94, 0, 8, 0, 0]);
        let error = |code: u8| v6(1, 2, 58, &[&[1, code, 0, 0, 0, 0, 0, 0], &ike[..]].concat());
        let mut seen = Seen::default();
        seen.add(&error(4));
        seen.add(&error(0));
        assert_eq!((seen.clear, seen.other), (1, 1), "{seen:?}");
    }
}
