//! The data path on the host: the same decision by the same source, over the same tables, with nothing loaded.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use lanekeeper_common::abi::{
    Candidates, Flow, FragmentKey, FragmentValue, Generation, NO_VLAN, Parsed, Record, Tenant,
};
use lanekeeper_common::decide::{Arrival, Surroundings, decide};
use lanekeeper_common::mark;
use lanekeeper_common::packet::{Layer, Packet, parse};
use lanekeeper_common::stamp::Stamp;
use lanekeeper_common::verdict::{BlockReason, ParseReason};

use crate::compile::Tables;
use crate::compile::registry::Key;
use crate::lane::LaneId;
use crate::policy::{ClassIndex, TenantIndex, cgroup};

/// A packet to decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe<'a> {
    /// From the Ethernet header on.
    pub frame: &'a [u8],
    /// The mark that it has already.
    pub mark: u32,
    /// The interface by which it came in; `None` for the host's own.
    pub ingress: Option<&'a str>,
    /// VLAN id that this interface strips.
    pub stripped: Option<u16>,
    /// The cgroup of its socket, for one of the host's own that has one.
    pub cgroup: Option<&'a str>,
}

impl Probe<'_> {
    /// The number of the deepest cgroup that these tables' rules name and that its own is, or is below; 0 for none and for
    /// what came in by an interface.
    pub(crate) fn cgroup_number(&self, tables: &Tables) -> u32 {
        let own = self.cgroup.filter(|_| self.ingress.is_none() && self.stripped.is_none());
        let mut upward = std::iter::successors(own, |path| cgroup::above(path));
        let named = upward.find_map(|path| {
            let number = tables.registry.get(&Key::Cgroup(path.to_owned()))?;
            (tables.generation.cgroups[number as usize] != [0; 2]).then_some(number)
        });
        named.unwrap_or(0)
    }
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whose it is.
    pub tenant: Option<TenantIndex>,
    /// Place in the policy of the rule that decided; `None` where the default applied.
    pub rule: Option<usize>,
    /// Its class, before any fallback.
    pub class: ClassIndex,
    /// The lane that it takes, of its own class or of one that it falls back to.
    pub lane: Option<LaneId>,
    /// The mark that it leaves with; as it came where it is dropped.
    pub mark: u32,
    /// Why it could not be parsed wholly.
    pub parse: Option<ParseReason>,
    /// Why it is dropped.
    pub blocked: Option<BlockReason>,
    /// The flow's hash.
    pub hash: u32,
}

/// Tables, which of their lanes are up, and the flows and fragments seen so far.
#[derive(Debug)]
pub struct Model<'a> {
    tables: &'a Tables,
    up: BTreeMap<u32, u32>,
    flows: RefCell<HashMap<u32, Flow>>,
    fragments: RefCell<HashMap<FragmentKey, FragmentValue>>,
    now: u32,
}

impl<'a> Model<'a> {
    /// All lanes down.
    pub fn new(tables: &'a Tables) -> Self {
        Self { tables, up: BTreeMap::new(), flows: RefCell::default(), fragments: RefCell::default(), now: 0 }
    }

    /// All lanes up.
    pub fn all_up(tables: &'a Tables) -> Self {
        let mut model = Self::new(tables);
        for lane in tables.lanes.keys() {
            model.set_up(lane, true);
        }
        model
    }

    /// These lanes up.
    pub fn with_up(tables: &'a Tables, up: &[LaneId]) -> Self {
        let mut model = Self::new(tables);
        for lane in up {
            model.set_up(lane, true);
        }
        model
    }

    /// Lets time pass: first fragments are forgotten.
    pub fn pass(&mut self, seconds: u32) {
        self.now += seconds;
    }

    /// Opens or closes a lane; one that the tables do not have stays unknown.
    pub fn set_up(&mut self, lane: &LaneId, up: bool) {
        if let Some((group, bit)) = self.tables.lanes.get(lane) {
            let bits = self.up.entry(*group).or_default();
            *bits = if up { *bits | 1 << bit } else { *bits & !(1 << bit) };
        }
    }

    /// Decides on a packet that leaves by the device of `tunnel`; one of an unknown tunnel is dropped.
    pub fn evaluate(&self, tunnel: &str, probe: &Probe<'_>) -> Verdict {
        let number = |key| self.tables.registry.get(&key);
        let arrival = Arrival {
            interface: probe.ingress.and_then(|name| number(Key::Interface(name.into()))).unwrap_or(0) as u16,
            tunnel: number(Key::Tunnel(tunnel.into())).unwrap_or(u32::MAX),
            device: 1,
            mark: probe.mark,
        };
        let tag = probe.stripped.unwrap_or(NO_VLAN);
        let [cgroup, _] = self.tables.generation.cgroups[probe.cgroup_number(self.tables) as usize];
        let parsed = Parsed { cgroup, ..Packet::flatten(parse(&probe.frame, Layer::ETHERNET, tag)) };
        let decision = decide(self, &parsed, &arrival);
        let classified = decision.classified;
        let taken = decision.outcome.ok();
        Verdict {
            tenant: (classified.tenant != 0).then(|| TenantIndex(usize::from(classified.tenant) - 1)),
            rule: self.tables.rules.place(classified.rule),
            class: ClassIndex(usize::from(classified.class)),
            lane: taken.and_then(|taken| self.tables.lane(taken.lane)),
            mark: taken
                .map_or(probe.mark, |taken| mark::put(probe.mark, self.tables.generation.head.mark_mask, taken.mark)),
            parse: ParseReason::from_number(decision.parse),
            blocked: decision.outcome.err(),
            hash: classified.hash,
        }
    }
}

impl lanekeeper_common::rules::Tables for Model<'_> {
    fn generation(&self) -> &Generation {
        &self.tables.generation
    }

    fn tenant(&self, number: u16) -> Option<&Tenant> {
        self.tables.tenants.get(usize::from(number))
    }

    fn candidates(&self, field: u32) -> Option<&Candidates> {
        self.tables.rules.candidates.get(field as usize).map(|candidates| &**candidates)
    }

    fn head(&self, chain: u32) -> u32 {
        self.tables.rules.heads[chain as usize]
    }

    fn record(&self, number: u32) -> Option<&Record> {
        self.tables.rules.records.get(number as usize)
    }
}

impl Surroundings for Model<'_> {
    fn stamp(&self) -> Stamp {
        Stamp::NONE.switched()
    }

    fn flow(&self, place: u32) -> Option<Flow> {
        self.flows.borrow().get(&place).copied()
    }

    fn keep_flow(&self, place: u32, flow: &Flow) {
        self.flows.borrow_mut().insert(place, *flow);
    }

    fn up(&self, group: u32) -> u32 {
        self.up.get(&group).copied().unwrap_or(0)
    }

    fn now(&self) -> u32 {
        self.now
    }

    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember(&self, key: &FragmentKey, value: &FragmentValue) {
        self.fragments.borrow_mut().insert(*key, *value);
    }
}
