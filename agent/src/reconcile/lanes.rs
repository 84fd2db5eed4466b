//! Which lanes are up: what charon tells and what static keys imply, turned into what the data path must be told. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::series::LaneEvent;
use crate::ike::{Event, LaneStatus, TunnelStatus};
use crate::lane::LaneId;
use crate::metrics::IsUp;
use crate::policy::adopt::{Learned, Traits};
use crate::policy::{Keying, Policy, Selection};
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
    /// Those that a change has taken away or given other values, for as long as it may be taken back.
    parked: BTreeMap<(LaneId, Values), Lane>,
    /// Adopted lanes that are up, whether or not the tables have these values.
    adopted: Learned,
    /// What is known of adopted lanes that have been up.
    learned: Learned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lane {
    values: Values,
    standing: Standing,
    keyed: Keyed,
}

/// What ties a lane to its SAs in the kernel. A lane of the same name and other values has other SAs: under its mark the
/// kernel still finds those of the lane that had the mark before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Values {
    mark: u32,
    mask: u32,
    reqid: u32,
    selection: Selection,
}

/// Who says whether it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keyed {
    /// Installed with the policy, up from then on.
    Static,
    /// charon; `told` since its task began, and since the lane has these values.
    Charon { told: bool },
}

impl Lanes {
    /// What an agent before this one has left: its policy, and what the data path has `open`.
    pub fn found(policy: &Policy, open: &[LaneId], now: u64) -> Self {
        let mut lanes = Self::default();
        lanes.install(policy, open, now);
        lanes
    }

