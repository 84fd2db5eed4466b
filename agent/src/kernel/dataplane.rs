//! The programs and maps: load or adopt, attach, switch tables, count.
//!
//! All of it is pinned and outlives the process: a new agent finds the maps, puts its own programs into the links, and no
//! packet passes unclassified meanwhile. One process at a time writes.
//!
//! An agent of another version, earlier or later, finds tables that it does not know. It leaves them to the programs that go by
//! them, loads its own into maps beside them, and puts its programs into the links one by one, each by one step, as it would
//! attach them anew. Counters, names and open lanes are in maps that all versions share, and lose nothing. The other tables go
//! when nothing goes by them; until then their folder says to whoever comes next that the change is not through.

mod attach;
mod btf;
mod cgroups;
mod count;
mod devices;
mod filter;
mod foreign;
mod gate;
mod grace;
mod inplace;
mod link;
mod live;
mod naming;
mod object;
mod observer;
mod pins;
mod ports;
mod sockets;
mod stopwatch;
mod trial;
mod window;
mod xdp;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, Map, MapData, MapError};
use lanekeeper_common::abi::{self, Device, Name, Numbers, device_flag, map};
use lanekeeper_common::latency;
use lanekeeper_common::stamp::Stamp;

use crate::compile::registry::Key;
use crate::compile::{self, LaneBits, Registry, Tables};
use crate::failpoint::pass;
use crate::lane::LaneId;
use crate::plan::Extent;
use crate::policy::Classify;
pub use attach::has_tcx;
pub use devices::device_name;
use devices::{is_dressed, remove_filters, remove_other_filters};
pub use foreign::foreign;
pub use gate::Gate;
use live::{active, digest};
pub use naming::Naming;
use object::Object;
pub use observer::{Ears, Missed, Observer, monotonic};
pub use stopwatch::{Fields, Stopwatch};
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
        what: String,
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
    /// Another program's place.
    #[error(
        "interface {interface:?} has another XDP program, which stays: take it off (`ip link set dev {interface} xdp off`, or \
         whoever put it there), or write classify = \"tc\" for this port"
    )]
    XdpTaken {
        /// The interface.
        interface: String,
    },
    /// A device of a kind on which XDP sees no frames that it could read.
    #[error("interface {interface:?} has no Ethernet header, which XDP reads: write classify = \"tc\" for this port")]
    NoEthernet {
        /// The interface.
        interface: String,
    },
    /// Nothing that sockets could be marked by.
    #[error(
        "no cgroup2 is mounted, by whose cgroups sockets are marked: mount it (`mount -t cgroup2 none /sys/fs/cgroup`), or write \
         mark-sockets = false in [host]"
    )]
    NoHierarchy,
    /// A program could not be put on the root of cgroup2.
    #[error(
        "program {program} on the root of cgroup2: {cause}; see that nobody else holds that hook for itself alone \
         (`bpftool cgroup tree`), or write mark-sockets = false in [host]"
    )]
    AttachSocket {
        /// The program.
        program: &'static str,
        /// The kernel's words.
        cause: String,
    },
    /// Sockets of this one cannot be told from those of others.
    #[error(
        "the kernel does not tell the number of this network namespace: {cause}; write mark-sockets = false in [host]"
    )]
    Namespace {
        /// The kernel's words.
        cause: io::Error,
    },
    /// Where the kernel has what timestamps are read from is not known, or it does not let them be read.
    #[error(
        "latencies cannot be measured: {cause}; that takes a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_EVENTS, and \
         CAP_PERFMON: have them, or leave latency-every out of [metrics]"
    )]
    Latency {
        /// The reason.
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
    /// Somebody unmounted it, or it never was.
    #[error(
        "{}: no bpffs is mounted there, in which programs and maps outlive the agent: mount it (`mount -t bpf bpf {}`)",
        path.display(),
        path.display()
    )]
    NoBpffs {
        /// Where it should be.
        path: PathBuf,
    },
    /// A folder or file of bpffs.
    #[error("{}: {cause}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        cause: io::Error,
    },
    /// A test has stopped it.
    #[error(transparent)]
    Stopped(#[from] crate::failpoint::Stopped),
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
    /// Its packets begin with an Ethernet header.
    pub ethernet: bool,
    /// It hands packets on to a device below it.
    pub stacked: bool,
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
    /// Numbers of devices that are dressed, too, and in another network namespace.
    pub moved: BTreeMap<u32, String>,
    /// Interfaces with programs of a port; `None` where these are not those of any way to classify.
    pub ports: BTreeMap<String, Option<Classify>>,
    /// How many of the programs that mark sockets are there.
    pub sockets: Extent,
}

