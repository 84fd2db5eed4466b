//! Packets as the stack wants them: headers without options, checksums right, nothing after them.

use std::net::IpAddr;

use crate::bpf::{FRAME, Frame};
use crate::witness::packet::Packet;

/// The device that packets come in by; any other destination would be somebody else's packet.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The packet with its addresses, protocol and ports, and else as plain as can be.
pub fn plain(packet: &Packet) -> Frame {
    let payload = transport(packet.protocol, packet.ports);
    let mut bytes = [MAC, SENDER].concat();
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend([0x08, 0x00]);
            let mut header = vec![0x45, 0];
            header.extend((20 + payload.len() as u16).to_be_bytes());
            header.extend([0, 0, 0, 0, 64, packet.protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend([packet.protocol, 64]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("a packet of two families"),
    }
    bytes.extend(payload);
    let mut frame = [0; FRAME];
    frame[..bytes.len()].copy_from_slice(&bytes);
    frame
}

fn transport(protocol: u8, ports: Option<(u16, u16)>) -> Vec<u8> {
    let mut bytes = vec![0; if protocol == 6 { 20 } else { 8 }];
    if let Some((source, destination)) = ports {
        bytes[..2].copy_from_slice(&source.to_be_bytes());
        bytes[2..4].copy_from_slice(&destination.to_be_bytes());
    }
    match protocol {
        // Five words of header; ACK.
        6 => bytes[12..14].copy_from_slice(&[5 << 4, 0x10]),
        17 => bytes[4..6].copy_from_slice(&8u16.to_be_bytes()),
        1 => bytes[0] = 8,
        58 => bytes[0] = 128,
        _ => {}
    }
    bytes
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
