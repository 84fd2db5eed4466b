//! Whose lanes the CHILD_SAs of a connection are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::{Child, Class, Followed, Refusal};
use crate::lane::LaneId;
use crate::plan::REQIDS;
use crate::policy::adopt::{Learned, Pattern, Traits};
use crate::policy::{Clients, lanes};

/// Whose lanes the CHILD_SAs of a tunnel are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// Lanes that are up.
    pub lanes: Learned,
    /// CHILD_SAs that nothing is steered to.
    pub refusals: Vec<Refusal>,
    /// Those that carry traffic, but not all of it.
    pub cautions: Vec<Refusal>,
}

/// SAs that packets of one mark find: a CHILD_SA, and during a rekey the one that takes its place. Where clients share the tunnel:
/// all of one name and mark, of which the kernel takes the one whose selectors fit.
#[derive(Debug, Clone)]
struct Group<'a> {
    /// The newest.
    child: &'a Child,
    /// Each client's, where clients share the tunnel.
    clients: Clients,
    /// Position of the class in the tunnel and of the pattern in its list.
    class: Option<(usize, usize)>,
}

impl Followed {
    /// Binds the CHILD_SAs of its connection to its lanes. Those that `known` has seen before stay on their lanes.
    pub fn bind(&self, children: &[Child], known: &Learned) -> Bound {
        let mut bound = Bound::default();
        let groups = self.groups(children);
        let mut fit = Vec::new();
        for group in &groups {
            match self.judge(group, &groups) {
                Ok(true) => fit.push(group),
                Ok(false) => {}
                Err(refusal) => bound.refusals.push(refusal),
            }
        }
        if self.shared {
            self.keep_one_mark(&mut fit, known, &mut bound);
            bound.refusals.extend(self.twins(children));
            bound.refusals.extend(self.apart(children));
        }
        bound.cautions.extend(fit.iter().filter_map(|group| self.caution(group.child)));
        if self.by_label {
            self.bind_by_label(&fit, &mut bound);
        } else {
            self.bind_by_name(&fit, known, &mut bound);
        }
        bound
    }

