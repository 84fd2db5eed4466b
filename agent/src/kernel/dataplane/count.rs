//! Counters by name.

use lanekeeper_common::abi::{COUNTERS_TOGETHER, Counter, Counters, counter, map};
use lanekeeper_common::verdict::{BlockReason, ParseReason};

use super::object::Object;
use super::{Dataplane, Error};
use crate::compile::Registry;
use crate::compile::registry::Key;
use crate::compile::series::{By, Direction, Reading, Series};

/// A series, and its place in a map.
type Place = (u32, Series);

/// Every series that a name stands for: those of [`map::COUNTERS`], then those of [`map::TALLIES`].
fn places(registry: &Registry) -> (Vec<Place>, Vec<Place>) {
    let (mut counters, mut tallies) = (Vec::new(), Vec::new());
    for reason in ParseReason::ALL {
        counters.push((counter::PARSE + reason as u32, Series::Parse { reason }));
    }
    let nobody = |reason| Series::Blocked { tenant: String::new(), class: String::new(), reason };
    let reason = BlockReason::NoTables;
    counters.push((counter::BLOCKED + reason as u32, nobody(reason)));
    for (key, first) in registry.iter() {
        let mut add = |series, offset| counters.push((first + offset, series));
        match key.clone() {
            Key::Interface(_) | Key::Cgroup(_) | Key::Tunnel(_) | Key::Group { .. } | Key::Clsact(_) => {}
            Key::Class { tenant, class } => {
                let (t, c) = (|| tenant.clone(), || class.clone());
                add(Series::ClassOut { tenant: t(), class: c() }, counter::CLASS_OUT);
                add(Series::ClassIn { tenant: t(), class: c() }, counter::CLASS_IN);
                for reason in BlockReason::ALL {
                    let series = Series::Blocked { tenant: t(), class: c(), reason };
                    add(series, counter::CLASS_BLOCKED + reason as u32);
                }
            }
            Key::Lane { tunnel, class, index } => {
                for (direction, offset) in [(Direction::Out, counter::LANE_OUT), (Direction::In, counter::LANE_IN)] {
                    add(Series::Lane { tunnel: tunnel.clone(), class: class.clone(), index, direction }, offset);
                }
            }
            Key::Fallback { tunnel, class, to } => add(Series::Fallback { tunnel, class, to }, 0),
            Key::Rule { tenant, rule } => add(Series::Rule { tenant, rule }, 0),
            Key::Port(interface) => {
                add(Series::Port { interface: interface.clone(), by: By::Xdp }, counter::PORT_XDP);
                add(Series::Port { interface, by: By::Tc }, counter::PORT_TC);
            }
            Key::Event { tunnel, class, index, event } => {
                tallies.push((first, Series::Event { tunnel, class, index, event }));
            }
            Key::Repair(kind) => tallies.push((first, Series::Repair { kind })),
            Key::Overrun => tallies.push((first, Series::Overrun)),
            Key::Refused(reason) => tallies.push((first, Series::Refused { reason })),
        }
    }
    (counters, tallies)
}

/// Reads all of them.
pub fn read(object: &Object, registry: &Registry) -> Result<Vec<Reading>, Error> {
    let (mut counters, tallies) = places(registry);
    // Those of one value one after the other, so that it is read once.
    counters.sort_unstable_by_key(|(place, _)| *place);
    let mut readings = Vec::with_capacity(counters.len() + tallies.len());
    let map = object.per_cpu::<Counters>(map::COUNTERS)?;
    let (mut at_hand, mut values) = (None, [Counter::default(); COUNTERS_TOGETHER]);
    for (place, series) in counters {
        let (number, within) = (place / COUNTERS_TOGETHER as u32, place as usize % COUNTERS_TOGETHER);
        if at_hand != Some(number) {
            let cpus = map.get(&number, 0).map_err(|error| Error::map(map::COUNTERS, error))?;
            values = sum(cpus.iter());
            at_hand = Some(number);
        }
        let Counter { packets, bytes } = values[within];
        readings.push(Reading { series, packets, bytes });
    }
    let map = object.array::<u64>(map::TALLIES)?;
    for (place, series) in tallies {
        let packets = map.get(&place, 0).map_err(|error| Error::map(map::TALLIES, error))?;
        readings.push(Reading { series, packets, bytes: 0 });
    }
    Ok(readings)
}

/// What all CPUs have counted.
fn sum<'a>(cpus: impl Iterator<Item = &'a Counters>) -> Counters {
    let mut all = [Counter::default(); COUNTERS_TOGETHER];
    for of_cpu in cpus {
        for (sum, counter) in all.iter_mut().zip(of_cpu) {
            sum.packets += counter.packets;
            sum.bytes += counter.bytes;
        }
    }
    all
}

impl Dataplane {
    /// Every counter of every name ever loaded.
    pub fn counters(&self) -> Result<Vec<Reading>, Error> {
        read(&self.object, &self.registry)
    }

    /// Adds to a series that the agent counts.
    pub fn tally(&mut self, series: &Series, n: u64) -> Result<(), Error> {
        let key = match series.clone() {
            Series::Event { tunnel, class, index, event } => Key::Event { tunnel, class, index, event },
            Series::Repair { kind } => Key::Repair(kind),
            Series::Overrun => Key::Overrun,
            Series::Refused { reason } => Key::Refused(reason),
            Series::ClassOut { .. }
            | Series::ClassIn { .. }
            | Series::Lane { .. }
            | Series::Fallback { .. }
            | Series::Blocked { .. }
            | Series::Rule { .. }
            | Series::Port { .. }
            | Series::Parse { .. } => {
                return Err(Error::Unknown { what: "event", name: format!("{series:?}") });
            }
        };
        let place = self.name(key)?;
        let mut tallies = self.object.array_mut::<u64>(map::TALLIES)?;
        let error = |error| Error::map(map::TALLIES, error);
        let before = tallies.get(&place, 0).map_err(error)?;
        tallies.set(place, before + n, 0).map_err(error)
    }
}
