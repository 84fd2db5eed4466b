//! What is there: all that is ours, and the names that are taken by others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Address, Link, LinkKind, List, Route, Rule, State, XfrmPolicy};
use crate::policy::{Classify, Mode};

/// A snapshot. The kernel shell fills the netlink parts, [`crate::reconcile`] those of data path and charon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Our devices by name.
    pub links: BTreeMap<String, Link>,
    /// Our devices that somebody took to another network namespace, by name, with the number of that. Looked for where one is missed;
    /// filled by `reconcile`.
    pub elsewhere: BTreeMap<String, i32>,
    /// Numbers of the network namespaces that devices of ours are to be taken to and that are there, by name. A device that is in its
    /// own is one of `links`. Filled by `reconcile`.
    pub namespaces: BTreeMap<String, i32>,
    /// The kernel leaves programs on a device that changes its namespace; filled by `reconcile`.
    pub keeps_programs: bool,
    /// Every other device by name.
    pub others: BTreeMap<String, DeviceInUse>,
    /// The number of each VRF's table.
    pub vrfs: BTreeMap<String, u32>,
    /// Our addresses on our devices.
    pub addresses: BTreeSet<Address>,
    /// Addresses that others gave to our devices, the kernel's link-local ones aside: never removed.
    pub other_addresses: BTreeSet<Address>,
    /// Our routes.
    pub routes: BTreeSet<Route>,
    /// Our rules.
    pub rules: BTreeSet<Rule>,
    /// Static states of ours.
    pub states: List<State>,
    /// Static policies of ours.
    pub policies: List<XfrmPolicy>,
    /// What charon has in the kernel for our lanes, by request id and if_id.
    pub charon: BTreeMap<(u32, u32), LaneTraces>,
    /// charon's connections of ours with the digest of what we loaded; filled by `reconcile`.
    pub connections: BTreeMap<String, u64>,
    /// Digest of the loaded tables, `None` without a data path; filled by `reconcile`.
    pub tables: Option<u64>,
    /// Devices that our programs are attached to; filled by `reconcile`.
    pub attached: BTreeSet<String>,
    /// Interfaces with programs of a port, and what they were put there for; `None` where some of them are missing or too
    /// many. Filled by `reconcile`.
    pub ports: BTreeMap<String, Option<Classify>>,
    /// How many of the programs that mark sockets are there; filled by `reconcile`.
    pub sockets: Extent,
}

/// How much there is of what belongs together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    #[default]
    None,
    /// Some of it.
    Part,
    /// All of it.
    Whole,
}

/// A device that is not ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceInUse {
    /// IFLA_INFO_KIND, empty for hardware.
    pub kind: String,
    /// The same, with what it was made with.
    pub link: LinkKind,
}

/// How much of charon is in the kernel for one request id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneTraces {
    /// Installed states.
    pub states: usize,
    /// Policies of all directions and families.
    pub policies: usize,
    /// A packet has asked for a state, and there is none yet.
    pub asked: bool,
}

impl LaneTraces {
    /// Whether it is what a CHILD_SA that carries traffic takes at least: a state each way, and its policies.
    pub fn carry(&self, mode: Mode) -> bool {
        self.states >= 2 && self.catch(mode)
    }

    /// Takes what another look found beside it.
    pub fn add(&mut self, other: Self) {
        self.states += other.states;
        self.policies += other.policies;
        self.asked |= other.asked;
    }

    /// Whether there is anything that can be removed.
    pub fn is_there(&self) -> bool {
        self.states > 0 || self.policies > 0
    }

    /// Whether packets meet policies, those of a CHILD_SA or of a trap: one in and out, and in tunnel mode one to forward.
    pub fn catch(&self, mode: Mode) -> bool {
        let least = match mode {
            Mode::Tunnel => 3,
            Mode::Transport => 2,
        };
        self.policies >= least
    }
}

impl Observed {
    /// Sorts a state with a request id of ours: static where it has our tag, else charon's. One without an SPI stands for a
    /// packet that asked for one, until it leaves by itself.
    pub fn add_state(&mut self, state: State, tagged: bool) {
        if state.id.spi == 0 {
            self.charon.entry((state.reqid, state.if_id)).or_default().asked = true;
        } else if tagged {
            self.states.push(state);
        } else {
            self.charon.entry((state.reqid, state.if_id)).or_default().states += 1;
        }
    }

    /// Sorts a policy with a request id of ours: static or charon's.
    pub fn add_policy(&mut self, policy: XfrmPolicy) {
        if policy.is_ours() {
            self.policies.push(policy);
        } else {
            self.charon.entry((policy.reqid, policy.id.if_id)).or_default().policies += 1;
        }
    }
}
