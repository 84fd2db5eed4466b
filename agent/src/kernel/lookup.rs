//! What the kernel does with one packet: which device it routes it to, and which policy and state that device's packets take.
//!
//! A route can be asked for (RTM_GETROUTE). Policies and states cannot be asked for by a packet: all are listed, and the
//! choice among them is made here as the kernel makes it (net/xfrm: `xfrm_policy_match`, `xfrm_state_look_at`).

mod read;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{Error, Netlink};
use crate::plan::Mark;
use crate::policy::Mode;

/// What the kernel looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source and destination port; ICMP's type in the place of the first, as the kernel has it; else 0.
    pub ports: (u16, u16),
    /// The interface that it comes in by; `None` for one of the host's own.
    pub ingress: Option<String>,
}

/// Where the kernel routes a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To this device.
    Device(String),
    /// Nowhere, in the kernel's words.
    Nowhere(String),
}

/// A policy for packets that leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outbound {
    /// Inner source.
    pub source: IpNet,
    /// Inner destination.
    pub destination: IpNet,
    /// IP protocol; 0 for any.
    #[serde(skip)]
    pub protocol: u8,
    /// Value and mask of source and destination port.
    #[serde(skip)]
    pub ports: [(u16, u16); 2],
    /// The marks that it is for; `None` for all.
    pub mark: Option<Mark>,
    /// The XFRM interface's that it is for.
    pub if_id: u32,
    /// The lower, the more preferred.
    pub priority: u32,
    /// Whether it drops.
    pub block: bool,
    /// What becomes of its packets; `None` where they stay as they are.
    pub template: Option<Template>,
}

/// The states that a policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Template {
    /// Outer source; in transport mode nothing goes by it.
    pub source: IpAddr,
    /// Outer destination; likewise.
    pub destination: IpAddr,
    /// Their request id.
    #[serde(serialize_with = "hex")]
    pub reqid: u32,
    /// Tunnel or transport.
    #[serde(skip)]
    pub mode: Mode,
}

/// A state, without its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sa {
    /// In host byte order.
    #[serde(serialize_with = "hex8")]
    pub spi: u32,
    /// Outer source.
    pub source: IpAddr,
    /// Outer destination.
    pub destination: IpAddr,
    /// Its request id.
    #[serde(serialize_with = "hex")]
    pub reqid: u32,
    /// The XFRM interface that it belongs to.
    pub if_id: u32,
    /// XFRMA_MARK; `None` for any.
    pub mark: Option<Mark>,
    /// When it was made, in seconds since 1970.
    #[serde(skip)]
    pub added: u64,
}

/// All policies and states of this network namespace, as they were a moment ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xfrm {
    /// In the order in which they were made.
    pub policies: Vec<Outbound>,
    /// In the order in which they were made.
    pub states: Vec<Sa>,
}

impl Xfrm {
    /// The policy that a packet takes at the XFRM interface of this if_id.
    pub fn policy(&self, flow: &Flow, if_id: u32, mark: u32) -> Option<&Outbound> {
        // The first of the least: among equals the one that was there first.
        self.policies.iter().filter(|policy| policy.takes(flow, if_id, mark)).min_by_key(|policy| policy.priority)
    }

    /// The state that this packet of a policy takes: the youngest that fits.
    pub fn state(&self, policy: &Outbound, flow: &Flow) -> Option<&Sa> {
        let template = policy.template?;
        // As xfrm_tmpl_resolve_one has it.
        let (source, destination) = match template.mode {
            Mode::Tunnel => (template.source, template.destination),
            Mode::Transport => (flow.source, flow.destination),
        };
        // The policy's mark looks for the state, not the packet's.
        let mark = policy.mark.map_or(0, |mark| mark.value & mark.mask);
        let fits = |sa: &&Sa| {
            (sa.reqid, sa.source, sa.destination) == (template.reqid, source, destination)
                && sa.if_id == policy.if_id
                && has(sa.mark, mark)
        };
        self.states.iter().filter(fits).max_by_key(|sa| sa.added)
    }
}

impl Outbound {
    fn takes(&self, flow: &Flow, if_id: u32, mark: u32) -> bool {
        let port = |port: u16, (value, mask): (u16, u16)| port & mask == value & mask;
        self.if_id == if_id
            && has(self.mark, mark)
            && self.source.contains(&flow.source)
            && self.destination.contains(&flow.destination)
            && (self.protocol == 0 || self.protocol == flow.protocol)
            && port(flow.ports.0, self.ports[0])
            && port(flow.ports.1, self.ports[1])
    }
}

fn has(wanted: Option<Mark>, mark: u32) -> bool {
    wanted.is_none_or(|wanted| mark & wanted.mask == wanted.value)
}

/// Asks the kernel of this network namespace; answers are kept, so that a capture's thousand packets are a few questions.
pub struct Lookup {
    runtime: tokio::runtime::Runtime,
    netlink: Netlink,
    xfrm: Xfrm,
    ways: HashMap<Question, Way>,
}

/// All that a route depends on: destination, source, ingress interface and mark.
type Question = (IpAddr, IpAddr, Option<String>, u32);

impl Lookup {
    /// Lists policies and states, which takes CAP_NET_ADMIN.
    pub fn open() -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Open)?;
        let (netlink, xfrm) = runtime.block_on(async {
            let netlink = Netlink::open()?;
            let xfrm = read::xfrm(&netlink).await?;
            Ok::<_, Error>((netlink, xfrm))
        })?;
        Ok(Self { runtime, netlink, xfrm, ways: HashMap::new() })
    }

    /// Policies and states.
    pub fn xfrm(&self) -> &Xfrm {
        &self.xfrm
    }

    /// Where a packet goes that comes with this mark, as far as routes and rules by address, interface and mark tell. One of an
    /// interface that is not here is taken for one of the host's own, whatever its source.
    pub fn way(&mut self, flow: &Flow, mark: u32) -> Result<&Way, Error> {
        let question = (flow.destination, flow.source, flow.ingress.clone(), mark);
        if !self.ways.contains_key(&question) {
            let way = self.runtime.block_on(read::way(&self.netlink, flow, mark))?;
            self.ways.insert(question.clone(), way);
        }
        Ok(&self.ways[&question])
    }
}

