//! Where things are pinned, and whether what is pinned there has the shape that this version expects.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapInfo, MapType};
use lanekeeper_common::abi::{self, map};
use lanekeeper_common::latency::{self, Delays};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Error;
use super::object::chain;

/// The folder of ours on a bpffs: maps that all versions share, links, and a folder of maps for each version, of which more than
/// one is there while packets change over.
pub fn folder(root: &Path) -> PathBuf {
    root.join("lanekeeper")
}

/// The folder of maps that all versions share.
fn kept(folder: &Path) -> PathBuf {
    folder.join("kept")
}

/// The folder of the second pins of these. What no program refers to, as names and tallies, would else be gone with a pin that
/// somebody removes while no agent runs; and what programs do refer to only a process with CAP_SYS_ADMIN finds by its number.
fn spare(folder: &Path) -> PathBuf {
    folder.join("spare")
}

/// The folder of this version's maps.
fn own(folder: &Path) -> PathBuf {
    folder.join(format!("v{}", abi::VERSION))
}

/// The pin of a map.
pub fn map(folder: &Path, name: &str) -> PathBuf {
    // What was timed goes by the names that all versions share, as other counters do, and comes with programs of its own.
    if map::KEPT.contains(&name) || name == latency::DELAYS { kept(folder) } else { own(folder) }.join(name)
}

/// The second pin of a map that all versions share.
pub fn second(folder: &Path, name: &str) -> PathBuf {
    spare(folder).join(name)
}

/// In the place of an ifindex: the link is on no device.
pub const NO_DEVICE: u32 = 0;

/// The pins of links, `IFINDEX_PROGRAM`. bpffs takes no dots, so devices go by number.
fn links(folder: &Path) -> PathBuf {
    folder.join("links")
}

/// The pin of one link.
pub fn link(folder: &Path, ifindex: u32, program: &str) -> PathBuf {
    links(folder).join(format!("{ifindex}_{program}"))
}

/// Makes the folders that are not there, as after their bpffs was unmounted and mounted again.
pub fn make(folder: &Path) -> Result<(), Error> {
    let folders = [kept(folder), spare(folder), links(folder), own(folder)];
    if folders.iter().all(|folder| folder.is_dir()) {
        return Ok(());
    }
    let root = folder.parent().unwrap_or(folder);
    let mounted = statfs(root).map_err(|error| Error::folder(root.to_owned(), error.into()))?;
    if mounted.filesystem_type() != BPF_FS_MAGIC {
        return Err(Error::NoBpffs { path: root.to_owned() });
    }
    for folder in folders {
        fs::create_dir_all(&folder).map_err(|error| Error::folder(folder, error))?;
    }
    Ok(())
}

/// The folders of others' maps: of other versions, and of this one that were set aside. Packets may still go by these.
pub fn others(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let error = |cause| Error::folder(folder.to_owned(), cause);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(error(cause)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(error)?.path();
        let is_version = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('v'));
        if is_version && path != own(folder) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Sets this version's maps aside: packets may go by them until new ones have taken over, and whoever opens these until then knows
/// it by their folder.
pub fn set_aside(folder: &Path) -> Result<(), Error> {
    let (from, to) = (own(folder), folder.join(format!("v{}-aside", abi::VERSION)));
    remove(&to)?;
    match fs::rename(&from, &to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(&to).map_err(|error| Error::folder(to, error))
        }
        Err(error) => Err(Error::folder(from, error)),
    }
}

/// Removes a folder with all that is in it; fine where it is gone.
pub fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::folder(folder.to_owned(), error)),
    }
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
        MAX_RECORDS, MAX_SOCKETS, MAX_TALLIES, MAX_TENANTS, Name, Numbers, OuterKey, Record, Scratch, Socket, Tenant,
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
        map::NAMES => (MapType::Hash, size_of::<Name>(), size_of::<Numbers>(), MAX_NAMES),
        map::TALLIES => (MapType::Array, 4, 8, MAX_TALLIES),
        latency::DELAYS => (MapType::PerCpuHash, 4, size_of::<Delays>(), latency::MAX_LANES as usize),
        other => unreachable!("map {other} has no shape"),
    }
}

/// Compares every pin of a map with the shape that the programs expect: a pin is found by its name alone.
pub fn check(folder: &Path) -> Result<(), Error> {
    map::KEPT.into_iter().chain(map::OF_VERSION).chain([latency::DELAYS]).try_for_each(|name| check_one(folder, name))
}

/// Compares that of one map, which may not be there.
pub fn check_one(folder: &Path, name: &str) -> Result<(), Error> {
    check_pin(&map(folder, name), name)
}

fn check_pin(path: &Path, name: &str) -> Result<(), Error> {
    // A pin can only be opened, not examined in place: on bpffs what can be listed is an object.
    if !path.exists() {
        return Ok(());
    }
    let problem = |problem: String| Error::Pin { path: path.to_owned(), problem };
    let info = MapInfo::from_pin(path).map_err(|error| problem(format!("is not a map that opens: {error}")))?;
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
    Ok(())
}

