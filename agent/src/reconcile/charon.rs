//! charon, as the rest of this room sees it: a task that keeps connections, and what is loaded now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ike::{self, Command, Error, Event, Lack, Load, Standing, TunnelStatus, run};
use crate::lane::LaneId;

/// For charon to take a connection: it parses, and answers; SAs come later.
const TAKES: Duration = Duration::from_secs(15);

/// Events that may wait to be read: a thousand tunnels of four lanes going down at once.
const EVENTS: usize = 4096;

/// What charon has of a connection that it is to have.
#[derive(Debug)]
pub enum Found {
    /// Just that.
    Same,
    /// Another form of it. What was loaded by an agent before this one has SAs of which the task cannot tell by which form they
    /// were made.
    Other,
    /// Nothing.
    Nothing {
        /// The lanes of it that packets take all the same.
        open: BTreeSet<LaneId>,
    },
}

/// The task, and what it was told to keep.
#[derive(Debug)]
pub struct Charon {
    vici: PathBuf,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    /// What the task was given of each connection by its key, keys and certificates included: those may change in their files alone.
    given: BTreeMap<String, Arc<Load>>,
}

impl Charon {
    /// Starts the task; events of charon's come by the receiver.
    pub fn start(vici: &Path) -> (Self, mpsc::Receiver<Event>) {
        let (commands, inbox) = mpsc::channel(64);
        let (events, outbox) = mpsc::channel(EVENTS);
        let task = tokio::spawn(run(vici.into(), inbox, events));
        (Self { vici: vici.into(), commands, task, given: BTreeMap::new() }, outbox)
    }

    /// Where it is.
    pub fn vici(&self) -> &Path {
        &self.vici
    }

    /// Whether the task keeps just this form of the connection, with these keys.
    pub fn keeps(&self, load: &Load) -> bool {
        self.given.get(&load.connection.key).is_some_and(|given| **given == *load)
    }