impl fmt::Display for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src {} dst {}", self.source, self.destination)?;
        if let Some(mark) = self.mark {
            write!(f, " mark {mark}")?;
        }
        write!(f, " if_id {} priority {}", self.if_id, self.priority)?;
        match (self.block, self.template) {
            (true, _) => f.write_str(" block"),
            (false, Some(template)) => write!(f, " reqid {:#x}", template.reqid),
            (false, None) => f.write_str(" without a template: dropped"),
        }
    }
}

impl fmt::Display for Sa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spi {:#010x} {} > {} reqid {:#x}", self.spi, self.source, self.destination, self.reqid)
    }
}

fn hex<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

fn hex8<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#010x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            source: "10.1.0.5".parse().unwrap(),
            destination: "10.2.0.9".parse().unwrap(),
            protocol: 17,
            ports: (4000, 5060),
            ingress: None,
        }
    }

    fn policy(priority: u32, mark: u32) -> Outbound {
        let template = Template {
            source: "192.0.2.1".parse().unwrap(),
            destination: "192.0.2.2".parse().unwrap(),
            reqid: 0x4c4b_0000 + mark,
            mode: Mode::Tunnel,
        };
        Outbound {
            priority,
            source: "0.0.0.0/0".parse().unwrap(),
            destination: "10.2.0.0/16".parse().unwrap(),
            protocol: 0,
            ports: [(0, 0); 2],
            mark: Some(Mark::new(mark, 0xff)),
            if_id: 42,
            block: false,
            template: Some(template),
        }
    }

    fn sa(spi: u32, mark: u32, added: u64) -> Sa {
        let Template { source, destination, reqid, mode: _ } = policy(0, mark).template.unwrap();
        Sa { spi, source, destination, reqid, if_id: 42, mark: Some(Mark::new(mark, 0xff)), added }
    }

    #[test]
    fn a_policy_is_one_of_its_mark_and_if_id_around_the_packet() {
        let other = |change: fn(&mut Outbound)| {
            let mut other = policy(1, 2);
            change(&mut other);
            other
        };
        let xfrm = Xfrm {
            policies: vec![
                policy(1, 1),
                other(|policy| policy.if_id = 43),
                other(|policy| policy.destination = "10.3.0.0/16".parse().unwrap()),
                other(|policy| policy.source = "::/0".parse().unwrap()),
                other(|policy| policy.protocol = 6),
                other(|policy| policy.ports[1] = (5061, 0xffff)),
                policy(9, 2),
                other(|policy| policy.priority = 8),
                other(|policy| (policy.priority, policy.block) = (8, true)),
            ],
            states: vec![],
        };
        // Bits outside the mask are others'.
        let found = xfrm.policy(&flow(), 42, 0x0f02).unwrap();
        assert_eq!((found.priority, found.block), (8, false));
        assert_eq!(xfrm.policy(&flow(), 42, 3), None);
        let exact = Xfrm { policies: vec![other(|policy| policy.ports = [(4000, 0xffff), (5060, 0xffff)])], ..xfrm };
        assert!(exact.policy(&flow(), 42, 2).is_some());
    }

    #[test]
    fn a_state_is_the_youngest_of_its_policy() {
        let foreign = |change: fn(&mut Sa)| {
            let mut foreign = sa(9, 2, 100);
            change(&mut foreign);
            foreign
        };
        let states = vec![
            sa(1, 2, 10),
            sa(2, 2, 20),
            sa(3, 2, 20),
            sa(4, 2, 15),
            sa(5, 1, 99),
            foreign(|sa| sa.if_id = 43),
            foreign(|sa| sa.mark = Some(Mark::new(1, 0xff))),
            foreign(|sa| std::mem::swap(&mut sa.source, &mut sa.destination)),
        ];
        let xfrm = Xfrm { policies: vec![], states };
        // Among those of one second the last.
        assert_eq!(xfrm.state(&policy(1, 2), &flow()).map(|sa| sa.spi), Some(3));
        assert_eq!(xfrm.state(&policy(1, 7), &flow()), None);
        assert_eq!(xfrm.state(&Outbound { template: None, ..policy(1, 2) }, &flow()), None);
    }

    #[test]
    fn in_transport_mode_a_state_has_the_packets_own_addresses() {
        let mut policy = policy(1, 2);
        let any = "0.0.0.0".parse().unwrap();
        let reqid = 0x4c4b_0002;
        policy.template = Some(Template { source: any, destination: any, reqid, mode: Mode::Transport });
        let flow = Flow { source: "192.0.2.1".parse().unwrap(), destination: "192.0.2.2".parse().unwrap(), ..flow() };
        let xfrm = Xfrm { policies: vec![], states: vec![sa(1, 2, 10)] };
        assert!(xfrm.state(&policy, &flow).is_some());
        assert_eq!(xfrm.state(&policy, &Flow { source: any, ..flow }), None);
    }

    #[test]
    fn a_state_without_a_mark_is_for_every_one() {
        let xfrm = Xfrm { policies: vec![], states: vec![Sa { mark: None, ..sa(1, 2, 10) }] };
        assert!(xfrm.state(&policy(1, 2), &flow()).is_some());
    }
}
