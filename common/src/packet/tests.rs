//! The edges of the header layouts. Packets and what is expected of them are written out by hand, from RFC 791, 8200, 4302,
//! 2675 and IEEE 802.1Q.

extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use ParseReason::{Malformed, NotIp, TooDeep, Truncated};

const V4: Layer = Layer::network(0x0800);
const V6: Layer = Layer::network(0x86dd);
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
/// The first four bytes of TCP, UDP and SCTP alike: from 5060 to 49320.
const PORT_BYTES: [u8; 4] = [0x13, 0xc4, 0xc0, 0xa8];
const PORTS: Option<(u16, u16)> = Some((5060, 49320));

/// 20 bytes, no options, from 192.0.2.1 to 198.51.100.7.
fn v4(protocol: u8, total: u16) -> [u8; 20] {
    let [t0, t1] = total.to_be_bytes();
    [0x45, 0, t0, t1, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7]
}

/// 40 bytes, from 2001:db8::1 to 2001:db8:ffff::2:3.
fn v6(next: u8, payload: u16) -> Vec<u8> {
    let [p0, p1] = payload.to_be_bytes();
    let head = [0x60, 0, 0, 0, p0, p1, next, 64];
    let source = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let destination = [0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3];
    [&head[..], &source, &destination].concat()
}

