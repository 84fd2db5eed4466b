//! Adopted keying: connections of the operator's own swanctl.conf. Their CHILD_SAs are found, bound to lanes and followed;
//! nothing is loaded into charon, begun or ended there.
//!
//! Pure: [`Child`] (what charon tells), [`Followed::bind`] (whose lane each is). Shell: [`follow`], [`look`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::lane::LaneId;
use crate::plan::REQIDS;
use crate::policy::adopt::{Adopt, Ends, Learned, Pattern, Traits};
use crate::policy::{Keying, Policy, Tunnel};

mod child;
mod follow;
mod lasting;
mod refusal;
mod selector;

pub use child::Child;
pub use follow::{Found, follow, look};
pub use refusal::Refusal;
use selector::Selector;

/// An adopted tunnel, as far as its CHILD_SAs depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its name.
    pub tunnel: String,
    /// Its connection in swanctl.conf.
    pub connection: String,
    if_id: u32,
    /// `[mark] mask`.
    mask: u32,
    by_label: bool,
    classes: Vec<Class>,
    /// What its CHILD_SAs are for is wanted.
    routes: bool,
    /// Its virtual IPs are.
    addresses: bool,
}

/// A class of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    name: String,
    lanes: u8,
    names: Vec<Pattern>,
}

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

/// What the SAs of a tunnel are for inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inner {
    /// As far as it is asked for.
    pub ends: Ends,
    /// Traffic selectors that name no addresses.
    pub refusals: Vec<Refusal>,
    /// Those that are for some packets only.
    pub cautions: Vec<Refusal>,
}

/// SAs that are one to the kernel: a CHILD_SA, and during a rekey the one that takes its place.
#[derive(Debug, Clone, Copy)]
struct Group<'a> {
    child: &'a Child,
    /// Position of the class in the tunnel and of the pattern in its list.
    class: Option<(usize, usize)>,
}

impl Followed {
    /// Every adopted tunnel of a policy.
    pub fn all(policy: &Policy) -> Vec<Self> {
        let of = |tunnel: &Tunnel| match &tunnel.keying {
            Keying::Adopted(adopt) => Some(Self::new(policy, tunnel, adopt)),
            Keying::Ike(_) | Keying::Static(_) => None,
        };
        policy.tunnels.iter().filter_map(of).collect()
    }

    fn new(policy: &Policy, tunnel: &Tunnel, adopt: &Adopt) -> Self {
        // In the order of the entries: of two that fit a child the first has it.
        let mut order: Vec<_> = tunnel.classes.clone();
        order.sort_by_key(|class| adopt.children.iter().position(|entry| entry.class == *class));
        let class = |at: &crate::policy::ClassIndex| Class {
            name: policy.classes[at.0].name.clone(),
            lanes: policy.classes[at.0].lanes,
            names: adopt.children.iter().filter(|entry| entry.class == *at).flat_map(|e| e.names.clone()).collect(),
        };
        Self {
            tunnel: tunnel.name.clone(),
            connection: adopt.connection.clone(),
            if_id: tunnel.device.kind.if_id(),
            mask: policy.mark_mask,
            by_label: adopt.children.is_empty(),
            classes: order.iter().map(class).collect(),
            routes: adopt.routes,
            addresses: adopt.addresses,
        }
    }

    /// Its lanes.
    pub fn lanes(&self) -> impl Iterator<Item = LaneId> {
        self.classes.iter().flat_map(|class| (0..class.lanes).map(|index| self.lane(class, index)))
    }

    fn lane(&self, class: &Class, index: u8) -> LaneId {
        LaneId { tunnel: self.tunnel.clone(), class: class.name.clone(), index }
    }

    /// Binds the CHILD_SAs of its connection to its lanes. Those that `known` has seen before stay on their lanes.
    pub fn bind(&self, children: &[Child], known: &Learned) -> Bound {
        let mut bound = Bound::default();
        let groups = self.groups(children);
        let mut fit = Vec::new();
        for group in &groups {
            match self.judge(group, &groups) {
                Ok(true) => fit.push(*group),
                Ok(false) => {}
                Err(refusal) => bound.refusals.push(refusal),
            }
        }
        bound.cautions.extend(fit.iter().filter_map(|group| self.caution(group.child)));
        if self.by_label {
            self.bind_by_label(&fit, &mut bound);
        } else {
            self.bind_by_name(&fit, known, &mut bound);
        }
        bound
    }

    /// Whether routes or addresses are made of what its SAs are for.
    pub fn follows(&self) -> bool {
        self.routes || self.addresses
    }

