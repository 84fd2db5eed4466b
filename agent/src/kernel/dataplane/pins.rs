//! Where things are pinned, and whether what is pinned there has the shape that this version expects.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{MapInfo, MapType};
use lanekeeper_common::abi::{self, map};

use super::Error;

/// The folder of all versions.
pub fn family(root: &Path) -> PathBuf {
    root.join("lanekeeper")
}

/// The folder of this version.
pub fn folder(root: &Path) -> PathBuf {
    family(root).join(format!("v{}", abi::VERSION))
}

/// In the place of an ifindex: the link is on no device.
pub const NO_DEVICE: u32 = 0;

/// The pins of links, `IFINDEX_PROGRAM`. bpffs takes no dots, so devices go by number.
pub fn links(folder: &Path) -> PathBuf {
    folder.join("links")
}

/// The pin of one link.
pub fn link(folder: &Path, ifindex: u32, program: &str) -> PathBuf {
    links(folder).join(format!("{ifindex}_{program}"))
}

/// The folders of other versions beside that of this one.
pub fn other_versions(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some(family) = folder.parent() else { return Ok(Vec::new()) };
    let error = |cause| Error::folder(family.to_owned(), cause);
    let mut found = Vec::new();
    for entry in fs::read_dir(family).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let version = path.file_name().and_then(|name| name.to_str()?.strip_prefix('v')?.parse::<u32>().ok());
        if version.is_some() && path != folder {
            found.push(path);
        }
    }
    Ok(found)
}

/// The ifindex and program of every pinned link.
pub fn linked(folder: &Path) -> Result<Vec<(u32, String)>, Error> {
    let entries = match fs::read_dir(links(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::folder(links(folder), error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| Error::folder(links(folder), error))?.file_name();
        if let Some((ifindex, program)) = name.to_str().and_then(|name| name.split_once('_'))
            && let Ok(ifindex) = ifindex.parse()
        {
            found.push((ifindex, program.to_owned()));
        }
    }
    Ok(found)
}

/// Type, key size, value size, entries.
type Shape = (MapType, usize, usize, usize);

fn shape(name: &str) -> Shape {
    use abi::{
        COUNTERS_TOGETHER, Candidates, Counters, Device, FIELDS, FragmentKey, FragmentValue, Generation, Guide, Heads,
        Ingress, MAX_CGROUPS, MAX_COUNTERS, MAX_DEVICES, MAX_FRAGMENTS, MAX_GROUPS, MAX_INGRESS, MAX_NAMES, MAX_OUTER,
        MAX_RECORDS, MAX_SOCKETS, MAX_TALLIES, MAX_TENANTS, Name, OuterKey, Record, Scratch, Socket, Tenant,
    };
    match name {
        map::ACTIVE => (MapType::Array, 4, 8, 1),
        map::GENERATIONS => (MapType::Array, 4, size_of::<Generation>(), 2),
        map::DIGESTS => (MapType::Array, 4, 8, 2),
        map::RECORDS => (MapType::Array, 4, size_of::<Record>(), 2 * MAX_RECORDS),
        map::HEADS => (MapType::Array, 4, size_of::<Heads>(), 2),
        map::CANDIDATES => (MapType::Array, 4, size_of::<Candidates>(), 2 * FIELDS),
        map::TENANTS => (MapType::Array, 4, size_of::<Tenant>(), 2 * MAX_TENANTS),
        map::LANES_UP => (MapType::Array, 4, 4, MAX_GROUPS),
        map::DEVICES => (MapType::Hash, 4, size_of::<Device>(), MAX_DEVICES),
        map::INTERFACES => (MapType::Hash, 4, size_of::<Ingress>(), MAX_INGRESS),
        map::CGROUPS => (MapType::Hash, 8, 4, MAX_CGROUPS),
        map::GUIDES => (MapType::Hash, 4, size_of::<Guide>(), MAX_CGROUPS),
        map::SOCKETS => (MapType::LruHash, 8, size_of::<Socket>(), MAX_SOCKETS),
        map::FRAGMENTS => (MapType::LruHash, size_of::<FragmentKey>(), size_of::<FragmentValue>(), MAX_FRAGMENTS),
        map::COUNTERS => (MapType::PerCpuArray, 4, size_of::<Counters>(), MAX_COUNTERS / COUNTERS_TOGETHER),
        map::SCRATCH => (MapType::PerCpuArray, 4, size_of::<Scratch>(), 1),
        map::OUTER => (MapType::Hash, size_of::<OuterKey>(), 4, MAX_OUTER),
        map::NAMES => (MapType::Hash, size_of::<Name>(), 4, MAX_NAMES),
        map::TALLIES => (MapType::Array, 4, 8, MAX_TALLIES),
        other => unreachable!("map {other} has no shape"),
    }
}

/// Compares every pin of a map with the shape that the programs expect: a pin is found by its name alone.
pub fn check(folder: &Path) -> Result<(), Error> {
    for name in map::ALL {
        let path = folder.join(name);
        // A pin can only be opened, not examined in place: on bpffs what can be listed is an object.
        if !path.exists() {
            continue;
        }
        let problem = |problem: String| Error::Pin { path: path.clone(), problem };
        let info = MapInfo::from_pin(&path).map_err(|error| problem(format!("is not a map that opens: {error}")))?;
        let found = (
            info.map_type().map_err(|error| problem(format!("is of a kind that is not known: {error}")))?,
            info.key_size() as usize,
            info.value_size() as usize,
            info.max_entries() as usize,
        );
        let wanted = shape(name);
        if found != wanted {
            let text = |(kind, key, value, entries): Shape| format!("{kind:?} {key}->{value} bytes x {entries}");
            return Err(problem(format!("is {}, not {}", text(found), text(wanted))));
        }
    }
    Ok(())
}

/// The maps that are not pinned any more, where others still are: somebody removed their pins.
pub fn lost(folder: &Path) -> Vec<&'static str> {
    let lost: Vec<&str> = map::ALL.into_iter().filter(|name| !folder.join(name).exists()).collect();
    if lost.len() == map::ALL.len() { Vec::new() } else { lost }
}

/// Removes the pins of these maps, which are there or not.
pub fn forget(folder: &Path, names: &[&str]) -> Result<(), Error> {
    for path in names.iter().map(|name| folder.join(name)) {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::folder(path, error)),
        }
    }
    Ok(())
}

/// Whether this version has ever been opened there.
pub fn present(folder: &Path) -> bool {
    map::ALL.iter().all(|name| folder.join(name).exists())
}
