//! The answering end: a few connections at a time, each with little room and little time, all handed to one mailbox.
//!
//! Who may connect is a matter of the file: mode 0660, and [`group`]. Who it is that did, the kernel says.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Error, REQUEST_LIMIT, Reply, Request, access, client, group};
use crate::places::{self, NoPlace, Place, Places};

/// Connections of one user. Whoever may make changes counts for himself alone, so there is always room for him.
const EACH: usize = 16;

/// Connections of all users who may only read.
const READERS: usize = 48;

/// How long each part of a conversation may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a whole request line to arrive, and for its answer to be taken.
    line: Duration,
    /// For the agent to do what was asked; below the patience of [`client`].
    work: Duration,
    /// From when on a connection is asked for no further request. A command has one.
    conversation: Duration,
}

const LIMITS: Limits =
    Limits { line: Duration::from_secs(5), work: Duration::from_secs(80), conversation: Duration::from_secs(60) };

/// Answers of one who observes that wait for being taken.
const WAITING: usize = 256;

/// A request and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub reply: oneshot::Sender<Reply>,
    /// Where what follows the answer goes, where something does. Whoever does not take it in time is hung up on.
    pub lines: mpsc::Sender<Reply>,
}

/// A bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    listener: UnixListener,
}

impl Server {
    /// Binds `socket` with mode 0660, for the group where there is one, which is let into `runtime_dir` if the socket is there: any
    /// other folder is not ours to open. A file that a dead agent left behind is replaced.
    pub fn bind(socket: &Path, runtime_dir: &Path) -> Result<Self, Error> {
        let io = |what| move |source| Error::Io { socket: socket.into(), what, source };
        if client::answers(socket) {
            return Err(Error::InUse { socket: socket.into() });
        }
        // Bound under another name and moved, so that nobody can reach it before it has its mode.
        let mut fresh = socket.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("clear the way")(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh).map_err(io("bind"))?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o660)).map_err(io("set its mode"))?;
        if let Some(group) = group::find() {
            let folder = match socket.parent() {
                Some(folder) if folder == runtime_dir => group::let_into(folder, group),
                Some(_) | None => Ok(()),
            };
            if let Err(error) = group::give(&fresh, group).and(folder) {
                tracing::warn!(socket = %socket.display(), %error, "cannot be given to the group {}", group::GROUP);
            }
        }
        std::fs::rename(&fresh, socket).map_err(io("move into place"))?;
        Ok(Self { socket: socket.into(), listener })
    }

    /// Hands every request to `calls`, until nobody takes them any more.
    pub async fn serve(self, calls: mpsc::Sender<Call>) {
        self.serve_within(LIMITS, calls).await;
    }

    async fn serve_within(self, limits: Limits, calls: mpsc::Sender<Call>) {
        let readers = Places::new(places::Limits { each: EACH, all: READERS });
        let operators = Places::new(places::Limits { each: EACH, all: usize::MAX });
        let own = nix::unistd::geteuid().as_raw();
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file descriptors, most likely: they come back as connections end.
                        tracing::warn!(%error, "control socket could not accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                () = calls.closed() => return,
            };
            let uid = match stream.peer_cred() {
                Ok(peer) => peer.uid(),
                Err(error) => {
                    tracing::debug!(%error, "control connection of nobody");
                    continue;
                }
            };
            let places = if access::may_change(uid, own) { &operators } else { &readers };
            let place = match admit(places, uid) {
                Ok(place) => place,
                Err(error) => {
                    tracing::debug!(%error, "control connection turned away");
                    // The line fits into a buffer that is empty yet; whoever is turned away is not waited for.
                    let _ = stream.try_write(&Reply::Refused { error: error.to_string() }.encode());
                    continue;
                }
            };
            let talk = Talk { uid, own, limits, calls: calls.clone() };
            tokio::spawn(async move {
                if let Err(error) = talk.converse(stream).await {
                    tracing::debug!(%error, "control connection ended");
                }
                drop(place);
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn admit(places: &Places<u32>, uid: u32) -> Result<Place<u32>, Error> {
    places.take(uid).map_err(|full| match full {
        NoPlace::Each => Error::TooMany { uid, limit: EACH },
        NoPlace::All => Error::Full { limit: READERS },
    })
}

/// One connection.
struct Talk {
    /// Who asks.
    uid: u32,
    /// The agent's.
    own: u32,
    limits: Limits,
    calls: mpsc::Sender<Call>,
}

impl Talk {
    /// Answers line after line until the other end hangs up, is silent for too long, or talks too much or too long.
    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let end = Instant::now() + self.limits.conversation;
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            let until = end.min(Instant::now() + self.limits.line);
            timeout_at(until, (&mut read).take(REQUEST_LIMIT as u64 + 1).read_until(b'\n', &mut line)).await??;
            if line.is_empty() {
                return Ok(());
            }
            let whole = line.ends_with(b"\n");
            let (lines, mut more) = mpsc::channel(WAITING);
            let answer = self.answer(&line, lines).await;
            let reply = answer.unwrap_or_else(|error| Reply::Refused { error: error.to_string() });
            timeout(self.limits.line, write.write_all(&reply.encode())).await??;
            if reply == (Reply::Observing {}) {
                return self.stream(read, write, &mut more).await;
            }
            if !whole {
                return Ok(());
            }
        }
    }

    /// Passes on what comes until either end is gone, or this one does not take it.
    async fn stream(
        &self,
        mut read: BufReader<OwnedReadHalf>,
        mut write: OwnedWriteHalf,
        more: &mut mpsc::Receiver<Reply>,
    ) -> io::Result<()> {
        loop {
            tokio::select! {
                reply = more.recv() => match reply {
                    Some(reply) => timeout(self.limits.line, write.write_all(&reply.encode())).await??,
                    None => return Ok(()),
                },
                // It hung up, or says something that nobody asked for.
                _ = read.read_u8() => return Ok(()),
            }
        }
    }

    async fn answer(&self, line: &[u8], lines: mpsc::Sender<Reply>) -> Result<Reply, Error> {
        let request = Request::decode(line)?;
        access::permit(&request, self.uid, self.own)?;
        Ok(self.hand_over(request, lines).await)
    }

    async fn hand_over(&self, request: Request, lines: mpsc::Sender<Reply>) -> Reply {
        let (reply, answer) = oneshot::channel();
        let Limits { work, .. } = self.limits;
        let asked = async {
            match self.calls.send(Call { request, reply, lines }).await {
                Ok(()) => answer.await.ok(),
                Err(_) => None,
            }
        };
        match timeout(work, asked).await {
            Ok(Some(reply)) => reply,
            Ok(None) => Reply::Refused { error: "the agent is stopping".into() },
            Err(_) => Reply::Refused { error: format!("no answer within {} s; see the agent's log", work.as_secs()) },
        }
    }
}

#[cfg(test)]
mod tests;