    /// Makes ready for the tables of `policy`: lanes that get other values are closed, or packets would carry their new marks
    /// to whatever SAs the kernel has under them until it has learned.
    pub fn leave(&mut self, policy: &Policy) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, values, _) in lanes_of(policy) {
            if let Some(lane) = self.lanes.get(&id).copied().filter(|lane| lane.values != values) {
                self.lanes.remove(&id);
                self.parked.insert((id.clone(), lane.values), lane);
                if lane.standing.up {
                    effects.push(Effect::Close(id));
                }
            }
        }
        effects
    }

    /// Takes over a policy whose tables are live, with what the data path has `open`. Lanes that stay keep their standing, and
    /// so do those that come back to the values that they had; lanes of static keys open; other lanes of charon open only
    /// when it says so.
    pub fn install(&mut self, policy: &Policy, open: &[LaneId], now: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut lanes = BTreeMap::new();
        for (id, values, keying) in lanes_of(policy) {
            let known = self.find(&id, values);
            let is_open = open.contains(&id);
            let keyed = match (keying, known.map(|lane| lane.keyed)) {
                (Keying::Static(_), _) => Keyed::Static,
                (Keying::Adopted(_), _) if self.adopted.contains_key(&id) => Keyed::Charon { told: true },
                (Keying::Ike(_) | Keying::Adopted(_), Some(keyed @ Keyed::Charon { .. })) => keyed,
                (Keying::Ike(_) | Keying::Adopted(_), Some(Keyed::Static) | None) => Keyed::Charon { told: false },
            };
            let adopted = self.adopted.get(&id).filter(|_| matches!(keying, Keying::Adopted(_)));
            let up = match (keyed, adopted) {
                (Keyed::Static, _) => true,
                (Keyed::Charon { .. }, Some(traits)) => values.are(traits),
                (Keyed::Charon { .. }, None) => match known {
                    Some(lane) => lane.standing.up && lane.keyed != Keyed::Static,
                    // A first look: what an agent before this one left open stays so until charon has been asked.
                    None => is_open && !self.knows(&id),
                },
            };
            match (is_open, up) {
                (false, true) => effects.push(Effect::Open(id.clone())),
                (true, false) => effects.push(Effect::Close(id.clone())),
                (true, true) | (false, false) => {}
            }
            let since = known.filter(|lane| lane.standing.up == up).map_or(now, |lane| lane.standing.since);
            lanes.insert(id, Lane { values, standing: Standing { up, since }, keyed });
        }
        for (id, lane) in std::mem::replace(&mut self.lanes, lanes) {
            if self.lanes.get(&id).is_none_or(|is| is.values != lane.values) {
                self.parked.insert((id, lane.values), lane);
            }
        }
        effects
    }

    /// The change stays, or has been taken back.
    pub fn settled(&mut self) {
        self.parked.clear();
    }

    /// charon's task is another one from now on: it will not tell of lanes that fell meanwhile.
    pub fn doubt(&mut self) {
        for lane in self.lanes.values_mut().chain(self.parked.values_mut()) {
            if let Keyed::Charon { told } = &mut lane.keyed {
                *told = false;
            }
        }
    }

    /// The lane as it is, or as it was before it was parked.
    fn find(&mut self, id: &LaneId, values: Values) -> Option<Lane> {
        if let Some(lane) = self.lanes.get(id).filter(|lane| lane.values == values) {
            return Some(*lane);
        }
        let mut lane = self.parked.remove(&(id.clone(), values))?;
        if let Keyed::Charon { told } = &mut lane.keyed {
            // charon may have closed its SAs for what has been taken back, and the word of it be on its way.
            *told = false;
        }
        Some(lane)
    }

    fn knows(&self, id: &LaneId) -> bool {
        self.lanes.contains_key(id) || self.parked.keys().any(|(parked, _)| parked == id)
    }

    /// Takes an event of charon's. What it says of lanes that the policy does not have, or not any more, is nothing to us.
    pub fn on(&mut self, event: &Event, now: u64) -> Vec<Effect> {
        match event {
            Event::LaneUp(lane) => self.tell(lane, true, now),
            Event::Adopted(lane, traits) => {
                // charon gives a request id anew when nobody has it any more.
                self.learned.retain(|_, other| other.reqid != traits.reqid);
                self.learned.insert(lane.clone(), *traits);
                self.adopted.insert(lane.clone(), *traits);
                // Before the tables have them it carries nothing, and what it had before is gone.
                let up = self.lanes.get(lane).is_some_and(|known| known.values.are(traits));
                self.tell(lane, up, now)
            }
            Event::LaneDown(lane) => {
                self.adopted.remove(lane);
                self.tell(lane, false, now)
            }
            // It opens nothing: a lane that is closed because it has other values now may be rekeyed with the old ones.
            Event::Rekeyed(lane) if self.knows(lane) => vec![Effect::Tally(lane.clone(), LaneEvent::Rekey)],
            // Lanes stay what they were: charon's SAs are the kernel's, and what is lost is told lane by lane.
            Event::CharonGone { .. } | Event::CharonBack { .. } => Vec::new(),
            Event::Rekeyed(_) | Event::TunnelUp(_) | Event::TunnelDown(_) | Event::Trouble { .. } => Vec::new(),
            Event::Unfit { .. } | Event::Sound(_) => Vec::new(),
        }
    }

    /// What the tables should have of adopted lanes.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Lanes of which charon has not said a word since its task began, or since they have their values.
    pub fn untold(&self) -> bool {
        self.lanes.values().any(|lane| lane.keyed == Keyed::Charon { told: false })
    }

    /// Takes charon's whole picture for those.
    pub fn believe(&mut self, picture: &[TunnelStatus], now: u64) -> Vec<Effect> {
        let lanes = picture.iter().flat_map(|tunnel| &tunnel.lanes);
        let untold = lanes.filter(|status| {
            self.lanes.get(&status.lane).is_some_and(|lane| lane.keyed == Keyed::Charon { told: false })
        });
        let untold: Vec<&LaneStatus> = untold.collect();
        untold.into_iter().flat_map(|status| self.tell(&status.lane, status.up, now)).collect()
    }

    /// How one lane stands.
    pub fn standing(&self, lane: &LaneId) -> Standing {
        self.lanes.get(lane).map(|lane| lane.standing).unwrap_or_default()
    }

    /// Lanes that are not up, as far as whoever keys them has said.
    pub fn down(&self) -> Vec<&LaneId> {
        let is_up = |lane: &Lane| lane.standing.up && lane.keyed != Keyed::Charon { told: false };
        self.lanes.iter().filter(|(_, lane)| !is_up(lane)).map(|(id, _)| id).collect()
    }

    /// All that are up.
    pub fn up(&self) -> BTreeSet<LaneId> {
        self.lanes.iter().filter(|(_, lane)| lane.standing.up).map(|(id, _)| id.clone()).collect()
    }

    fn tell(&mut self, id: &LaneId, up: bool, now: u64) -> Vec<Effect> {
        // Whichever way it is now with other values: the SAs that it had with those of before have been closed.
        let parked_up = up && !self.lanes.contains_key(id);
        for (_, lane) in self.parked.iter_mut().filter(|((parked, _), _)| parked == id) {
            lane.standing = Standing { up: parked_up, since: now };
        }
        let Some(lane) = self.lanes.get_mut(id) else { return Vec::new() };
        match &mut lane.keyed {
            Keyed::Static => return Vec::new(),
            Keyed::Charon { told } => *told = true,
        }
        lane.set(id, up, now).into_iter().collect()
    }
}