/// The loaded data path. Everything in it is pinned and outlives the process.
#[derive(Debug)]
pub struct Dataplane {
    folder: PathBuf,
    object: Object,
    registry: Registry,
    gate: Arc<Mutex<Gate>>,
    /// What packets read, where this process has put it there; the names are in the registry alone, or a new one would copy all.
    tables: Option<Tables>,
    /// While packets go by programs and tables of an agent before this one that it cannot go on with: where this one's are.
    /// `None` where there are no others.
    taken: Option<Taken>,
    /// The links by their pins, held open: where somebody takes the pins away, or unmounts their bpffs, programs stay where they
    /// are, and are pinned again. Nobody else could find such a link.
    kept: BTreeMap<PathBuf, OwnedFd>,
}

/// Number of the device and name of the pin or filter.
type Taken = BTreeSet<(u32, &'static str)>;

fn is_ours(taken: Option<&Taken>, ifindex: u32, name: &str) -> bool {
    taken.is_none_or(|taken| taken.iter().any(|place| *place == (ifindex, name)))
}

impl Dataplane {
    /// Adopts what is pinned below `pin_root` (a bpffs), or loads it. Devices that have our programs get these.
    pub fn open(pin_root: &Path) -> Result<Self, Error> {
        let folder = pins::folder(pin_root);
        pins::check(&folder)?;
        let restored = pins::restore(&folder)?;
        if !restored.is_empty() {
            tracing::warn!("put back: pins of maps {}", restored.join(", "));
        }
        let lost = pins::lost(&folder);
        if !lost.is_empty() {
            tracing::warn!("the pins of {} are gone: these maps begin anew", lost.join(", "));
        }
        if lost.contains(&map::NAMES) {
            // Counters go by the numbers of names, and these will be others.
            pins::forget(&folder, &[map::COUNTERS, map::TALLIES, latency::DELAYS])?;
        }
        let begun = pins::begun(&folder);
        if !lost.is_empty() || (!begun && pins::others(&folder)?.is_empty() && !pins::linked(&folder)?.is_empty()) {
            pins::set_aside(&folder)?;
        }
        pins::make(&folder)?;
        let others = pins::others(&folder)?;
        let object = Object::load(Some(&folder))?;
        pins::drop_strangers(&folder)?;
        object.pin(&folder)?;
        pass("maps pinned")?;
        let registry = read_registry(&object)?;
        let gate = Arc::new(Mutex::new(Gate::open(&folder, &registry)?));
        observer::sweep()?;
        let taken = if others.is_empty() { None } else { Some(Taken::new()) };
        let mut dataplane = Self { folder, object, registry, gate, tables: None, taken, kept: BTreeMap::new() };
        if dataplane.taken.is_some() {
            let (others, version) = (names(&others), abi::VERSION);
            tracing::info!(others, version, "packets go by tables of another version until these have taken over");
        } else if begun {
            dataplane.renew()?;
        }
        pass("programs renewed")?;
        Ok(dataplane)
    }

    /// Makes the pins of maps that somebody removed: the next agent would begin with others. Whose those were.
    pub fn pin_again(&self) -> Result<Vec<&'static str>, Error> {
        pins::make(&self.folder)?;
        self.object.pin(&self.folder)
    }

    /// Whether pins of maps are missing.
    pub fn lacks_pins(&self) -> bool {
        object::unpinned(&self.folder).next().is_some()
    }

    /// Holds the links that are pinned now, and no others.
    pub fn keep_links(&mut self) -> Result<(), Error> {
        let pins = pins::linked(&self.folder)?.into_iter();
        let pins = pins.map(|(ifindex, program)| pins::link(&self.folder, ifindex, &program));
        // One that cannot be opened is as it would be without us.
        self.kept = pins.filter_map(|pin| Some((pin.clone(), link::open(&pin).ok()?))).collect();
        Ok(())
    }

    /// Where the pin of a link that is held is gone, it is pinned again.
    fn pin_kept(&self, pin: &Path) -> Result<(), Error> {
        pins::make(&self.folder)?;
        match self.kept.get(pin).filter(|_| !pin.exists()) {
            Some(link) => link::pin(link.as_fd(), pin).map_err(|error| Error::folder(pin.to_owned(), error)),
            None => Ok(()),
        }
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
        // By whose tables packets go, none of these programs have said yet.
        let taken = if pins::others(&folder)?.is_empty() { None } else { Some(Taken::new()) };
        let observed = observe(&object, &registry, &folder, taken.as_ref())?;
        Ok(Some((observed, registry)))
    }

    /// The lanes that are open in what is pinned below `pin_root`, whose tables are these; changes nothing.
    pub fn peek_up(pin_root: &Path, tables: &Tables) -> Result<Vec<LaneId>, Error> {
        let mut gate = Gate::open(&pins::folder(pin_root), &tables.registry)?;
        gate.adopt(tables.lanes.clone());
        gate.lanes_up()
    }

    /// The names known so far; pass it to [`crate::compile::compile`].
    pub fn registry(&self) -> Result<Registry, Error> {
        Ok(self.registry.clone())
    }

    /// Learns the lanes of tables that an agent before this one has loaded.
    pub fn adopt(&mut self, lanes: LaneBits) {
        self.lanes().adopt(lanes);
    }

    /// What opens and closes lanes, for whoever cannot wait for the rest of the data path.
    pub fn gate(&self) -> Arc<Mutex<Gate>> {
        Arc::clone(&self.gate)
    }

    /// As [`Gate::set_up`].
    pub fn set_up(&mut self, lane: &LaneId, up: bool) -> Result<(), Error> {
        self.lanes().set_up(lane, up)
    }

    /// As [`Gate::is_up`].
    pub fn is_up(&self, lane: &LaneId) -> Result<bool, Error> {
        self.lanes().is_up(lane)
    }

    /// As [`Gate::lanes_up`].
    pub fn lanes_up(&self) -> Result<Vec<LaneId>, Error> {
        self.lanes().lanes_up()
    }

    /// A thread that died with the gate has left no word half written.
    fn lanes(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is live.
    pub fn observed(&self) -> Result<Observed, Error> {
        observe(&self.object, &self.registry, &self.folder, self.taken.as_ref())
    }

    /// Detaches and unpins all that is ours below `pin_root`, of every version.
    pub fn remove_all(pin_root: &Path) -> Result<(), Error> {
        let folder = pins::folder(pin_root);
        if !attach::has_tcx() {
            observer::sweep()?;
            remove_filters(&folder)?;
        }
        for (ifindex, program) in pins::linked(&folder)? {
            // One that does not detach now does when its pin is gone.
            let _ = link::detach(&pins::link(&folder, ifindex, &program));
        }
        pins::remove(&folder)
    }

    /// To be called when all that is wanted is attached: takes away what other agents' programs still do, by tables that nobody
    /// writes, and then these tables.
    pub fn succeed(&mut self) -> Result<(), Error> {
        let Some(taken) = &self.taken else { return Ok(()) };
        for (ifindex, name) in pins::linked(&self.folder)? {
            if !is_ours(Some(taken), ifindex, &name) {
                tracing::info!(ifindex, name, "off: of another version, and not wanted");
                link::remove(&pins::link(&self.folder, ifindex, &name))?;
            }
        }
        remove_other_filters(&self.folder, taken)?;
        for other in pins::others(&self.folder)? {
            pins::remove(&other)?;
        }
        self.taken = None;
        tracing::info!(version = abi::VERSION, "all packets go by tables of this version");
        Ok(())
    }

    /// This process's program is there now.
    fn take(&mut self, ifindex: u32, name: &'static str) {
        if let Some(taken) = &mut self.taken {
            taken.insert((ifindex, name));
        }
    }

    /// Which tables packets go by now.
    pub fn stamp(&self) -> Result<Stamp, Error> {
        active(&self.object)
    }

    /// The number of a name, written to the pinned registry if it is new.
    fn name(&mut self, key: Key) -> Result<u32, Error> {
        if let Some(number) = self.registry.get(&key) {
            return Ok(number);
        }
        // A number that only this process knew would be given to another name by the next.
        let number = self.registry.next(&key)?;
        self.restore(key, number)?;
        Ok(number)
    }

    fn restore(&mut self, key: Key, number: u32) -> Result<(), Error> {
        let mut names = self.object.hash_mut::<Name, Numbers>(map::NAMES)?;
        names.insert(key.encode()?, key.numbers(number), 0).map_err(|error| Error::map(map::NAMES, error))?;
        self.registry.restore(key, number);
        Ok(())
    }
}

#[cfg(all(feature = "other-abi", not(debug_assertions)))]
compile_error!("the version of the maps that is for tests alone is not for a release");

/// Folders by their last names.
fn names(folders: &[PathBuf]) -> String {
    let names = folders.iter().filter_map(|folder| folder.file_name()?.to_str());
    names.collect::<Vec<_>>().join(", ")
}

fn read_registry(object: &Object) -> Result<Registry, Error> {
    recall(object.hash::<Name, Numbers>(map::NAMES)?.iter())
}

/// The registry that is pinned, whichever version wrote it; empty where none is that opens.
fn pinned_registry(folder: &Path) -> Result<Registry, Error> {
    let error = |error| Error::map(map::NAMES, error);
    let pin = pins::map(folder, map::NAMES);
    if !pin.exists() || pins::check_one(folder, map::NAMES).is_err() {
        return Ok(Registry::default());
    }
    let names = Map::HashMap(MapData::from_pin(pin).map_err(error)?);
    recall(HashMap::<MapData, Name, Numbers>::try_from(names).map_err(error)?.iter())
}

fn recall(names: impl Iterator<Item = Result<(Name, Numbers), MapError>>) -> Result<Registry, Error> {
    let mut registry = Registry::default();
    for entry in names {
        let (name, numbers) = entry.map_err(|error| Error::map(map::NAMES, error))?;
        registry.recall(&name, numbers);
    }
    Ok(registry)
}

fn observe(object: &Object, registry: &Registry, folder: &Path, taken: Option<&Taken>) -> Result<Observed, Error> {
    let stamp = active(object)?;
    let digest = digest(object, stamp)?;
    let tunnels: BTreeMap<u32, &str> = registry
        .iter()
        .filter_map(|(key, number)| match key {
            Key::Tunnel(name) => Some((number, name.as_str())),
            _ => None,
        })
        .collect();
    let (mut attached, mut moved) = (Vec::new(), BTreeMap::new());
    for entry in object.hash::<u32, Device>(map::DEVICES)?.iter() {
        let (ifindex, device) = entry.map_err(|error| Error::map(map::DEVICES, error))?;
        let Some(tunnel) = tunnels.get(&device.tunnel) else { continue };
        if let Some(name) = device_name(ifindex)
            && is_dressed(&name, ifindex, folder, taken)?
        {
            attached.push((name, (*tunnel).to_owned()));
        }
        if device.flags & device_flag::ELSEWHERE != 0 && devices::is_moved(ifindex, folder) {
            moved.insert(ifindex, (*tunnel).to_owned());
        }
    }
    attached.sort();
    let ports = ports::observe(folder, taken)?;
    let sockets = sockets::extent(folder, taken)?;
    let (digest, generation) = ((stamp != Stamp::NONE).then_some(digest), stamp.generation());
    Ok(Observed { digest, generation, attached, moved, ports, sockets })
}

fn forgive_absent(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
