//! The programs and maps: load or adopt, attach, switch tables, count.

use std::path::{Path, PathBuf};

use crate::compile::series::{Reading, Series};
use crate::compile::{Registry, Tables};
use crate::lane::LaneId;

/// Why the data path could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent was built without the eBPF object.
    #[error("this lanekeeper was built without its eBPF programs: run `cargo xtask build-ebpf`, then build again")]
    Stub,
    /// A name that the loaded tables do not have.
    #[error("{what} {name:?} is not in the loaded tables")]
    Unknown {
        /// Kind of thing.
        what: &'static str,
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
}

/// What the kernel has of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// [`Tables::digest`] of the live tables; `None` before the first load.
    pub digest: Option<u64>,
    /// Counts loads; 0 before the first.
    pub generation: u64,
    /// `(device, tunnel)` whose programs are attached, for devices that exist.
    pub attached: Vec<(String, String)>,
}

/// The loaded data path. Everything in it is pinned and outlives the process.
#[derive(Debug)]
pub struct Dataplane {
    _pins: PathBuf,
}

impl Dataplane {
    /// Adopts what is pinned below `pin_root` (a bpffs), or loads it.
    pub fn open(_pin_root: &Path) -> Result<Self, Error> {
        Err(Error::Stub)
    }

    /// The names known so far; pass it to [`crate::compile::compile`].
    pub fn registry(&self) -> Result<Registry, Error> {
        Err(Error::Stub)
    }

    /// Builds the tables in the slot that is not read and switches to it with one write; the new generation.
    /// Writes back the registry that the tables were compiled with.
    pub fn load(&mut self, _tables: &Tables) -> Result<u64, Error> {
        Err(Error::Stub)
    }

    /// Opens or closes a lane: one map write, effective with the next packet. Lanes begin closed.
    pub fn set_up(&mut self, _lane: &LaneId, _up: bool) -> Result<(), Error> {
        Err(Error::Stub)
    }

    /// The lanes that are open.
    pub fn lanes_up(&self) -> Result<Vec<LaneId>, Error> {
        Err(Error::Stub)
    }

    /// Tells which ingress interfaces exist, all of them at once; again whenever links come, go or change names.
    pub fn set_interfaces(&mut self, _interfaces: &[Interface]) -> Result<(), Error> {
        Err(Error::Stub)
    }

    /// Attaches both programs to the tunnel's device, replacing older ones of ours in place; idempotent.
    pub fn attach(&mut self, _device: &str, _tunnel: &str) -> Result<(), Error> {
        Err(Error::Stub)
    }

    /// Takes our programs off the device; fine when they or the device are gone.
    pub fn detach(&mut self, _device: &str) -> Result<(), Error> {
        Err(Error::Stub)
    }

    /// What is live.
    pub fn observed(&self) -> Result<Observed, Error> {
        Err(Error::Stub)
    }

    /// Every counter of every name ever loaded.
    pub fn counters(&self) -> Result<Vec<Reading>, Error> {
        Err(Error::Stub)
    }

    /// Adds to a [`Series::Event`].
    pub fn tally(&mut self, _series: &Series, _n: u64) -> Result<(), Error> {
        Err(Error::Stub)
    }

    /// Detaches and unpins all that is ours below `pin_root`, of this and older versions.
    pub fn remove_all(_pin_root: &Path) -> Result<(), Error> {
        Err(Error::Stub)
    }
}
