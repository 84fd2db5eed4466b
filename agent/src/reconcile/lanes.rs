//! Which lanes are up: what charon tells and what static keys imply, turned into what the data path must be told. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::series::LaneEvent;
use crate::ike::{Event, LaneStatus, TunnelStatus};
use crate::lane::{Condition, LaneId};
use crate::metrics::Standings;
use crate::policy::adopt::{self, Learned, Traits};
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
                if lane.standing.condition.is_open() {
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
        let open: BTreeSet<&LaneId> = open.iter().collect();
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
            let condition = match (keyed, adopted) {
                (Keyed::Static, _) => Condition::Up,
                (Keyed::Charon { .. }, Some(traits)) if values.are(traits) => Condition::Up,
                (Keyed::Charon { .. }, Some(_)) => Condition::Down,
                (Keyed::Charon { .. }, None) => match known {
                    Some(lane) if lane.keyed != Keyed::Static => lane.standing.condition,
                    // A first look: what an agent before this one left open stays so until charon has been asked.
                    None if is_open && !self.knows(&id) => Condition::Up,
                    Some(_) | None => Condition::Down,
                },
            };
            match (is_open, condition.is_open()) {
                (false, true) => effects.push(Effect::Open(id.clone())),
                (true, false) => effects.push(Effect::Close(id.clone())),
                (true, true) | (false, false) => {}
            }
            let same = known.filter(|lane| lane.standing.condition == condition);
            let since = same.map_or(now, |lane| lane.standing.since);
            lanes.insert(id, Lane { values, standing: Standing { condition, since }, keyed });
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
            Event::LaneUp(lane) => self.tell(lane, Condition::Up, now),
            Event::Adopted(lane, traits) => {
                adopt::take(&mut self.learned, lane, traits);
                self.adopted.insert(lane.clone(), traits.clone());
                // Before the tables have them it carries nothing, and what it had before is gone.
                let carries = self.lanes.get(lane).is_some_and(|known| known.values.are(traits));
                self.tell(lane, if carries { Condition::Up } else { Condition::Down }, now)
            }
            Event::LaneDown(lane) => {
                self.adopted.remove(lane);
                if let Some(traits) = self.learned.get_mut(lane) {
                    traits.clients.clear();
                }
                self.tell(lane, Condition::Down, now)
            }
            Event::LaneOnDemand(lane) => self.tell(lane, Condition::OnDemand, now),
            // It opens nothing: a lane that is closed because it has other values now may be rekeyed with the old ones.
            Event::Rekeyed(lane) if self.knows(lane) => vec![Effect::Tally(lane.clone(), LaneEvent::Rekey)],
            // Lanes stay what they were: charon's SAs are the kernel's, and what is lost is told lane by lane.
            Event::CharonGone { .. } | Event::CharonBack { .. } => Vec::new(),
            Event::Rekeyed(_) | Event::TunnelUp(_) | Event::TunnelDown(_) | Event::Trouble { .. } => Vec::new(),
            Event::Inside(..) | Event::Clients(..) | Event::Unfit { .. } | Event::Sound(_) => Vec::new(),
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
        untold.into_iter().flat_map(|status| self.tell(&status.lane, status.condition, now)).collect()
    }

    /// How one lane stands.
    pub fn standing(&self, lane: &LaneId) -> Standing {
        self.lanes.get(lane).map(|lane| lane.standing).unwrap_or_default()
    }

    /// Lanes that are neither up nor on demand, as far as whoever keys them has said.
    pub fn down(&self) -> Vec<&LaneId> {
        let is_open = |lane: &Lane| lane.standing.condition.is_open() && lane.keyed != Keyed::Charon { told: false };
        self.lanes.iter().filter(|(_, lane)| !is_open(lane)).map(|(id, _)| id).collect()
    }

    fn tell(&mut self, id: &LaneId, condition: Condition, now: u64) -> Vec<Effect> {
        // Whichever way it is now with other values: the SAs that it had with those of before have been closed.
        let parked = if self.lanes.contains_key(id) { Condition::Down } else { condition };
        for (_, lane) in self.parked.iter_mut().filter(|((parked, _), _)| parked == id) {
            lane.standing = Standing { condition: parked, since: now };
        }
        let Some(lane) = self.lanes.get_mut(id) else { return Vec::new() };
        match &mut lane.keyed {
            Keyed::Static => return Vec::new(),
            Keyed::Charon { told } => *told = true,
        }
        lane.set(id, condition, now).into_iter().collect()
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
        traits.finds_like(self.mark, self.reqid)
    }
}

impl Lane {
    fn set(&mut self, id: &LaneId, condition: Condition, now: u64) -> Option<Effect> {
        if self.standing.condition == condition {
            return None;
        }
        let was_open = self.standing.condition.is_open();
        self.standing = Standing { condition, since: now };
        match (was_open, condition.is_open()) {
            (false, true) => Some(Effect::Open(id.clone())),
            (true, false) => Some(Effect::Close(id.clone())),
            (true, true) | (false, false) => None,
        }
    }
}

impl Standings for Lanes {
    fn standing(&self, lane: &LaneId) -> Standing {
        self.standing(lane)
    }
}

#[cfg(test)]
mod tests;
