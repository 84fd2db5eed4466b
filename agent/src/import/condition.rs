//! What a packet must be like: each field one of some values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use lanekeeper_common::packet::Family;

use crate::policy::protocol;

/// All fields hold; an empty list holds for every packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Condition {
    /// IP's version.
    pub family: Option<Version>,
    /// Source prefixes.
    pub source: Vec<IpNet>,
    /// Destination prefixes.
    pub destination: Vec<IpNet>,
    /// IP protocols.
    pub protocol: Vec<u8>,
    /// Inclusive ranges; only tcp, udp and sctp have any.
    pub source_port: Vec<(u16, u16)>,
    /// Inclusive ranges.
    pub destination_port: Vec<(u16, u16)>,
    /// 0..=63.
    pub dscp: Vec<u8>,
    /// Ingress.
    pub interface: Vec<String>,
    /// Inclusive ranges, from the IP header on.
    pub length: Vec<(u16, u16)>,
    /// Set ones among those of the second; `protocol` is tcp then.
    pub tcp_flags: Option<(u8, u8)>,
    /// `protocol` is icmp or icmpv6 then.
    pub icmp_type: Vec<u8>,
    /// Of the mark that the packet has by now; all of them hold.
    pub marks: Vec<MarkTest>,
}

/// IP's version, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl From<Version> for Family {
    fn from(version: Version) -> Self {
        match version {
            Version::V4 => Self::V4,
            Version::V6 => Self::V6,
        }
    }
}

/// The number of a protocol by its name in /etc/protocols, which both tools write: another for two of them than IANA's
/// registry has.
pub fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "ipencap" => Some(4),
        "ipip" => Some(94),
        name => protocol::number(name),
    }
}

/// `mark & mask == value`, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MarkTest {
    /// What.
    pub value: u32,
    /// The bits that are looked at.
    pub mask: u32,
    /// Whether they are equal or differ.
    pub equal: bool,
}

impl MarkTest {
    /// Whether it holds.
    pub fn holds(self, mark: u32) -> bool {
        (mark & self.mask == self.value) == self.equal
    }
}

impl Condition {
    /// Any packet.
    pub fn any() -> Self {
        Self::default()
    }

    /// What is like both; `None` where nothing is.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let marks = marks(&self.marks, &other.marks)?;
        let all = Self {
            family: one(self.family, other.family)?,
            source: list(&self.source, &other.source, narrower)?,
            destination: list(&self.destination, &other.destination, narrower)?,
            protocol: list(&self.protocol, &other.protocol, same)?,
            source_port: list(&self.source_port, &other.source_port, overlap)?,
            destination_port: list(&self.destination_port, &other.destination_port, overlap)?,
            dscp: list(&self.dscp, &other.dscp, same)?,
            interface: list(&self.interface, &other.interface, same)?,
            length: list(&self.length, &other.length, overlap)?,
            tcp_flags: flags(self.tcp_flags, other.tcp_flags)?,
            icmp_type: list(&self.icmp_type, &other.icmp_type, same)?,
            marks,
        };
        all.of_one_family()
    }

    /// Leaves out addresses of the other family.
    fn of_one_family(mut self) -> Option<Self> {
        let only =
            |list: &[IpNet], v4: bool| !list.is_empty() && list.iter().all(|net| matches!(net, IpNet::V4(_)) == v4);
        for (version, v4) in [(Version::V4, true), (Version::V6, false)] {
            if only(&self.source, v4) || only(&self.destination, v4) {
                self.family = one(self.family, Some(version))?;
            }
        }
        if let Some(version) = self.family {
            for list in [&mut self.source, &mut self.destination] {
                if !list.is_empty() {
                    list.retain(|net| matches!(net, IpNet::V4(_)) == (version == Version::V4));
                    if list.is_empty() {
                        return None;
                    }
                }
            }
        }
        Some(self)
    }

    /// Whether it is seen at once that every packet like `other` is like this one too.
    pub fn covers(&self, other: &Self) -> bool {
        fn all<T>(own: &[T], others: &[T], within: fn(&T, &T) -> bool) -> bool {
            own.is_empty()
                || (!others.is_empty() && others.iter().all(|other| own.iter().any(|own| within(own, other))))
        }
        let spans = |own: &(u16, u16), other: &(u16, u16)| own.0 <= other.0 && other.1 <= own.1;
        (self.family.is_none() || self.family == other.family)
            && all(&self.source, &other.source, |own, other| own.contains(other))
            && all(&self.destination, &other.destination, |own, other| own.contains(other))
            && all(&self.protocol, &other.protocol, PartialEq::eq)
            && all(&self.source_port, &other.source_port, spans)
            && all(&self.destination_port, &other.destination_port, spans)
            && all(&self.dscp, &other.dscp, PartialEq::eq)
            && all(&self.interface, &other.interface, PartialEq::eq)
            && all(&self.length, &other.length, spans)
            && (self.tcp_flags.is_none() || self.tcp_flags == other.tcp_flags)
            && all(&self.icmp_type, &other.icmp_type, PartialEq::eq)
            && self.marks.iter().all(|test| other.marks.contains(test))
    }

    /// Takes up what `other` is like where the two differ in one list alone; `false` where that is not so.
    pub fn or(&mut self, other: &Self) -> bool {
        let mut rest = (self.clone(), other.clone());
        macro_rules! try_list {
            ($($field:ident),*) => {$(
                let (own, others) = (std::mem::take(&mut rest.0.$field), std::mem::take(&mut rest.1.$field));
                if rest.0 == rest.1 {
                    if own.is_empty() || others.is_empty() {
                        self.$field.clear();
                    } else {
                        self.$field.extend(others.into_iter().filter(|value| !own.contains(value)));
                    }
                    return true;
                }
                (rest.0.$field, rest.1.$field) = (own, others);
            )*};
        }
        try_list!(source, destination, protocol, source_port, destination_port, dscp, interface, length, icmp_type);
        false
    }

    /// Whether it asks for ports of protocols that have none.
    pub fn foreign_ports(&self) -> Option<String> {
        if self.source_port.is_empty() && self.destination_port.is_empty() {
            return None;
        }
        if self.protocol.is_empty() {
            return Some("any protocol".to_owned());
        }
        self.protocol.iter().find(|&&own| !protocol::has_ports(own)).map(|&own| protocol::show(own))
    }
}

