//! A packet in words: `udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0`.
//!
//! Protocol, source, `>` (or `to`, which needs no quotes in a shell), destination; then in any order `dscp`, `vlan`, `in`.

mod frame;

use std::net::IpAddr;

use crate::config::nearest::nearest;
use crate::config::value::{self, Kind, Reason};
use crate::policy::protocol;

/// A packet as somebody describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// IP protocol.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Source and destination port; there if and only if the protocol has ports.
    pub ports: Option<(u16, u16)>,
    /// 0..=63.
    pub dscp: u8,
    /// Id of its tag, if it has one.
    pub vlan: Option<u16>,
    /// The interface that it came in by; `None` for one of the host's own.
    pub interface: Option<String>,
}

/// Why words are no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// No words.
    #[error("no packet: it begins with a protocol, {EXAMPLE}")]
    Nothing,
    /// It ends too early.
    #[error("the packet ends where {wanted} is wanted, {EXAMPLE}")]
    Ends {
        /// What comes next.
        wanted: &'static str,
    },
    /// Not `>`.
    #[error(
        "\"{found}\" stands where \">\" is wanted between source and destination; in a shell quote it, or write \"to\""
    )]
    Arrow {
        /// What is there.
        found: String,
    },
    /// Something that is no end of a packet.
    #[error(
        "{end} \"{found}\" is not an address or ADDRESS:PORT; an IPv6 address with a port is written [2001:db8::1]:5060"
    )]
    End {
        /// `source` or `destination`.
        end: &'static str,
        /// What is there.
        found: String,
    },
    /// One end with a port where the protocol has none.
    #[error("{protocol} has no ports, but {end} {found} has one")]
    NoPorts {
        /// The protocol.
        protocol: String,
        /// `source` or `destination`.
        end: &'static str,
        /// What is there.
        found: String,
    },
    /// One end without a port where the protocol has ports.
    #[error("{protocol} has ports: write {end} {cure}")]
    Ports {
        /// The protocol.
        protocol: String,
        /// `source` or `destination`.
        end: &'static str,
        /// The end with a port.
        cure: String,
    },
    /// Ends of two families.
    #[error("source {source_address} and destination {destination} are of different families")]
    Families {
        /// The source.
        source_address: IpAddr,
        /// The destination.
        destination: IpAddr,
    },
    /// ICMP of the other family.
    #[error("{protocol} does not go over {family}: did you mean {cure}?")]
    Icmp {
        /// The protocol.
        protocol: &'static str,
        /// The family of the addresses.
        family: &'static str,
        /// The protocol of that family.
        cure: &'static str,
    },
    /// A value that its word does not take.
    #[error("{word} {reason}{}", hint(reason))]
    Value {
        /// The word before it.
        word: &'static str,
        /// Why not.
        reason: Reason,
    },
    /// The same word again.
    #[error("\"{word}\" is there twice")]
    Twice {
        /// Which.
        word: &'static str,
    },
    /// A word that follows from others.
    #[error("a packet does not say its tenant: that follows from \"in INTERFACE\", from its VLAN and from its source")]
    Tenant,
    /// Another word.
    #[error("\"{found}\" is not known here: {cure}")]
    Unknown {
        /// What is there.
        found: String,
        /// The nearest, or all.
        cure: String,
    },
}

const EXAMPLE: &str = "like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\"";
const OPTIONS: [&str; 3] = ["dscp", "vlan", "in"];

fn hint(reason: &Reason) -> String {
    reason.cure().map(|cure| format!("; {cure}")).unwrap_or_default()
}