/// Pins again by their second pins the maps that all versions share, where the first ones are gone; which those were. A second pin
/// of another shape is none.
pub fn restore(folder: &Path) -> Result<Vec<&'static str>, Error> {
    let mut restored = Vec::new();
    for name in missing(folder, &map::KEPT) {
        let (from, to) = (second(folder, name), map(folder, name));
        if !from.exists() || check_pin(&from, name).is_err() {
            continue;
        }
        fs::create_dir_all(kept(folder)).map_err(|error| Error::folder(kept(folder), error))?;
        let failed = |error: &dyn std::error::Error| Error::Map { map: name.to_owned(), cause: chain(error) };
        MapData::from_pin(&from).map_err(|error| failed(&error))?.pin(&to).map_err(|error| failed(&error))?;
        restored.push(name);
    }
    Ok(restored)
}

/// Takes away the second pins that are of other maps than the first ones are.
pub fn drop_strangers(folder: &Path) -> Result<(), Error> {
    let id = |pin: &Path| MapInfo::from_pin(pin).ok().map(|info| info.id());
    let strangers = map::KEPT.into_iter().filter(|name| id(&map(folder, name)) != id(&second(folder, name)));
    remove_files(strangers.map(|name| second(folder, name)))
}

/// The maps of a set that are not pinned.
fn missing<'a>(folder: &Path, names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| !map(folder, name).exists()).collect()
}

/// The maps that are not pinned any more, where others still are: somebody removed their pins, or an agent was killed while it
/// made them.
pub fn lost(folder: &Path) -> Vec<&'static str> {
    let [mut kept, of_version] = [&map::KEPT[..], &map::OF_VERSION].map(|names| missing(folder, names));
    match (kept.len() == map::KEPT.len(), of_version.len() == map::OF_VERSION.len()) {
        (true, true) => Vec::new(),
        // What another version needs is not all that this one does.
        (_, true) => kept,
        (_, false) => {
            kept.extend(of_version);
            kept
        }
    }
}

/// Removes the pins of these maps, which are there or not.
pub fn forget(folder: &Path, names: &[&str]) -> Result<(), Error> {
    remove_files(names.iter().flat_map(|name| [map(folder, name), second(folder, name)]))
}

fn remove_files(paths: impl Iterator<Item = PathBuf>) -> Result<(), Error> {
    for path in paths {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::folder(path, error)),
        }
    }
    Ok(())
}

/// Whether this version's maps are pinned, all or some.
pub fn begun(folder: &Path) -> bool {
    missing(folder, &map::OF_VERSION).len() < map::OF_VERSION.len()
}

/// Whether all are.
pub fn present(folder: &Path) -> bool {
    missing(folder, &map::KEPT).is_empty() && missing(folder, &map::OF_VERSION).is_empty()
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::{counter, space};

    use super::*;

    #[test]
    fn what_versions_hand_on_is_what_it_always_was() {
        let shapes = map::KEPT.map(|name| (name, shape(name)));
        // Agents that are out there have maps of these shapes, and will be followed and preceded by others.
        let handed_on = [
            ("NAMES", (MapType::Hash, 192, 8, 131_072)),
            ("COUNTERS", (MapType::PerCpuArray, 4, 4096, 1024)),
            ("TALLIES", (MapType::Array, 4, 8, 16_384)),
            ("LANES_UP", (MapType::Array, 4, 4, 8192)),
            ("SOCKETS", (MapType::LruHash, 8, 16, 16_384)),
        ];
        assert_eq!(shapes, handed_on);
        assert_eq!(shape(latency::DELAYS), (MapType::PerCpuHash, 4, 144, 8192));
        assert_eq!((counter::PARSE, counter::BLOCKED, counter::FREE), (0, 8, 16));
        assert_eq!([counter::CLASS_BLOCK, counter::CLASS_OUT, counter::CLASS_IN, counter::CLASS_BLOCKED], [8, 0, 1, 1]);
        assert_eq!([counter::LANE_BLOCK, counter::LANE_OUT, counter::LANE_IN], [2, 0, 1]);
        assert_eq!([counter::PORT_BLOCK, counter::PORT_XDP, counter::PORT_TC], [2, 0, 1]);
        let spaces =
            [space::INTERFACE, space::CGROUP, space::TUNNEL, space::GROUP, space::COUNTER, space::TALLY, space::MARK];
        assert_eq!(spaces, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_map_is_pinned_for_all_versions_or_for_one() {
        let folder = folder(Path::new("/bpf"));
        let pin = |name| map(&folder, name).display().to_string();
        assert_eq!(pin(map::COUNTERS), "/bpf/lanekeeper/kept/COUNTERS");
        assert_eq!(pin(map::RECORDS), format!("/bpf/lanekeeper/v{}/RECORDS", abi::VERSION));
    }
}
