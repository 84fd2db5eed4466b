//! The programs that measure how long packets wait, for as long as this value lives. What they have counted is pinned and goes on
//! with the next agent; the programs are not, and go as those that observe do. A filter of cls_bpf that stays behind stamps
//! nothing from fifteen seconds after the agent's last word on, and the next agent takes it off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aya::maps::{MapError, PerCpuValues};
use aya::programs::TcAttachType;
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, RawTracePoint};
use aya::util::nr_cpus;
use lanekeeper_common::abi::{Device, MAX_TUNNELS, PRESENT, map};
use lanekeeper_common::latency::{self, Delays, Sampling, Way};
use lanekeeper_common::stamp::Stamp;

use super::attach::has_tcx;
use super::btf::Btf;
use super::devices::device_name;
use super::object::{Object, chain};
use super::observer::monotonic;
use super::{Dataplane, Error, forgive_absent, pins};
use crate::compile::Tables;
use crate::compile::registry::Key;
use crate::lane::LaneId;
use crate::plan::FILTER_PREFERENCE;
use crate::policy::Policy;

/// Behind our other filters, where there is no TCX: the mark is to be the lane's.
pub(super) const PREFERENCE: u16 = FILTER_PREFERENCE + 1;
pub(super) const HANDLE: TcHandle = TcHandle::new(0, 0x4c4b);

/// For how long packets are stamped unless the programs are told again.
const LEASE: Duration = Duration::from_secs(15);

/// bpf.h: only a key that is not there yet.
const BPF_NOEXIST: u64 = 1;

/// Where the running kernel has what the programs read of its structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// In `struct sk_buff`.
    pub tstamp: u32,
    /// In `struct net_device`.
    pub ifindex: u32,
}

impl Fields {
    /// Or why that is not known.
    pub fn of_kernel() -> Result<Self, String> {
        let btf = Btf::of_kernel()?;
        Ok(Self { tstamp: btf.offset("sk_buff", "tstamp")?, ifindex: btf.offset("net_device", "ifindex")? })
    }
}

/// The programs, attached.
#[derive(Debug)]
pub struct Stopwatch {
    object: Object,
    sampling: Sampling,
    /// The tables that the ways are of.
    of: Option<Stamp>,
    stamps: BTreeMap<u32, SchedClassifierLink>,
    _sent: RawTracePointLink,
}

impl Stopwatch {
    /// Loads them over what is pinned below `pin_root`; nothing is stamped yet. `mask` are the bits of the mark that are ours.
    pub fn open(pin_root: &Path, every: u32, mask: u32) -> Result<Self, Error> {
        let Fields { tstamp, ifindex } = Fields::of_kernel().map_err(|cause| Error::Latency { cause })?;
        let folder = pins::folder(pin_root);
        pins::check(&folder)?;
        let mut object = Object::measuring(&folder)?;
        let sent: &mut RawTracePoint =
            object.any(latency::SENT)?.try_into().map_err(|_| Error::missing(latency::SENT))?;
        let failed = |error: &dyn std::error::Error| Error::Latency { cause: chain(error) };
        sent.load().map_err(|error| Error::Load { what: latency::SENT.to_owned(), cause: chain(&error) })?;
        let link = sent.attach(latency::TRACEPOINT).map_err(|error| failed(&error))?;
        let sent = sent.take_link(link).map_err(|error| failed(&error))?;
        let sampling = Sampling { until: 0, every, mask, tstamp, ifindex };
        Ok(Self { object, sampling, of: None, stamps: BTreeMap::new(), _sent: sent })
    }

    /// Whether it measures what the policy asks for.
    pub fn is_of(&self, every: u32, mask: u32) -> bool {
        (self.sampling.every, self.sampling.mask) == (every, mask)
    }

    /// Goes on for the next fifteen seconds, on the devices that the data path has now. `stacked` are those that hand packets
    /// on to others below them, in whose queues they wait.
    pub fn follow(&mut self, dataplane: &Dataplane, policy: &Policy, stacked: &BTreeSet<u32>) -> Result<(), Error> {
        let stamp = dataplane.stamp()?;
        if self.of != Some(stamp)
            && let Some(ways) = dataplane.ways(policy)?
        {
            self.set_ways(&ways)?;
            self.of = Some(stamp);
        }
        self.set_stacked(stacked)?;
        let known = dataplane.known()?;
        self.stamps.retain(|ifindex, _| known.contains(ifindex));
        for ifindex in known {
            let Some(device) = device_name(ifindex).filter(|_| !self.stamps.contains_key(&ifindex)) else { continue };
            match self.attach(&device) {
                Ok(link) => drop(self.stamps.insert(ifindex, link)),
                Err(error) => tracing::debug!("not measured yet: {error}"),
            }
        }
        self.sampling.until = monotonic() + LEASE.as_nanos() as u64;
        let mut sampling = self.object.array_mut::<Sampling>(latency::SAMPLING)?;
        sampling.set(0, self.sampling, 0).map_err(|error| Error::map(latency::SAMPLING, error))
    }

    fn attach(&mut self, device: &str) -> Result<SchedClassifierLink, Error> {
        let failed = |cause: &dyn std::error::Error| Error::Attach { device: device.to_owned(), cause: chain(cause) };
        let options = match has_tcx() {
            true => TcAttachOptions::TcxOrder(LinkOrder::last()),
            false => TcAttachOptions::Netlink(NlOptions { priority: PREFERENCE, handle: HANDLE, classid: None }),
        };
        let program = self.object.program(latency::STAMP)?;
        let link =
            program.attach_with_options(device, TcAttachType::Egress, options).map_err(|error| failed(&error))?;
        program.take_link(link).map_err(|error| failed(&error))
    }

