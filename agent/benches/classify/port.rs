//! What a port's three ways to classify cost, and so what XDP gains over tc.
//!
//! Frames leave by one end of a veth pair and come in by the other, the port, as whole frames in NAPI: there the driver runs
//! native XDP, makes an skb of what passes, and hands it up to GRO; generic XDP, tc ingress, prerouting and the drop follow.
//! All ways go this same way. Each is above two others: its own hooks with empty programs, and an empty tc program alone,
//! which tells what it costs to have XDP at all. A frame that XDP handed over must have been counted so, every one of them.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use lanekeeper::compile::compile;
use lanekeeper::compile::series::{By, Series};
use lanekeeper::kernel::dataplane::{Dataplane, Interface};
use lanekeeper::policy::Classify;

use crate::alone::CACHED;
use crate::bpf::{FRAMES, Injector, Program, XdpMode};
use crate::lists::List;
use crate::page::PORT_SIZES;
use crate::report::{Row, mode};
use crate::round::Taken;
use crate::stage::{DEVICE, Stage};
use crate::witness::list::{self, Family};

/// The families that are measured unless others are asked for.
pub const FAMILIES: [&str; 4] = ["acl1", "acl4", "fw1", "ipc1"];
/// Rounds that count, after one that does not.
const ROUNDS: usize = 25;
/// A bpffs of this process's own.
const PINS: &str = "/sys/fs/bpf";

/// Programs that do nothing, for both hooks, and what sends frames.
pub struct Wire {
    sender: Injector,
    tc: Program,
    xdp: Program,
}

/// A list at ports, one for each way.
struct Ports {
    rules: usize,
    list: List,
    ways: [Way; 3],
}

/// A port that classifies in one of the ways.
struct Way {
    classify: Classify,
    empty: Empty,
    stage: Stage,
    dataplane: Dataplane,
    uncached: Above,
    cached: Above,
}

/// The same hooks with programs that do nothing.
struct Empty {
    stage: Stage,
    /// Of the last round.
    ns: f64,
    _links: Vec<OwnedFd>,
}

/// Nanoseconds of rounds.
#[derive(Default)]
struct Above {
    /// The same hooks, empty.
    own: Vec<f64>,
    /// An empty tc program.
    tc: Vec<f64>,
}

/// What the report calls it.
fn engine(classify: Classify) -> &'static str {
    match classify {
        Classify::Tc => "port tc",
        Classify::Xdp => "port xdp",
        Classify::XdpGeneric => "port xdp-generic",
    }
}

impl Wire {
    /// Loads them.
    pub fn new() -> Result<Self> {
        Ok(Self { sender: Injector::sending()?, tc: Program::empty()?, xdp: Program::passing()? })
    }

    /// A family's lists at ports.
    pub fn measure(&mut self, family: &'static Family, taken: &mut Taken) -> Result<()> {
        let ports = PORT_SIZES.map(|rules| Ports::new(self, family, rules));
        let mut ports = ports.into_iter().collect::<Result<Vec<Ports>>>()?;
        for round in 0..=ROUNDS {
            for ports in &mut ports {
                let empty = ports.round(&mut self.sender, round > 0)?;
                if round > 0 {
                    taken.port_baselines.push(empty);
                }
            }
        }
        ports.into_iter().try_for_each(|ports| ports.rows(family, taken))
    }
}

impl Ports {
    fn new(wire: &Wire, family: &'static Family, rules: usize) -> Result<Self> {
        let list = List::new(family, list::policy(family, rules))?;
        let way = |classify| Way::new(wire, &list, classify);
        let ways = [way(Classify::Tc)?, way(Classify::Xdp)?, way(Classify::XdpGeneric)?];
        Ok(Self { rules, list, ways })
    }

    /// A round; nanoseconds of the way with an empty tc program on it.
    fn round(&mut self, sender: &mut Injector, counts: bool) -> Result<f64> {
        sender.fill(&self.list.frames);
        for way in &mut self.ways {
            way.empty.ns = way.empty.stage.pass(sender.program(), 0)?;
        }
        let tc = self.ways[0].empty.ns;
        for way in &mut self.ways {
            way.dataplane.forget_flows()?;
            sender.fill(&self.list.frames);
            let uncached = way.stage.pass(sender.program(), FRAMES as u64)?;
            sender.fill(&self.list.frames[..CACHED]);
            way.stage.pass(sender.program(), FRAMES as u64)?;
            let cached = way.stage.pass(sender.program(), FRAMES as u64)?;
            if counts {
                way.uncached.add(uncached, way.empty.ns, tc);
                way.cached.add(cached, way.empty.ns, tc);
            }
        }
        Ok(tc)
    }