    /// What its SAs are for: those CHILD_SAs that have the device's if_id, steered to or not, for what is sent there belongs in
    /// there or nowhere. `addresses` are the virtual IPs of its IKE_SAs.
    pub fn inner(&self, children: &[Child], addresses: impl IntoIterator<Item = IpAddr>) -> Inner {
        let mut inner = Inner::default();
        if self.addresses {
            inner.ends.addresses.extend(addresses);
        }
        let of_device =
            |child: &&Child| child.connection == self.connection && child.installed && child.if_id == self.if_id;
        for child in children.iter().filter(|_| self.routes).filter(of_device) {
            for text in &child.remote_ts {
                let (child, selector) = (child.name.clone(), text.clone());
                match Selector::read(text) {
                    Some(read) => {
                        inner.ends.routes.extend(read.prefixes);
                        if !read.whole {
                            inner.cautions.push(Refusal::Part { child, selector });
                        }
                    }
                    None => inner.refusals.push(Refusal::Selector { child, selector }),
                }
            }
        }
        // During a rekey there are two of a child.
        inner.refusals.sort();
        inner.refusals.dedup();
        inner
    }

    /// Installed CHILD_SAs of the connection, the newest of those that are one to the kernel.
    fn groups<'a>(&self, children: &'a [Child]) -> Vec<Group<'a>> {
        let mut groups: BTreeMap<(&str, u32), &Child> = BTreeMap::new();
        for child in children.iter().filter(|child| child.connection == self.connection && child.installed) {
            let newest = groups.entry((&child.name, child.reqid)).or_insert(child);
            if newest.id < child.id {
                *newest = child;
            }
        }
        groups.into_values().map(|child| Group { child, class: self.class_of(child) }).collect()
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
        let device = self.if_id;
        if child.if_id != device {
            return Err(Refusal::IfId { child: name(), if_id: child.if_id, device });
        }
        if REQIDS.contains(&child.reqid) {
            return Err(Refusal::Reqid { child: name(), reqid: child.reqid });
        }
        if value & mask & !self.mask != 0 {
            return Err(Refusal::Mark { child: name(), value, ours: self.mask });
        }
        let overlaps = |other: &Child| {
            let (other_value, other_mask) = other.mark;
            other.if_id == child.if_id && (value ^ other_value) & mask & other_mask == 0
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
        (mask & !self.mask != 0).then(|| Refusal::Wide { child: child.name.clone(), value, ours: self.mask })
    }

    fn bind_by_label(&self, fit: &[Group<'_>], bound: &mut Bound) {
        for group in fit {
            let child = group.child;
            let label = child.label.clone().unwrap_or_default();
            let index = label.rsplit_once('.').and_then(|(_, index)| index.parse().ok());
            let class = group.class.map(|(at, _)| &self.classes[at]);
            let lane = class.zip(index).filter(|(class, index)| index < &class.lanes);
            match lane.map(|(class, index)| self.lane(class, index)) {
                Some(lane) if !bound.lanes.contains_key(&lane) => drop(bound.lanes.insert(lane, self.traits(child))),
                Some(_) | None => bound.refusals.push(Refusal::Label { child: child.name.clone(), label }),
            }
        }
    }

    fn bind_by_name(&self, fit: &[Group<'_>], known: &Learned, bound: &mut Bound) {
        for (at, class) in self.classes.iter().enumerate() {
            let of_class =
                fit.iter().filter_map(|group| Some((group.class.filter(|(own, _)| *own == at)?.1, group.child)));
            let mut waiting: Vec<(usize, &Child)> = of_class.collect();
            waiting.sort_by_key(|(pattern, child)| (*pattern, child.name.clone(), child.reqid));
            let mut free: BTreeSet<u8> = (0..class.lanes).collect();
            let mut take = |waiting: &mut Vec<(usize, &Child)>, home: &dyn Fn(usize, &Child) -> Option<u8>| {
                waiting.retain(|(pattern, child)| match home(*pattern, child).filter(|index| free.remove(index)) {
                    Some(index) => {
                        bound.lanes.insert(self.lane(class, index), self.traits(child));
                        false
                    }
                    None => true,
                });
            };
            take(&mut waiting, &|_, child| {
                (0..class.lanes).find(|index| known.get(&self.lane(class, *index)) == Some(&self.traits(child)))
            });
            let named = class.names.iter().all(Pattern::is_exact);
            take(&mut waiting, &|pattern, _| u8::try_from(pattern).ok().filter(|_| named));
            for (_, child) in waiting {
                match free.pop_first() {
                    Some(index) => drop(bound.lanes.insert(self.lane(class, index), self.traits(child))),
                    None => bound.refusals.push(Refusal::Surplus {
                        child: child.name.clone(),
                        class: class.name.clone(),
                        lanes: class.lanes,
                    }),
                }
            }
        }
    }

    fn traits(&self, child: &Child) -> Traits {
        Traits { mark: child.mark.0 & child.mark.1 & self.mask, reqid: child.reqid }
    }
}

#[cfg(test)]
mod tests;