/// Tests that say what both lists say: one of what the mark is, and those of what it is not that do not follow from it.
fn marks(a: &[MarkTest], b: &[MarkTest]) -> Option<Vec<MarkTest>> {
    if a.is_empty() || b.is_empty() {
        return Some([a, b].concat());
    }
    let (mut value, mut mask) = (0, 0);
    for test in a.iter().chain(b).filter(|test| test.equal) {
        // A value with bits beside its mask is never met.
        if (value ^ test.value) & mask & test.mask != 0 || test.value & !test.mask != 0 {
            return None;
        }
        (value, mask) = (value | test.value, mask | test.mask);
    }
    let mut all = Vec::new();
    if mask != 0 {
        all.push(MarkTest { value, mask, equal: true });
    }
    for test in a.iter().chain(b).filter(|test| !test.equal && test.value & !test.mask == 0) {
        match (test.value ^ value) & mask & test.mask {
            0 if test.mask & !mask == 0 => return None,
            0 if !all.contains(test) => all.push(*test),
            _ => {}
        }
    }
    Some(all)
}

fn one<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) => (a == b).then_some(Some(a)),
        (a, b) => Some(a.or(b)),
    }
}

fn list<T: Clone + PartialEq>(a: &[T], b: &[T], both: fn(&T, &T) -> Option<T>) -> Option<Vec<T>> {
    if a.is_empty() || b.is_empty() {
        return Some([a, b].concat());
    }
    let mut all: Vec<T> = Vec::new();
    for value in a.iter().flat_map(|a| b.iter().filter_map(move |b| both(a, b))) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    (!all.is_empty()).then_some(all)
}

fn same<T: Clone + PartialEq>(a: &T, b: &T) -> Option<T> {
    (a == b).then(|| a.clone())
}

fn narrower(a: &IpNet, b: &IpNet) -> Option<IpNet> {
    if a.contains(b) {
        Some(*b)
    } else if b.contains(a) {
        Some(*a)
    } else {
        None
    }
}

fn overlap(a: &(u16, u16), b: &(u16, u16)) -> Option<(u16, u16)> {
    let (low, high) = (a.0.max(b.0), a.1.min(b.1));
    (low <= high).then_some((low, high))
}

/// The outer option is whether there is such a packet.
fn flags(a: Option<(u8, u8)>, b: Option<(u8, u8)>) -> Option<Option<(u8, u8)>> {
    match (a, b) {
        (Some(a), Some(b)) => ((a.0 ^ b.0) & a.1 & b.1 == 0).then_some(Some((a.0 | b.0, a.1 | b.1))),
        (a, b) => Some(a.or(b)),
    }
}

/// The prefixes that make up an inclusive range of addresses; `None` where it is none.
pub fn prefixes(first: IpAddr, last: IpAddr) -> Option<Vec<IpNet>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect())
        }
        _ => None,
    }
}

/// `10.1.0.0/16`, `10.1.0.0/255.255.0.0` or an address; host bits are let go, as the kernel does.
pub fn prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        "" => most,
        _ => match length.parse::<u8>() {
            Ok(length) => length,
            Err(_) => ipnet::ip_mask_to_prefix(length.parse::<IpAddr>().ok()?).ok()?,
        },
    };
    Some(IpNet::new(address, length).ok()?.trunc())
}

/// The prefix that every address of a family has.
pub fn everything(version: Version) -> IpNet {
    match version {
        Version::V4 => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
        Version::V6 => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}
