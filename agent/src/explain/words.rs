//! A packet in words: `udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0`.
//!
//! Protocol, source, `>` (or `to`, which needs no quotes in a shell), destination; then in any order `dscp`, `vlan`, `in`,
//! `flags`, `type`, `length`, `fragment`, `mark` and `cgroup`, each also by the name that it has in a rule. What is not said is as of a
//! packet that begins something: TCP's SYN, an echo request, no fragment, no mark, and no more than its headers.

mod error;
mod frame;

use std::net::IpAddr;

use crate::config::nearest::nearest;
use crate::config::value::{self, IcmpType, Kind, Reason};
use crate::policy::{icmp, protocol, tcp};
pub use error::WordsError;

/// A packet as somebody describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// IP protocol.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Source and destination port; there if and only if the protocol has ports and it is no later fragment.
    pub ports: Option<(u16, u16)>,
    /// 0..=63.
    pub dscp: u8,
    /// Id of its tag, if it has one.
    pub vlan: Option<u16>,
    /// The interface that it came in by; `None` for one of the host's own.
    pub interface: Option<String>,
    /// Of TCP, but for a later fragment.
    pub tcp_flags: Option<u8>,
    /// Of ICMP and ICMPv6, but for a later fragment.
    pub icmp_type: Option<u8>,
    /// Bytes from the IP header on; `None` for no more than the headers have.
    pub length: Option<u16>,
    /// Which part of a datagram it is; `None` for all of it.
    pub fragment: Option<Part>,
    /// The mark that it comes with.
    pub mark: u32,
    /// The cgroup of its socket, for one of the host's own.
    pub cgroup: Option<String>,
}

/// A part of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// With the header behind IP's.
    First,
    /// Without.
    Later,
}

/// The words behind the destination, and what each is called here: rules have other names for some.
const OPTIONS: [(&str, &str); 12] = [
    ("dscp", "dscp"),
    ("vlan", "vlan"),
    ("in", "in"),
    ("interface", "in"),
    ("flags", "flags"),
    ("tcp-flags", "flags"),
    ("type", "type"),
    ("icmp-type", "type"),
    ("length", "length"),
    ("fragment", "fragment"),
    ("mark", "mark"),
    ("cgroup", "cgroup"),
];

/// A word behind the destination, and where it has one what follows it.
type Given<'a> = Vec<(&'static str, &'a str)>;

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
        let given = options(words)?;
        let mut packet = Self {
            protocol,
            source,
            destination,
            ports: None,
            dscp: 0,
            vlan: None,
            interface: None,
            tcp_flags: None,
            icmp_type: None,
            length: None,
            fragment: None,
            mark: 0,
            cgroup: None,
        };
        // First what decides on the headers that it has.
        if let Some(text) = of(&given, "fragment") {
            packet.fragment = Some(part(text)?);
        }
        packet.read_ports(source_port, destination_port)?;
        packet.read_flags(of(&given, "flags"))?;
        packet.read_type(of(&given, "type"))?;
        for &(word, text) in &given {
            match word {
                "dscp" => packet.dscp = read(word, text, &value::DSCP)?,
                "vlan" => packet.vlan = Some(read(word, text, &value::VLAN)?),
                "in" => packet.interface = Some(read(word, text, &value::INTERFACE)?),
                // As a rule has it, the mask is of no more than these bits: all others are zero.
                "mark" => packet.mark = read(word, text, &value::MARK)?.0,
                "cgroup" => packet.cgroup = Some(read(word, text, &value::CGROUP)?),
                "length" => packet.length = Some(packet.read_length(text)?),
                _ => {}
            }
        }
        match (&packet.interface, &packet.cgroup) {
            (Some(_), Some(_)) => Err(WordsError::Cgroup),
            (_, None) | (None, _) => Ok(packet),
        }
    }

    fn is_later(&self) -> bool {
        self.fragment == Some(Part::Later)
    }

    fn read_ports(&mut self, from: Option<u16>, to: Option<u16>) -> Result<(), WordsError> {
        if self.is_later() && protocol::has_ports(self.protocol) {
            return if from.or(to).is_some() { Err(WordsError::Later { what: "ports" }) } else { Ok(()) };
        }
        let from = port_of(self.protocol, "source", self.source, from)?;
        let to = port_of(self.protocol, "destination", self.destination, to)?;
        self.ports = from.zip(to);
        Ok(())
    }

    fn read_flags(&mut self, text: Option<&str>) -> Result<(), WordsError> {
        let is_tcp = self.protocol == protocol::TCP;
        let given = match text {
            Some(_) if !is_tcp => return Err(foreign("flags", "tcp", self.protocol)),
            Some(_) if self.is_later() => return Err(WordsError::Later { what: "flags" }),
            // As a rule has it, the mask is of no more than these flags: all others are not set.
            Some(text) => match text.split('/').next().unwrap_or(text) {
                none if none.eq_ignore_ascii_case("none") => 0,
                flags => read("flags", flags, &value::TCP_FLAGS)?.0,
            },
            None => SYN,
        };
        self.tcp_flags = (is_tcp && !self.is_later()).then_some(given);
        Ok(())
    }

    fn read_type(&mut self, text: Option<&str>) -> Result<(), WordsError> {
        let Some(known) = icmp::names(self.protocol) else {
            return text.map_or(Ok(()), |_| Err(foreign("type", "icmp and icmpv6", self.protocol)));
        };
        self.icmp_type = match text {
            Some(_) if self.is_later() => return Err(WordsError::Later { what: "type" }),
            Some(text) => Some(match read("type", text, &value::ICMP_TYPE)? {
                IcmpType::Number(number) => number,
                IcmpType::Name(name) => icmp::number(self.protocol, &name).ok_or_else(|| {
                    let cure = match nearest(&name, known.iter().map(|&(name, _)| name)) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => "write its number, 0 to 255".to_owned(),
                    };
                    WordsError::Value { word: "type", reason: Reason::Unknown { value: name, cure } }
                })?,
            }),
            None if self.is_later() => None,
            None => icmp::number(self.protocol, "echo-request"),
        };
        Ok(())
    }

    fn read_length(&self, text: &str) -> Result<u16, WordsError> {
        let least = self.least();
        let length = text.parse().ok().filter(|length| *length >= least);
        length.ok_or_else(|| WordsError::Length { found: text.to_owned(), least })
    }
}

