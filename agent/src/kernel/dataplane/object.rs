//! The eBPF objects that the agent carries, loaded.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use aya_log::EbpfLogger;
use lanekeeper_common::abi::{map, program};
use lanekeeper_common::{latency, sight};
use log::Log;

use super::{Error, pins};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lanekeeper-ebpf"));
/// The programs that observe.
static OBSERVE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lanekeeper-observe"));

/// The programs that measure latency.
static LATENCY: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lanekeeper-latency"));

/// The programs and maps of this process; maps are shared through their pins.
#[derive(Debug)]
pub struct Object {
    ebpf: Ebpf,
}

impl Object {
    /// Loads the maps and what every tunnel needs; other programs load when they are first asked for. With a folder, maps
    /// pinned there are taken over and missing ones are made and pinned.
    pub fn load(pins: Option<&Path>) -> Result<Self, Error> {
        let mut object = Self::maps(pins)?;
        for name in program::TUNNEL {
            object.program(name)?;
        }
        Ok(object)
    }

    /// Its maps alone, for a look: the verifier takes seconds over the programs on a slow machine.
    pub fn maps(pins: Option<&Path>) -> Result<Self, Error> {
        if OBJECT.is_empty() {
            return Err(Error::Stub);
        }
        let mut loader = EbpfLoader::new();
        if let Some(folder) = pins {
            for name in map::KEPT.into_iter().chain(map::OF_VERSION) {
                loader.map_pin_path(name, pins::map(folder, name));
            }
        }
        let ebpf =
            loader.load(OBJECT).map_err(|error| Error::Load { what: "maps".to_owned(), cause: chain(&error) })?;
        Ok(Self { ebpf })
    }

    /// The programs that observe, over the maps that are pinned in the folder. What those that steer remember per CPU is not
    /// theirs, and takes no room.
    pub fn observing(folder: &Path) -> Result<Self, Error> {
        if OBSERVE.is_empty() {
            return Err(Error::Stub);
        }
        let mut loader = EbpfLoader::new();
        for name in map::KEPT.into_iter().chain(map::OF_VERSION) {
            loader.map_pin_path(name, pins::map(folder, name));
        }
        for name in [map::FLOWS, map::PASSAGES] {
            loader.map_max_entries(name, 1);
        }
        let ebpf =
            loader.load(OBSERVE).map_err(|error| Error::Load { what: "maps".to_owned(), cause: chain(&error) })?;
        let mut object = Self { ebpf };
        for name in [sight::OUT, sight::IN] {
            object.program(name)?;
        }
        Ok(object)
    }

    /// The programs that measure latency, over what those before them have counted.
    pub fn measuring(folder: &Path) -> Result<Self, Error> {
        if LATENCY.is_empty() {
            return Err(Error::Stub);
        }
        let mut loader = EbpfLoader::new();
        loader.map_pin_path(latency::DELAYS, pins::map(folder, latency::DELAYS));
        let ebpf =
            loader.load(LATENCY).map_err(|error| Error::Load { what: "maps".to_owned(), cause: chain(&error) })?;
        let mut object = Self { ebpf };
        object.program(latency::STAMP)?;
        Ok(object)
    }

    /// A RINGBUF, to be read.
    pub fn take_ring(&mut self, name: &str) -> Result<RingBuf<MapData>, Error> {
        let map = self.ebpf.take_map(name).ok_or_else(|| Error::missing(name))?;
        RingBuf::try_from(map).map_err(|error| Error::map(name, error))
    }

    /// What its programs say through aya-log.
    pub fn take_log<T: Log>(&mut self, logger: T) -> Result<EbpfLogger<T>, Error> {
        let cause = |error| Error::Load { what: "the programs' log".to_owned(), cause: chain(&error) };
        EbpfLogger::init_with_logger(&mut self.ebpf, logger).map_err(cause)
    }

