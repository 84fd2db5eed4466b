//! What numbers stand for, and how the pinned map writes it.

use lanekeeper_common::abi::{
    MAX_CGROUPS, MAX_COUNTERS, MAX_GROUPS, MAX_INTERFACES, MAX_TALLIES, MAX_TUNNELS, NAME_BYTES, Name, Numbers,
    counter, space,
};

use crate::compile::Error;
use crate::compile::series::{LaneEvent, Refusal};

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An ingress interface.
    Interface(String),
    /// A cgroup, by its path.
    Cgroup(String),
    /// A tunnel.
    Tunnel(String),
    /// The lanes of a class in a tunnel.
    Group {
        /// Tunnel's name.
        tunnel: String,
        /// Class's name.
        class: String,
    },
    /// Counters of a tenant's class.
    Class {
        /// Tenant's name, `""` for none.
        tenant: String,
        /// Class's name.
        class: String,
    },
    /// Counters of a lane.
    Lane {
        /// Tunnel's name.
        tunnel: String,
        /// Class's name.
        class: String,
        /// 0..lanes of the class.
        index: u8,
    },
    /// Counter of a fallback.
    Fallback {
        /// Tunnel's name.
        tunnel: String,
        /// From this class.
        class: String,
        /// To this one.
        to: String,
    },
    /// Counter of a named rule.
    Rule {
        /// Tenant's name, `""` for none.
        tenant: String,
        /// Rule's name.
        rule: String,
    },
    /// Counters of a port, by its interface's name.
    Port(String),
    /// Tally of an event.
    Event {
        /// Tunnel's name.
        tunnel: String,
        /// Class's name.
        class: String,
        /// 0..lanes of the class.
        index: u8,
        /// What.
        event: LaneEvent,
    },
    /// Tally of repairs of one kind.
    Repair(String),
    /// Tally of netlink's overruns.
    Overrun,
    /// Tally of callers that the metrics listener turned away.
    Refused(Refusal),
    /// A clsact qdisc that we made, by the device's ifindex.
    Clsact(u32),
}

/// Numbers of one kind do not clash; kinds of one space share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Space {
    Interface = space::INTERFACE,
    Cgroup = space::CGROUP,
    Tunnel = space::TUNNEL,
    Group = space::GROUP,
    Counter = space::COUNTER,
    Tally = space::TALLY,
    Mark = space::MARK,
}

impl Space {
    pub(super) const ALL: [Self; 7] =
        [Self::Interface, Self::Cgroup, Self::Tunnel, Self::Group, Self::Counter, Self::Tally, Self::Mark];

    /// What its things are called, the first number, one more than the last.
    pub(super) fn range(self) -> (&'static str, usize, usize) {
        match self {
            Space::Interface => ("ingress interfaces", 1, MAX_INTERFACES),
            Space::Cgroup => ("cgroups", 1, MAX_CGROUPS),
            Space::Tunnel => ("tunnels", 0, MAX_TUNNELS),
            Space::Group => ("classes of tunnels", 0, MAX_GROUPS),
            Space::Counter => ("counters", counter::FREE as usize, MAX_COUNTERS),
            Space::Tally => ("counters of events", 0, MAX_TALLIES),
            Space::Mark => ("devices with a clsact qdisc of ours", 0, usize::MAX),
        }
    }
}

impl Key {
    pub(super) fn space(&self) -> Space {
        match self {
            Key::Interface(_) => Space::Interface,
            Key::Cgroup(_) => Space::Cgroup,
            Key::Tunnel(_) => Space::Tunnel,
            Key::Group { .. } => Space::Group,
            Key::Class { .. } | Key::Lane { .. } | Key::Fallback { .. } | Key::Rule { .. } | Key::Port(_) => {
                Space::Counter
            }
            Key::Event { .. } | Key::Repair(_) | Key::Overrun | Key::Refused(_) => Space::Tally,
            Key::Clsact(_) => Space::Mark,
        }
    }

    /// How many numbers in a row it takes.
    pub(super) fn width(&self) -> u32 {
        match self {
            Key::Class { .. } => counter::CLASS_BLOCK,
            Key::Lane { .. } => counter::LANE_BLOCK,
            Key::Port(_) => counter::PORT_BLOCK,
            Key::Interface(_)
            | Key::Cgroup(_)
            | Key::Tunnel(_)
            | Key::Group { .. }
            | Key::Fallback { .. }
            | Key::Rule { .. }
            | Key::Event { .. }
            | Key::Repair(_)
            | Key::Overrun
            | Key::Refused(_)
            | Key::Clsact(_) => 1,
        }
    }

