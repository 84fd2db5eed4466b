//! Policy -> the tables that the data path reads. Pure.

mod behind;
mod cgroups;
pub mod edit;
mod expand;
mod intervals;
pub mod memory;
pub mod registry;
pub mod series;
mod shape;
pub mod sockets;
mod steering;
mod tenants;
mod tuples;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use lanekeeper_common::abi::{Generation, MAX_CLASSES, MAX_TENANTS, OuterKey, Tenant};
use lanekeeper_common::packet::Address;
use ring::digest;

use crate::lane::LaneId;
use crate::policy::Policy;
pub use registry::Registry;
pub use tuples::Filed;

/// One generation of everything that the data path reads.
#[derive(Clone)]
pub struct Tables {
    /// Differs when anything differs that the tables say.
    pub digest: u64,
    /// The same but for the rules.
    frame: u64,
    /// Everything but rules and tenants.
    pub generation: Box<Generation>,
    /// By number; the first is what belongs to none.
    pub tenants: Vec<Tenant>,
    /// The rules.
    pub rules: Arc<Filed>,
    /// Outer DSCP by what a lane leaves on its ESP packets.
    pub outer: Vec<(OuterKey, u32)>,
    /// The lanes in the map of those that are up.
    pub lanes: LaneBits,
    /// The lanes by their number in the generation; behind them, once more, those that clients share, for each client.
    pub lane_ids: Vec<LaneId>,
    /// CHILD_SAs of clients that there was no room for: what comes in by them is not counted.
    pub uncounted: usize,
    /// The names that the numbers in the tables stand for.
    pub registry: Registry,
}

/// Group and bit of each lane in the map of lanes that are up.
pub type LaneBits = BTreeMap<LaneId, (u32, u8)>;

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("digest", &self.digest).field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

impl Tables {
    /// The lane of that number.
    pub fn lane(&self, number: u16) -> Option<LaneId> {
        self.lane_ids.get(usize::from(number)).cloned()
    }

    /// The same without the names, for whoever has these already.
    pub fn nameless(&self) -> Self {
        Self { registry: Registry::default(), ..self.clone() }
    }
}

/// Why a policy has no tables.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A limit of the tables.
    #[error("{what}: {got} are more than the {limit} that the data path holds")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many the policy has.
        got: usize,
        /// How many fit.
        limit: usize,
    },
    /// Rules with long lists take a place for each combination of their members.
    #[error(
        "rule {rule}: up to here the rules and the combinations of their lists are {got}, more than the {limit} that the data path holds"
    )]
    TooManyRules {
        /// Where the rule is.
        rule: String,
        /// How many the policy has up to it.
        got: usize,
        /// How many fit.
        limit: usize,
    },
    /// More than the file's own bound.
    #[error(
        "rule {rule}: up to here the list takes more than the {limit} MiB of [limits] memory, and {needed} MiB as a whole; raise it, or take fewer rules or shorter lists"
    )]
    Memory {
        /// Where the rule is.
        rule: String,
        /// What all of it takes, in MiB.
        needed: u64,
        /// The bound, in MiB.
        limit: u64,
    },
    /// A limit of the registry, in which old names stay.
    #[error(
        "the registry holds no more than {limit} {what}, those of earlier configurations included; `lanekeeper down` empties it"
    )]
    RegistryFull {
        /// Of what.
        what: &'static str,
        /// How many fit.
        limit: usize,
    },
    /// Names that do not fit the registry.
    #[error("{name:?}: the names of one counter may have {limit} bytes together and no zero byte")]
    LongName {
        /// The names.
        name: String,
        /// Most bytes.
        limit: usize,
    },
    /// A request id that the ingress program would not find.
    #[error(
        "lane {lane}: too many lanes have request ids that end like {reqid:#x}; have strongSwan give its CHILD_SA another by \
         `reqid = ...` in swanctl.conf"
    )]
    Reqid {
        /// The lane.
        lane: LaneId,
        /// Its request id.
        reqid: u32,
    },
    /// The kernel drops what leaves an XFRM interface without a policy; the way around is not built.
    #[error(
        "class {class:?}: fallback \"clear\" does not work on XFRM interfaces, which never send in clear; use \"block\" or a class"
    )]
    Clear {
        /// The class.
        class: String,
    },
}

/// The tables for a policy; new names get numbers from `registry`, known ones keep theirs.
pub fn compile(policy: &Policy, registry: &mut Registry) -> Result<Tables, Error> {
    limit("tenants", policy.tenants.len(), MAX_TENANTS - 1)?;
    limit("classes", policy.classes.len(), MAX_CLASSES)?;
    memory::check(policy)?;
    let mut generation = Generation::zeroed();
    let mut tenants = tenants::tenants(policy, registry, &mut generation)?;
    let expanded = expand::expand(policy, registry)?;
    let steering = steering::steering(policy, registry, &mut generation)?;
    behind::place(policy, registry, &mut generation)?;
    // Before the rules are filed: how they are follows from the list only when all of it is filed at once.
    let frame = frame(&generation, &tenants, &steering.outer);
    let rules = tuples::file(&expanded, policy.rules.len(), &mut generation, &mut tenants);
    expanded.iter().for_each(|one| generation.head.asked.add(&one.record));
    // As with what is asked: an edit may leave a cgroup there that no rule names any more.
    cgroups::place(policy, registry, &mut generation);
    let digest = tuples::mix(frame, rules.digest());
    let (rules, registry) = (Arc::new(rules), registry.clone());
    let steering::Steering { outer, lanes, lane_ids, uncounted } = steering;
    Ok(Tables { digest, frame, generation, tenants, rules, outer, lanes, lane_ids, uncounted, registry })
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), Error> {
    if got > limit { Err(Error::TooMany { what, got, limit }) } else { Ok(()) }
}

/// First and last address of a prefix, with the lower bits for IPv4.
fn bounds(prefix: &IpNet) -> (u128, u128) {
    match prefix {
        IpNet::V4(prefix) => (u32::from(prefix.network()).into(), u32::from(prefix.broadcast()).into()),
        IpNet::V6(prefix) => (prefix.network().into(), prefix.broadcast().into()),
    }
}

fn halves(address: u128) -> Address {
    [(address >> 64) as u64, address as u64]
}

/// Digest of everything but the rules. It is a megabyte, and this hash is fast in every build.
fn frame(generation: &Generation, tenants: &[Tenant], outer: &[(OuterKey, u32)]) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(generation.bytes());
    tenants.iter().for_each(|tenant| hash.update(tenant.bytes()));
    for (key, dscp) in outer {
        key.local.iter().chain(&key.remote).for_each(|half| hash.update(&half.to_ne_bytes()));
        [key.mark, key.mask, *dscp].iter().for_each(|word| hash.update(&word.to_ne_bytes()));
    }
    hash.finish().as_ref().iter().take(size_of::<u64>()).fold(0, |value, byte| value << 8 | u64::from(*byte))
}
