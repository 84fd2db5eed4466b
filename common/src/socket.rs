//! The mark of a socket: that of the class of all packets that it will send, where that is certain before there is one.
//!
//! A rule matches all of them, some of them for all that is known, or none. The first that matches all of them decides, unless
//! one before it may take some for another class: then nothing is said, and each packet is judged by itself at the tunnel's
//! device. So a mark is never that of a rule which an earlier one could have overtaken.

use crate::abi::{ANY_PROTOCOL, Guide, Hint, MAX_HINTS, hint_flag};
use crate::blur;
use crate::packet::Address;

/// Protocols whose packets have ports: TCP, UDP, SCTP.
const WITH_PORTS: [u16; 3] = [6, 17, 132];

/// What is known of everything that a socket sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// 4 or 6; 0 where it may send both.
    pub family: u8,
    /// Protocol; [`ANY_PROTOCOL`] where it may send several.
    pub protocol: u16,
    /// Address and port of where it sends; `None` where that is not settled.
    pub destination: Option<(Address, u16)>,
}

impl Facts {
    /// Of a socket by what it was made as, in the kernel's numbers: one of IPv6 may send IPv4 as well (RFC 3493 section 3.7),
    /// a raw one whatever its program writes, and what has no number of 8 bits is not what its packets say (MPTCP).
    #[inline(always)]
    pub fn of_kind(family: u32, kind: u32, protocol: u32) -> Self {
        let family = if family == AF_INET { 4 } else { 0 };
        let protocol = if kind == SOCK_RAW || protocol > 255 { ANY_PROTOCOL } else { protocol as u16 };
        Self { family, protocol, destination: None }
    }

    /// The same once it is known where it sends. To the address that is all zeros means to this host, by an address that is
    /// not known, and from a socket of IPv6 perhaps by IPv4.
    #[inline(always)]
    pub fn to(self, destination: Address, port: u16) -> Self {
        let family = if destination[0] == 0 && destination[1] >> 32 == MAPPED { 4 } else { 6 };
        let plain = if family == 4 { [0, destination[1] & u64::from(u32::MAX)] } else { destination };
        if plain[0] | plain[1] != 0 {
            Self { family, destination: Some((plain, port)), ..self }
        } else if family == 4 {
            Self { family, ..self }
        } else {
            self
        }
    }
}

/// socket.h, the same on all machines that the kernel's BPF runs on but MIPS and Alpha in the second.
const AF_INET: u32 = 2;
const SOCK_RAW: u32 = 3;

/// Bits 32 to 63 of the lower half of an IPv4 address in one of IPv6 (RFC 4291 section 2.5.5.2).
const MAPPED: u64 = 0xffff;

/// An IPv4 address in one of IPv6.
#[inline(always)]
pub const fn mapped(address: u32) -> Address {
    [0, MAPPED << 32 | address as u64]
}

/// How far the hints have been gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The mark of those that may match; 0 before the first.
    pub open: u32,
    /// What came out of it.
    pub mark: u32,
}

impl Judgement {
    /// Before the first. Before 6.7 the verifier takes a callback of bpf_loop to be called once (kernel commit
    /// ab5cfac139ab), and cuts out what it does only after a call before: of a plain zero it would know that none is open.
    #[inline(always)]
    pub fn begin(guide: &Guide) -> Self {
        Self { open: blur(guide.zero, 0), mark: blur(guide.zero, 0) }
    }
}

/// The mark under the guide's mask; 0 where none is certain. The kernel has it step by bpf_loop.
pub fn mark(guide: &Guide, facts: &Facts) -> u32 {
    let mut judgement = Judgement::begin(guide);
    let _ = (0..MAX_HINTS as u32).take_while(|place| step(guide, facts, *place, &mut judgement)).count();
    judgement.mark
}

/// One hint; false at the end.
#[inline(always)]
pub fn step(guide: &Guide, facts: &Facts, place: u32, judgement: &mut Judgement) -> bool {
    if place >= guide.len {
        return false;
    }
    let hint = &guide.hints[place as usize & (MAX_HINTS - 1)];
    let Some(all) = matches(hint, facts) else { return true };
    if judgement.open != 0 && judgement.open != hint.mark {
        return false;
    }
    if all {
        judgement.mark = hint.mark & guide.mask;
        return false;
    }
    judgement.open = hint.mark;
    true
}

