//! The described packet as bytes, so that words and captures go the same way from there.

use std::net::IpAddr;

use super::{Part, Words};
use crate::policy::protocol;

/// Protocol number of IPv6's fragment header (RFC 8200 section 4.5).
const FRAGMENT: u8 = 44;
/// Where a later fragment's bytes stand in the datagram, in units of eight.
const OFFSET: u16 = 1;

impl Words {
    /// EtherType of its IP version.
    pub fn ethertype(&self) -> u16 {
        match self.source {
            IpAddr::V4(_) => 0x0800,
            IpAddr::V6(_) => 0x86dd,
        }
    }

    /// Bytes that it has at least, from the IP header on.
    pub fn least(&self) -> u16 {
        let network = match (self.source, self.fragment) {
            (IpAddr::V4(_), _) => 20,
            (IpAddr::V6(_), None) => 40,
            (IpAddr::V6(_), Some(_)) => 48,
        };
        network + header_length(self.protocol)
    }

    /// From the IP header on, with as much behind it as the protocol needs to be read, or as its length says.
    pub fn packet(&self) -> Vec<u8> {
        let length = self.length.unwrap_or(self.least());
        let mut bytes = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, self.dscp << 2];
                header.extend(length.to_be_bytes());
                // Identification 0, don't fragment unless it is one, TTL 64, checksum to come.
                let place = match self.fragment {
                    None => 0x4000,
                    Some(Part::First) => 0x2000,
                    Some(Part::Later) => OFFSET,
                };
                header.extend([0, 0]);
                header.extend(place.to_be_bytes());
                header.extend([64, self.protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (source, destination) => {
                let class = u32::from(self.dscp << 2);
                let mut header = (0x6000_0000 | class << 20).to_be_bytes().to_vec();
                header.extend((length - 40).to_be_bytes());
                header.extend([if self.fragment.is_some() { FRAGMENT } else { self.protocol }, 64]);
                // Both are IPv6 here: `parse` makes no mixed ones.
                for address in [source, destination] {
                    header.extend(match address {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                        IpAddr::V6(v6) => v6.octets(),
                    });
                }
                if let Some(part) = self.fragment {
                    // Three bits below the offset, the lowest says that more follow.
                    let place: u16 = if part == Part::First { 1 } else { OFFSET << 3 };
                    header.extend([self.protocol, 0]);
                    header.extend(place.to_be_bytes());
                    header.extend([0; 4]);
                }
                header
            }
        };
        let transport = self.transport(length - bytes.len() as u16);
        bytes.extend(transport);
        bytes
    }

    /// The same behind an Ethernet header, with its tag.
    pub fn frame(&self) -> Vec<u8> {
        let mut bytes = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1];
        if let Some(vlan) = self.vlan {
            bytes.extend([0x81, 0x00]);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(self.ethertype().to_be_bytes());
        bytes.extend(self.packet());
        bytes
    }

    /// What is behind IP's header: ports, types and lengths are right, checksums are not, since nothing here looks at them.
    fn transport(&self, length: u16) -> Vec<u8> {
        let mut bytes = vec![0; length.into()];
        if let Some((from, to)) = self.ports {
            bytes[0..2].copy_from_slice(&from.to_be_bytes());
            bytes[2..4].copy_from_slice(&to.to_be_bytes());
            if self.protocol == UDP {
                bytes[4..6].copy_from_slice(&length.to_be_bytes());
            }
        }
        if let Some(flags) = self.tcp_flags {
            // Data offset of five words.
            bytes[12..14].copy_from_slice(&[0x50, flags]);
        }
        if let Some(kind) = self.icmp_type {
            bytes[0] = kind;
        }
        bytes
    }
}

/// Protocol number of UDP.
const UDP: u8 = 17;

fn header_length(protocol: u8) -> u16 {
    match protocol {
        protocol::TCP => 20,
        132 => 12,
        47 => 4,
        // UDP, ICMP and ESP have eight; of the others nothing is read.
        _ => 8,
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        Words::parse(text).expect("a packet")
    }

    #[test]
    fn an_ipv4_packet_is_byte_for_byte_what_it_says() {
        let bytes = words("udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef").packet();
        let golden = [
            0x45, 0xb8, 0x00, 0x1c, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x26, 0x09, 10, 1, 0, 5, 10, 2, 0,
            9, // IPv4
            0x0f, 0xa0, 0x13, 0xc4, 0x00, 0x08, 0x00, 0x00, // UDP
        ];
        assert_eq!(bytes, golden);
    }

    #[test]
    fn an_ipv6_packet_has_its_dscp_across_two_bytes() {
        let bytes = words("tcp [2001:db8::1]:1 > [2001:db8::2]:2 dscp ef").packet();
        assert_eq!(bytes[..8], [0x6b, 0x80, 0, 0, 0, 20, 6, 64]);
        assert_eq!(bytes.len(), 60);
        assert_eq!((bytes[8], bytes[39], bytes[41], bytes[43]), (0x20, 2, 1, 2));
    }

    #[test]
    fn a_tag_stands_before_the_ethertype() {
        let frame = words("icmp 10.1.0.5 > 10.2.0.9 vlan 12").frame();
        assert_eq!(frame[12..18], [0x81, 0x00, 0x00, 12, 0x08, 0x00]);
        assert_eq!(words("icmp 10.1.0.5 > 10.2.0.9").frame()[12..14], [0x08, 0x00]);
    }

    #[test]
    fn a_length_is_filled_up() {
        let bytes = words("udp 10.1.0.5:1 > 10.2.0.9:2 length 1200").packet();
        assert_eq!((bytes.len(), &bytes[2..4], &bytes[24..26]), (1200, &[0x04, 0xb0][..], &[0x04, 0x9c][..]));
        let bytes = words("esp 2001:db8::1 > 2001:db8::2 length 65535").packet();
        assert_eq!((bytes.len(), &bytes[4..6]), (65535, &[0xff, 0xd7][..]));
    }

    #[test]
    fn fragments_say_where_they_stand() {
        let four = |part| words(&format!("esp 10.1.0.5 > 10.2.0.9 fragment {part}")).packet();
        assert_eq!((&four("first")[6..8], &four("later")[6..8]), (&[0x20, 0][..], &[0, 1][..]));
        let six = |part| words(&format!("esp 2001:db8::1 > 2001:db8::2 fragment {part}")).packet();
        assert_eq!((six("first")[6], six("first").len()), (44, 56));
        assert_eq!(
            (&six("first")[40..48], &six("later")[40..44]),
            (&[50, 0, 0, 1, 0, 0, 0, 0][..], &[50, 0, 0, 8][..])
        );
    }

    #[test]
    fn flags_and_types_stand_in_their_headers() {
        assert_eq!(words("tcp 10.1.0.5:1 > 10.2.0.9:2 flags syn,ack").packet()[32..34], [0x50, 0x12]);
        assert_eq!(words("icmp 10.1.0.5 > 10.2.0.9 type time-exceeded").packet()[20], 11);
        assert_eq!(words("icmpv6 2001:db8::1 > 2001:db8::2").packet()[40], 128);
    }
}
