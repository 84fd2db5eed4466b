//! What is measured of a family: its list as it is, and two made from it for engines that cannot take that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lanekeeper::compile::{Registry, Tables, compile};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::model::{Model, Probe};
use lanekeeper::policy::{Policy, Rule};

use crate::bpf::{FRAMES, Frame};
use crate::frame::plain;
use crate::witness::list::{self, Family};
use crate::witness::packet::Packet;
use crate::witness::random::Random;

/// A list, and packets for it.
pub struct List {
    /// The rules.
    pub policy: Policy,
    /// The same, compiled.
    pub tables: Tables,
    /// How long that took.
    pub compiled: Duration,
    /// Packets, with options and extension headers as the generator makes them.
    pub packets: Vec<Packet>,
    /// The same, plain.
    pub frames: Vec<Frame>,
    /// Packets that a rule matches.
    pub hits: u64,
}

impl List {
    /// Packets that hit rules drawn at random, and one in eight from anywhere.
    pub fn new(family: &Family, policy: Policy) -> Result<Self> {
        let start = Instant::now();
        let tables = compile(&policy, &mut Registry::default())?;
        let compiled = start.elapsed();
        let mut random = Random::new(11);
        let packets: Vec<Packet> = (0..FRAMES).map(|_| list::packet(&mut random, family, &policy)).collect();
        let frames: Vec<Frame> = packets.iter().map(plain).collect();
        let model = Model::all_up(&tables);
        let hit = |frame: &&Frame| {
            let probe = Probe { frame: &frame[..], mark: 0, ingress: None, stripped: None, cgroup: None };
            model.evaluate("tunnel0", &probe).rule.is_some()
        };
        let hits = frames.iter().filter(hit).count() as u64;
        Ok(Self { policy, tables, compiled, packets, frames, hits })
    }

    /// Makes the list live, for packets of its tunnel; how long that took after the file was parsed.
    pub fn load(&self, trial: &mut Trial) -> Result<Duration> {
        let start = Instant::now();
        trial.load(&self.tables)?;
        let took = self.compiled + start.elapsed();
        trial.set_all_up()?;
        trial.set_tunnel("tunnel0")?;
        Ok(took)
    }
}

/// Which of a family's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its own.
    Overlapping,
    /// [`disjoint`].
    Disjoint,
    /// [`exact`].
    Exact,
}

/// The lists of one length.
pub struct Lists {
    /// The family's own.
    pub overlapping: List,
    /// What an interval map takes.
    pub disjoint: List,
    /// What ipset takes.
    pub exact: List,
}

impl Lists {
    /// Makes them.
    pub fn new(family: &Family, rules: usize) -> Result<Self> {
        let overlapping = List::new(family, list::policy(family, rules))?;
        let disjoint = List::new(family, disjoint(&overlapping.policy, family.six))?;
        let exact = List::new(family, exact(&disjoint.policy))?;
        Ok(Self { overlapping, disjoint, exact })
    }

    /// One of them.
    pub fn of(&self, kind: Kind) -> &List {
        match kind {
            Kind::Overlapping => &self.overlapping,
            Kind::Disjoint => &self.disjoint,
            Kind::Exact => &self.exact,
        }
    }
}

/// Packets of which each field fits another rule.
pub fn adversarial(family: &Family, policy: &Policy) -> Vec<Packet> {
    let mut random = Random::new(13);
    (0..FRAMES).map(|_| list::crossed(&mut random, family, policy)).collect()
}

/// The list with a destination network for each rule alone, so that no two overlap: an interval map refuses elements that
/// do. What a prefix is within its network stays; one that is wider becomes the network.
pub fn disjoint(policy: &Policy, six: bool) -> Policy {
    let apart = |(place, rule): (usize, &Rule)| Rule {
        destination: vec![within(place, rule.destination.first().copied(), six)],
        ..rule.clone()
    };
    Policy { rules: policy.rules.iter().enumerate().map(apart).collect(), ..policy.clone() }
}

/// Rules like those of a disjoint list, beyond its end.
pub fn more(disjoint: &Policy, six: bool) -> impl Iterator<Item = Rule> + '_ {
    let beyond = disjoint.rules.len();
    disjoint.rules.iter().enumerate().map(move |(place, rule)| Rule {
        destination: vec![within(beyond + place, rule.destination.first().copied(), six)],
        ..rule.clone()
    })
}

/// Networks are told apart by so many bits.
const NETWORK: u32 = 20;
/// Bits from the first to the end of the network's, by family.
const LENGTH4: u8 = 20;
const LENGTH6: u8 = 48;

fn within(place: usize, prefix: Option<IpNet>, six: bool) -> IpNet {
    // An odd factor makes it a permutation: neighbours in the list are strangers in the address space.
    let network = (place as u32).wrapping_mul(0x9_e375) & ((1 << NETWORK) - 1);
    if six {
        let (host, length) = match prefix.map(|prefix| (prefix.network(), prefix.prefix_len())) {
            Some((IpAddr::V6(host), length)) => (u128::from(host), length),
            _ => (0, 0),
        };
        let address = 0x2000 << 112 | u128::from(network) << 80 | host & ((1 << 80) - 1);
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(address), length.max(LENGTH6)).trunc())
    } else {
        let (host, length) = match prefix.map(|prefix| (prefix.network(), prefix.prefix_len())) {
            Some((IpAddr::V4(host), length)) => (u32::from(host), length),
            _ => (0, 0),
        };
        let address = network << 12 | host & 0xfff;
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(address), length.max(LENGTH4)).trunc())
    }
}

/// The disjoint list as far as ipset can say it: destination, TCP or UDP, one destination port.
pub fn exact(disjoint: &Policy) -> Policy {
    let exact = |(place, rule): (usize, &Rule)| {
        let port = rule.destination_port.first().map_or(place as u16 | 1, |(first, _)| *first);
        Rule {
            class: rule.class,
            place: rule.place.clone(),
            destination: rule.destination.clone(),
            protocol: rule.protocol.filter(|protocol| [6, 17].contains(protocol)).or(Some(17)),
            destination_port: vec![(port, port)],
            ..Rule::default()
        }
    };
    Policy { rules: disjoint.rules.iter().enumerate().map(exact).collect(), ..disjoint.clone() }
}