/// Each lane of a policy.
fn lanes_of(policy: &Policy) -> impl Iterator<Item = (LaneId, Values, &Keying)> {
    policy.tunnels.iter().flat_map(move |tunnel| {
        tunnel.lanes.iter().map(move |lane| {
            let class = policy.classes[lane.class.0].name.clone();
            let id = LaneId { tunnel: tunnel.name.clone(), class, index: lane.index };
            let selection = tunnel.selection(lane, policy.mark_mask);
            let values = Values { mark: lane.mark, mask: policy.mark_mask, reqid: lane.reqid, selection };
            (id, values, &tunnel.keying)
        })
    })
}

impl Values {
    /// They are those of that CHILD_SA.
    fn are(&self, traits: &Traits) -> bool {
        (self.mark, self.reqid) == (traits.mark, traits.reqid)
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
    use crate::policy::{Adopt, Auth, DeviceKind, Ike, Start, adopt};
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

    /// The policy with its tunnel adopted, and what is known of some lanes.
    fn adopted_policy(learned: &Learned) -> Policy {
        let mut policy = static_policy();
        policy.tunnels[0].keying = Keying::Adopted(Adopt { connection: "office".into(), children: vec![] });
        adopt::learn(&mut policy, learned);
        policy
    }

    fn adopted(class: &str, index: u8, mark: u32, reqid: u32) -> Event {
        Event::Adopted(id(class, index), Traits { mark, reqid })
    }

    #[test]
    fn an_adopted_lane_opens_when_the_tables_have_its_values() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.install(&adopted_policy(&Learned::new()), &[], 5), []);
        assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 6), []);
        assert!(lanes.down().contains(&&id("voice", 0)));
        let policy = adopted_policy(lanes.learned());
        assert_eq!((policy.tunnels[0].lanes[0].mark, policy.tunnels[0].lanes[0].reqid), (7, 3));
        assert_eq!(lanes.leave(&policy), []);
        assert_eq!(lanes.install(&policy, &[], 7), [Effect::Open(id("voice", 0))]);
        // Told again it is no news; a rekey keeps the values.
        assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 8), []);
        assert_eq!(lanes.standing(&id("voice", 0)), Standing { up: true, since: 7 });
    }

    #[test]
    fn an_adopted_lane_falls_at_once_and_rises_at_once_where_its_values_stay() {
        let mut lanes = Lanes::default();
        let _ = lanes.on(&adopted("voice", 0, 7, 3), 1);
        let policy = adopted_policy(lanes.learned());
        let _ = lanes.install(&policy, &[], 2);
        assert_eq!(lanes.on(&Event::LaneDown(id("voice", 0)), 3), [Effect::Close(id("voice", 0))]);
        // Nothing is to be loaded for a lane that fell, nor opened by a load.
        assert_eq!(*lanes.learned(), Learned::from([(id("voice", 0), Traits { mark: 7, reqid: 3 })]));
        assert_eq!(lanes.install(&policy, &[], 4), []);
        assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 5), [Effect::Open(id("voice", 0))]);
    }

    #[test]
    fn an_adopted_lane_with_other_values_is_closed_until_the_tables_have_them() {
        let mut lanes = Lanes::default();
        let _ = lanes.on(&adopted("voice", 0, 7, 3), 1);
        let _ = lanes.install(&adopted_policy(lanes.learned()), &[], 2);
        assert_eq!(lanes.on(&adopted("voice", 0, 7, 4), 3), [Effect::Close(id("voice", 0))]);
        let policy = adopted_policy(lanes.learned());
        assert_eq!(lanes.leave(&policy), []);
        assert_eq!(lanes.install(&policy, &[], 4), [Effect::Open(id("voice", 0))]);
    }

    #[test]
    fn a_request_id_is_one_adopted_lanes_alone() {
        let mut lanes = Lanes::default();
        let _ = lanes.on(&adopted("voice", 0, 7, 3), 1);
        let _ = lanes.on(&Event::LaneDown(id("voice", 0)), 2);
        let _ = lanes.on(&adopted("bulk", 1, 8, 3), 3);
        assert_eq!(*lanes.learned(), Learned::from([(id("bulk", 1), Traits { mark: 8, reqid: 3 })]));
    }

    #[test]
    fn an_agent_that_has_looked_keeps_the_adopted_lanes_that_it_finds_open() {
        let look = Learned::from([(id("voice", 0), Traits { mark: 7, reqid: 3 })]);
        let policy = adopted_policy(&look);
        let mut lanes = Lanes::found(&policy, &[id("voice", 0), id("default", 0)], 1);
        assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 2), []);
        assert_eq!(lanes.install(&policy, &[id("voice", 0), id("default", 0)], 3), []);
        // The other one closes when charon is heard to lack it.
        assert_eq!(lanes.on(&Event::LaneDown(id("default", 0)), 4), [Effect::Close(id("default", 0))]);
    }

    #[test]
    fn a_new_agent_keeps_open_lanes_until_charon_has_been_asked() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.install(&ike_policy(), &[id("voice", 0), id("default", 0)], 5), []);
        assert_eq!(lanes.on(&Event::LaneUp(id("voice", 0)), 6), []);
        assert_eq!(lanes.on(&back(), 7), []);
        assert!(lanes.untold());
        let effects = lanes.believe(&picture(&[id("voice", 0), id("bulk", 0)]), 8);
        assert_eq!(effects, [Effect::Open(id("bulk", 0)), Effect::Close(id("default", 0))]);
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
        // Of this lane it has told, and a picture says nothing new.
        assert_eq!(lanes.believe(&picture(&[]), 9), []);
        assert!(lanes.standing(&id("voice", 0)).up);
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

    /// A class more, before all others: every mark moves up by one.
    fn shifted(mut policy: Policy) -> Policy {
        policy.tunnels[0].lanes.iter_mut().for_each(|lane| lane.mark += 1);
        policy
    }

    #[test]
    fn a_lane_with_another_mark_is_closed_before_the_tables_and_opens_with_its_new_sa() {
        let mut lanes = Lanes::default();
        lanes.install(&ike_policy(), &[], 5);
        lanes.on(&Event::LaneUp(id("voice", 0)), 6);
        let moved = shifted(ike_policy());
        assert_eq!(lanes.leave(&moved), [Effect::Close(id("voice", 0))]);
        assert_eq!(lanes.install(&moved, &[], 7), []);
        assert_eq!(lanes.on(&Event::Rekeyed(id("voice", 0)), 8).len(), 1);
        assert!(!lanes.standing(&id("voice", 0)).up && lanes.untold());
        assert_eq!(lanes.on(&Event::LaneDown(id("voice", 0)), 8), []);
        assert_eq!(lanes.on(&Event::LaneUp(id("voice", 0)), 9), [Effect::Open(id("voice", 0))]);
    }

    #[test]
    fn a_new_mask_or_if_id_is_another_lane_too() {
        let mut mask = ike_policy();
        mask.mark_mask = 0xff00;
        let mut if_id = ike_policy();
        if_id.tunnels[0].device.kind = DeviceKind::Xfrm { if_id: 43 };
        for other in [mask, if_id] {
            let mut lanes = Lanes::found(&ike_policy(), &[id("voice", 0)], 5);
            assert_eq!(lanes.leave(&other), [Effect::Close(id("voice", 0))]);
        }
    }

    #[test]
    fn a_new_agent_knows_by_what_marks_an_open_lane_was_opened() {
        let mut lanes = Lanes::found(&ike_policy(), &[id("voice", 0)], 5);
        assert_eq!(lanes.install(&shifted(ike_policy()), &[id("voice", 0)], 6), [Effect::Close(id("voice", 0))]);
    }

    #[test]
    fn static_lanes_with_other_marks_are_closed_until_their_tables_are_there() {
        let mut lanes = Lanes::default();
        lanes.install(&static_policy(), &[], 5);
        let moved = shifted(static_policy());
        assert_eq!(lanes.leave(&moved).len(), 4);
        assert_eq!(lanes.install(&moved, &[], 6).len(), 4);
        assert!(lanes.down().is_empty());
    }

    #[test]
    fn a_change_that_is_taken_back_brings_lanes_back_as_they_are_now() {
        let mut lanes = Lanes::default();
        lanes.install(&ike_policy(), &[], 5);
        for lane in [id("voice", 0), id("bulk", 0), id("bulk", 1), id("default", 0)] {
            lanes.on(&Event::LaneUp(lane), 6);
        }
        let mut refused = ike_policy();
        refused.tunnels[0].lanes.retain(|lane| lane.class.0 != 1);
        refused.tunnels[0].lanes[1].mark += 1;
        lanes.leave(&refused);
        lanes.install(&refused, &[id("voice", 0)], 7);
        // charon closed one lane that the file does not have any more, and the peer one that it has.
        lanes.on(&Event::LaneDown(id("bulk", 1)), 8);
        lanes.on(&Event::LaneDown(id("voice", 0)), 8);
        assert_eq!(lanes.leave(&ike_policy()), []);
        let effects = lanes.install(&ike_policy(), &[], 9);
        assert_eq!(effects, [Effect::Open(id("bulk", 0)), Effect::Open(id("default", 0))]);
        // What has come back is to be asked about: charon may be about to close it.
        assert!(lanes.untold());
        lanes.settled();
        let effects = lanes.believe(&picture(&[id("default", 0)]), 10);
        assert_eq!(effects, [Effect::Close(id("bulk", 0))]);
        assert_eq!(lanes.standing(&id("default", 0)), Standing { up: true, since: 6 });
    }

    #[test]
    fn lanes_of_another_charon_are_asked_about_again() {
        let mut lanes = Lanes::default();
        lanes.install(&ike_policy(), &[], 5);
        lanes.on(&Event::LaneUp(id("voice", 0)), 6);
        lanes.believe(&picture(&[id("voice", 0)]), 7);
        assert!(!lanes.untold());
        lanes.doubt();
        assert!(lanes.untold() && lanes.standing(&id("voice", 0)).up);
        assert_eq!(lanes.believe(&picture(&[]), 8), [Effect::Close(id("voice", 0))]);
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
