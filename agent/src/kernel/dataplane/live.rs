//! The tables that packets read: filled in the slot that is not read, switched to, edited in place.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::MapError;
use lanekeeper_common::abi::{
    Candidates, Device, ETHERNET_PORT, FIELDS, Generation, Heads, Ingress, MAX_HEADS, MAX_RECORDS, MAX_TENANTS,
    NO_VLAN, OuterKey, Record, Tenant, map,
};
use lanekeeper_common::stamp::Stamp;

use super::object::Object;
use super::window::Window;
use super::{Dataplane, Error, Interface, forgive_absent, grace, inplace, ports};
use crate::compile::edit::{self, Beside, Edit};
use crate::compile::registry::Key;
use crate::compile::{Registry, Tables};
use crate::failpoint::pass;
use crate::policy::{Policy, Rule};

impl Dataplane {
    /// Edits the live tables where these differ from them in one rule; else builds them in the slot that is not read and
    /// switches to it with one write. The generation that is live then.
    /// Writes back the registry that the tables were compiled with.
    pub fn load(&mut self, tables: &Tables) -> Result<u64, Error> {
        self.learn(&tables.registry)?;
        // Before a packet asks.
        self.find_cgroups()?;
        let edits = self.tables.as_ref().and_then(|live| live.edits_to(tables));
        let edited = match &edits {
            Some(edits) => self.edit_all(edits)?,
            None => None,
        };
        let stamp = match edited {
            Some(stamp) => stamp,
            None => {
                // What is half written is no longer what it was.
                self.tables = None;
                let stamp = fill(&mut self.object, tables)?;
                self.tables = Some(tables.nameless());
                stamp
            }
        };
        pass("lanes of the tables")?;
        self.lanes().replace(tables)?;
        Ok(stamp.generation())
    }

    /// Puts a rule into the live list at that place: in effect when this returns. False where that takes a whole generation,
    /// which is then to be loaded.
    pub fn insert(&mut self, policy: &Policy, rule: &Rule, place: usize, beside: Beside) -> Result<bool, Error> {
        for key in edit::names(policy, rule) {
            if self.registry.get(&key).is_none() {
                self.name(key)?;
            }
        }
        if !rule.cgroup.is_empty() {
            self.find_cgroups()?;
        }
        let edit = Edit::insert(policy, rule, place, beside, &mut self.registry)?;
        Ok(self.edit_all(&[edit])?.is_some())
    }

    /// Takes the rule of that place out of it, likewise.
    pub fn remove(&mut self, place: usize) -> Result<bool, Error> {
        Ok(self.edit_all(&[Edit::Remove { place }])?.is_some())
    }

    fn edit_all(&mut self, edits: &[Edit]) -> Result<Option<Stamp>, Error> {
        let Some(mut tables) = self.tables.take() else { return Ok(None) };
        let mut stamp = active(&self.object)?;
        if digest(&self.object, stamp)? != tables.digest {
            // Another process has been here.
            return Ok(None);
        }
        for one in edits {
            if !tables.has(one) {
                // It is of another list than the one that is loaded.
                return Ok(None);
            }
            match inplace::edit(&mut self.object, &mut tables, one)? {
                Ok(edited) => stamp = edited,
                Err(full) => {
                    tracing::debug!("a whole generation instead of an edit: {full}");
                    self.tables = Some(tables);
                    return Ok(None);
                }
            }
        }
        self.tables = Some(tables);
        Ok(Some(stamp))
    }

    fn learn(&mut self, registry: &Registry) -> Result<(), Error> {
        for (key, number) in registry.iter() {
            if self.registry.get(key).is_none() {
                self.restore(key.clone(), number)?;
            }
        }
        self.registry.share(registry);
        Ok(())
    }

    /// Makes the programs look every flow up anew.
    pub fn forget_flows(&mut self) -> Result<(), Error> {
        changed(&mut self.object)
    }

