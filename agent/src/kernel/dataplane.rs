//! The programs and maps: load or adopt, attach, switch tables, count.
//!
//! All of it is pinned and outlives the process: a new agent finds the maps, puts its own programs into the links, and no
//! packet passes unclassified meanwhile. One process at a time writes.

mod attach;
mod count;
mod filter;
mod gate;
mod grace;
mod inplace;
mod link;
mod object;
mod pins;
mod trial;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::MapError;
use aya::programs::TcAttachType;
use lanekeeper_common::abi::{
    Candidates, Device, FIELDS, Generation, Heads, Ingress, MAX_RECORDS, MAX_TENANTS, NO_VLAN, Name, OuterKey, Record,
    Tenant, device_flag, map, program,
};
use lanekeeper_common::stamp::Stamp;

use crate::compile::edit::{self, Beside, Edit};
use crate::compile::registry::Key;
use crate::compile::{self, Registry, Tables};
use crate::lane::LaneId;
use crate::policy::{Policy, Rule};
use attach::On;
pub use gate::Gate;
use object::Object;
pub use trial::{Offload, Trial};

/// Why the data path could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent was built without the eBPF object.
    #[error("this lanekeeper was built without its eBPF programs: run `cargo xtask build-ebpf`, then build again")]
    Stub,
    /// The object is not what this agent was written for.
    #[error("the eBPF object has no {name}: build it again with `cargo xtask build-ebpf`")]
    Missing {
        /// Program or map.
        name: String,
    },
    /// The kernel refused programs or maps.
    #[error("loading {what}: {cause}")]
    Load {
        /// Program's name, or "maps".
        what: &'static str,
        /// The kernel's words.
        cause: String,
    },
    /// A map did not take or give a value.
    #[error("map {map}: {cause}")]
    Map {
        /// Its name.
        map: String,
        /// The kernel's words.
        cause: String,
    },
    /// A program could not be put on a device or taken off.
    #[error("device {device:?}: tc programs: {cause}")]
    Attach {
        /// The device.
        device: String,
        /// The kernel's words.
        cause: String,
    },
    /// A test run failed.
    #[error("test run of {program}: {cause}")]
    Trial {
        /// The program.
        program: &'static str,
        /// The kernel's words.
        cause: String,
    },
    /// A name that the loaded tables do not have.
    #[error("{what} {name:?} is not in the loaded tables")]
    Unknown {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// No such device here.
    #[error("device {name:?} does not exist")]
    NoDevice {
        /// Its name.
        name: String,
    },
    /// The pins are not of this version.
    #[error("{}: {problem}; remove it with `lanekeeper down`", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder or file of bpffs.
    #[error("{}: {cause}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        cause: io::Error,
    },
    /// The registry is full or a name does not fit.
    #[error(transparent)]
    Registry(#[from] compile::Error),
}

impl Error {
    fn missing(name: &str) -> Self {
        Error::Missing { name: name.to_owned() }
    }

    fn map(map: &str, error: impl Into<MapError>) -> Self {
        Error::Map { map: map.to_owned(), cause: object::chain(&error.into()) }
    }

    fn folder(path: PathBuf, cause: io::Error) -> Self {
        Error::Folder { path, cause }
    }
}

/// A device of this host as a packet may come in by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub ifindex: u32,
    /// Its name, as rules and tenants spell it.
    pub name: String,
    /// The id that it strips, for a VLAN device.
    pub vlan: Option<u16>,
    /// The VRF that it is in.
    pub vrf: Option<String>,
}

/// What the kernel has of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// [`Tables::digest`] of the live tables; `None` before the first load.
    pub digest: Option<u64>,
    /// Counts loads of whole tables; 0 before the first.
    pub generation: u64,
    /// `(device, tunnel)` whose programs are attached, for devices that exist.
    pub attached: Vec<(String, String)>,
}