    fn set_ways(&mut self, ways: &BTreeMap<Way, u32>) -> Result<(), Error> {
        // First where it is counted, then what is counted.
        let lanes: BTreeSet<u32> = ways.values().copied().collect();
        self.set_lanes(&lanes)?;
        let error = |error| Error::map(latency::WAYS, error);
        let mut present = self.object.hash_mut::<Way, u32>(latency::WAYS)?;
        let now: BTreeMap<Way, u32> = present.iter().collect::<Result<_, _>>().map_err(error)?;
        for way in now.keys().filter(|way| !ways.contains_key(way)) {
            forgive_absent(present.remove(way)).map_err(error)?;
        }
        for (way, lane) in ways.iter().filter(|(way, lane)| now.get(way) != Some(lane)) {
            present.insert(way, lane, 0).map_err(error)?;
        }
        Ok(())
    }

    /// Counts of lanes that are gone stay, as they may come again, while there is room for those that are there.
    fn set_lanes(&mut self, lanes: &BTreeSet<u32>) -> Result<(), Error> {
        let error = |error| Error::map(latency::DELAYS, error);
        let cpus = nr_cpus().map_err(|(_, cause)| Error::Latency { cause: cause.to_string() })?;
        let zero = || PerCpuValues::try_from(vec![Delays::default(); cpus]);
        let mut delays = self.object.per_cpu_hash_mut::<u32, Delays>(latency::DELAYS)?;
        let there: BTreeSet<u32> = delays.keys().collect::<Result<_, _>>().map_err(error)?;
        if there.union(lanes).count() > latency::MAX_LANES as usize {
            for gone in there.difference(lanes) {
                forgive_absent(delays.remove(gone)).map_err(error)?;
            }
        }
        for new in lanes.difference(&there) {
            let zero = zero().map_err(|cause| Error::Latency { cause: cause.to_string() })?;
            delays.insert(new, zero, BPF_NOEXIST).map_err(error)?;
        }
        Ok(())
    }

    fn set_stacked(&mut self, stacked: &BTreeSet<u32>) -> Result<(), Error> {
        let error = |error| Error::map(latency::STACKED, error);
        let mut present = self.object.hash_mut::<u32, u32>(latency::STACKED)?;
        let now: BTreeSet<u32> = present.keys().collect::<Result<_, _>>().map_err(error)?;
        for gone in now.difference(stacked) {
            forgive_absent(present.remove(gone)).map_err(error)?;
        }
        stacked.difference(&now).try_for_each(|new| present.insert(new, 1, 0)).map_err(error)
    }

    /// What was counted by number of the lane.
    pub fn delays(&self) -> Result<BTreeMap<u32, Delays>, Error> {
        let delays = self.object.per_cpu_hash::<u32, Delays>(latency::DELAYS)?;
        let mut all = BTreeMap::new();
        for entry in delays.iter() {
            let (lane, cpus) = entry.map_err(|error: MapError| Error::map(latency::DELAYS, error))?;
            let sum: &mut Delays = all.entry(lane).or_default();
            cpus.iter().for_each(|of_cpu| sum.add(of_cpu));
        }
        Ok(all)
    }
}

impl Dataplane {
    /// By which device and with which mark packets leave by each lane, where the tables that they go by are this policy's.
    fn ways(&self, policy: &Policy) -> Result<Option<BTreeMap<Way, u32>>, Error> {
        let devices = self.object.hash::<u32, Device>(map::DEVICES)?;
        let devices: BTreeMap<u32, Device> =
            devices.iter().collect::<Result<_, _>>().map_err(|error| Error::map(map::DEVICES, error))?;
        let classes = policy.classes.len();
        Ok(match &self.tables {
            Some(tables) => Some(ways(tables, classes, &devices)),
            None => self.naming(policy)?.map(|naming| ways(&naming.tables, classes, &devices)),
        })
    }

    /// Lanes by the numbers that their counters have.
    pub fn lanes_by_number(&self) -> BTreeMap<u32, LaneId> {
        let lane = |(key, number): (&Key, u32)| match key.clone() {
            Key::Lane { tunnel, class, index } => Some((number, LaneId { tunnel, class, index })),
            _ => None,
        };
        self.registry.iter().filter_map(lane).collect()
    }
}

fn ways(tables: &Tables, classes: usize, devices: &BTreeMap<u32, Device>) -> BTreeMap<Way, u32> {
    let generation = &tables.generation;
    let mut ways = BTreeMap::new();
    for (&device, Device { tunnel, .. }) in devices {
        let tunnel = &generation.tunnels[*tunnel as usize & (MAX_TUNNELS - 1)];
        // Of a device that several have a mark alone says no lane.
        if tunnel.present != PRESENT {
            continue;
        }
        for steer in (0..classes).filter_map(|class| generation.steers.get(tunnel.first as usize + class)) {
            for hop in steer.hops.iter().take(steer.len as usize) {
                for lane in generation.lanes.iter().skip(hop.first.into()).take(hop.lanes.into()) {
                    ways.insert(Way { device, mark: lane.mark }, lane.counters);
                }
            }
        }
    }
    ways
}