/// Hop-by-hop, routing or destination options of 8 bytes.
fn eight(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

/// A fragment header; `place` is offset, reserved bits and M.
fn fragment(next: u8, place: u16) -> [u8; 8] {
    let [p0, p1] = place.to_be_bytes();
    [next, 0, p0, p1, 0xde, 0xad, 0xbe, 0xef]
}

fn with<const N: usize>(mut bytes: Vec<u8>, at: usize, put: [u8; N]) -> Vec<u8> {
    bytes[at..at + N].copy_from_slice(&put);
    bytes
}

fn read(layer: Layer, bytes: &[u8]) -> Result<Packet, ParseReason> {
    parse(&bytes, layer, NO_VLAN)
}

/// Whole up to `needs` bytes and unreadable below, with `Truncated`.
struct Kind {
    name: &'static str,
    layer: Layer,
    bytes: Vec<u8>,
    needs: usize,
    protocol: u8,
    transport: u32,
    ports: Option<(u16, u16)>,
}

/// Each protocol behind either IP header: with ports the first four of its bytes are needed, without none.
fn transports() -> Vec<Kind> {
    let mut kinds = vec![];
    for (name, protocol, ports) in [("tcp", 6, PORTS), ("udp", 17, PORTS), ("sctp", 132, PORTS)] {
        let rest = [&PORT_BYTES[..], &[0; 16]].concat();
        let bytes = [&v4(protocol, 40)[..], &rest].concat();
        kinds.push(Kind { name, layer: V4, bytes, needs: 24, protocol, transport: 20, ports });
        let bytes = [&v6(protocol, 20)[..], &rest].concat();
        kinds.push(Kind { name, layer: V6, bytes, needs: 44, protocol, transport: 40, ports });
    }
    for (name, protocol) in [("icmp", 1), ("icmpv6", 58), ("esp", 50), ("gre", 47), ("no next header", 59)] {
        let bytes = [&v4(protocol, 36)[..], &[0x5a; 16]].concat();
        kinds.push(Kind { name, layer: V4, bytes, needs: 20, protocol, transport: 20, ports: None });
        let bytes = [&v6(protocol, 16)[..], &[0x5a; 16]].concat();
        kinds.push(Kind { name, layer: V6, bytes, needs: 40, protocol, transport: 40, ports: None });
    }
    kinds
}

/// UDP behind each extension header, and behind all of them in the order of RFC 8200 section 4.1.
fn extensions() -> Vec<Kind> {
    let sixteen = [17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // RFC 4302: 12 bytes and a check value of 12 are six words, less two.
    let ah = [17, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let udp = [0x13, 0xc4, 0xc0, 0xa8, 0, 8, 0, 0];
    let kind = |name, first, chain: &[u8], needs, transport| Kind {
        name,
        layer: V6,
        bytes: [&v6(first, chain.len() as u16 + 8), chain, &udp].concat(),
        needs,
        protocol: 17,
        transport,
        ports: PORTS,
    };
    let all =
        [&eight(60)[..], &eight(43), &eight(44), &fragment(51, 0), &with(ah.to_vec(), 0, [60]), &eight(17)].concat();
    // Here nothing behind the header asks for more bytes.
    let bytes = [&v6(60, 16)[..], &with(sixteen.to_vec(), 0, [59])].concat();
    let portless = Kind { name: "portless", layer: V6, bytes, needs: 56, protocol: 59, transport: 56, ports: None };
    vec![
        kind("hop-by-hop", 0, &sixteen, 60, 56),
        kind("routing", 43, &sixteen, 60, 56),
        kind("destination options", 60, &sixteen, 60, 56),
        kind("mobility", 135, &sixteen, 60, 56),
        kind("hip", 139, &sixteen, 60, 56),
        kind("shim6", 140, &sixteen, 60, 56),
        kind("authentication", 51, &ah, 68, 64),
        kind("atomic fragment", 44, &fragment(17, 0), 52, 48),
        kind("all", 0, &all, 108, 104),
        portless,
    ]
}

/// Options and tags.
fn others() -> Vec<Kind> {
    let tcp = [&PORT_BYTES[..], &[0; 16]].concat();
    let options = with([&v4(6, 52)[..], &[1; 12], &tcp].concat(), 0, [0x48]);
    let bytes = with([&v4(1, 32)[..], &[1; 12]].concat(), 0, [0x48]);
    let portless = Kind { name: "options alone", layer: V4, bytes, needs: 32, protocol: 1, transport: 32, ports: None };
    let plain = [&v4(6, 40)[..], &tcp].concat();
    let kind =
        |name, layer, bytes, needs, transport| Kind { name, layer, bytes, needs, protocol: 6, transport, ports: PORTS };
    vec![
        kind("options", V4, options, 36, 32),
        portless,
        kind("untagged", Layer::ETHERNET, [&MACS[..], &[8, 0], &plain].concat(), 38, 34),
        kind("one tag", Layer::ETHERNET, [&MACS[..], &[0x81, 0, 0, 7, 8, 0], &plain].concat(), 42, 38),
        kind(
            "two tags",
            Layer::ETHERNET,
            [&MACS[..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 8, 0], &plain].concat(),
            46,
            42,
        ),
    ]
}

#[test]
fn a_packet_cut_anywhere_is_truncated_or_read_as_the_whole_one() {
    for kind in transports().into_iter().chain(extensions()).chain(others()) {
        for cut in 0..=kind.bytes.len() {
            let place = (kind.name, kind.bytes.len(), cut);
            let read = read(kind.layer, &kind.bytes[..cut]);
            if cut < kind.needs {
                assert_eq!(read, Err(Truncated), "{place:?}");
                continue;
            }
            let packet = read.unwrap_or_else(|reason| panic!("{place:?}: {reason:?}"));
            assert_eq!((packet.protocol, packet.transport, packet.ports), (kind.protocol, kind.transport, kind.ports));
            assert_eq!(packet.fragment, Fragment::Whole, "{place:?}");
        }
    }
}

#[test]
fn nothing_is_truncated_but_what_is_not_ip_needs_no_bytes() {
    for layer in [Layer::ETHERNET, V4, V6] {
        assert_eq!(read(layer, &[]), Err(Truncated));
    }
    assert_eq!(read(Layer::network(0x0806), &[]), Err(NotIp));
    assert_eq!(read(Layer::ETHERNET, &[&MACS[..], &[0x08, 0x06]].concat()), Err(NotIp));
    // A length, as IEEE 802.3 has it in that place.
    assert_eq!(read(Layer::ETHERNET, &[&MACS[..], &[0x00, 0x26]].concat()), Err(NotIp));
    assert_eq!(read(Layer::ETHERNET, &[&MACS[..], &[0x81, 0, 0, 7, 0x08, 0x06]].concat()), Err(NotIp));
}

#[test]
fn every_field_of_ipv4_comes_from_its_place() {
    let bytes = [&MACS[..], &[8, 0], &v4(17, 28), &PORT_BYTES, &[0, 8, 0, 0]].concat();
    let expected = Packet {
        family: Family::V4,
        source: [0, 0xc000_0201],
        destination: [0, 0xc633_6407],
        protocol: 17,
        dscp: 0,
        ports: PORTS,
        vlan: NO_VLAN,
        fragment: Fragment::Whole,
        length: 28,
        tcp_flags: None,
        icmp_type: None,
        network: 14,
        transport: 34,
    };
    assert_eq!(read(Layer::ETHERNET, &bytes), Ok(expected));
}

#[test]
fn every_field_of_ipv6_comes_from_its_place() {
    let bytes = [&MACS[..], &[0x86, 0xdd], &v6(132, 12), &PORT_BYTES, &[0; 8]].concat();
    let expected = Packet {
        family: Family::V6,
        source: [0x2001_0db8_0000_0000, 1],
        destination: [0x2001_0db8_ffff_0000, 0x0002_0003],
        protocol: 132,
        dscp: 0,
        ports: PORTS,
        vlan: NO_VLAN,
        fragment: Fragment::Whole,
        length: 52,
        tcp_flags: None,
        icmp_type: None,
        network: 14,
        transport: 54,
    };
    assert_eq!(read(Layer::ETHERNET, &bytes), Ok(expected));
}

#[test]
fn flags_are_those_of_tcp_and_types_those_of_icmp() {
    let read = |protocol: u8, transport: &[u8]| {
        let length = 20 + transport.len() as u16;
        let packet = read(V4, &[&v4(protocol, length)[..], transport].concat()).unwrap();
        (packet.tcp_flags, packet.icmp_type)
    };
    let transport = [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12];
    assert_eq!(read(6, &transport), (Some(0x12), None));
    assert_eq!(read(6, &transport[..13]), (None, None), "a header that ends before them has none");
    assert_eq!(read(17, &transport), (None, None));
    assert_eq!(read(1, &transport), (None, Some(9)));
    assert_eq!(read(58, &transport), (None, Some(9)));
    assert_eq!(read(1, &[]), (None, None));
}

#[test]
fn a_packet_without_a_length_has_that_of_its_bytes() {
    let length = |bytes: &[u8]| read(V4, bytes).unwrap().length;
    let whole = [&v4(17, 28)[..], &PORT_BYTES, &[0; 4]].concat();
    assert_eq!(length(&whole), 28);
    // Padding behind it does not count, and neither does what is missing.
    assert_eq!(length(&[&whole[..], &[0; 18]].concat()), 28);
    assert_eq!(length(&with(whole.clone(), 2, [1, 0])), 256);
    assert_eq!(length(&with(whole.clone(), 2, [0, 0])), 28);
    assert_eq!(length(&[&with(whole, 2, [0, 0])[..], &vec![0; 70_000]].concat()), u16::MAX);
}

#[test]
fn a_header_of_another_version_is_malformed() {
    assert_eq!(read(V4, &v6(17, 0)), Err(Malformed));
    assert_eq!(read(V4, &with(v4(1, 20).to_vec(), 0, [0x65])), Err(Malformed));
    assert_eq!(read(V6, &[&v4(17, 40)[..], &[0; 20]].concat()), Err(Malformed));
}

#[test]
fn an_ipv4_header_is_of_5_to_15_words() {
    let bytes = [&v4(17, 64)[..], &[1; 40], &PORT_BYTES].concat();
    for words in 0..5 {
        assert_eq!(read(V4, &with(bytes.clone(), 0, [0x40 | words])), Err(Malformed), "{words}");
    }
    let five = read(V4, &bytes).unwrap();
    assert_eq!((five.transport, five.ports), (20, Some((0x0101, 0x0101))));
    let fifteen = with(bytes, 0, [0x4f]);
    let packet = read(V4, &fifteen).unwrap();
    assert_eq!((packet.transport, packet.ports), (60, PORTS));
    assert_eq!(read(V4, &fifteen[..59]), Err(Truncated));
}

#[test]
fn an_ipv4_length_within_the_header_is_malformed_and_one_before_the_ports_truncated() {
    let bytes = [&v4(17, 0)[..], &PORT_BYTES, &[0, 8, 0, 0]].concat();
    for total in [1, 19] {
        assert_eq!(read(V4, &with(bytes.clone(), 2, [0, total])), Err(Malformed), "{total}");
    }
    for total in 20..24 {
        assert_eq!(read(V4, &with(bytes.clone(), 2, [0, total])), Err(Truncated), "{total}");
    }
    // Enough for the ports, and more than is there.
    for total in [[0, 24], [0, 28], [0xff, 0xff]] {
        assert_eq!(read(V4, &with(bytes.clone(), 2, total)).unwrap().ports, PORTS, "{total:?}");
    }
    let options = with([&v4(1, 59)[..], &[1; 40]].concat(), 0, [0x4f]);
    assert_eq!(read(V4, &options), Err(Malformed));
    assert_eq!(read(V4, &with(options, 2, [0, 60])).unwrap().transport, 60);
}

#[test]
fn an_ipv6_length_that_ends_before_the_ports_is_truncated() {
    let plain = [&v6(17, 0)[..], &PORT_BYTES, &[0, 8, 0, 0]].concat();
    let behind = [&v6(0, 0)[..], &eight(17), &PORT_BYTES, &[0, 8, 0, 0]].concat();
    for (bytes, enough) in [(plain, 4), (behind, 12)] {
        for payload in 1..enough {
            assert_eq!(read(V6, &with(bytes.clone(), 4, [0, payload])), Err(Truncated), "{payload}");
        }
        for payload in [[0, enough], [0xff, 0xff]] {
            assert_eq!(read(V6, &with(bytes.clone(), 4, payload)).unwrap().ports, PORTS);
        }
    }
}

#[test]
fn a_length_of_0_stands_for_all_that_is_there() {
    let four = [&v4(6, 0)[..], &PORT_BYTES, &[0; 16]].concat();
    assert_eq!(read(V4, &four).unwrap().ports, PORTS);
    assert_eq!(read(V4, &four[..23]), Err(Truncated));
    assert_eq!(read(V4, &with(four, 0, [0x4f])), Err(Truncated));
    let six = [&v6(6, 0)[..], &PORT_BYTES, &[0; 16]].concat();
    assert_eq!(read(V6, &six).unwrap().ports, PORTS);
    assert_eq!(read(V6, &six[..43]), Err(Truncated));
    // RFC 2675: a jumbo payload option of 65,544 bytes in the hop-by-hop header.
    let jumbo = [&v6(0, 0)[..], &[17, 0, 0xc2, 4, 0, 1, 0, 8], &PORT_BYTES, &[0; 4]].concat();
    let packet = read(V6, &jumbo).unwrap();
    assert_eq!((packet.transport, packet.ports), (48, PORTS));
}

#[test]
fn a_chain_of_8_extension_headers_is_followed_and_one_of_9_is_too_deep() {
    let chain = |headers: usize| {
        let mut bytes = v6(60, headers as u16 * 8 + 8);
        (1..headers).for_each(|_| bytes.extend(eight(60)));
        bytes.extend(eight(17));
        [&bytes[..], &PORT_BYTES, &[0, 8, 0, 0]].concat()
    };
    assert_eq!(MAX_EXTENSION_HEADERS, 8);
    let packet = read(V6, &chain(8)).unwrap();
    assert_eq!((packet.protocol, packet.transport, packet.ports), (17, 104, PORTS));
    assert_eq!(read(V6, &chain(9)), Err(TooDeep));
    // Not followed, so neither missed: the ninth is known by its number alone.
    assert_eq!(read(V6, &chain(9)[..104]), Err(TooDeep));
    assert_eq!(read(V6, &chain(9)[..103]), Err(Truncated));
}

#[test]
fn ipv4_fragments_have_ports_in_the_first_alone() {
    let bytes = [&v4(17, 28)[..], &PORT_BYTES, &[0, 8, 0, 0]].concat();
    for (place, fragment, ports) in [
        // The reserved bit and DF say nothing of fragments.
        ([0x80, 0x00], Fragment::Whole, PORTS),
        ([0x40, 0x00], Fragment::Whole, PORTS),
        ([0x20, 0x00], Fragment::First(0x1234), PORTS),
        ([0x20, 0xb9], Fragment::Later(0x1234), None),
        ([0x00, 0xb9], Fragment::Later(0x1234), None),
        ([0x00, 0x01], Fragment::Later(0x1234), None),
        ([0x10, 0x00], Fragment::Later(0x1234), None),
        ([0x1f, 0xff], Fragment::Later(0x1234), None),
    ] {
        let packet = read(V4, &with(bytes.clone(), 6, place)).unwrap();
        assert_eq!((packet.fragment, packet.ports, packet.protocol), (fragment, ports, 17), "{place:?}");
    }
    // A first one too small for its ports, and a last one of a single byte.
    assert_eq!(read(V4, &with(bytes[..22].to_vec(), 2, [0, 22, 0x12, 0x34, 0x20, 0])), Err(Truncated));
    let last = read(V4, &with(bytes[..21].to_vec(), 2, [0, 21, 0x12, 0x34, 0, 0xb9])).unwrap();
    assert_eq!((last.fragment, last.ports), (Fragment::Later(0x1234), None));
}

#[test]
fn ipv6_fragments_have_ports_in_the_first_alone() {
    let id = 0xdead_beef;
    for (place, expected, ports) in [
        (0x0000, Fragment::Whole, PORTS),
        // Two reserved bits.
        (0x0006, Fragment::Whole, PORTS),
        (0x0001, Fragment::First(id), PORTS),
        (0x05a9, Fragment::Later(id), None),
        (0x05a8, Fragment::Later(id), None),
        (0x0008, Fragment::Later(id), None),
        (0xfff8, Fragment::Later(id), None),
    ] {
        let bytes = [&v6(44, 16)[..], &fragment(17, place), &PORT_BYTES, &[0, 8, 0, 0]].concat();
        let packet = read(V6, &bytes).unwrap();
        let found = (packet.fragment, packet.ports, packet.protocol, packet.transport);
        assert_eq!(found, (expected, ports, 17, 48), "{place:#x}");
    }
}

#[test]
fn a_fragment_header_is_found_behind_and_before_other_extension_headers() {
    let id = 0xdead_beef;
    let packet = |place: u16| {
        let chain = [eight(43), eight(44), fragment(60, place), eight(17)].concat();
        read(V6, &[&v6(0, 40)[..], &chain, &PORT_BYTES, &[0, 8, 0, 0]].concat()).unwrap()
    };
    let first = packet(0x0001);
    assert_eq!((first.fragment, first.ports), (Fragment::First(id), PORTS));
    assert_eq!((first.protocol, first.transport), (17, 72));
    // Behind the header of a later one comes the datagram's middle, not what is named.
    let later = packet(0x0010);
    assert_eq!((later.fragment, later.ports), (Fragment::Later(id), None));
    assert_eq!((later.protocol, later.transport), (60, 64));
}

#[test]
fn a_later_ipv6_fragment_may_be_empty() {
    let packet = read(V6, &[&v6(44, 8)[..], &fragment(6, 0x0008)].concat()).unwrap();
    assert_eq!((packet.fragment, packet.ports), (Fragment::Later(0xdead_beef), None));
}

#[test]
fn dscp_is_the_upper_six_bits_in_both_families() {
    // Version, traffic class and flow label share IPv6's first four bytes.
    for (dscp, tos, first) in [
        (0, 0x00, [0x60, 0x00, 0, 0]),
        (0, 0x03, [0x60, 0x3f, 0xff, 0xff]),
        (1, 0x04, [0x60, 0x40, 0, 0]),
        (10, 0x29, [0x62, 0x9f, 0xff, 0xff]),
        (32, 0x80, [0x68, 0x00, 0, 0]),
        (46, 0xb8, [0x6b, 0x80, 0, 0]),
        (46, 0xbb, [0x6b, 0xb5, 0x55, 0x55]),
        (63, 0xfc, [0x6f, 0xc0, 0, 0]),
        (63, 0xff, [0x6f, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(read(V4, &with(v4(1, 20).to_vec(), 1, [tos])).unwrap().dscp, dscp, "{tos:#x}");
        assert_eq!(read(V6, &with(v6(58, 0), 0, first)).unwrap().dscp, dscp, "{first:x?}");
    }
}

#[test]
fn padding_is_not_read_as_ports() {
    // 60 bytes without the checksum, the least that Ethernet sends.
    let padded = |ethertype: [u8; 2], packet: &[u8]| {
        let mut bytes = [&MACS[..], &ethertype, packet].concat();
        bytes.resize(bytes.len().max(60), 0x77);
        read(Layer::ETHERNET, &bytes)
    };
    assert_eq!(padded([8, 0], &v4(17, 20)), Err(Truncated));
    assert_eq!(padded([8, 0], &[&v4(6, 22)[..], &PORT_BYTES[..2]].concat()), Err(Truncated));
    assert_eq!(padded([8, 0], &v4(1, 20)).unwrap().ports, None);
    assert_eq!(padded([8, 0], &[&v4(17, 28)[..], &PORT_BYTES, &[0, 8, 0, 0]].concat()).unwrap().ports, PORTS);
    assert_eq!(padded([0x86, 0xdd], &[&v6(17, 2)[..], &PORT_BYTES[..2]].concat()), Err(Truncated));
    // The header that is named lies in the padding.
    assert_eq!(padded([0x86, 0xdd], &[&v6(0, 4)[..], &[17, 0, 1, 4]].concat()), Err(Truncated));
}

#[test]
fn the_outermost_tag_counts_and_one_taken_off_is_further_out() {
    let id = |tag: u16, tags: &[u8]| {
        let bytes = [&MACS[..], tags, &[8, 0], &v4(1, 20)].concat();
        parse(&&bytes[..], Layer::ETHERNET, tag).map(|packet| packet.vlan)
    };
    let customer = [0x81, 0, 0x00, 0x09];
    let service = [0x88, 0xa8, 0x00, 0x07];
    let both = [service, customer].concat();
    assert_eq!(id(NO_VLAN, &[]), Ok(4095));
    assert_eq!(id(NO_VLAN, &customer), Ok(9));
    assert_eq!(id(NO_VLAN, &both), Ok(7));
    // Priority 7 and the drop bit are no part of the id; 0 is a priority tag.
    assert_eq!(id(NO_VLAN, &[0x81, 0, 0xff, 0xfe]), Ok(4094));
    assert_eq!(id(NO_VLAN, &[0x81, 0, 0xe0, 0x00]), Ok(0));
    assert_eq!(id(300, &[]), Ok(300));
    assert_eq!(id(300, &customer), Ok(300));
    assert_eq!(id(0, &customer), Ok(0));
    assert_eq!(id(300, &both), Ok(300));
    assert_eq!(id(NO_VLAN, &[&both[..], &customer].concat()), Err(TooDeep));
    assert_eq!(id(300, &[&both[..], &customer].concat()), Err(TooDeep));
}

#[test]
fn a_tag_taken_off_counts_without_an_ethernet_header_too() {
    assert_eq!(parse(&&v4(1, 20)[..], V4, 300).unwrap().vlan, 300);
    assert_eq!(parse(&&v6(58, 0)[..], V6, 300).unwrap().vlan, 300);
    assert_eq!(parse(&&v6(58, 0)[..], V6, NO_VLAN).unwrap().vlan, 4095);
}
