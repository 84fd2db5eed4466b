//! The programs that look at packets, in front of those that steer, for as long as this value lives. Nothing of theirs is
//! pinned: with TCX they go when the process does, however that ends. A filter of cls_bpf would stay, so it looks at nothing
//! from three seconds after the agent's last word on, and the next agent takes it off.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{Link as _, LinkOrder, TcAttachType};
use lanekeeper_common::abi::{Device, map};
use lanekeeper_common::latency;
use lanekeeper_common::sight::{self, Spell, Watch};
use netlink_packet_route::tc::TcHandle as Parent;
use nix::time::{ClockId, clock_gettime};

use super::attach::has_tcx;
use super::devices::{device_name, devices, ifindex};
use super::object::{Object, chain};
use super::{Error, filter, pins, stopwatch};
use crate::plan::FILTER_PREFERENCE;

/// In front of our other filters, where there is no TCX.
const PREFERENCE: u16 = FILTER_PREFERENCE - 1;
const HANDLE: TcHandle = TcHandle::new(0, 0x4c4b);

/// For how long the programs look unless they are told again.
const LEASE: Duration = Duration::from_secs(3);

/// Filters that may be left where there is no TCX, with their places.
const LEFT: [(&str, TcAttachType, u16, TcHandle); 4] = [
    (sight::OUT, TcAttachType::Egress, PREFERENCE, HANDLE),
    (sight::IN, TcAttachType::Ingress, PREFERENCE, HANDLE),
    (sight::PASSING, TcAttachType::Ingress, PREFERENCE, HANDLE),
    (latency::STAMP, TcAttachType::Egress, stopwatch::PREFERENCE, stopwatch::HANDLE),
];

/// The programs of a tunnel's device.
const HOOKS: [(&str, TcAttachType); 2] = [(sight::OUT, TcAttachType::Egress), (sight::IN, TcAttachType::Ingress)];

/// The program of the devices where packets of tunnels without one pass.
const PASSING: (&str, TcAttachType) = (sight::PASSING, TcAttachType::Ingress);

/// What was not looked at, or got lost, since the programs were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    /// Packets that went by between two that were looked at.
    pub passed: u64,
    /// Packets that were looked at and found the ring full.
    pub full: u64,
}

/// The programs, attached where packets of tunnels pass.
#[derive(Debug)]
pub struct Observer {
    object: Object,
    links: BTreeMap<(u32, &'static str), SchedClassifierLink>,
}

/// What they say.
pub struct Ears<T> {
    /// [`sight::Sight`]s.
    pub sights: RingBuf<MapData>,
    /// Lines for the log.
    pub log: aya_log::EbpfLogger<T>,
}

impl Observer {
    /// Loads them over what is pinned below `pin_root`; they look at nothing yet.
    pub fn open<T: log::Log>(pin_root: &Path, logger: T) -> Result<(Self, Ears<T>), Error> {
        let folder = pins::folder(pin_root);
        pins::check(&folder)?;
        if !pins::present(&folder) {
            // Maps would be made in the place of those that packets go by.
            let problem = "some of the pins in it are gone, without which nothing can be observed".to_owned();
            return Err(Error::Pin { path: folder, problem });
        }
        let mut object = Object::observing(&folder)?;
        let ears = Ears { sights: object.take_ring(sight::SIGHTS)?, log: object.take_log(logger)? };
        Ok((Self { object, links: BTreeMap::new() }, ears))
    }

    /// Has each CPU look at so many packets a second for the next three seconds, and as many at once after a pause of one.
    pub fn look(&mut self, looks: u32) -> Result<(), Error> {
        let second = 1_000_000_000;
        let until = monotonic() + LEASE.as_nanos() as u64;
        let watch = Watch { until, interval: second / u64::from(looks.max(1)), burst: second };
        let mut watches = self.object.array_mut::<Watch>(sight::WATCH)?;
        watches.set(0, watch, 0).map_err(|error| Error::map(sight::WATCH, error))
    }

    /// Puts them on devices that have come; what is on one that is gone, or is no tunnel's any more, goes. A device that is
    /// not ready is tried again with the next call. `passing` are those where packets of tunnels without a device pass.
    pub fn follow(&mut self, passing: &BTreeSet<String>) -> Result<(), Error> {
        let mut wanted = BTreeMap::new();
        for known in self.object.hash::<u32, Device>(map::DEVICES)?.keys() {
            let ifindex = known.map_err(|error| Error::map(map::DEVICES, error))?;
            wanted.extend(HOOKS.map(|(name, hook)| ((ifindex, name), hook)));
        }
        let (name, hook) = PASSING;
        if !passing.is_empty() {
            // Only now, as the verifier takes its time and most have no such tunnel.
            self.object.program(name)?;
        }
        wanted.extend(passing.iter().filter_map(|device| Some(((ifindex(device).ok()?, name), hook))));
        self.links.retain(|place, _| wanted.contains_key(place));
        for ((ifindex, name), hook) in wanted {
            if self.links.contains_key(&(ifindex, name)) {
                continue;
            }
            let Some(device) = device_name(ifindex) else { continue };
            match self.attach(name, hook, &device) {
                Ok(link) => drop(self.links.insert((ifindex, name), link)),
                Err(error) => tracing::debug!("not observed yet: {error}"),
            }
        }
        Ok(())
    }

    fn attach(&mut self, name: &str, hook: TcAttachType, device: &str) -> Result<SchedClassifierLink, Error> {
        let failed = |cause: &dyn std::error::Error| Error::Attach { device: device.to_owned(), cause: chain(cause) };
        let options = match has_tcx() {
            true => TcAttachOptions::TcxOrder(LinkOrder::first()),
            false => TcAttachOptions::Netlink(NlOptions { priority: PREFERENCE, handle: HANDLE, classid: None }),
        };
        let program = self.object.program(name)?;
        let link = program.attach_with_options(device, hook, options).map_err(|error| failed(&error))?;
        program.take_link(link).map_err(|error| failed(&error))
    }

    /// Devices that are looked at, by hook.
    pub fn places(&self) -> usize {
        self.links.len()
    }

    /// What was missed.
    pub fn missed(&self) -> Result<Missed, Error> {
        let spells = self.object.per_cpu::<Spell>(sight::SPELLS)?;
        let spells = spells.get(&0, 0).map_err(|error| Error::map(sight::SPELLS, error))?;
        let add =
            |sum: Missed, spell: &Spell| Missed { passed: sum.passed + spell.passed, full: sum.full + spell.full };
        Ok(spells.iter().fold(Missed::default(), add))
    }
}

/// Takes off the filters that an agent left behind whose end was sudden; there is nothing to do where there is TCX.
pub(super) fn sweep() -> Result<(), Error> {
    if has_tcx() {
        return Ok(());
    }
    for (device, ifindex) in devices()? {
        for (name, hook, preference, handle) in LEFT {
            let failed = |cause: io::Error| Error::Attach { device: device.clone(), cause: cause.to_string() };
            let parent = if hook == TcAttachType::Egress { Parent::MIN_EGRESS } else { Parent::MIN_INGRESS };
            let found = filter::program(ifindex, parent, preference, handle.into()).map_err(failed)?;
            if found.is_some_and(|found| found.name == name) {
                let link = SchedClassifierLink::attached(&device, hook, preference, handle, None).map_err(failed)?;
                link.detach().map_err(|error| Error::Attach { device: device.clone(), cause: chain(&error) })?;
            }
        }
    }
    Ok(())
}

/// Nanoseconds of the clock that programs go by.
pub fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}
