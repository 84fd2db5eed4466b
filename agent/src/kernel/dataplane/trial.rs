//! The real programs over packets of one's own, attached to nothing: BPF_PROG_TEST_RUN, mostly on maps that nobody else has.

use std::path::Path;
use std::time::Duration;

use aya::programs::{TcAttachType, TestRun as _, TestRunOptions, tc};
use lanekeeper_common::abi::{Device, Ingress, NO_VLAN, device_flag, map, program};
use lanekeeper_common::verdict::{BlockReason, ParseReason};

use super::devices::ifindex;
use super::gate::set_bit;
use super::live::{changed, fill, set_device};
use super::object::{Object, chain};
use super::{Error, attach, count, inplace, pins};
use crate::compile::Tables;
use crate::compile::edit::{Beside, Edit};
use crate::compile::registry::Key;
use crate::compile::series::Reading;
use crate::lane::LaneId;
use crate::model::{Probe, Verdict};
use crate::policy::{ClassIndex, Policy, Rule, TenantIndex};

/// linux/pkt_cls.h: on to the next program.
const TC_ACT_UNSPEC: i32 = -1;
/// The loopback device, to which test runs belong.
const DEVICE: u32 = 1;
/// Fields of `__sk_buff` that a test run takes and gives back, by their offset (linux/bpf.h).
const MARK: usize = 8;
const INGRESS_IFINDEX: usize = 36;
const CB: usize = 48;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;
const CONTEXT: usize = 192;

/// The id of the root of all cgroups: the first inode of its file system.
const ROOT: u64 = 1;

/// What segmentation offload leaves on a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Segments that it stands for; 0 where the one who sent it did not say.
    pub segments: u32,
    /// Bytes of payload in each; 0 for a packet of its own.
    pub size: u32,
}

/// Programs and maps of a process's own.
#[derive(Debug)]
pub struct Trial {
    object: Object,
    tables: Option<Tables>,
    /// What stands for (interface, VLAN id that it strips) in place of an ifindex.
    ingress: Vec<(String, Option<u16>)>,
    /// The number of the cgroup that all packets are below, if any.
    cgroup: u32,
}