    /// Tells which ingress interfaces exist, all of them at once; again whenever links come, go or change names.
    pub fn set_interfaces(&mut self, interfaces: &[Interface]) -> Result<(), Error> {
        ports::forget_gone(&self.folder)?;
        let error = |error| Error::map(map::INTERFACES, error);
        let mut wanted = BTreeMap::new();
        let number = |name: &String| self.registry.get(&Key::Interface(name.clone()));
        for interface in interfaces {
            // Once in the VRF, a packet has come in by the VRF's device, and what looks at it before that is to say the
            // same (vrf_ip_rcv and vrf_ip6_rcv of drivers/net/vrf.c write it into skb_iif).
            let of_vrf = interface.vrf.as_ref().and_then(number);
            let number = of_vrf.or_else(|| number(&interface.name)).unwrap_or(0) as u16;
            // One that is a port no more has counters, but no program that counts.
            let port = self
                .registry
                .get(&Key::Port(interface.name.clone()))
                .map_or(0, |counters| if interface.ethernet { counters | ETHERNET_PORT } else { counters });
            let ingress = Ingress { number, vlan: interface.vlan.unwrap_or(NO_VLAN), port };
            if ingress != Ingress::UNKNOWN {
                wanted.insert(interface.ifindex, ingress);
            }
        }
        let mut present = self.object.hash_mut::<u32, Ingress>(map::INTERFACES)?;
        let now: BTreeMap<u32, Ingress> = present.iter().collect::<Result<_, _>>().map_err(error)?;
        if now == wanted {
            return Ok(());
        }
        // Those that are gone make room for those that have come.
        let mut done = Ok(());
        for ifindex in now.keys().filter(|ifindex| !wanted.contains_key(ifindex)) {
            done = done.and(present.remove(ifindex));
        }
        for (ifindex, ingress) in wanted.iter().filter(|(ifindex, ingress)| now.get(ifindex) != Some(ingress)) {
            done = done.and(present.insert(ifindex, ingress, 0));
        }
        // Of a part, too.
        changed(&mut self.object)?;
        done.map_err(error)
    }
}

pub(super) fn active(object: &Object) -> Result<Stamp, Error> {
    object.array::<u64>(map::ACTIVE)?.get(&0, 0).map(Stamp).map_err(|error| Error::map(map::ACTIVE, error))
}

/// Says that what packets read has been changed in place: what the programs have kept of it holds no more. The change
/// comes first; see [`Stamp`]. Before the first load there is nothing to keep.
pub(super) fn changed(object: &mut Object) -> Result<(), Error> {
    match active(object)? {
        Stamp::NONE => Ok(()),
        stamp => set_active(object, stamp.changed()),
    }
}

pub(super) fn set_active(object: &mut Object, stamp: Stamp) -> Result<(), Error> {
    object.array_mut::<u64>(map::ACTIVE)?.set(0, stamp.0, 0).map_err(|error| Error::map(map::ACTIVE, error))
}

/// Says which tunnel packets that leave by the device take.
pub(super) fn set_device(object: &mut Object, ifindex: u32, device: Device) -> Result<(), Error> {
    let error = |error| Error::map(map::DEVICES, error);
    let mut devices = object.hash_mut::<u32, Device>(map::DEVICES)?;
    match devices.get(&ifindex, 0) {
        Ok(known) if known == device => return Ok(()),
        Ok(_) | Err(MapError::KeyNotFound) => devices.insert(ifindex, device, 0).map_err(error)?,
        Err(failed) => return Err(error(failed)),
    }
    changed(object)
}

/// Of the tables that packets go by.
pub(super) fn digest(object: &Object, stamp: Stamp) -> Result<u64, Error> {
    let digests = object.array::<u64>(map::DIGESTS)?;
    digests.get(&stamp.slot(), 0).map_err(|error| Error::map(map::DIGESTS, error))
}