    /// Has the task keep the connection. An error is charon's; the task keeps it all the same and tries again.
    pub async fn load(&mut self, load: &Arc<Load>, found: Found) -> Result<(), Error> {
        let standing = self.give(load, found);
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Load(Arc::clone(load), standing, reply)).await?;
        finished("load-conn", answer).await
    }

    /// Has it dropped, with its SAs.
    pub async fn unload(&mut self, key: &str) -> Result<(), Error> {
        if self.given.remove(key).is_none() {
            // Loaded by an agent before this one: the task knows nothing of it.
            return Ok(ike::remove_one(&self.vici, key).await?);
        }
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Unload(key.to_owned(), reply)).await?;
        finished("unload-conn", answer).await
    }

    /// Like [`Charon::load`], without waiting for charon, which cannot be asked: one that comes is another than the one that had
    /// these lanes made.
    pub async fn hand_over(&mut self, load: &Arc<Load>, open: BTreeSet<LaneId>) {
        let standing = self.give(load, Found::Nothing { open });
        // Nobody takes the answer: what comes of it is told by events.
        let (reply, _) = oneshot::channel();
        let _ = self.tell(Command::Load(Arc::clone(load), standing, reply)).await;
    }

    fn give(&mut self, load: &Arc<Load>, found: Found) -> Standing {
        let before = self.given.insert(load.connection.key.clone(), Arc::clone(load));
        match found {
            // What the task keeps already it knows better.
            _ if before.is_some() => Standing::Adopt,
            Found::Same => Standing::Adopt,
            Found::Other => Standing::Close,
            Found::Nothing { open } => Standing::Lost(open),
        }
    }

    /// Drops these connections, then ends the task.
    pub async fn retire(mut self, keys: impl Iterator<Item = &String>) {
        for key in keys {
            if let Err(error) = self.unload(key).await {
                tracing::warn!(connection = key, "the charon before did not drop it: {error}");
            }
        }
        self.stop().await;
    }

    /// Tells the task of which lanes the kernel lacks something. Whether it wants another look.
    pub async fn lacking(&self, lanes: BTreeMap<LaneId, Lack>) -> bool {
        let (reply, answer) = oneshot::channel();
        if self.tell(Command::Lacking(lanes, reply)).await.is_err() {
            tracing::warn!("the task for charon does not listen");
            return false;
        }
        timeout(TAKES, answer).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Tells the task that a packet wants to take the lane of that request id.
    pub async fn acquired(&self, reqid: u32) {
        if self.tell(Command::Acquired(reqid)).await.is_err() {
            tracing::warn!("the task for charon does not listen");
        }
    }

    /// How every tunnel is of whose SAs the task knows.
    pub async fn status(&self) -> Vec<TunnelStatus> {
        let (reply, answer) = oneshot::channel();
        if self.tell(Command::Status(reply)).await.is_err() {
            return Vec::new();
        }
        timeout(TAKES, answer).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Ends the task and leaves all SAs as they are.
    pub async fn stop(self) {
        drop(self.commands);
        let _ = timeout(Duration::from_secs(2), self.task).await;
    }

    async fn tell(&self, command: Command) -> Result<(), Error> {
        match timeout(TAKES, self.commands.send(command)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(hangs("accept a command")),
        }
    }
}

async fn finished(command: &str, answer: oneshot::Receiver<Result<(), Error>>) -> Result<(), Error> {
    match timeout(TAKES, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(hangs(command)),
    }
}

fn hangs(command: &str) -> Error {
    Error::Vici(crate::vici::Error::Timeout { command: command.to_owned(), after: TAKES })
}

/// Connections of ours that charon has, with the digest of what was loaded.
pub async fn loaded(vici: &Path) -> Result<BTreeMap<String, u64>, crate::vici::Error> {
    Ok(ike::observe(vici).await?.into_iter().map(|(name, loaded)| (name, loaded.digest)).collect())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::ike::{Connection, Credentials, testing};
    use crate::policy::TunnelIndex;

    fn load(secret: &str) -> Arc<Load> {
        Arc::new(Load {
            connection: Connection::all(&testing::policy(), TunnelIndex(0)).remove(0),
            credentials: Credentials::Psk(Zeroizing::new(secret.as_bytes().to_vec())),
        })
    }

    /// A task whose part is played by hand.
    fn charon() -> (Charon, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(8);
        (Charon { vici: "/nowhere".into(), commands, task: tokio::spawn(async {}), given: BTreeMap::new() }, inbox)
    }

    #[tokio::test]
    async fn a_key_that_changed_in_its_file_is_another_load() {
        let (mut charon, _inbox) = charon();
        assert!(!charon.keeps(&load("moon")));
        charon.hand_over(&load("moon"), BTreeSet::new()).await;
        assert!(charon.keeps(&load("moon")));
        assert!(!charon.keeps(&load("sun")));
        assert!(!format!("{charon:?}").contains("moon\""));
    }

    #[tokio::test]
    async fn sas_of_a_form_that_this_process_has_not_given_are_closed() {
        let (mut charon, mut inbox) = charon();
        let task = tokio::spawn(async move {
            let mut standings = Vec::new();
            while let Some(Command::Load(_, standing, reply)) = inbox.recv().await {
                standings.push(standing);
                reply.send(Ok(())).unwrap();
            }
            standings
        });
        let open: BTreeSet<LaneId> = load("moon").connection.lanes.iter().map(|lane| lane.lane.clone()).collect();
        for found in [Found::Other, Found::Other, Found::Same, Found::Nothing { open: open.clone() }] {
            charon.load(&load("moon"), found).await.unwrap();
        }
        for found in [Found::Same, Found::Nothing { open: open.clone() }] {
            charon.given.clear();
            charon.load(&load("moon"), found).await.unwrap();
        }
        drop(charon);
        let standings = task.await.unwrap();
        assert_eq!(standings[..4], [Standing::Close, Standing::Adopt, Standing::Adopt, Standing::Adopt]);
        assert_eq!(standings[4..], [Standing::Adopt, Standing::Lost(open)]);
    }
}
