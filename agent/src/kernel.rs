//! The shell around this kernel: the only room that talks to it.

mod address;
mod apply;
pub mod cgroups;
pub mod checkup;
pub mod dataplane;
mod devices;
mod dump;
mod elsewhere;
mod interfaces;
mod link;
pub mod lookup;
mod namespace;
mod netlink;
mod route;
mod rule;
mod sa_counts;
mod snapshot;
mod state;
mod watch;
mod xfrm_policy;

pub use apply::apply;
pub use devices::devices;
pub use elsewhere::{Taken, elsewhere, namespace, taken_to};
pub use interfaces::interfaces;
pub use netlink::Netlink;
pub use sa_counts::{SaCounts, sa_counts};
pub use snapshot::{read, snapshot};
pub use watch::{Event, Watch, What};

/// What the kernel refused, and what can be done about it. Never holds a message: those show keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("netlink socket: {0}")]
    Open(std::io::Error),
    /// A dump failed.
    #[error("could not list {what}: {cause}")]
    Dump {
        /// Which objects.
        what: &'static str,
        /// The kernel's word.
        cause: String,
    },
    /// An operation failed.
    #[error("{op}: {cause}{hint}")]
    Refused {
        /// Line of the diff.
        op: String,
        /// The kernel's word.
        cause: String,
        /// What the operator can do, or empty.
        hint: String,
    },
    /// Not an operation for netlink.
    #[error("{op}: not for netlink, data path and charon have their own hands")]
    OtherRoom {
        /// Line of the diff.
        op: String,
    },
}