/// TCP's flag of a packet that asks for a connection.
const SYN: u8 = 2;

fn options<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Given<'a>, WordsError> {
    let mut given = Given::new();
    while let Some(found) = words.next() {
        let known = OPTIONS.into_iter().find(|(known, _)| *known == found);
        let (_, word) = known.ok_or_else(|| unknown(found))?;
        if of(&given, word).is_some() {
            return Err(WordsError::Twice { word });
        }
        let wanted = match word {
            "dscp" => "a DSCP's name or number",
            "vlan" => "a VLAN id",
            "in" => "an interface",
            "flags" => "a list of flags like syn,ack",
            "type" => "an ICMP type's name or number",
            "length" => "a number of bytes",
            "fragment" => "\"first\" or \"later\"",
            "cgroup" => "a cgroup like /system.slice/backup.service",
            _ => "a mark like 0x100",
        };
        given.push((word, words.next().ok_or(WordsError::Ends { wanted })?));
    }
    Ok(given)
}

/// What follows a word, where it is there.
fn of<'a>(given: &Given<'a>, word: &str) -> Option<&'a str> {
    given.iter().find(|(known, _)| *known == word).map(|(_, text)| *text)
}

fn part(text: &str) -> Result<Part, WordsError> {
    const PARTS: [(&str, Part); 2] = [("first", Part::First), ("later", Part::Later)];
    let known = PARTS.into_iter().find(|(known, _)| *known == text);
    known.map(|(_, part)| part).ok_or_else(|| {
        let cure = match nearest(text, PARTS.map(|(name, _)| name)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "it is its datagram's \"first\" or a \"later\" one".to_owned(),
        };
        WordsError::Value { word: "fragment", reason: Reason::Unknown { value: text.to_owned(), cure } }
    })
}

fn foreign(word: &'static str, of: &'static str, protocol: u8) -> WordsError {
    WordsError::Foreign { word, of, protocol: protocol::show(protocol) }
}

fn unknown(found: &str) -> WordsError {
    if found == "tenant" {
        return WordsError::Tenant;
    }
    let cure = match nearest(found, OPTIONS.map(|(known, _)| known)) {
        _ if tcp::flag(found).is_some() => format!("flags are one list with commas, like \"flags syn,{found}\""),
        Some(near) => format!("did you mean \"{near}\"?"),
        None => ALL.to_owned(),
    };
    WordsError::Unknown { found: found.to_owned(), cure }
}

const ALL: &str = "behind the destination come \"dscp NAME\", \"vlan ID\", \"in INTERFACE\", \"flags NAMES\", \"type NAME\", \
                   \"length BYTES\", \"fragment first\" or \"later\", \"mark NUMBER\", and \"cgroup PATH\"";

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
mod tests;
