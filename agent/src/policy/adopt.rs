//! Connections of the operator's own swanctl.conf, and which of their CHILD_SAs are whose lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Class, ClassIndex, Clients, DeviceKind, Keying, Lane, Policy, Tunnel};
use crate::lane::LaneId;

/// A connection that is not ours: nothing is loaded into charon, begun or ended there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// Its name in swanctl.conf; of a tunnel that clients share, a [`Pattern`] of names.
    pub connection: String,
    /// The first entry with a pattern that a child's name matches has it. None at all: its label says whose it is, `CLASS.INDEX`.
    pub children: Vec<Children>,
    /// What its CHILD_SAs are for on the peer's side is routed into the device.
    pub routes: bool,
    /// The virtual IPs that the peer gives are the device's.
    pub addresses: bool,
    /// What is known of both by now.
    pub inside: Inside,
}

/// Inside of the SAs of a connection: what they are for, as charon has them now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// On the peer's side, without host bits.
    pub routes: BTreeSet<IpNet>,
    /// Virtual IPs of this side.
    pub addresses: BTreeSet<IpAddr>,
    /// Where each IKE_SA has a device of its own: those, by name.
    #[serde(default)]
    pub devices: BTreeMap<String, OwnDevice>,
}

/// The device of one IKE_SA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnDevice {
    /// Of the IKE_SA's states and policies: for what leaves, or for what comes in where that has another. Of a VTI its key.
    pub if_id: u32,
    /// Of a VTI: where its other end is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// On the peer's side, without host bits.
    pub routes: BTreeSet<IpNet>,
    /// Virtual IPs of this side.
    pub addresses: BTreeSet<IpAddr>,
}

/// The same, with what was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// What there is.
    #[serde(flatten)]
    pub now: Ends,
    /// Prefixes on the peer's side that no CHILD_SA is for any more: to be unreachable, for what is sent there was not to leave
    /// in clear.
    pub gone: BTreeSet<IpNet>,
}

/// By the names of their tunnels.
pub type Insides = BTreeMap<String, Inside>;

impl Inside {
    /// Takes what there is now.
    pub fn take(&mut self, now: Ends) {
        let before = std::mem::replace(&mut self.now, now);
        self.gone.extend(before.routes);
        self.gone.retain(|prefix| !self.now.routes.contains(prefix));
    }
}

/// CHILD_SAs of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Children {
    /// Whose lanes they are.
    pub class: ClassIndex,
    /// Patterns of their names in swanctl.conf; not empty. The n-th is the n-th lane's, if it is one name.
    pub names: Vec<Pattern>,
}

/// A name, in which `*` stands for any characters and `?` for any one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether it is that name, or may be.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.chars().collect();
        // Where the last `*` was, and up to where the name has been taken for it.
        let (mut at, mut taken, mut star) = (0, 0, None);
        while taken < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, taken));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[taken] => {
                    at += 1;
                    taken += 1;
                }
                Some(_) | None => match star {
                    Some((back, until)) => {
                        (at, taken) = (back + 1, until + 1);
                        star = Some((back, until + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }

    /// One name only.
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['*', '?'])
    }
}

/// What ties an adopted lane to its CHILD_SA, or to those of its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traits {
    /// Of its outbound policies, under [`Policy::mark_mask`].
    pub mark: u32,
    /// Of its states and policies; 0 where clients share the tunnel.
    pub reqid: u32,
    /// Of a tunnel that clients share: their CHILD_SAs.
    pub clients: Clients,
}

impl Traits {
    /// Whether states and policies with that request id are its own.
    pub fn has(&self, reqid: u32) -> bool {
        reqid != 0 && (self.reqid == reqid || self.clients.contains_key(&reqid))
    }

    /// Packets with its mark find the same SAs by both: clients come and go without a lane being another one.
    pub fn finds_like(&self, mark: u32, reqid: u32) -> bool {
        (self.mark, self.reqid) == (mark, reqid)
    }
}

/// Marks and request ids of adopted lanes, as far as they are known.
pub type Learned = BTreeMap<LaneId, Traits>;