    /// What the pinned map says of one whose numbers begin with this.
    pub fn numbers(&self, first: u32) -> Numbers {
        Numbers { first, count: self.width() as u16, space: self.space() as u16 }
    }

    /// As the pinned map keeps it: fields behind one another, each ended by a zero byte.
    pub fn encode(&self) -> Result<Name, Error> {
        let index_text = |index: &u8| index.to_string();
        let fields: Vec<String> = match self {
            Key::Interface(name) => vec!["interface".into(), name.clone()],
            Key::Cgroup(path) => vec!["cgroup".into(), path.clone()],
            Key::Tunnel(name) => vec!["tunnel".into(), name.clone()],
            Key::Group { tunnel, class } => vec!["group".into(), tunnel.clone(), class.clone()],
            Key::Class { tenant, class } => vec!["class".into(), tenant.clone(), class.clone()],
            Key::Lane { tunnel, class, index } => {
                vec!["lane".into(), tunnel.clone(), class.clone(), index_text(index)]
            }
            Key::Fallback { tunnel, class, to } => vec!["fallback".into(), tunnel.clone(), class.clone(), to.clone()],
            Key::Rule { tenant, rule } => vec!["rule".into(), tenant.clone(), rule.clone()],
            Key::Port(name) => vec!["port".into(), name.clone()],
            Key::Event { tunnel, class, index, event } => {
                vec!["event".into(), tunnel.clone(), class.clone(), index_text(index), event_text(*event).into()]
            }
            Key::Repair(kind) => vec!["repair".into(), kind.clone()],
            Key::Overrun => vec!["overrun".into()],
            Key::Refused(reason) => vec!["refused".into(), reason.name().into()],
            Key::Clsact(ifindex) => vec!["clsact".into(), ifindex.to_string()],
        };
        let text = fields.join("\0") + "\0";
        let mut name = Name([0; NAME_BYTES]);
        match name.0.get_mut(..text.len()) {
            Some(place) if !fields.iter().any(|field| field.contains('\0')) => {
                place.copy_from_slice(text.as_bytes());
                Ok(name)
            }
            _ => Err(Error::LongName { name: fields[1..].join("/"), limit: NAME_BYTES }),
        }
    }

    /// The reverse; `None` for what this version does not know.
    pub fn decode(name: &Name) -> Option<Self> {
        let text = std::str::from_utf8(&name.0).ok()?;
        let mut fields = text.split('\0').map(str::to_owned);
        let mut next = || fields.next();
        Some(match next()?.as_str() {
            "interface" => Key::Interface(next()?),
            "cgroup" => Key::Cgroup(next()?),
            "tunnel" => Key::Tunnel(next()?),
            "group" => Key::Group { tunnel: next()?, class: next()? },
            "class" => Key::Class { tenant: next()?, class: next()? },
            "lane" => Key::Lane { tunnel: next()?, class: next()?, index: next()?.parse().ok()? },
            "fallback" => Key::Fallback { tunnel: next()?, class: next()?, to: next()? },
            "rule" => Key::Rule { tenant: next()?, rule: next()? },
            "port" => Key::Port(next()?),
            "event" => {
                Key::Event { tunnel: next()?, class: next()?, index: next()?.parse().ok()?, event: event_of(&next()?)? }
            }
            "repair" => Key::Repair(next()?),
            "overrun" => Key::Overrun,
            "refused" => {
                let name = next()?;
                Key::Refused(Refusal::ALL.into_iter().find(|reason| reason.name() == name)?)
            }
            "clsact" => Key::Clsact(next()?.parse().ok()?),
            _ => return None,
        })
    }
}

fn event_text(event: LaneEvent) -> &'static str {
    match event {
        LaneEvent::Rekey => "rekey",
        LaneEvent::ReplayError => "replay",
        LaneEvent::IntegrityError => "integrity",
    }
}

fn event_of(text: &str) -> Option<LaneEvent> {
    [LaneEvent::Rekey, LaneEvent::ReplayError, LaneEvent::IntegrityError].into_iter().find(|e| event_text(*e) == text)
}