/// The numbers of the rules that have records in the chains of those tables, in their order.
pub(super) fn rule_numbers(object: &Object, stamp: Stamp) -> Result<BTreeSet<u32>, Error> {
    // The value is a megabyte: more than a thread's stack should bear.
    let size = size_of::<Heads>();
    let heads = Window::open(object.fd(map::HEADS)?, stamp.slot() as usize * size, size)
        .map_err(|cause| Error::Map { map: map::HEADS.to_owned(), cause: cause.to_string() })?;
    let (records, tenants) = (object.array::<Record>(map::RECORDS)?, object.array::<Tenant>(map::TENANTS)?);
    let of_tenants = (0..MAX_TENANTS as u32).map(|number| {
        let tenant = tenants.get(&(stamp.slot() * MAX_TENANTS as u32 + number), 0);
        tenant.map(|tenant| tenant.first).map_err(|error| Error::map(map::TENANTS, error))
    });
    let of_tuples = (0..MAX_HEADS).map(|head| Ok(heads.get(head * size_of::<u32>())));
    let mut numbers = BTreeSet::new();
    for first in of_tuples.chain(of_tenants) {
        let (mut number, mut steps) = (first?, 0);
        while number != 0 && steps < MAX_RECORDS {
            let place = stamp.slot() * MAX_RECORDS as u32 + number;
            let record = records.get(&place, 0).map_err(|error| Error::map(map::RECORDS, error))?;
            numbers.insert(record.rule);
            (number, steps) = (record.next, steps + 1);
        }
    }
    Ok(numbers)
}

/// Fills the slot that no packet reads, then switches; the stamp that packets go by then.
pub(super) fn fill(object: &mut Object, tables: &Tables) -> Result<Stamp, Error> {
    let stamp = active(object)?.switched();
    let slot = stamp.slot();
    // The slot may have been switched away from a moment ago: packets that read it must have passed.
    grace::wait();
    let error = |name: &'static str| move |error| Error::map(name, error);
    let mut records = object.array_mut::<Record>(map::RECORDS)?;
    for (place, record) in tables.rules.records.iter().enumerate() {
        records.set(slot * MAX_RECORDS as u32 + place as u32, record, 0).map_err(error(map::RECORDS))?;
    }
    let heads: &Heads = &tables.rules.heads;
    object.array_mut::<Heads>(map::HEADS)?.set(slot, heads, 0).map_err(error(map::HEADS))?;
    let mut candidates = object.array_mut::<Candidates>(map::CANDIDATES)?;
    for (place, of_field) in tables.rules.candidates.iter().enumerate() {
        let (place, of_field): (_, &Candidates) = (slot * FIELDS as u32 + place as u32, of_field);
        candidates.set(place, of_field, 0).map_err(error(map::CANDIDATES))?;
    }
    let mut tenants = object.array_mut::<Tenant>(map::TENANTS)?;
    for (place, tenant) in tables.tenants.iter().enumerate() {
        tenants.set(slot * MAX_TENANTS as u32 + place as u32, tenant, 0).map_err(error(map::TENANTS))?;
    }
    let generation: &Generation = &tables.generation;
    object.array_mut::<Generation>(map::GENERATIONS)?.set(slot, generation, 0).map_err(error(map::GENERATIONS))?;
    object.array_mut::<u64>(map::DIGESTS)?.set(slot, tables.digest, 0).map_err(error(map::DIGESTS))?;
    // New keys before the switch, old ones away after it: both generations find what they need.
    let mut outer = object.hash_mut::<OuterKey, u32>(map::OUTER)?;
    for (key, dscp) in &tables.outer {
        outer.insert(key, dscp, 0).map_err(error(map::OUTER))?;
    }
    pass("tables filled")?;
    set_active(object, stamp)?;
    pass("generation switched")?;
    let mut outer = object.hash_mut::<OuterKey, u32>(map::OUTER)?;
    let stale: Vec<OuterKey> = outer
        .keys()
        .filter(|key| !matches!(key, Ok(key) if tables.outer.iter().any(|(wanted, _)| wanted == key)))
        .collect::<Result<_, _>>()
        .map_err(error(map::OUTER))?;
    for key in stale {
        forgive_absent(outer.remove(&key)).map_err(error(map::OUTER))?;
    }
    Ok(stamp)
}
