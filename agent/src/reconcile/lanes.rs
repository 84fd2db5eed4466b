//! Which lanes are up: what charon tells and what static keys imply, turned into what the data path must be told. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::series::LaneEvent;
use crate::ike::{Event, LaneStatus, TunnelStatus};
use crate::lane::LaneId;
use crate::metrics::IsUp;
use crate::policy::{Keying, Policy};
use crate::status::Standing;

/// What to do about an event, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Let packets take the lane.
    Open(LaneId),
    /// Let none take it.
    Close(LaneId),
    /// Count what happened to it.
    Tally(LaneId, LaneEvent),
}

/// The lanes of the policy that runs.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    lanes: BTreeMap<LaneId, Lane>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lane {
    standing: Standing,
    keyed: Keyed,
}

/// Who says whether it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keyed {
    /// Installed with the policy, up from then on.
    Static,
    /// charon; `told` since this agent began.
    Charon { told: bool },
}

impl Lanes {
    /// Takes over a policy that is now installed, with what the data path has `open`. Lanes that stay keep their standing;
    /// lanes of static keys open; lanes of charon open only when it says so.
    pub fn install(&mut self, policy: &Policy, open: &[LaneId], now: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut lanes = BTreeMap::new();
        for tunnel in &policy.tunnels {
            for lane in &tunnel.lanes {
                let class = policy.classes[lane.class.0].name.clone();
                let id = LaneId { tunnel: tunnel.name.clone(), class, index: lane.index };
                let known = self.lanes.get(&id);
                let is_open = open.contains(&id);
                let keyed = match (&tunnel.keying, known.map(|lane| lane.keyed)) {
                    (Keying::Static(_), _) => Keyed::Static,
                    (Keying::Ike(_), Some(keyed @ Keyed::Charon { .. })) => keyed,
                    (Keying::Ike(_), Some(Keyed::Static) | None) => Keyed::Charon { told: false },
                };
                let up = match keyed {
                    Keyed::Static => true,
                    Keyed::Charon { .. } => match known {
                        Some(lane) => lane.standing.up && lane.keyed != Keyed::Static,
                        // A first look: what an agent before this one left open stays so until charon has been asked.
                        None => is_open,
                    },
                };
                match (is_open, up) {
                    (false, true) => effects.push(Effect::Open(id.clone())),
                    (true, false) => effects.push(Effect::Close(id.clone())),
                    (true, true) | (false, false) => {}
                }
                let since = known.filter(|lane| lane.standing.up == up).map_or(now, |lane| lane.standing.since);
                lanes.insert(id, Lane { standing: Standing { up, since }, keyed });
            }
        }
        self.lanes = lanes;
        effects
    }

    /// Takes an event of charon's. What it says of lanes that the policy does not have, or not any more, is nothing to us.
    pub fn on(&mut self, event: &Event, now: u64) -> Vec<Effect> {
        match event {
            Event::LaneUp(lane) => self.tell(lane, true, now),
            Event::LaneDown(lane) => self.tell(lane, false, now),
            Event::Rekeyed(lane) if self.lanes.contains_key(lane) => {
                let mut effects = self.tell(lane, true, now);
                effects.push(Effect::Tally(lane.clone(), LaneEvent::Rekey));
                effects
            }
            // Lanes stay what they were: charon's SAs are the kernel's, and what is lost is told lane by lane.
            Event::CharonGone { .. } | Event::CharonBack { .. } => Vec::new(),
            Event::Rekeyed(_) | Event::TunnelUp(_) | Event::TunnelDown(_) | Event::Trouble { .. } => Vec::new(),
        }
    }

    /// Lanes that an agent before this one left open, and of which charon has not said a word since.
    pub fn untold(&self) -> bool {
        self.lanes.values().any(|lane| lane.keyed == Keyed::Charon { told: false } && lane.standing.up)
    }

    /// Takes charon's whole picture for those.
    pub fn believe(&mut self, picture: &[TunnelStatus], now: u64) -> Vec<Effect> {
        let lanes = picture.iter().flat_map(|tunnel| &tunnel.lanes);
        let untold = lanes.filter(|status| {
            let lane = self.lanes.get(&status.lane);
            lane.is_some_and(|lane| lane.keyed == Keyed::Charon { told: false } && lane.standing.up)
        });
        let untold: Vec<&LaneStatus> = untold.collect();
        untold.into_iter().flat_map(|status| self.tell(&status.lane, status.up, now)).collect()
    }

    /// How one lane stands.
    pub fn standing(&self, lane: &LaneId) -> Standing {
        self.lanes.get(lane).map(|lane| lane.standing).unwrap_or_default()
    }

    /// Lanes that are not up.
    pub fn down(&self) -> Vec<&LaneId> {
        self.lanes.iter().filter(|(_, lane)| !lane.standing.up).map(|(id, _)| id).collect()
    }

    /// All that are up.
    pub fn up(&self) -> BTreeSet<LaneId> {
        self.lanes.iter().filter(|(_, lane)| lane.standing.up).map(|(id, _)| id.clone()).collect()
    }

    fn tell(&mut self, id: &LaneId, up: bool, now: u64) -> Vec<Effect> {
        let Some(lane) = self.lanes.get_mut(id) else { return Vec::new() };
        match &mut lane.keyed {
            Keyed::Static => return Vec::new(),
            Keyed::Charon { told } => *told = true,
        }
        lane.set(id, up, now).into_iter().collect()
    }
}

