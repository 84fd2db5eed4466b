//! Keying by charon, over VICI. Managed: it makes the lanes' CHILD_SAs, told so by us. [`adopted`]: by somebody else.
//!
//! Pure: [`Connection`] (what to load), [`machine`] (when to initiate, what is up). Shell: [`run`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::lane::{Condition, LaneId};
use crate::policy::adopt::{Ends, Traits};

pub mod adopted;
mod cause;
pub mod connection;
pub mod credentials;
pub mod machine;
mod observe;
mod request;
pub mod sas;
mod shell;
#[cfg(test)]
pub(crate) mod testing;

pub use connection::Connection;
pub use credentials::Credentials;
pub use observe::{Loaded, observe, remove, remove_one};

/// What has happened to lanes, tunnels and charon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A CHILD_SA of that lane carries traffic now.
    LaneUp(LaneId),
    /// A CHILD_SA of an adopted connection carries traffic of that lane now, and these tie the lane to it.
    Adopted(LaneId, Traits),
    /// No CHILD_SA of that lane is left.
    LaneDown(LaneId),
    /// No CHILD_SA of that lane is there, and charon waits for a packet to make one.
    LaneOnDemand(LaneId),
    /// A lane's CHILD_SA was replaced by a fresh one; it stayed up.
    Rekeyed(LaneId),
    /// An IKE_SA of that connection, by its key, stands.
    TunnelUp(String),
    /// No IKE_SA of that connection is left.
    TunnelDown(String),
    /// charon cannot be reached. Its SAs are still in the kernel: lanes stay what they were.
    CharonGone {
        /// Why, and the cure.
        reason: String,
    },
    /// charon answers, its connections are loaded and what is up has been told.
    CharonBack {
        /// strongSwan's version.
        version: String,
    },
    /// Something that the operator should know: an initiation that failed, a connection that charon refuses.
    Trouble {
        /// The tunnel.
        tunnel: String,
        /// What was tried, what came of it, and the cure.
        reason: String,
    },
    /// The inside of an adopted connection's SAs is another one now.
    Inside(String, Ends),
    /// So many IKE_SAs of an adopted connection stand that clients share.
    Clients(String, usize),
    /// Something stands against CHILD_SAs of an adopted tunnel, until another such word or [`Event::Sound`].
    Unfit {
        /// The tunnel.
        tunnel: String,
        /// What, of each, and the cure.
        reason: String,
    },
    /// Nothing stands against any CHILD_SA of that adopted tunnel any more.
    Sound(String),
}

/// A connection and what proves our identity in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// What to load.
    pub connection: Connection,
    /// Read by [`Credentials::read`].
    pub credentials: Credentials,
}

/// What becomes of the SAs that charon has when a connection comes that is new to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Those that fit are the lanes'.
    Adopt,
    /// They were made from another form of it: closed once charon has this one.
    Close,
    /// charon has none, nor the connection: it has restarted since an agent before this one loaded that. These lanes are open by
    /// what the kernel has still.
    Lost(BTreeSet<LaneId>),
}

/// What the kernel lacks of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// States. That is how a lane on demand waits.
    States,
    /// States, and a packet has asked for them.
    Asked,
    /// Policies, with or without states.
    Policies,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Load or replace a tunnel's connection and keep its lanes up; answered when charon has taken it. Where something
    /// of a lane has changed (or of the whole connection), its SAs are closed and made anew: charon gives a CHILD_SA the
    /// parameters of its beginning for all its rekeys. What has not changed is not disturbed.
    Load(Arc<Load>, Standing, oneshot::Sender<Result<(), Error>>),
    /// Unload a connection, by its key, and close its SAs.
    Unload(String, oneshot::Sender<Result<(), Error>>),
    /// The kernel lacks something of these lanes, and nothing of all others. Lanes that are up and lack it in two looks are closed,
    /// and made anew; lanes on demand that lack their policies get new traps. Answered by whether another look is wanted, in
    /// [`machine::LACKS`].
    Lacking(BTreeMap<LaneId, Lack>, oneshot::Sender<bool>),
    /// A packet wanted to take the lane of that request id, and found no state: charon has heard it, too.
    Acquired(u32),
    /// Tell how every tunnel is of whose SAs charon has been asked.
    Status(oneshot::Sender<Vec<TunnelStatus>>),
}

/// How a tunnel is; of one whose lanes have their own connections, how each of those is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelStatus {
    /// Its name.
    pub tunnel: String,
    /// An IKE_SA stands.
    pub up: bool,
    /// Its lanes in the policy's order.
    pub lanes: Vec<LaneStatus>,
    /// Why the last initiation failed, until one succeeds.
    pub trouble: Option<String>,
}

/// How a lane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Its name.
    pub lane: LaneId,
    /// Whether it carries traffic, or would with the first packet.
    pub condition: Condition,
    /// Inbound and outbound SPI of the CHILD_SA that counts.
    pub spis: Option<(u32, u32)>,
}

/// What goes wrong with managed keying.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// charon.
    #[error(transparent)]
    Vici(#[from] crate::vici::Error),
    /// A key or certificate file.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// charon takes it, but does not want that connection.
    #[error("tunnel {tunnel:?}: {reason}")]
    Load {
        /// The tunnel.
        tunnel: String,
        /// charon's word.
        reason: String,
    },
    /// It stays wanted, and is done when charon is back.
    #[error("tunnel {tunnel:?} waits for charon: {reason}")]
    Waiting {
        /// The tunnel.
        tunnel: String,
        /// Why charon cannot be reached, and the cure.
        reason: String,
    },
}

/// Keeps the loaded connections' lanes up until `commands` is closed: loads, initiates, re-initiates, follows charon's
/// events and its restarts. Leaves the SAs standing when it returns.
pub async fn run(vici: PathBuf, commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    shell::run(vici, commands, events).await;
}