/// Takes what is known of a lane now. charon gives a request id anew when nobody has it any more: no other lane has it then.
pub fn take(learned: &mut Learned, lane: &LaneId, traits: &Traits) {
    learned.retain(|_, other| {
        other.clients.retain(|reqid, _| !traits.has(*reqid));
        !traits.has(other.reqid)
    });
    learned.insert(lane.clone(), traits.clone());
}

/// Before anything is known of their CHILD_SAs.
pub fn unlearn(lanes: &mut [Lane]) {
    for lane in lanes {
        (lane.mark, lane.reqid, lane.clients) = Default::default();
    }
}

/// Gives the adopted tunnels of a policy what is known of them, as far as they ask for it.
pub fn learn(policy: &mut Policy, learned: &Learned, insides: &Insides) {
    for tunnel in &mut policy.tunnels {
        let Keying::Adopted(adopt) = &mut tunnel.keying else { continue };
        adopt.inside = adopt.asked(insides.get(&tunnel.name));
        for lane in &mut tunnel.lanes {
            let Traits { mark, reqid, clients } = of(&tunnel.name, &policy.classes, lane, learned);
            (lane.mark, lane.reqid, lane.clients) = (mark, reqid, clients);
        }
    }
}

/// Whether it has that.
pub fn has_learned(policy: &Policy, learned: &Learned, insides: &Insides) -> bool {
    policy.tunnels.iter().all(|tunnel| {
        let Keying::Adopted(adopt) = &tunnel.keying else { return true };
        let has = |lane: &Lane| {
            let traits = of(&tunnel.name, &policy.classes, lane, learned);
            traits.finds_like(lane.mark, lane.reqid) && traits.clients == lane.clients
        };
        adopt.inside == adopt.asked(insides.get(&tunnel.name)) && tunnel.lanes.iter().all(has)
    })
}

impl Adopt {
    fn asked(&self, known: Option<&Inside>) -> Inside {
        let mut inside = known.cloned().unwrap_or_default();
        if !self.routes {
            inside.now.routes.clear();
            inside.gone.clear();
        }
        if !self.addresses {
            inside.now.addresses.clear();
        }
        for own in inside.now.devices.values_mut() {
            if !self.routes {
                own.routes.clear();
            }
            if !self.addresses {
                own.addresses.clear();
            }
        }
        inside
    }
}

impl Tunnel {
    /// What is known of the inside of SAs that are not ours.
    pub fn inside(&self) -> Option<&Inside> {
        match &self.keying {
            Keying::Adopted(adopt) => Some(&adopt.inside),
            Keying::Ike(_) | Keying::Static(_) => None,
        }
    }

    /// Whether routes or addresses are made of the inside of SAs that are not ours.
    pub fn follows(&self) -> bool {
        match &self.keying {
            Keying::Adopted(adopt) => adopt.routes || adopt.addresses || self.device.is_each(),
            Keying::Ike(_) | Keying::Static(_) => false,
        }
    }

    /// Its devices by name, with their if_ids: one, or those of its IKE_SAs now.
    pub fn devices(&self) -> Vec<(String, DeviceKind)> {
        if let DeviceKind::Gre { key, ttl } = self.device.kind
            && self.has_lane_devices()
        {
            let of_lane = |lane: usize| {
                let key = key.map(|key| key.wrapping_add(lane as u32));
                (self.device.of_lane(lane), DeviceKind::Gre { key, ttl })
            };
            return (0..self.classes.len()).map(of_lane).collect();
        }
        if !self.device.is_each() {
            return vec![(self.device.name.clone(), self.device.kind)];
        }
        let each = self.inside().into_iter().flat_map(|inside| &inside.now.devices);
        each.map(|(name, own)| (name.clone(), self.device.kind.of(own.if_id))).collect()
    }

    /// The outer address that a device of its own leads to.
    pub fn remote_of(&self, device: &str) -> IpAddr {
        let own = self.inside().and_then(|inside| inside.now.devices.get(device));
        own.and_then(|own| own.peer).unwrap_or(self.remote)
    }