impl Words {
    /// Reads a packet.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let spaced = text.replace("->", " > ").replace('>', " > ");
        let mut words = spaced.split_whitespace();
        let protocol = read("protocol", words.next().ok_or(WordsError::Nothing)?, &value::PROTOCOL)?;
        let (source, source_port) = end("source", words.next(), "a source address")?;
        match words.next() {
            Some(">" | "to") => {}
            Some(found) => return Err(WordsError::Arrow { found: found.to_owned() }),
            None => return Err(WordsError::Ends { wanted: "\">\"" }),
        }
        let (destination, destination_port) = end("destination", words.next(), "a destination address")?;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(WordsError::Families { source_address: source, destination });
        }
        check_icmp(protocol, source.is_ipv4())?;
        let ports = match (
            port_of(protocol, "source", source, source_port)?,
            port_of(protocol, "destination", destination, destination_port)?,
        ) {
            (Some(from), Some(to)) => Some((from, to)),
            _ => None,
        };
        let mut packet = Self { protocol, source, destination, ports, dscp: 0, vlan: None, interface: None };
        packet.read_options(words)?;
        Ok(packet)
    }

    fn read_options<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Result<(), WordsError> {
        let mut seen = Vec::new();
        while let Some(found) = words.next() {
            let Some(word) = OPTIONS.into_iter().find(|known| *known == found) else {
                return Err(unknown(found));
            };
            if seen.contains(&word) {
                return Err(WordsError::Twice { word });
            }
            seen.push(word);
            let mut next = |wanted| words.next().ok_or(WordsError::Ends { wanted });
            match word {
                "dscp" => self.dscp = read(word, next("a DSCP's name or number")?, &value::DSCP)?,
                "vlan" => self.vlan = Some(read(word, next("a VLAN id")?, &value::VLAN)?),
                _ => self.interface = Some(read(word, next("an interface")?, &value::INTERFACE)?),
            }
        }
        Ok(())
    }
}

fn unknown(found: &str) -> WordsError {
    if found == "tenant" {
        return WordsError::Tenant;
    }
    let cure = match nearest(found, OPTIONS) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "behind the destination come \"dscp NAME\", \"vlan ID\" and \"in INTERFACE\"".to_owned(),
    };
    WordsError::Unknown { found: found.to_owned(), cure }
}

fn read<T>(word: &'static str, text: &str, kind: &Kind<T>) -> Result<T, WordsError> {
    (kind.text)(text).map_err(|reason| WordsError::Value { word, reason })
}

/// `10.1.0.5`, `10.1.0.5:4000`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4000`.
fn end(end: &'static str, word: Option<&str>, wanted: &'static str) -> Result<(IpAddr, Option<u16>), WordsError> {
    let word = word.ok_or(WordsError::Ends { wanted })?;
    let wrong = || WordsError::End { end, found: word.to_owned() };
    let bracketed = word.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (address, port) = match bracketed {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
        // More than one colon without brackets is an IPv6 address.
        None => match word.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, Some(port)),
            _ => (word, None),
        },
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    if bracketed.is_some() && address.is_ipv4() {
        return Err(wrong());
    }
    let port = port.map(|port| port.parse().map_err(|_| wrong())).transpose()?;
    Ok((address, port))
}

fn port_of(protocol: u8, end: &'static str, address: IpAddr, port: Option<u16>) -> Result<Option<u16>, WordsError> {
    let name = || protocol::show(protocol);
    match (protocol::has_ports(protocol), port) {
        (true, Some(port)) => Ok(Some(port)),
        (false, None) => Ok(None),
        (true, None) => {
            let cure = std::net::SocketAddr::new(address, 5060).to_string();
            Err(WordsError::Ports { protocol: name(), end, cure })
        }
        (false, Some(port)) => {
            let found = std::net::SocketAddr::new(address, port).to_string();
            Err(WordsError::NoPorts { protocol: name(), end, found })
        }
    }
}