    /// The program of XDP, loaded.
    pub fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        let name = program::XDP;
        let program = self.ebpf.program_mut(name).and_then(|program| program.try_into().ok());
        let program: &mut Xdp = program.ok_or_else(|| Error::missing(name))?;
        loaded(name, program.load())?;
        Ok(program)
    }

    /// A program of any kind, perhaps not loaded.
    pub fn any(&mut self, name: &str) -> Result<&mut Program, Error> {
        self.ebpf.program_mut(name).ok_or_else(|| Error::missing(name))
    }

    /// A program of tc by its name in `abi`, loaded.
    pub fn program(&mut self, name: &str) -> Result<&mut SchedClassifier, Error> {
        let program = self.ebpf.program_mut(name).and_then(|program| program.try_into().ok());
        let program: &mut SchedClassifier = program.ok_or_else(|| Error::missing(name))?;
        loaded(name, program.load())?;
        Ok(program)
    }

    /// An ARRAY by its name in `abi`.
    pub fn array<V: Pod>(&self, name: &str) -> Result<Array<&MapData, V>, Error> {
        Array::try_from(self.map(name)?).map_err(|error| Error::map(name, error))
    }

    /// The same, to write.
    pub fn array_mut<V: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>, Error> {
        Array::try_from(self.map_mut(name)?).map_err(|error| Error::map(name, error))
    }

    /// A PERCPU_ARRAY.
    pub fn per_cpu<V: Pod>(&self, name: &str) -> Result<PerCpuArray<&MapData, V>, Error> {
        PerCpuArray::try_from(self.map(name)?).map_err(|error| Error::map(name, error))
    }

    /// A PERCPU_HASH.
    pub fn per_cpu_hash<K: Pod, V: Pod>(&self, name: &str) -> Result<PerCpuHashMap<&MapData, K, V>, Error> {
        PerCpuHashMap::try_from(self.map(name)?).map_err(|error| Error::map(name, error))
    }

    /// The same, to write.
    pub fn per_cpu_hash_mut<K: Pod, V: Pod>(&mut self, name: &str) -> Result<PerCpuHashMap<&mut MapData, K, V>, Error> {
        PerCpuHashMap::try_from(self.map_mut(name)?).map_err(|error| Error::map(name, error))
    }

    /// A HASH.
    pub fn hash<K: Pod, V: Pod>(&self, name: &str) -> Result<HashMap<&MapData, K, V>, Error> {
        HashMap::try_from(self.map(name)?).map_err(|error| Error::map(name, error))
    }

    /// The same, to write.
    pub fn hash_mut<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>, Error> {
        HashMap::try_from(self.map_mut(name)?).map_err(|error| Error::map(name, error))
    }

    /// The descriptor of an ARRAY.
    pub fn fd(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        match self.map(name)? {
            Map::Array(array) => Ok(array.fd().as_fd()),
            _ => Err(Error::missing(name)),
        }
    }

    /// Makes those pins of its maps that are not there; whose those are.
    pub fn pin(&self, folder: &Path) -> Result<Vec<&'static str>, Error> {
        let pin = |(name, pin)| {
            let pinned = self.map(name)?.pin::<PathBuf>(pin);
            pinned.map_err(|error| Error::Map { map: name.to_owned(), cause: chain(&error) })?;
            Ok(name)
        };
        unpinned(folder).map(pin).collect()
    }

    fn map(&self, name: &str) -> Result<&Map, Error> {
        self.ebpf.map(name).ok_or_else(|| Error::missing(name))
    }

    fn map_mut(&mut self, name: &str) -> Result<&mut Map, Error> {
        self.ebpf.map_mut(name).ok_or_else(|| Error::missing(name))
    }
}

/// Maps, and pins of them that are not in that folder.
pub(super) fn unpinned(folder: &Path) -> impl Iterator<Item = (&'static str, PathBuf)> {
    let first = map::KEPT.into_iter().chain(map::OF_VERSION).map(|name| (name, pins::map(folder, name)));
    let second = map::KEPT.into_iter().map(|name| (name, pins::second(folder, name)));
    first.chain(second).filter(|(_, pin)| !pin.exists())
}

/// Loading what is loaded already is fine.
fn loaded(name: &str, answer: Result<(), ProgramError>) -> Result<(), Error> {
    match answer {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(Error::Load { what: name.to_owned(), cause: chain(&error) }),
    }
}

/// An error with its sources: the verifier's words are in the last.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = source.source();
    }
    text
}