    /// The device that a prefix of its SAs is routed into: where several have it, that of the newest IKE_SA. `None` where none
    /// has it any more.
    pub fn device_of(&self, prefix: &IpNet) -> Option<&str> {
        if !self.device.is_each() {
            return Some(&self.device.name);
        }
        let each = self.inside().into_iter().flat_map(|inside| &inside.now.devices);
        let has = each.filter(|(_, own)| own.routes.contains(prefix));
        has.max_by_key(|(_, own)| own.if_id).map(|(name, _)| name.as_str())
    }

    /// All that is routed into its device: the file's prefixes, and those of its CHILD_SAs.
    pub fn all_routes(&self) -> impl Iterator<Item = IpNet> {
        let learnt = self.inside().into_iter().flat_map(|inside| &inside.now.routes);
        self.routes.iter().chain(learnt).copied()
    }

    /// All addresses of its device: the file's, and virtual IPs.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpNet> {
        let learnt = self.inside().into_iter().flat_map(|inside| &inside.now.addresses);
        self.device.addresses.iter().copied().chain(learnt.map(|&address| address.into()))
    }
}

fn of(tunnel: &str, classes: &[Class], lane: &Lane, learned: &Learned) -> Traits {
    let class = classes[lane.class.0].name.clone();
    let id = LaneId { tunnel: tunnel.to_owned(), class, index: lane.index };
    learned.get(&id).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(routes: &[&str]) -> Ends {
        Ends { routes: routes.iter().map(|route| route.parse().unwrap()).collect(), ..Ends::default() }
    }

    #[test]
    fn what_no_sa_is_for_any_more_is_gone_until_one_is() {
        let mut inside = Inside::default();
        inside.take(ends(&["10.2.0.0/16", "2001:db8::/32"]));
        assert_eq!(inside, Inside { now: ends(&["10.2.0.0/16", "2001:db8::/32"]), ..Inside::default() });
        // Narrowed: what is outside of the new prefix is not to leave in clear.
        inside.take(ends(&["10.2.3.0/24"]));
        assert_eq!(inside.gone, ends(&["10.2.0.0/16", "2001:db8::/32"]).routes);
        inside.take(ends(&["2001:db8::/32"]));
        assert_eq!(inside.gone, ends(&["10.2.0.0/16", "10.2.3.0/24"]).routes);
        inside.take(Ends::default());
        assert_eq!(inside.gone.len(), 3);
        let written = serde_json::to_string(&inside).unwrap();
        assert_eq!(serde_json::from_str::<Inside>(&written).unwrap(), inside, "{written}");
    }

    #[test]
    fn a_request_id_that_is_given_anew_is_no_other_lanes_any_more() {
        let lane = |class: &str| LaneId { tunnel: "t".into(), class: class.into(), index: 0 };
        let client = |reqids: &[u32]| Traits {
            mark: 1,
            clients: reqids.iter().map(|reqid| (*reqid, IpAddr::from([192, 0, 2, 9]))).collect(),
            ..Traits::default()
        };
        let one = |reqid| Traits { mark: 2, reqid, ..Traits::default() };
        let mut learned = Learned::new();
        take(&mut learned, &lane("voice"), &client(&[5, 6]));
        take(&mut learned, &lane("bulk"), &one(7));
        // Nobody has 0: clients share the lane.
        assert_eq!(learned.len(), 2);
        take(&mut learned, &lane("rest"), &one(6));
        assert_eq!(learned[&lane("voice")], client(&[5]));
        take(&mut learned, &lane("voice"), &client(&[5, 7]));
        let all = [(lane("rest"), one(6)), (lane("voice"), client(&[5, 7]))];
        assert_eq!(learned, Learned::from(all));
    }

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_is_one() {
        for (pattern, name, matches) in [
            ("voice", "voice", true),
            ("voice", "voice-1", false),
            ("", "", true),
            ("*", "", true),
            ("*", "net", true),
            ("voice*", "voice", true),
            ("voice*", "voice-1", true),
            ("voice*", "my-voice", false),
            ("*-bulk-*", "a-b-bulk-c-bulk-7", true),
            ("*-bulk-*", "a-bulk", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("bulk-?", "bulk-1", true),
            ("bulk-?", "bulk-", false),
            ("bulk-?", "bulk-10", false),
        ] {
            assert_eq!(Pattern(pattern.into()).matches(name), matches, "{pattern} {name}");
        }
    }
}