fn check_icmp(protocol: u8, is_v4: bool) -> Result<(), WordsError> {
    match (protocol, is_v4) {
        (1, false) => Err(WordsError::Icmp { protocol: "icmp", family: "IPv6", cure: "icmpv6" }),
        (58, true) => Err(WordsError::Icmp { protocol: "icmpv6", family: "IPv4", cure: "icmp" }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        Words::parse(text).expect_err("no packet").to_string()
    }

    #[test]
    fn the_documented_packet_is_read() {
        let packet = Words::parse("udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0").expect("a packet");
        assert_eq!(packet.protocol, 17);
        assert_eq!(packet.source.to_string(), "10.1.0.5");
        assert_eq!(packet.destination.to_string(), "10.2.0.9");
        assert_eq!(packet.ports, Some((4000, 5060)));
        assert_eq!((packet.dscp, packet.vlan), (46, None));
        assert_eq!(packet.interface.as_deref(), Some("lan0"));
    }

    #[test]
    fn ipv6_stands_in_brackets_where_it_has_a_port() {
        let packet = Words::parse("tcp [2001:db8::1]:4000 to [2001:db8::2]:443 vlan 12").expect("a packet");
        assert_eq!(packet.source.to_string(), "2001:db8::1");
        assert_eq!((packet.ports, packet.vlan), (Some((4000, 443)), Some(12)));
        let packet = Words::parse("icmpv6 2001:db8::1 -> [2001:db8::2]").expect("a packet");
        assert_eq!((packet.protocol, packet.ports), (58, None));
    }

    #[test]
    fn blanks_around_the_arrow_may_be_left_out() {
        let with = Words::parse("esp 192.0.2.1 > 192.0.2.2").expect("a packet");
        assert_eq!(Words::parse("esp 192.0.2.1>192.0.2.2").expect("a packet"), with);
        assert_eq!(Words::parse("50 192.0.2.1->192.0.2.2").expect("a packet"), with);
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        let table = [
            ("", "no packet: it begins with a protocol, like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\""),
            ("upd 10.1.0.5:1 > 10.2.0.9:2", "protocol \"upd\" is not known; did you mean \"udp\"?"),
            (
                "udp",
                "the packet ends where a source address is wanted, like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\"",
            ),
            (
                "udp 10.1.0.5:4000",
                "the packet ends where \">\" is wanted, like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\"",
            ),
            (
                "udp 10.1.0.5:1 10.2.0.9:2",
                "\"10.2.0.9:2\" stands where \">\" is wanted between source and destination; in a shell quote it, or write \"to\"",
            ),
            (
                "udp 10.1.0:1 > 10.2.0.9:2",
                "source \"10.1.0:1\" is not an address or ADDRESS:PORT; an IPv6 address with a port is written [2001:db8::1]:5060",
            ),
            ("udp 10.1.0.5 > 10.2.0.9:2", "udp has ports: write source 10.1.0.5:5060"),
            ("udp 2001:db8::1 > [2001:db8::2]:2", "udp has ports: write source [2001:db8::1]:5060"),
            ("icmp 10.1.0.5 > 10.2.0.9:2", "icmp has no ports, but destination 10.2.0.9:2 has one"),
            (
                "udp 10.1.0.5:1 > [2001:db8::2]:2",
                "source 10.1.0.5 and destination 2001:db8::2 are of different families",
            ),
            ("icmp 2001:db8::1 > 2001:db8::2", "icmp does not go over IPv6: did you mean icmpv6?"),
            ("icmpv6 10.1.0.5 > 10.2.0.9", "icmpv6 does not go over IPv4: did you mean icmp?"),
            (
                "esp 10.1.0.5 > 10.2.0.9 dscp 70",
                "dscp 70 is above 63; DSCP goes from 0 to 63, or has a name such as \"ef\"",
            ),
            ("esp 10.1.0.5 > 10.2.0.9 dscp ef dscp ef", "\"dscp\" is there twice"),
            (
                "esp 10.1.0.5 > 10.2.0.9 tenant acme",
                "a packet does not say its tenant: that follows from \"in INTERFACE\", from its VLAN and from its source",
            ),
            ("esp 10.1.0.5 > 10.2.0.9 dcsp ef", "\"dcsp\" is not known here: did you mean \"dscp\"?"),
            (
                "esp 10.1.0.5 > 10.2.0.9 colour red",
                "\"colour\" is not known here: behind the destination come \"dscp NAME\", \"vlan ID\" and \"in INTERFACE\"",
            ),
        ];
        for (words, expected) in table {
            assert_eq!(said(words), expected, "{words}");
        }
    }
}
