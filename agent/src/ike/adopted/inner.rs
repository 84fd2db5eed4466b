//! What lies inside the SAs of a connection: which prefixes, which addresses, in which devices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::selector::Selector;
use super::{Child, Followed, Refusal};
use crate::policy::adopt::{Ends, OwnDevice};

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

impl Followed {
    /// What its SAs are for: those CHILD_SAs that have the device's if_id, steered to or not, for what is sent there belongs in
    /// there or nowhere. `addresses` are the virtual IPs of its IKE_SAs.
    pub fn inner(&self, children: &[Child], addresses: impl IntoIterator<Item = IpAddr>) -> Inner {
        let mut inner = Inner::default();
        if self.addresses {
            inner.ends.addresses.extend(addresses);
        }
        inner.ends.devices = self.own_devices(children);
        let of_device = |child: &&Child| self.is_inside(child).is_ok();
        for child in self.own(children).into_iter().filter(|_| self.routes).filter(of_device) {
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

    /// The devices of IKE_SAs: with other if_ids for what comes in, those have one of their own, into which nothing is routed.
    fn own_devices(&self, children: &[Child]) -> BTreeMap<String, OwnDevice> {
        let mut devices: BTreeMap<String, OwnDevice> = BTreeMap::new();
        let Some(each) = &self.each else { return devices };
        let mut peers: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for child in self.own(children).into_iter().filter(|child| self.is_inside(child).is_ok()) {
            let peer = child.peer.address.filter(|_| self.keys.is_some());
            if peer.is_some_and(|peer| *peers.entry(peer).or_insert(child.peer.ike_sa) != child.peer.ike_sa) {
                continue;
            }
            let numbers = self.numbers(child);
            for number in numbers {
                let Some(name) = each.of(number) else { continue };
                let own = devices.entry(name).or_default();
                (own.if_id, own.peer) = (number, peer);
                if number != numbers[1] {
                    continue;
                }
                if self.addresses {
                    own.addresses.extend(&child.peer.given);
                }
                if self.routes {
                    let read = child.remote_ts.iter().filter_map(|text| Selector::read(text));
                    own.routes.extend(read.flat_map(|read| read.prefixes));
                }
            }
        }
        devices
    }

    /// IKE_SAs whose CHILD_SAs are not all in one device.
    pub(super) fn apart(&self, children: &[Child]) -> BTreeSet<Refusal> {
        if self.keys.is_some() {
            return self.crowded(children);
        }
        let mut first: BTreeMap<u32, u32> = BTreeMap::new();
        let own = self.own(children).into_iter().filter(|_| self.each.is_some());
        let apart = own.filter(|child| *first.entry(child.peer.ike_sa).or_insert(child.if_id) != child.if_id);
        apart.map(|child| Refusal::Apart { child: child.name.clone() }).collect()
    }

    /// IKE_SAs that would have a VTI each between the same ends, as those of clients behind one NAT: the first one has it.
    fn crowded(&self, children: &[Child]) -> BTreeSet<Refusal> {
        let mut first: BTreeMap<IpAddr, u32> = BTreeMap::new();
        let mut crowded = BTreeSet::new();
        for child in self.own(children).into_iter().filter(|_| self.each.is_some()) {
            let Some(address) = child.peer.address else { continue };
            if *first.entry(address).or_insert(child.peer.ike_sa) != child.peer.ike_sa {
                crowded.insert(Refusal::Crowded { child: child.name.clone(), peer: child.peer.id.clone(), address });
            }
        }
        crowded
    }
}