/// The loaded data path. Everything in it is pinned and outlives the process.
#[derive(Debug)]
pub struct Dataplane {
    folder: PathBuf,
    object: Object,
    registry: Registry,
    gate: Arc<Mutex<Gate>>,
    /// What packets read, where this process has put it there.
    tables: Option<Tables>,
}

/// The programs of a tunnel's device.
const HOOKS: [(&str, TcAttachType); 2] = [(program::OUT, TcAttachType::Egress), (program::IN, TcAttachType::Ingress)];

/// The hook of the program for outer DSCPs.
fn leaving(device: &str, ifindex: u32) -> On<'_> {
    On { device, ifindex, hook: TcAttachType::Egress }
}

impl Dataplane {
    /// Adopts what is pinned below `pin_root` (a bpffs), or loads it. Devices that have our programs get these.
    pub fn open(pin_root: &Path) -> Result<Self, Error> {
        let folder = pins::folder(pin_root);
        pins::check(&folder)?;
        let links = pins::links(&folder);
        fs::create_dir_all(&links).map_err(|error| Error::folder(links, error))?;
        let object = Object::load(Some(&folder))?;
        let registry = read_registry(&object)?;
        let gate = Arc::new(Mutex::new(Gate::open(&folder, &registry)?));
        let mut dataplane = Self { folder, object, registry, gate, tables: None };
        dataplane.renew()?;
        Ok(dataplane)
    }

    /// What is pinned below `pin_root`, without changing anything; `None` where nothing of this version is.
    pub fn peek(pin_root: &Path) -> Result<Option<(Observed, Registry)>, Error> {
        let folder = pins::folder(pin_root);
        if !pins::present(&folder) {
            return Ok(None);
        }
        pins::check(&folder)?;
        let object = Object::maps(Some(&folder))?;
        let registry = read_registry(&object)?;
        let observed = observe(&object, &registry, &folder)?;
        Ok(Some((observed, registry)))
    }

    /// The lanes that are open in what is pinned below `pin_root`, whose tables are these; changes nothing.
    pub fn peek_up(pin_root: &Path, tables: &Tables) -> Result<Vec<LaneId>, Error> {
        let mut gate = Gate::open(&pins::folder(pin_root), &tables.registry)?;
        gate.adopt(tables);
        gate.lanes_up()
    }

    /// The names known so far; pass it to [`crate::compile::compile`].
    pub fn registry(&self) -> Result<Registry, Error> {
        Ok(self.registry.clone())
    }

