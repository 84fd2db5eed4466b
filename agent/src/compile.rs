//! Policy -> the tables that the data path reads. Pure.

pub mod series;

use crate::policy::Policy;

/// Names -> the numbers that stand for them in the kernel; stable while the pins live.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {}

/// One generation of everything that the data path reads.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Differs when anything in the tables differs.
    pub digest: u64,
}

/// Why a policy has no tables.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A limit of the kernel's maps.
    #[error("{what}: {got} are more than the {limit} that the data path holds")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many the policy has.
        got: usize,
        /// How many fit.
        limit: usize,
    },
    /// A name that does not fit the registry.
    #[error("{what} {name:?}: the name is longer than {limit} bytes")]
    LongName {
        /// Name of what.
        what: &'static str,
        /// The name.
        name: String,
        /// Most bytes.
        limit: usize,
    },
}

/// The tables for a policy; new names get numbers from `registry`, known ones keep theirs.
pub fn compile(_policy: &Policy, _registry: &mut Registry) -> Result<Tables, Error> {
    Ok(Tables { digest: 0 })
}