    /// Compares what was counted with what was put in, and puts down the rows.
    fn rows(self, family: &'static Family, taken: &mut Taken) -> Result<()> {
        for way in self.ways {
            let (name, rules) = (engine(way.classify), self.rules);
            if let Some(wrong) = way.miscounted()? {
                taken.void.push(format!("{name}, {} of {rules}: {wrong}", family.name));
                continue;
            }
            let mut put = |mode, ns: &[f64]| taken.rows.push(Row::new(name, family.name, rules, mode, ns));
            put(mode::UNCACHED, &way.uncached.own);
            put(mode::CACHED, &way.cached.own);
            if way.classify != Classify::Tc {
                put(mode::UNCACHED_AND_HOOK, &way.uncached.tc);
                put(mode::CACHED_AND_HOOK, &way.cached.tc);
            }
        }
        Ok(())
    }
}

impl Way {
    fn new(wire: &Wire, list: &List, classify: Classify) -> Result<Self> {
        let empty = Empty::new(wire, classify)?;
        let stage = Stage::across()?;
        let pins = Path::new(PINS).join(stage.name());
        fs::create_dir(&pins).with_context(|| format!("cannot make {}", pins.display()))?;
        let mut dataplane = Dataplane::open(&pins)?;
        let tables = compile(&list.policy, &mut dataplane.registry()?)?;
        dataplane.load(&tables)?;
        let port = Interface {
            ifindex: stage.ifindex(),
            name: DEVICE.to_owned(),
            vlan: None,
            vrf: None,
            ethernet: true,
            stacked: false,
        };
        stage.within(|| Ok(dataplane.attach_port(DEVICE, classify, &[port])?))?;
        let (uncached, cached) = (Above::default(), Above::default());
        Ok(Self { classify, empty, stage, dataplane, uncached, cached })
    }

    /// Why its figures are void, if they are.
    fn miscounted(&self) -> Result<Option<String>> {
        let (injected, counted) = self.empty.stage.tallies()?;
        if injected != counted {
            return Ok(Some(format!("its hooks empty: {injected:?} injected, {counted:?} counted")));
        }
        let (injected, counted) = self.stage.tallies()?;
        if injected != counted {
            return Ok(Some(format!("{injected:?} injected, {counted:?} counted")));
        }
        let readings = self.dataplane.counters()?;
        let of = |by| {
            let series = Series::Port { interface: DEVICE.to_owned(), by };
            readings.iter().filter(|reading| reading.series == series).map(|reading| reading.packets).sum::<u64>()
        };
        let (xdp, tc) = (of(By::Xdp), of(By::Tc));
        let expected = match self.classify {
            Classify::Tc => (0, injected.packets),
            Classify::Xdp | Classify::XdpGeneric => (injected.packets, 0),
        };
        Ok(((xdp, tc) != expected).then(|| format!("{xdp} classified by XDP and {tc} by tc, not {expected:?}")))
    }
}

impl Empty {
    fn new(wire: &Wire, classify: Classify) -> Result<Self> {
        let stage = Stage::across()?;
        let ifindex = stage.ifindex();
        let (tc_program, xdp_program) = (&wire.tc, &wire.xdp);
        let mut links = vec![stage.within(|| tc_program.attach(ifindex))?];
        let xdp = match classify {
            Classify::Tc => None,
            Classify::Xdp => Some(XdpMode::Driver),
            Classify::XdpGeneric => Some(XdpMode::Generic),
        };
        if let Some(mode) = xdp {
            links.push(stage.within(|| xdp_program.attach_xdp(ifindex, mode))?);
        }
        Ok(Self { stage, ns: 0.0, _links: links })
    }
}

impl Above {
    fn add(&mut self, ns: f64, own: f64, tc: f64) {
        self.own.push(ns - own);
        self.tc.push(ns - tc);
    }
}