    /// Edits the live tables where these differ from them in one rule; else builds them in the slot that is not read and
    /// switches to it with one write. The generation that is live then.
    /// Writes back the registry that the tables were compiled with.
    pub fn load(&mut self, tables: &Tables) -> Result<u64, Error> {
        self.learn(&tables.registry)?;
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
                self.tables = Some(tables.clone());
                stamp
            }
        };
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
        Ok(())
    }

    /// Learns the lanes of tables that an agent before this one has loaded.
    pub fn adopt(&mut self, tables: &Tables) {
        self.lanes().adopt(tables);
    }

    /// What opens and closes lanes, for whoever cannot wait for the rest of the data path.
    pub fn gate(&self) -> Arc<Mutex<Gate>> {
        Arc::clone(&self.gate)
    }

    /// As [`Gate::set_up`].
    pub fn set_up(&mut self, lane: &LaneId, up: bool) -> Result<(), Error> {
        self.lanes().set_up(lane, up)
    }

    /// As [`Gate::lanes_up`].
    pub fn lanes_up(&self) -> Result<Vec<LaneId>, Error> {
        self.lanes().lanes_up()
    }

    /// A thread that died with the gate has left no word half written.
    fn lanes(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells which ingress interfaces exist, all of them at once; again whenever links come, go or change names.
    pub fn set_interfaces(&mut self, interfaces: &[Interface]) -> Result<(), Error> {
        let error = |error| Error::map(map::INTERFACES, error);
        let mut wanted = BTreeMap::new();
        let number = |name: &String| self.registry.get(&Key::Interface(name.clone()));
        for interface in interfaces {
            // Once in the VRF, a packet has come in by the VRF's device, and what looks at it before that is to say the
            // same (vrf_ip_rcv and vrf_ip6_rcv of drivers/net/vrf.c write it into skb_iif).
            let of_vrf = interface.vrf.as_ref().and_then(number);
            let number = of_vrf.or_else(|| number(&interface.name)).unwrap_or(0) as u16;
            let ingress = Ingress { number, vlan: interface.vlan.unwrap_or(NO_VLAN) };
            if ingress != (Ingress { number: 0, vlan: NO_VLAN }) {
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

    /// Attaches both programs to the tunnel's device, replacing older ones of ours in place; idempotent.
    /// The device must not have an Ethernet header.
    pub fn attach(&mut self, device: &str, tunnel: &str) -> Result<(), Error> {
        self.attach_with(device, tunnel, 0)
    }

    /// The same for a device whose packets have an Ethernet header.
    pub fn attach_ethernet(&mut self, device: &str, tunnel: &str) -> Result<(), Error> {
        self.attach_with(device, tunnel, device_flag::ETHERNET)
    }

    fn attach_with(&mut self, device: &str, tunnel: &str, flags: u32) -> Result<(), Error> {
        let number = self
            .registry
            .get(&Key::Tunnel(tunnel.to_owned()))
            .ok_or_else(|| Error::Unknown { what: "tunnel", name: tunnel.to_owned() })?;
        let ifindex = ifindex(device)?;
        set_device(&mut self.object, ifindex, Device { tunnel: number, flags })?;
        for (name, hook) in HOOKS {
            self.put(name, On { device, ifindex, hook })?;
        }
        Ok(())
    }

    /// Puts the program that writes outer DSCPs on these devices, by which ESP leaves, and takes it off all others,
    /// whichever process put it there; idempotent. A device that is gone by now is left out.
    pub fn set_wan(&mut self, devices: &BTreeSet<String>) -> Result<(), Error> {
        let wanted: BTreeMap<u32, &str> =
            devices.iter().filter_map(|device| Some((ifindex(device).ok()?, device.as_str()))).collect();
        for (&ifindex, device) in &wanted {
            if !attach::is_attached(program::OUTER, leaving(device, ifindex), &self.folder)? {
                self.put(program::OUTER, leaving(device, ifindex))?;
            }
        }
        for ifindex in self.wan()?.into_iter().filter(|ifindex| !wanted.contains_key(ifindex)) {
            let device = device_name(ifindex).unwrap_or_default();
            attach::detach(program::OUTER, leaving(&device, ifindex), &self.folder)?;
            if self.registry.get(&Key::Clsact(ifindex)).is_some() {
                attach::release(leaving(&device, ifindex))?;
            }
        }
        Ok(())
    }

    /// The numbers of devices that have the program for outer DSCPs, or had it when they were there.
    fn wan(&self) -> Result<Vec<u32>, Error> {
        if attach::has_tcx() {
            let links = pins::linked(&self.folder)?.into_iter();
            return Ok(links.filter(|(_, of)| of == program::OUTER).map(|(ifindex, _)| ifindex).collect());
        }
        let mut found = Vec::new();
        for (device, ifindex) in devices()? {
            if attach::has_filter(program::OUTER, leaving(&device, ifindex))? {
                found.push(ifindex);
            }
        }
        Ok(found)
    }

    fn put(&mut self, name: &str, on: On<'_>) -> Result<(), Error> {
        if attach::attach(self.object.program(name)?, name, on, &self.folder)? {
            self.name(Key::Clsact(on.ifindex))?;
        }
        Ok(())
    }

    /// Takes our programs off the device; fine when they or the device are gone.
    pub fn detach(&mut self, device: &str) -> Result<(), Error> {
        match ifindex(device) {
            Ok(ifindex) => self.detach_number(device, ifindex),
            Err(_) => Ok(()),
        }
    }

    fn detach_number(&mut self, device: &str, ifindex: u32) -> Result<(), Error> {
        for (name, hook) in HOOKS {
            attach::detach(name, On { device, ifindex, hook }, &self.folder)?;
        }
        let mut devices = self.object.hash_mut::<u32, Device>(map::DEVICES)?;
        forgive_absent(devices.remove(&ifindex)).map_err(|error| Error::map(map::DEVICES, error))?;
        changed(&mut self.object)
    }

    /// Puts this process's programs where older ones of ours are, and forgets devices that are gone. An equal filter
    /// stays: a device that the pinned maps know has programs that use them.
    fn renew(&mut self) -> Result<(), Error> {
        let devices = self.object.hash::<u32, Device>(map::DEVICES)?;
        let known: Vec<u32> = devices.keys().collect::<Result<_, _>>().map_err(|e| Error::map(map::DEVICES, e))?;
        let links = pins::linked(&self.folder)?;
        let numbers: BTreeSet<u32> = known.iter().copied().chain(links.iter().map(|(ifindex, _)| *ifindex)).collect();
        for ifindex in numbers {
            let Some(device) = device_name(ifindex) else {
                self.detach_number("", ifindex)?;
                attach::detach(program::OUTER, On { device: "", ifindex, hook: TcAttachType::Egress }, &self.folder)?;
                continue;
            };
            let linked = |name: &str| links.iter().any(|(number, of)| *number == ifindex && of == name);
            for (name, hook) in HOOKS {
                let on = On { device: &device, ifindex, hook };
                let filtered = !attach::has_tcx() && known.contains(&ifindex);
                if linked(name) || (filtered && !attach::has_equal_filter(self.object.program(name)?, name, on)?) {
                    self.put(name, on)?;
                }
            }
            if linked(program::OUTER) {
                self.put(program::OUTER, On { device: &device, ifindex, hook: TcAttachType::Egress })?;
            }
        }
        Ok(())
    }

    /// What is live.
    pub fn observed(&self) -> Result<Observed, Error> {
        observe(&self.object, &self.registry, &self.folder)
    }

    /// Detaches and unpins all that is ours below `pin_root`, of this and older versions.
    pub fn remove_all(pin_root: &Path) -> Result<(), Error> {
        let folder = pins::folder(pin_root);
        if !attach::has_tcx() {
            remove_filters(&folder)?;
        }
        for (ifindex, program) in pins::linked(&folder)? {
            // One that does not detach now does when its pin is gone.
            let _ = link::detach(&pins::link(&folder, ifindex, &program));
        }
        let family = pins::family(pin_root);
        match fs::remove_dir_all(&family) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::folder(family, error)),
        }
    }

    /// The number of a name, written to the pinned registry if it is new.
    fn name(&mut self, key: Key) -> Result<u32, Error> {
        let number = self.registry.number(key.clone())?;
        self.restore(key, number)?;
        Ok(number)
    }

    fn restore(&mut self, key: Key, number: u32) -> Result<(), Error> {
        let mut names = self.object.hash_mut::<Name, u32>(map::NAMES)?;
        names.insert(key.encode()?, number, 0).map_err(|error| Error::map(map::NAMES, error))?;
        self.registry.restore(key, number);
        Ok(())
    }
}

/// Filters have no pins: they are looked for on every device. A qdisc goes if the registry says that we made it.
fn remove_filters(folder: &Path) -> Result<(), Error> {
    let registry = if pins::present(folder) && pins::check(folder).is_ok() {
        read_registry(&Object::maps(Some(folder))?)?
    } else {
        Registry::default()
    };
    for (device, ifindex) in devices()? {
        let device = device.as_str();
        let mut ours = false;
        for (name, hook) in HOOKS.into_iter().chain([(program::OUTER, TcAttachType::Egress)]) {
            let on = On { device, ifindex, hook };
            if attach::has_filter(name, on)? {
                attach::detach(name, on, folder)?;
                ours = true;
            }
        }
        // A number without a filter of ours may be another device's by now.
        if ours && registry.get(&Key::Clsact(ifindex)).is_some() {
            attach::release(On { device, ifindex, hook: TcAttachType::Egress })?;
        }
    }
    Ok(())
}

fn read_registry(object: &Object) -> Result<Registry, Error> {
    let names = object.hash::<Name, u32>(map::NAMES)?;
    let mut registry = Registry::default();
    for entry in names.iter() {
        let (name, number) = entry.map_err(|error| Error::map(map::NAMES, error))?;
        if let Some(key) = Key::decode(&name) {
            registry.restore(key, number);
        }
    }
    Ok(registry)
}

fn active(object: &Object) -> Result<Stamp, Error> {
    object.array::<u64>(map::ACTIVE)?.get(&0, 0).map(Stamp).map_err(|error| Error::map(map::ACTIVE, error))
}

/// Says that what packets read has been changed in place: what the programs have kept of it holds no more. The change
/// comes first; see [`Stamp`]. Before the first load there is nothing to keep.
fn changed(object: &mut Object) -> Result<(), Error> {
    match active(object)? {
        Stamp::NONE => Ok(()),
        stamp => set_active(object, stamp.changed()),
    }
}

fn set_active(object: &mut Object, stamp: Stamp) -> Result<(), Error> {
    object.array_mut::<u64>(map::ACTIVE)?.set(0, stamp.0, 0).map_err(|error| Error::map(map::ACTIVE, error))
}

/// Says which tunnel packets that leave by the device take.
fn set_device(object: &mut Object, ifindex: u32, device: Device) -> Result<(), Error> {
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
fn digest(object: &Object, stamp: Stamp) -> Result<u64, Error> {
    let digests = object.array::<u64>(map::DIGESTS)?;
    digests.get(&stamp.slot(), 0).map_err(|error| Error::map(map::DIGESTS, error))
}

/// Fills the slot that no packet reads, then switches; the stamp that packets go by then.
fn fill(object: &mut Object, tables: &Tables) -> Result<Stamp, Error> {
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
    set_active(object, stamp)?;
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

fn observe(object: &Object, registry: &Registry, folder: &Path) -> Result<Observed, Error> {
    let stamp = active(object)?;
    let digest = digest(object, stamp)?;
    let tunnels: BTreeMap<u32, &str> = registry
        .iter()
        .filter_map(|(key, number)| match key {
            Key::Tunnel(name) => Some((number, name.as_str())),
            _ => None,
        })
        .collect();
    let mut attached = Vec::new();
    for entry in object.hash::<u32, Device>(map::DEVICES)?.iter() {
        let (ifindex, device) = entry.map_err(|error| Error::map(map::DEVICES, error))?;
        if let (Some(name), Some(tunnel)) = (device_name(ifindex), tunnels.get(&device.tunnel))
            && is_dressed(&name, ifindex, folder)?
        {
            attached.push((name, (*tunnel).to_owned()));
        }
    }
    attached.sort();
    Ok(Observed { digest: (stamp != Stamp::NONE).then_some(digest), generation: stamp.generation(), attached })
}

/// Whether both programs are on a tunnel's device.
fn is_dressed(device: &str, ifindex: u32, folder: &Path) -> Result<bool, Error> {
    for (name, hook) in HOOKS {
        if !attach::is_attached(name, On { device, ifindex, hook }, folder)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn forgive_absent(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn ifindex(device: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(device).map_err(|_| Error::NoDevice { name: device.to_owned() })
}

/// Name and number of every device of this network namespace.
fn devices() -> Result<Vec<(String, u32)>, Error> {
    let path = PathBuf::from("/sys/class/net");
    let devices = nix::net::if_::if_nameindex().map_err(|error| Error::folder(path, error.into()))?;
    let named =
        |interface: &nix::net::if_::Interface| Some((interface.name().to_str().ok()?.to_owned(), interface.index()));
    Ok(devices.iter().filter_map(named).collect())
}

fn device_name(ifindex: u32) -> Option<String> {
    nix::net::if_::if_indextoname(ifindex).ok().and_then(|name| name.into_string().ok()).filter(|name| !name.is_empty())
}
