//! What must hold whatever the bytes are: the fuzz targets, also run over their corpora by the tests.

use lanekeeper::compile::{Registry, compile};
use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Fragment, Layer, MAX_VLAN_TAGS, Packet, parse as read};

use super::hearing::Hearing;
use super::policy;
use super::random::Random;

/// Packets for each policy.
const PACKETS: usize = 64;

/// Bytes choose a policy and packets: oracle and classifier say the same of each.
pub fn classify(bytes: &[u8]) {
    let mut random = Random::chosen(bytes);
    let policy = policy::policy(&mut random);
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    let mut hearing = Hearing::new(&policy, &tables);
    for place in 0..PACKETS {
        hearing.next(&mut random, || format!("packet {place} of {policy:?}"));
    }
}

/// Bytes are a frame: the parser stays within them and says the same however they come.
pub fn parse(bytes: &[u8]) {
    let frame = |bytes: &[u8]| read(&bytes, Layer::ETHERNET, NO_VLAN);
    let whole = frame(bytes);
    let flat = Packet::flatten(whole);
    let Ok(packet) = whole else {
        assert_ne!(flat.reason, 0);
        return;
    };
    assert_eq!(Packet::unflatten(&flat), packet);
    let len = bytes.len() as u32;
    assert!(packet.network <= packet.transport && packet.transport <= len, "{packet:?} in {len} bytes");
    assert!(packet.dscp < 64 && (packet.vlan == NO_VLAN || packet.vlan < 4096), "{packet:?}");
    let later = matches!(packet.fragment, Fragment::Later(_));
    assert!(!later || (packet.ports, packet.tcp_flags, packet.icmp_type) == (None, None, None), "{packet:?}");

    // What lies behind the packet's own end is not of the packet.
    let own = packet.network as usize + usize::from(packet.length);
    if own < bytes.len() {
        let mut other = bytes.to_vec();
        other[own..].iter_mut().for_each(|byte| *byte = !*byte);
        assert_eq!(frame(&other), whole);
        assert_eq!(frame(&bytes[..own]), whole, "cut to its own {own} bytes");
    }
    // Bytes before the EtherType are addresses, which nothing asks about.
    let mut renamed = bytes.to_vec();
    renamed[..12].iter_mut().for_each(|byte| *byte = !*byte);
    assert_eq!(frame(&renamed), whole);
    // The same below an Ethernet header, as far as there is no tag.
    if packet.network == 14 {
        let layer = Layer::network(u16::from_be_bytes([bytes[12], bytes[13]]));
        let raw = Packet { network: 0, transport: packet.transport - 14, ..packet };
        assert_eq!(read(&&bytes[14..], layer, NO_VLAN), Ok(raw));
        for tags in 1..=MAX_VLAN_TAGS {
            let mut tagged = bytes[..12].to_vec();
            (0..tags).for_each(|tag| tagged.extend([0x81, 0x00, 0xe0, 7 + tag as u8]));
            tagged.extend_from_slice(&bytes[12..]);
            let shift = 4 * tags as u32;
            let (network, transport) = (packet.network + shift, packet.transport + shift);
            assert_eq!(frame(&tagged), Ok(Packet { network, transport, vlan: 7, ..packet }));
        }
    }
}