impl Lane {
    fn set(&mut self, id: &LaneId, up: bool, now: u64) -> Option<Effect> {
        if self.standing.up == up {
            return None;
        }
        self.standing = Standing { up, since: now };
        Some(if up { Effect::Open(id.clone()) } else { Effect::Close(id.clone()) })
    }
}

impl IsUp for Lanes {
    fn is_up(&self, lane: &LaneId) -> bool {
        self.standing(lane).up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Auth, Ike, Start};
    use crate::status::tests::policy as static_policy;

    fn ike_policy() -> Policy {
        let mut policy = static_policy();
        policy.tunnels[0].keying = Keying::Ike(Ike {
            local_id: "moon".into(),
            remote_id: "sun".into(),
            auth: Auth::Psk { file: "/psk".into() },
            start: Start::Start,
            proposals: vec![],
            esp_proposals: vec![],
            rekey_time: None,
        });
        policy
    }

    fn id(class: &str, index: u8) -> LaneId {
        LaneId { tunnel: "branch-7".into(), class: class.into(), index }
    }

    fn back() -> Event {
        Event::CharonBack { version: "5.9.8".into() }
    }

    fn gone() -> Event {
        Event::CharonGone { reason: "stopped".into() }
    }

    #[test]
    fn static_lanes_open_with_their_policy() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.install(&static_policy(), &[id("voice", 0)], 5).len(), 3);
        assert!(lanes.down().is_empty());
        assert_eq!(lanes.on(&Event::LaneDown(id("voice", 0)), 6), []);
    }

    #[test]
    fn lanes_of_charon_open_when_it_says_so_and_not_before() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.install(&ike_policy(), &[], 5), []);
        assert_eq!(lanes.on(&Event::LaneUp(id("bulk", 1)), 7), [Effect::Open(id("bulk", 1))]);
        assert_eq!(lanes.on(&Event::LaneUp(id("bulk", 1)), 8), []);
        assert_eq!(lanes.standing(&id("bulk", 1)), Standing { up: true, since: 7 });
        assert_eq!(lanes.on(&Event::LaneDown(id("bulk", 1)), 9), [Effect::Close(id("bulk", 1))]);
    }

    fn picture(up: &[LaneId]) -> Vec<TunnelStatus> {
        let lane = |lane: LaneId| LaneStatus { up: up.contains(&lane), lane, spis: None };
        let lanes =
            [("voice", 0), ("bulk", 0), ("bulk", 1), ("default", 0)].map(|(class, index)| lane(id(class, index)));
        vec![TunnelStatus { tunnel: "branch-7".into(), up: true, lanes: lanes.into(), trouble: None }]
    }

    #[test]
    fn a_new_agent_keeps_open_lanes_until_charon_has_been_asked() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.install(&ike_policy(), &[id("voice", 0), id("default", 0)], 5), []);
        assert_eq!(lanes.on(&Event::LaneUp(id("voice", 0)), 6), []);
        assert_eq!(lanes.on(&back(), 7), []);
        assert!(lanes.untold());
        assert_eq!(lanes.believe(&picture(&[id("voice", 0), id("bulk", 0)]), 8), [Effect::Close(id("default", 0))]);
        assert!(!lanes.untold());
        assert_eq!(lanes.standing(&id("voice", 0)), Standing { up: true, since: 5 });
    }

    #[test]
    fn lanes_survive_charon() {
        let mut lanes = Lanes::default();
        lanes.install(&ike_policy(), &[], 5);
        lanes.on(&Event::LaneUp(id("voice", 0)), 6);
        assert_eq!(lanes.on(&gone(), 7), []);
        assert_eq!(lanes.on(&back(), 8), []);
        assert!(lanes.standing(&id("voice", 0)).up && !lanes.untold());
    }

    #[test]
    fn a_rekey_is_counted_and_closes_nothing() {
        let mut lanes = Lanes::default();
        lanes.install(&ike_policy(), &[id("voice", 0)], 5);
        assert_eq!(lanes.on(&Event::Rekeyed(id("voice", 0)), 6), [Effect::Tally(id("voice", 0), LaneEvent::Rekey)]);
        assert_eq!(lanes.on(&back(), 7), []);
        assert_eq!(lanes.on(&Event::Rekeyed(id("video", 0)), 6), []);
    }

    #[test]
    fn a_changed_file_keeps_what_stays_and_closes_nothing_of_it() {
        let mut lanes = Lanes::default();
        lanes.install(&ike_policy(), &[], 5);
        lanes.on(&Event::LaneUp(id("voice", 0)), 6);
        let mut other = ike_policy();
        other.tunnels[0].lanes.remove(1);
        assert_eq!(lanes.install(&other, &[id("voice", 0)], 9), []);
        assert_eq!(lanes.standing(&id("voice", 0)), Standing { up: true, since: 6 });
        assert_eq!(lanes.on(&Event::LaneUp(id("bulk", 0)), 9), []);
    }

    #[test]
    fn tables_that_forgot_an_open_lane_are_told_again() {
        let mut lanes = Lanes::default();
        lanes.install(&ike_policy(), &[], 5);
        lanes.on(&Event::LaneUp(id("voice", 0)), 6);
        assert_eq!(lanes.install(&ike_policy(), &[], 9), [Effect::Open(id("voice", 0))]);
    }

    #[test]
    fn a_tunnel_that_turns_from_static_keys_to_charon_waits_for_it() {
        let mut lanes = Lanes::default();
        lanes.install(&static_policy(), &[], 5);
        let effects = lanes.install(&ike_policy(), &[id("voice", 0)], 6);
        assert_eq!(effects, [Effect::Close(id("voice", 0))]);
    }
}