/// Whether it matches all of the packets, or may match some; `None` where it matches none.
#[inline(always)]
fn matches(hint: &Hint, facts: &Facts) -> Option<bool> {
    let mut all = hint.flags & hint_flag::UNSEEN == 0;
    if hint.family != 0 && hint.family != facts.family {
        if facts.family != 0 {
            return None;
        }
        all = false;
    }
    let any_protocol = facts.protocol == ANY_PROTOCOL;
    if hint.protocol != ANY_PROTOCOL && hint.protocol != facts.protocol {
        if !any_protocol {
            return None;
        }
        all = false;
    }
    let ports = hint.flags & hint_flag::PORTS != 0;
    if ports {
        let [tcp, udp, sctp] = WITH_PORTS;
        if any_protocol {
            all = false;
        } else if facts.protocol != tcp && facts.protocol != udp && facts.protocol != sctp {
            return None;
        }
    }
    let [first, last] = hint.destination_port;
    let Some((destination, port)) = facts.destination else {
        let aimed = hint.destination_mask[0] | hint.destination_mask[1] != 0 || ports && (first, last) != (0, u16::MAX);
        return Some(all && !aimed);
    };
    let differs = (destination[0] ^ hint.destination[0]) & hint.destination_mask[0]
        | (destination[1] ^ hint.destination[1]) & hint.destination_mask[1];
    if differs != 0 || ports && !any_protocol && !(first <= port && port <= last) {
        return None;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: Facts = Facts { family: 4, protocol: 17, destination: None };

    fn guide(hints: &[Hint]) -> Guide {
        let mut guide = Guide { mask: 0xf0, len: hints.len() as u32, ..Guide::default() };
        guide.hints[..hints.len()].copy_from_slice(hints);
        guide
    }

    fn hint(mark: u32) -> Hint {
        Hint { mark, protocol: ANY_PROTOCOL, destination_port: [0, u16::MAX], ..Hint::default() }
    }

    fn to_port(mark: u32, port: u16) -> Hint {
        Hint { protocol: 17, destination_port: [port; 2], flags: hint_flag::PORTS, ..hint(mark) }
    }

    fn to(address: [u8; 4], port: u16) -> Facts {
        UDP.to(mapped(u32::from_be_bytes(address)), port)
    }

    #[test]
    fn the_first_that_matches_all_decides() {
        assert_eq!(mark(&guide(&[hint(0x20), hint(0x30)]), &UDP), 0x20);
        assert_eq!(mark(&guide(&[Hint { protocol: 6, ..hint(0x20) }, hint(0x30)]), &UDP), 0x30);
        assert_eq!(mark(&guide(&[]), &UDP), 0);
    }

    #[test]
    fn what_an_earlier_one_may_take_for_another_class_is_not_decided() {
        for open in [to_port(0x20, 53), Hint { flags: hint_flag::UNSEEN, ..hint(0x20) }] {
            assert_eq!(mark(&guide(&[open, hint(0x30)]), &UDP), 0, "{open:?}");
            assert_eq!(mark(&guide(&[open, hint(0x20)]), &UDP), 0x20, "{open:?}");
            assert_eq!(mark(&guide(&[open]), &UDP), 0, "{open:?}");
        }
        assert_eq!(mark(&guide(&[to_port(0x20, 53), hint(0x30)]), &to([10, 0, 0, 1], 80)), 0x30);
        assert_eq!(mark(&guide(&[to_port(0x20, 53), hint(0x30)]), &to([10, 0, 0, 1], 53)), 0x20);
    }

    #[test]
    fn bits_outside_the_mask_are_no_class() {
        assert_eq!(mark(&guide(&[hint(u32::MAX)]), &UDP), 0xf0);
        assert_eq!(mark(&guide(&[Hint { flags: hint_flag::UNSEEN, ..hint(u32::MAX) }, hint(0xf0)]), &UDP), 0);
    }

    #[test]
    fn ports_are_asked_of_protocols_that_have_them() {
        let icmp = Facts { protocol: 1, ..UDP };
        let any = Hint { flags: hint_flag::PORTS, ..hint(0x20) };
        assert_eq!(mark(&guide(&[any, hint(0x30)]), &icmp), 0x30);
        assert_eq!(mark(&guide(&[any, hint(0x30)]), &UDP), 0x20);
        assert_eq!(mark(&guide(&[any, hint(0x30)]), &Facts { protocol: ANY_PROTOCOL, ..UDP }), 0);
    }

    #[test]
    fn a_socket_of_ipv6_may_send_ipv4() {
        let (inet, inet6, datagram, raw) = (2, 10, 2, 3);
        assert_eq!(Facts::of_kind(inet, datagram, 17), UDP);
        assert_eq!(Facts::of_kind(inet6, datagram, 17), Facts { family: 0, ..UDP });
        assert_eq!(Facts::of_kind(inet, raw, 17).protocol, ANY_PROTOCOL);
        assert_eq!(Facts::of_kind(inet, 1, 262).protocol, ANY_PROTOCOL);
        let six = Facts::of_kind(inet6, datagram, 17);
        assert_eq!(six.to(mapped(0x0a00_0001), 5), Facts { destination: Some(([0, 0x0a00_0001], 5)), ..UDP });
        assert_eq!(six.to([1, 2], 5), Facts { family: 6, destination: Some(([1, 2], 5)), ..UDP });
    }

    #[test]
    fn the_address_of_zeros_is_not_where_packets_go() {
        assert_eq!(to([0; 4], 53).destination, None);
        let six = Facts { family: 0, ..UDP };
        assert_eq!((six.to([0; 2], 53), six.to(mapped(0), 53)), (six, UDP));
        assert_eq!(mark(&guide(&[Hint { destination_mask: [0, 0xff], ..hint(0x20) }]), &to([0; 4], 53)), 0);
    }
}
