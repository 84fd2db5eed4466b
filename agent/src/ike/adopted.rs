//! Adopted keying: connections of the operator's own swanctl.conf. Their CHILD_SAs are found, bound to lanes and followed;
//! nothing is loaded into charon, begun or ended there.
//!
//! Pure: [`Child`] (what charon tells), [`Followed::bind`] (whose lane each is). Shell: [`follow`], [`look`].

use std::collections::BTreeSet;

use super::connection::NAME_PREFIX;
use crate::lane::LaneId;
use crate::policy::adopt::{Adopt, Pattern};
use crate::policy::{Device, EACH, Keying, Policy, Tunnel};

mod bind;
mod child;
mod follow;
mod inner;
mod lasting;
mod refusal;
mod selector;

pub use bind::Bound;
pub use child::{Child, Peer};
pub use follow::{Found, follow, look};
pub use inner::Inner;
pub use refusal::Refusal;

/// An adopted tunnel, as far as its CHILD_SAs depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its name.
    pub tunnel: String,
    /// Its connection in swanctl.conf; of a tunnel that clients share, all those that fit.
    pub connection: Pattern,
    /// Clients from anywhere have the connection, each with IKE_SA and CHILD_SAs of its own.
    shared: bool,
    /// Each IKE_SA has a device of its own: this one, with its if_id.
    each: Option<Device>,
    /// Of the file's devices, which none of those may be.
    taken: BTreeSet<u32>,
    if_id: u32,
    /// Of a VTI: its keys for what comes in and for what leaves, which are the marks of its SAs.
    keys: Option<(u32, u32)>,
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
            connection: Pattern(adopt.connection.clone()),
            shared: tunnel.is_shared(),
            each: Some(tunnel.device.clone()).filter(Device::is_each),
            taken: policy.tunnels.iter().map(|tunnel| tunnel.device.kind.if_id()).collect(),
            if_id: tunnel.device.kind.if_id(),
            keys: tunnel.device.kind.keys(),
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

    /// Whether a connection of that name is one of its own. Those that agents load are not.
    pub fn has(&self, connection: &str) -> bool {
        if !self.has_several() {
            return connection == self.connection.0;
        }
        self.connection.matches(connection) && !connection.starts_with(NAME_PREFIX)
    }

    /// Whether it may have several connections, whose clients the marks may tell apart.
    fn has_several(&self) -> bool {
        self.shared && !self.connection.is_exact()
    }

    /// Whether routes or addresses are made of what its SAs are for.
    pub fn follows(&self) -> bool {
        self.routes || self.addresses || self.each.is_some()
    }

    /// Whether it has its place in one of the tunnel's devices.
    fn is_inside(&self, child: &Child) -> Result<(), Refusal> {
        let (name, if_id) = (child.name.clone(), child.if_id);
        if let (Some(each), Some(_)) = (&self.each, self.keys) {
            let (key, mask) = child.mark;
            let by_key = child.mark_in == child.mark && mask == u32::MAX && key != 0;
            return match each.of(key) {
                _ if !by_key || if_id != 0 || child.peer.address.is_none() => Err(Refusal::NoKey { child: name }),
                None => Err(Refusal::LongName { child: name, device: each.name.replace(EACH, &key.to_string()) }),
                Some(_) => Ok(()),
            };
        }
        if let Some((input, output)) = self.keys {
            // What has an if_id, too, is found by packets of an XFRM interface alone.
            let by_key = (child.mark_in, child.mark) == ((input, u32::MAX), (output, u32::MAX));
            return if by_key && if_id == 0 { Ok(()) } else { Err(Refusal::Key { child: name, input, output }) };
        }
        let Some(each) = &self.each else {
            let device = self.if_id;
            return match (if_id == device, device) {
                (true, _) => Ok(()),
                (false, 0) => Err(Refusal::NoDevice { child: name, if_id }),
                (false, _) => Err(Refusal::IfId { child: name, if_id, device }),
            };
        };
        for if_id in [if_id, child.if_id_in] {
            if if_id == 0 {
                return Err(Refusal::NoIfId { child: name });
            }
            if self.taken.contains(&if_id) {
                return Err(Refusal::IfIdTaken { child: name, if_id });
            }
            if each.of(if_id).is_none() {
                return Err(Refusal::LongName { child: name, device: each.name.replace(EACH, &if_id.to_string()) });
            }
        }
        Ok(())
    }

    /// By what its IKE_SA has a device, for what comes in and for what leaves: if_ids, or the one key of a VTI.
    fn numbers(&self, child: &Child) -> [u32; 2] {
        match self.keys {
            Some(_) => [child.mark.0; 2],
            None => [child.if_id_in, child.if_id],
        }
    }

    /// Installed CHILD_SAs of the connection, the oldest first.
    fn own<'a>(&self, children: &'a [Child]) -> Vec<&'a Child> {
        let is_own = |child: &&Child| self.has(&child.connection) && child.installed;
        let mut own: Vec<&Child> = children.iter().filter(is_own).collect();
        own.sort_by_key(|child| child.id);
        own
    }
}

#[cfg(test)]
mod tests;
