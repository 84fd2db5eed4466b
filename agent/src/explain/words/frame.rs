//! The described packet as bytes, so that words and captures go the same way from there.

use std::net::IpAddr;

use super::Words;

impl Words {
    /// EtherType of its IP version.
    pub fn ethertype(&self) -> u16 {
        match self.source {
            IpAddr::V4(_) => 0x0800,
            IpAddr::V6(_) => 0x86dd,
        }
    }

    /// From the IP header on, with as much behind it as the protocol needs to be read.
    pub fn packet(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total = 20 + transport.len() as u16;
                let mut header = vec![0x45, self.dscp << 2];
                header.extend(total.to_be_bytes());
                // Identification 0, don't fragment, TTL 64, checksum to come.
                header.extend([0, 0, 0x40, 0, 64, self.protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (source, destination) => {
                let class = u32::from(self.dscp << 2);
                let mut header = (0x6000_0000 | class << 20).to_be_bytes().to_vec();
                header.extend((transport.len() as u16).to_be_bytes());
                header.extend([self.protocol, 64]);
                // Both are IPv6 here: `parse` makes no mixed ones.
                for address in [source, destination] {
                    header.extend(match address {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                        IpAddr::V6(v6) => v6.octets(),
                    });
                }
                header
            }
        };
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

    /// The header behind IP's: ports and lengths are right, checksums are not, since nothing here looks at them.
    fn transport(&self) -> Vec<u8> {
        let mut bytes = vec![0; header_length(self.protocol)];
        if let Some((from, to)) = self.ports {
            bytes[0..2].copy_from_slice(&from.to_be_bytes());
            bytes[2..4].copy_from_slice(&to.to_be_bytes());
        }
        match self.protocol {
            // Length of the datagram.
            17 => bytes[5] = 8,
            // Data offset of five words, SYN.
            6 => bytes[12..14].copy_from_slice(&[0x50, 0x02]),
            // Echo request.
            1 => bytes[0] = 8,
            58 => bytes[0] = 128,
            _ => {}
        }
        bytes
    }
}

fn header_length(protocol: u8) -> usize {
    match protocol {
        6 => 20,
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
}