    fn groups<'a>(&self, children: &'a [Child]) -> Vec<Group<'a>> {
        let mut groups: BTreeMap<(&str, [u32; 3]), Group<'_>> = BTreeMap::new();
        for child in self.own(children) {
            let if_id = if self.each.is_some() { 0 } else { child.if_id };
            let (value, mask) = child.mark;
            let found_by = match (self.shared, self.has_several()) {
                // By the key of its own VTI.
                _ if self.each.is_some() && self.keys.is_some() => [0; 3],
                (false, _) => [child.reqid, 0, 0],
                (true, false) => [value, mask, if_id],
                // By other bits than ours each client has its own.
                (true, true) => [value & self.mask, mask & self.mask, if_id],
            };
            let new = || Group { child, clients: Clients::new(), class: self.class_of(child) };
            let group = groups.entry((&child.name, found_by)).or_insert_with(new);
            group.child = child;
            if self.shared {
                let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                group.clients.insert(child.reqid, child.peer.address.unwrap_or(unknown));
            }
        }
        groups.into_values().collect()
    }

    /// A lane has one mark, whichever client its packets are for: of children of one name those stay whose mark is known, or
    /// that most clients have.
    fn keep_one_mark(&self, fit: &mut Vec<&Group<'_>>, known: &Learned, bound: &mut Bound) {
        let is_known = |mark: u32| self.lanes().any(|lane| known.get(&lane).is_some_and(|traits| traits.mark == mark));
        let rank = |group: &Group<'_>| {
            (is_known(self.mark(group.child)), group.clients.len(), Reverse(self.mark(group.child)))
        };
        let mut best: BTreeMap<&str, &Group<'_>> = BTreeMap::new();
        for group in fit.iter() {
            let chosen = best.entry(&group.child.name).or_insert(group);
            if rank(chosen) < rank(group) {
                *chosen = group;
            }
        }
        fit.retain(|group| {
            let chosen = best[group.child.name.as_str()];
            if std::ptr::eq(chosen, *group) {
                return true;
            }
            let (value, other) = (group.child.mark.0, chosen.child.mark.0);
            bound.refusals.push(Refusal::Marks { child: group.child.name.clone(), value, other });
            false
        });
    }

    /// Clients whose CHILD_SAs are one to the kernel: it takes the newest for both.
    fn twins<'a>(&self, children: &'a [Child]) -> BTreeSet<Refusal> {
        let mut holders: BTreeMap<(&str, u32), &Child> = BTreeMap::new();
        let twin = |child: &'a Child| {
            let holder = holders.insert((&child.name, child.reqid), child)?;
            let (one, other) = (holder.peer.id.clone(), child.peer.id.clone());
            (one != other).then(|| Refusal::Twins { child: child.name.clone(), one, other })
        };
        self.own(children).into_iter().filter_map(twin).collect()
    }

    fn class_of(&self, child: &Child) -> Option<(usize, usize)> {
        if self.by_label {
            let (class, _) = child.label.as_ref()?.rsplit_once('.')?;
            return self.classes.iter().position(|known| known.name == class).map(|at| (at, 0));
        }
        let of = |class: &Class| class.names.iter().position(|pattern| pattern.matches(&child.name));
        self.classes.iter().enumerate().find_map(|(at, class)| Some((at, of(class)?)))
    }

    /// Whether packets may be steered to it; false for one that is none of ours.
    fn judge(&self, group: &Group<'_>, all: &[Group<'_>]) -> Result<bool, Refusal> {
        let child = group.child;
        let name = || child.name.clone();
        if group.class.is_none() {
            let label = || child.label.clone().unwrap_or_default();
            return if self.by_label { Err(Refusal::Label { child: name(), label: label() }) } else { Ok(false) };
        }
        let (value, mask) = child.mark;
        self.is_inside(child)?;
        let mut reqids = group.clients.keys().copied().chain([child.reqid]);
        if let Some(reqid) = reqids.find(|reqid| REQIDS.contains(reqid)) {
            return Err(Refusal::Reqid { child: name(), reqid });
        }
        if self.keys.is_none() && !self.has_several() && value & mask & !self.mask != 0 {
            return Err(Refusal::Mark { child: name(), value, ours: self.mask });
        }
        let overlaps = |other: &Child| {
            let (other_value, other_mask) = other.mark;
            let counts = mask & other_mask & if self.has_several() { self.mask } else { u32::MAX };
            (self.each.is_some() || other.if_id == child.if_id) && (value ^ other_value) & counts == 0
        };
        // Those that nothing is steered to as well: they would take packets off it.
        let is_other = |other: &&Group<'_>| !std::ptr::eq(other.child, child) && overlaps(other.child);
        match all.iter().find(is_other) {
            Some(other) => Err(Refusal::Shared { child: name(), value, mask, other: other.child.name.clone() }),
            None => Ok(true),
        }
    }

    fn caution(&self, child: &Child) -> Option<Refusal> {
        let (value, mask) = child.mark;
        let meant = self.keys.is_some() || self.has_several() && value & mask & !self.mask != 0;
        (!meant && mask & !self.mask != 0).then(|| Refusal::Wide { child: child.name.clone(), value, ours: self.mask })
    }

    fn bind_by_label(&self, fit: &[&Group<'_>], bound: &mut Bound) {
        for group in fit {
            let child = group.child;
            let label = child.label.clone().unwrap_or_default();
            let index = label.rsplit_once('.').and_then(|(_, index)| index.parse().ok());
            let class = group.class.map(|(at, _)| &self.classes[at]);
            let lane = class.zip(index).filter(|(class, index)| index < &class.lanes);
            match lane.map(|(class, index)| self.lane(class, index)) {
                Some(lane) if !bound.lanes.contains_key(&lane) => drop(bound.lanes.insert(lane, self.traits(group))),
                Some(_) | None => bound.refusals.push(Refusal::Label { child: child.name.clone(), label }),
            }
        }
    }

    fn bind_by_name(&self, fit: &[&Group<'_>], known: &Learned, bound: &mut Bound) {
        for (at, class) in self.classes.iter().enumerate() {
            let of_class = fit.iter().filter_map(|group| Some((group.class.filter(|(own, _)| *own == at)?.1, *group)));
            let mut waiting: Vec<(usize, &Group<'_>)> = of_class.collect();
            waiting.sort_by_key(|(pattern, group)| (*pattern, group.child.name.clone(), group.child.reqid));
            let mut free: BTreeSet<u8> = (0..class.lanes).collect();
            let mut take = |waiting: &mut Vec<(usize, &Group<'_>)>, home: &dyn Fn(usize, &Group<'_>) -> Option<u8>| {
                waiting.retain(|(pattern, group)| match home(*pattern, group).filter(|index| free.remove(index)) {
                    Some(index) => {
                        bound.lanes.insert(self.lane(class, index), self.traits(group));
                        false
                    }
                    None => true,
                });
            };
            take(&mut waiting, &|_, group| {
                let Traits { mark, reqid, .. } = self.traits(group);
                let is_known = |lane: &LaneId| known.get(lane).is_some_and(|traits| traits.finds_like(mark, reqid));
                (0..class.lanes).find(|index| is_known(&self.lane(class, *index)))
            });
            let named = class.names.iter().all(Pattern::is_exact);
            take(&mut waiting, &|pattern, _| u8::try_from(pattern).ok().filter(|_| named));
            for (_, group) in waiting {
                match free.pop_first() {
                    Some(index) => drop(bound.lanes.insert(self.lane(class, index), self.traits(group))),
                    None => bound.refusals.push(Refusal::Surplus {
                        child: group.child.name.clone(),
                        class: class.name.clone(),
                        lanes: class.lanes,
                    }),
                }
            }
        }
    }

    fn traits(&self, group: &Group<'_>) -> Traits {
        let reqid = if self.shared { 0 } else { group.child.reqid };
        Traits { mark: self.mark(group.child), reqid, clients: group.clients.clone() }
    }

    /// What packets carry that are to take it. A VTI puts its key in the place of whatever they have.
    fn mark(&self, child: &Child) -> u32 {
        if self.keys.is_some() {
            return lanes::first_mark(self.mask);
        }
        child.mark.0 & child.mark.1 & self.mask
    }
}