impl Trial {
    /// Loads them.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { object: Object::load(None)?, tables: None, ingress: Vec::new(), cgroup: 0 })
    }

    /// Programs of its own over the maps that a data path has pinned below `pin_root`, with these tables in them.
    pub fn over(pin_root: &Path, tables: &Tables) -> Result<Self, Error> {
        let object = Object::load(Some(&pins::folder(pin_root)))?;
        Ok(Self { object, tables: Some(tables.clone()), ingress: Vec::new(), cgroup: 0 })
    }

    /// Takes these for what the data path has in its maps by now: rules and lanes are named by them.
    pub fn follow(&mut self, tables: &Tables) {
        self.tables = Some(tables.clone());
        // The same names may have other numbers now.
        self.ingress.clear();
    }

    /// Switches to other tables as [`super::Dataplane::load`] does.
    pub fn load(&mut self, tables: &Tables) -> Result<u64, Error> {
        let number = fill(&mut self.object, tables)?.generation();
        self.follow(tables);
        Ok(number)
    }

    /// Puts a rule into the loaded list at that place as [`super::Dataplane::insert`] does: in effect when this returns.
    /// False where that takes a whole generation.
    pub fn insert(&mut self, policy: &Policy, rule: &Rule, place: usize, beside: Beside) -> Result<bool, Error> {
        let Some(tables) = &mut self.tables else { return Ok(false) };
        let edit = Edit::insert(policy, rule, place, beside, &mut tables.registry)?;
        // An interface may have a number now.
        self.ingress.clear();
        Ok(inplace::edit(&mut self.object, tables, &edit)?.is_ok())
    }

    /// Takes the rule of that place out of it, likewise.
    pub fn remove(&mut self, place: usize) -> Result<bool, Error> {
        let Some(tables) = &mut self.tables else { return Ok(false) };
        Ok(inplace::edit(&mut self.object, tables, &Edit::Remove { place })?.is_ok())
    }

    /// What is loaded.
    pub fn tables(&self) -> Option<&Tables> {
        self.tables.as_ref()
    }

    /// Opens or closes a lane.
    pub fn set_up(&mut self, lane: &LaneId, up: bool) -> Result<(), Error> {
        let unknown = || Error::Unknown { what: "lane", name: lane.to_string() };
        let bit = self.tables.as_ref().and_then(|tables| tables.lanes.get(lane)).copied().ok_or_else(unknown)?;
        set_bit(&mut self.object.array_mut(map::LANES_UP)?, bit.0, bit.1, up)
    }

    /// Opens every lane of the tables.
    pub fn set_all_up(&mut self) -> Result<(), Error> {
        let lanes: Vec<LaneId> = self.tables.iter().flat_map(|tables| tables.lanes.keys().cloned()).collect();
        lanes.iter().try_for_each(|lane| self.set_up(lane, true))
    }

    /// The number that stands for an interface, made known to the program; 0 for the host itself.
    fn ingress(&mut self, probe: &Probe<'_>) -> Result<u32, Error> {
        if probe.ingress.is_none() && probe.stripped.is_none() {
            return Ok(0);
        }
        let of = (probe.ingress.unwrap_or("").to_owned(), probe.stripped);
        if let Some(place) = self.ingress.iter().position(|known| *known == of) {
            return Ok(place as u32 + 1);
        }
        let registry = self.tables.as_ref().map(|tables| &tables.registry);
        let number = registry.and_then(|registry| registry.get(&Key::Interface(of.0.clone()))).unwrap_or(0) as u16;
        let ingress = Ingress { number, vlan: of.1.unwrap_or(NO_VLAN), port: 0 };
        self.ingress.push(of);
        let ifindex = self.ingress.len() as u32;
        let mut interfaces = self.object.hash_mut::<u32, Ingress>(map::INTERFACES)?;
        interfaces.insert(ifindex, ingress, 0).map_err(|error| Error::map(map::INTERFACES, error))?;
        changed(&mut self.object)?;
        Ok(ifindex)
    }

    /// Puts the probe's cgroup in the place of the root, which every socket is below, and so that of a test run's packet.
    fn set_cgroup(&mut self, probe: &Probe<'_>) -> Result<(), Error> {
        let number = self.tables.as_ref().map_or(0, |tables| probe.cgroup_number(tables));
        if std::mem::replace(&mut self.cgroup, number) != number {
            let mut cgroups = self.object.hash_mut::<u64, u32>(map::CGROUPS)?;
            let done = if number == 0 { cgroups.remove(&ROOT) } else { cgroups.insert(ROOT, number, 0) };
            done.map_err(|error| Error::map(map::CGROUPS, error))?;
        }
        Ok(())
    }

    /// Makes the packets that follow leave by this tunnel's device.
    pub fn set_tunnel(&mut self, tunnel: &str) -> Result<(), Error> {
        self.know(DEVICE, tunnel, device_flag::ETHERNET | device_flag::TRACE)
    }

    /// Makes the programs look every flow up anew.
    pub fn forget_flows(&mut self) -> Result<(), Error> {
        changed(&mut self.object)
    }

    /// Has what comes in by a device with an Ethernet header go through the egress program, as if it left by this tunnel's
    /// device, for as long as the programs live: the same work as at egress, in the place where other engines mark.
    pub fn attach_ingress(&mut self, device: &str, tunnel: &str) -> Result<(), Error> {
        self.know(ifindex(device)?, tunnel, device_flag::ETHERNET)?;
        let failed = |cause| Error::Attach { device: device.to_owned(), cause };
        if !attach::has_tcx() {
            tc::qdisc_add_clsact(device).map_err(|error| failed(chain(&error)))?;
        }
        let program = self.object.program(program::OUT)?;
        program.attach(device, TcAttachType::Ingress).map_err(|error| failed(chain(&error)))?;
        Ok(())
    }

    /// Makes a device the tunnel's.
    fn know(&mut self, ifindex: u32, tunnel: &str, flags: u32) -> Result<(), Error> {
        let registry = self.tables.as_ref().map(|tables| &tables.registry);
        let number = registry
            .and_then(|registry| registry.get(&Key::Tunnel(tunnel.to_owned())))
            .ok_or_else(|| Error::Unknown { what: "tunnel", name: tunnel.to_owned() })?;
        let device = Device { tunnel: number, flags };
        set_device(&mut self.object, ifindex, device)
    }

    /// Runs the egress program once over a frame that is longer than its Ethernet header.
    pub fn run(&mut self, probe: &Probe<'_>) -> Result<Verdict, Error> {
        self.run_offloaded(probe, Offload::default())
    }

    /// The same for a packet that the kernel or a device is yet to cut into segments.
    pub fn run_offloaded(&mut self, probe: &Probe<'_>, offload: Offload) -> Result<Verdict, Error> {
        self.set_cgroup(probe)?;
        let ingress = self.ingress(probe)?;
        let mut context_in = [0u8; CONTEXT];
        for (at, value) in
            [(MARK, probe.mark), (INGRESS_IFINDEX, ingress), (GSO_SEGS, offload.segments), (GSO_SIZE, offload.size)]
        {
            context_in[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let mut context = [0u8; CONTEXT];
        let options = TestRunOptions {
            data_in: Some(probe.frame),
            ctx_in: Some(&context_in),
            ctx_out: Some(&mut context),
            ..TestRunOptions::default()
        };
        let failed = |cause| Error::Trial { program: program::OUT, cause };
        let result = self.object.program(program::OUT)?.test_run(options).map_err(|error| failed(chain(&error)))?;
        let word = |at: usize| u32::from_ne_bytes([context[at], context[at + 1], context[at + 2], context[at + 3]]);
        let halves = |at: usize| ((word(at) >> 16) as u16, word(at) as u16);
        let rule = word(CB);
        let ((tenant, class), lane, (parse, blocked)) = (halves(CB + 4), word(CB + 8) as u16, halves(CB + 12));
        let blocked = BlockReason::from_number(blocked.into());
        if (result.return_value as i32 == TC_ACT_UNSPEC) != blocked.is_none() {
            return Err(failed(format!("it returned {} with {blocked:?}", result.return_value as i32)));
        }
        Ok(Verdict {
            tenant: (tenant != 0).then(|| TenantIndex(usize::from(tenant) - 1)),
            rule: self.tables.as_ref().and_then(|tables| tables.rules.place(rule)),
            class: ClassIndex(usize::from(class)),
            lane: self.tables.as_ref().and_then(|tables| tables.lane(lane)),
            mark: word(MARK),
            parse: ParseReason::from_number(parse.into()),
            blocked,
            hash: word(CB + 16),
        })
    }

    /// How long one run of the egress program takes by the kernel's count, over that many in a row.
    pub fn time(&mut self, probe: &Probe<'_>, repeat: u32) -> Result<Duration, Error> {
        self.set_cgroup(probe)?;
        let ingress = self.ingress(probe)?;
        let mut context = [0u8; CONTEXT];
        for (at, value) in [(MARK, probe.mark), (INGRESS_IFINDEX, ingress)] {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let options =
            TestRunOptions { data_in: Some(probe.frame), ctx_in: Some(&context), repeat, ..TestRunOptions::default() };
        let failed = |cause| Error::Trial { program: program::OUT, cause };
        let result = self.object.program(program::OUT)?.test_run(options).map_err(|error| failed(chain(&error)))?;
        Ok(result.duration)
    }

    /// Runs the program for the device that ESP leaves by; the frame as it left.
    pub fn run_wan(&mut self, frame: &[u8], mark: u32) -> Result<Vec<u8>, Error> {
        let mut context = [0u8; CONTEXT];
        context[MARK..MARK + 4].copy_from_slice(&mark.to_ne_bytes());
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let failed = |cause| Error::Trial { program: program::OUTER, cause };
        let result = self.object.program(program::OUTER)?.test_run(options).map_err(|error| failed(chain(&error)))?;
        match result.return_value as i32 {
            TC_ACT_UNSPEC => Ok(out),
            other => Err(failed(format!("it returned {other}"))),
        }
    }

    /// Every counter of the tables.
    pub fn counters(&self) -> Result<Vec<Reading>, Error> {
        let registry = self.tables.as_ref().map(|tables| tables.registry.clone()).unwrap_or_default();
        count::read(&self.object, &registry)
    }
}
