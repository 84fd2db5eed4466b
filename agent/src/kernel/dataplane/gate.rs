//! Which lanes packets may take. It has its own handle on the map and its own lock, so that a lane that went down is closed
//! at once, also while tables are being built or counters are being read.

use std::borrow::BorrowMut;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use lanekeeper_common::abi::map;

use super::{Error, pins};
use crate::compile::registry::Key;
use crate::compile::{LaneBits, Registry, Tables};
use crate::lane::LaneId;

/// A word of bits for each class of a tunnel, a bit for each of its lanes.
pub struct Gate {
    bits: Array<MapData, u32>,
    /// Word of each class of a tunnel, those of earlier configurations included.
    groups: BTreeMap<(String, String), u32>,
    /// Word and bit of each lane; `None` until the tables are known.
    lanes: Option<LaneBits>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

impl Gate {
    /// The one whose map is pinned in `folder`.
    pub(super) fn open(folder: &Path, registry: &Registry) -> Result<Self, Error> {
        let pinned =
            MapData::from_pin(pins::map(folder, map::LANES_UP)).map_err(|error| Error::map(map::LANES_UP, error))?;
        let bits = Array::try_from(Map::Array(pinned)).map_err(|error| Error::map(map::LANES_UP, error))?;
        Ok(Self { bits, groups: groups(registry), lanes: None })
    }

    /// Learns the lanes of tables that an agent before this one has loaded.
    pub(super) fn adopt(&mut self, lanes: LaneBits) {
        self.lanes = Some(lanes);
    }

    /// Takes over the lanes of tables that are live from now on. Bits of lanes that they do not have would come back to life
    /// with a later configuration: they are cleared.
    pub(super) fn replace(&mut self, tables: &Tables) -> Result<(), Error> {
        self.adopt(tables.lanes.clone());
        self.groups = groups(&tables.registry);
        let mut known: BTreeMap<u32, u32> = BTreeMap::new();
        for (group, bit) in tables.lanes.values() {
            *known.entry(*group).or_default() |= 1 << bit;
        }
        for group in self.groups.values() {
            let now = self.word(*group)?;
            let kept = now & known.get(group).copied().unwrap_or(0);
            if kept != now {
                self.bits.set(*group, kept, 0).map_err(|error| Error::map(map::LANES_UP, error))?;
            }
        }
        Ok(())
    }

    /// Opens or closes a lane: one map write, effective with the next packet. Lanes begin closed.
    pub fn set_up(&mut self, lane: &LaneId, up: bool) -> Result<(), Error> {
        let place = self.place(lane);
        let (group, bit) = place.ok_or_else(|| Error::Unknown { what: "lane", name: lane.to_string() })?;
        set_bit(&mut self.bits, group, bit, up)
    }

    /// Whether that lane is open; one that the tables do not have is not.
    pub fn is_up(&self, lane: &LaneId) -> Result<bool, Error> {
        match self.place(lane) {
            Some((group, bit)) => Ok(self.word(group)? & (1 << bit) != 0),
            None => Ok(false),
        }
    }

    fn place(&self, lane: &LaneId) -> Option<(u32, u8)> {
        match &self.lanes {
            Some(lanes) => lanes.get(lane).copied(),
            // After a restart, before the first load, only names and convention tell.
            None => self.groups.get(&(lane.tunnel.clone(), lane.class.clone())).map(|group| (*group, lane.index)),
        }
    }

    /// The lanes that are open.
    pub fn lanes_up(&self) -> Result<Vec<LaneId>, Error> {
        let mut up = Vec::new();
        match &self.lanes {
            Some(lanes) => {
                for (lane, (group, bit)) in lanes {
                    if self.word(*group)? & (1 << bit) != 0 {
                        up.push(lane.clone());
                    }
                }
            }
            None => {
                for ((tunnel, class), group) in &self.groups {
                    let word = self.word(*group)?;
                    let lane = |index| LaneId { tunnel: tunnel.clone(), class: class.clone(), index };
                    up.extend((0..32).filter(|bit| word & (1 << bit) != 0).map(lane));
                }
            }
        }
        Ok(up)
    }

    fn word(&self, group: u32) -> Result<u32, Error> {
        self.bits.get(&group, 0).map_err(|error| Error::map(map::LANES_UP, error))
    }
}

fn groups(registry: &Registry) -> BTreeMap<(String, String), u32> {
    let named = registry.iter().filter_map(|(key, number)| match key {
        Key::Group { tunnel, class } => Some(((tunnel.clone(), class.clone()), number)),
        _ => None,
    });
    named.collect()
}

pub(super) fn set_bit<T: BorrowMut<MapData>>(
    bits: &mut Array<T, u32>,
    group: u32,
    bit: u8,
    up: bool,
) -> Result<(), Error> {
    let error = |error| Error::map(map::LANES_UP, error);
    let now = bits.get(&group, 0).map_err(error)?;
    let wanted = if up { now | 1 << bit } else { now & !(1 << bit) };
    if wanted == now { Ok(()) } else { bits.set(group, wanted, 0).map_err(error) }
}
