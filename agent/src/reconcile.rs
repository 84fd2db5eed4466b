//! The shell that joins the rooms: file -> policy -> tables and desired state -> plan -> kernel, charon and data path; and
//! then what happens, for as long as the agent runs. Only this room sees all the others.
//!
//! Three tasks: [`agent`] takes signals, requests and the timer, one after the other; a second one carries charon's events
//! into the data path and waits for nobody, so that a lane that went down is closed while a file is being applied; the
//! third serves metrics. A fourth is there while somebody observes.

mod additions;
pub mod agent;
mod charon;
mod counts;
pub mod heap;
mod insides;
pub mod lanes;
pub mod live;
mod lockfile;
mod memory;
mod observing;
pub mod once;
mod pending;
mod presence;
mod settle;

mod signals;
mod troubles;
mod wan;
mod wanted;
mod world;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::Loaded;

pub use settle::PASSES;
pub use wanted::Wanted;

/// Where this agent lives on this machine.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder of socket and lock.
    pub runtime_dir: PathBuf,
    /// The bpffs of the pins.
    pub bpffs: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
}

/// What was applied last on this machine since its boot, by which file: read, but not its keys.
pub fn applied(runtime_dir: &Path) -> Result<Option<(PathBuf, Loaded)>, Error> {
    Ok(memory::recall(runtime_dir)?.map(memory::Remembered::parts))
}

/// Why a file is not in place, or the agent not running.
#[derive(Debug, Error)]
pub enum Error {
    /// The file does not hold together.
    #[error(transparent)]
    Config(#[from] crate::config::Errors),
    /// A static key file.
    #[error(transparent)]
    Keys(#[from] crate::keyfile::LoadError),
    /// A secret or certificate for charon.
    #[error(transparent)]
    Credentials(#[from] crate::ike::credentials::Error),
    /// Policy and keys do not fit each other.
    #[error(transparent)]
    Desired(#[from] crate::plan::Error),
    /// The policy has no tables.
    #[error(transparent)]
    Compile(#[from] crate::compile::Error),
    /// Something foreign is in the way.
    #[error(transparent)]
    Conflicts(#[from] crate::plan::Conflicts),
    /// The kernel's netlink side.
    #[error(transparent)]
    Kernel(#[from] crate::kernel::Error),
    /// The data path.
    #[error(transparent)]
    Dataplane(#[from] crate::kernel::dataplane::Error),
    /// charon refused a connection.
    #[error(transparent)]
    Ike(#[from] crate::ike::Error),
    /// charon cannot be asked.
    #[error(transparent)]
    Vici(#[from] crate::vici::Error),
    /// A test has stopped it.
    #[error(transparent)]
    Stopped(#[from] crate::failpoint::Stopped),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] crate::control::Error),
    /// Devices cannot be listed.
    #[error("could not list network devices: {0}")]
    Interfaces(nix::Error),
    /// A plan names a device that the policy does not.
    #[error("device {device} belongs to no tunnel of the file")]
    NoTunnel {
        /// The device.
        device: String,
    },
    /// What was applied is not what is there.
    #[error(
        "applied, but the machine is not as it should be; still to do:\n{}\nanother program may be undoing it: see facts in \
         `networkctl`, or who else loads strongSwan's connections",
        left.join("\n")
    )]
    Unsettled {
        /// Lines of the diff that remains.
        left: Vec<String>,
    },
    /// Another agent has this machine.
    #[error("{}: held by another lanekeeper{by}; stop it, or `lanekeeper reload` it", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// ` (pid N)`, or nothing.
        by: String,
    },
    /// Files of our own.
    #[error("{}: could not {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What came back.
        source: std::io::Error,
    },
    /// The address of `[metrics] listen`.
    #[error("metrics cannot be served on {address}: {source}; choose another `listen` in [metrics]")]
    Metrics {
        /// As the file has it.
        address: std::net::SocketAddr,
        /// What bind said.
        source: std::io::Error,
    },
    /// Lanes that did not come up in time.
    #[error("in place, but after {} s these lanes are still down: {}; nobody tries again until `lanekeeper run` keeps at it or \
         `apply` comes again; see `swanctl --log` on both ends", after.as_secs(), lanes.join(", "))]
    LanesDown {
        /// How long was waited.
        after: std::time::Duration,
        /// Their names.
        lanes: Vec<String>,
    },
    /// The first file of all failed while it was being put in place.
    #[error(
        "{0}\nnothing ran before to go back to, so what is in place of it stays, and nothing of its tunnels leaves in clear: \
         put that right and start again, or remove it with `lanekeeper down`"
    )]
    NothingBefore(Box<Error>),
    /// What was applied last can no longer be read or lacks its keys.
    #[error(
        "what was applied last cannot be had any more, so nothing can go back to it: {0}; put that right, or `apply` without \
         --confirm"
    )]
    Before(Box<Error>),
    /// Rules that were added while the agent ran, and a file that they do not fit.
    #[error(
        "{errors}\nthese rules were added by `lanekeeper rules add`: have the file fit them, or take them out by `lanekeeper rules delete`{}",
        forget.as_ref().map(|path| format!(", which while no agent runs is to remove {}", path.display())).unwrap_or_default()
    )]
    Added {
        /// What is wrong with them.
        errors: crate::config::Errors,
        /// Where they are remembered, if no agent runs.
        forget: Option<PathBuf>,
    },
    /// No rule of that name to stand beside.
    #[error("rule {rule:?}: no rule{} is named {name:?} that it could stand beside; see `lanekeeper rules list`", of(tenant.as_deref()))]
    NoAnchor {
        /// The one that is to be added.
        rule: String,
        /// Whose.
        tenant: Option<String>,
        /// The one that is not there.
        name: String,
    },
    /// A rule that is not there.
    #[error("no rule{} is named {name:?}; see `lanekeeper rules list`", of(tenant.as_deref()))]
    NoRule {
        /// Whose.
        tenant: Option<String>,
        /// Its name.
        name: String,
    },
    /// A rule that would come back with the next reload.
    #[error("rule {name:?} is written at {place}: take it out there, then `lanekeeper reload`")]
    OfFile {
        /// Its name.
        name: String,
        /// Where it is written.
        place: String,
    },
    /// Two ways back at once.
    #[error("what was applied last waits to be confirmed: `lanekeeper confirm` it before rules are changed")]
    Unconfirmed,
    /// A file was refused, and then the one before could not be put back whole.
    #[error("{refused}\nand what ran before could not be put back whole: {back}")]
    NoWayBack {
        /// Why the file was refused.
        refused: Box<Error>,
        /// What then went wrong.
        back: Box<Error>,
    },
}

/// Whose rules a message is about.
fn of(tenant: Option<&str>) -> String {
    tenant.map(|tenant| format!(" of tenant {tenant:?}")).unwrap_or_default()
}
