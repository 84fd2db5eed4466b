//! The real programs over packets of one's own, attached to nothing: BPF_PROG_TEST_RUN on maps that nobody else has.

use aya::programs::{TestRun as _, TestRunOptions};
use lanekeeper_common::abi::{Device, Ingress, NO_LANE, NO_RULE, NO_VLAN, device_flag, map, program};
use lanekeeper_common::verdict::{BlockReason, ParseReason};

use super::object::{Object, chain};
use super::{Error, count, fill, set_bit};
use crate::compile::Tables;
use crate::compile::registry::Key;
use crate::compile::series::Reading;
use crate::lane::LaneId;

/// The loopback device, to which test runs belong.
const DEVICE: u32 = 1;
/// Fields of `__sk_buff` that a test run takes and gives back, by their offset (linux/bpf.h).
const MARK: usize = 8;
const INGRESS_IFINDEX: usize = 36;
const CB: usize = 48;
const CONTEXT: usize = 192;

/// A packet as a test run takes it.
#[derive(Debug, Clone, Copy)]
pub struct TrialPacket<'a> {
    /// From the Ethernet header on; longer than that header.
    pub frame: &'a [u8],
    /// The mark that it has already.
    pub mark: u32,
    /// Number of the ingress interface: a place in the list given to [`Trial::set_interfaces`], plus one; 0 for none.
    pub ingress: u32,
}

/// What the program made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Passed on to the next program, or dropped.
    pub passed: bool,
    /// The mark that it left with.
    pub mark: u32,
    /// Place of its tenant in the policy.
    pub tenant: Option<usize>,
    /// Place of the rule in the policy; `None` where the default applied.
    pub rule: Option<usize>,
    /// Place of the class in the policy.
    pub class: usize,
    /// Place of the lane in the generation.
    pub lane: Option<u16>,
    /// Why it could not be parsed wholly.
    pub parse: Option<ParseReason>,
    /// Why it was dropped.
    pub blocked: Option<BlockReason>,
    /// The flow's hash.
    pub hash: u32,
}

/// Programs and maps of a process's own, unpinned.
#[derive(Debug)]
pub struct Trial {
    object: Object,
    tables: Option<Tables>,
}

impl Trial {
    /// Loads them.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { object: Object::load(None)?, tables: None })
    }

    /// Switches to other tables as [`super::Dataplane::load`] does.
    pub fn load(&mut self, tables: &Tables) -> Result<u64, Error> {
        let number = fill(&mut self.object, tables)?;
        self.tables = Some(tables.clone());
        Ok(number)
    }

    /// Opens or closes a lane.
    pub fn set_up(&mut self, lane: &LaneId, up: bool) -> Result<(), Error> {
        let unknown = || Error::Unknown { what: "lane", name: lane.to_string() };
        let bit = self.tables.as_ref().and_then(|tables| tables.lanes.get(lane)).copied().ok_or_else(unknown)?;
        set_bit(&mut self.object, bit.0, bit.1, up)
    }

    /// Opens every lane of the tables.
    pub fn set_all_up(&mut self) -> Result<(), Error> {
        let lanes: Vec<LaneId> = self.tables.iter().flat_map(|tables| tables.lanes.keys().cloned()).collect();
        lanes.iter().try_for_each(|lane| self.set_up(lane, true))
    }

    /// Names the interfaces by which packets come in; the n-th gets number n + 1. With the VLAN id that each strips.
    pub fn set_interfaces(&mut self, names: &[(&str, Option<u16>)]) -> Result<(), Error> {
        let registry = self.tables.as_ref().map(|tables| tables.registry.clone()).unwrap_or_default();
        let mut interfaces = self.object.hash_mut::<u32, Ingress>(map::INTERFACES)?;
        for (place, (name, vlan)) in names.iter().enumerate() {
            let number = registry.get(&Key::Interface((*name).to_owned())).unwrap_or(0) as u16;
            let ingress = Ingress { number, vlan: vlan.unwrap_or(NO_VLAN) };
            interfaces.insert(place as u32 + 1, ingress, 0).map_err(|error| Error::map(map::INTERFACES, error))?;
        }
        Ok(())
    }

    /// Makes the packets that follow leave by this tunnel's device.
    pub fn set_tunnel(&mut self, tunnel: &str) -> Result<(), Error> {
        let registry = self.tables.as_ref().map(|tables| &tables.registry);
        let number = registry
            .and_then(|registry| registry.get(&Key::Tunnel(tunnel.to_owned())))
            .ok_or_else(|| Error::Unknown { what: "tunnel", name: tunnel.to_owned() })?;
        let device = Device { tunnel: number, flags: device_flag::ETHERNET | device_flag::TRACE };
        let mut devices = self.object.hash_mut::<u32, Device>(map::DEVICES)?;
        devices.insert(DEVICE, device, 0).map_err(|error| Error::map(map::DEVICES, error))
    }

    /// Runs the egress program once.
    pub fn run(&mut self, packet: TrialPacket<'_>) -> Result<Verdict, Error> {
        let mut context_in = [0u8; CONTEXT];
        context_in[MARK..MARK + 4].copy_from_slice(&packet.mark.to_ne_bytes());
        context_in[INGRESS_IFINDEX..INGRESS_IFINDEX + 4].copy_from_slice(&packet.ingress.to_ne_bytes());
        let mut context_out = [0u8; CONTEXT];
        let options = TestRunOptions {
            data_in: Some(packet.frame),
            ctx_in: Some(&context_in),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::default()
        };
        let result = self.object.program(program::OUT)?.test_run(options);
        let result = result.map_err(|error| Error::Trial { program: program::OUT, cause: chain(&error) })?;
        let word = |offset: usize| {
            u32::from_ne_bytes([
                context_out[offset],
                context_out[offset + 1],
                context_out[offset + 2],
                context_out[offset + 3],
            ])
        };
        let halves = |offset: usize| ((word(offset) >> 16) as u16, word(offset) as u16);
        let ((rule, class), (tenant, lane), (parse, blocked)) = (halves(CB), halves(CB + 4), halves(CB + 8));
        Ok(Verdict {
            passed: result.return_value as i32 == -1,
            mark: word(MARK),
            tenant: (tenant != 0).then(|| usize::from(tenant) - 1),
            rule: (rule != NO_RULE).then(|| usize::from(rule)),
            class: usize::from(class),
            lane: (lane != NO_LANE).then_some(lane),
            parse: ParseReason::from_number(parse.into()),
            blocked: BlockReason::from_number(blocked.into()),
            hash: word(CB + 12),
        })
    }

    /// Every counter of the tables.
    pub fn counters(&self) -> Result<Vec<Reading>, Error> {
        let registry = self.tables.as_ref().map(|tables| tables.registry.clone()).unwrap_or_default();
        count::read(&self.object, &registry)
    }
}
