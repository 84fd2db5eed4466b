//! A client over charon's Unix socket. Commands and events take a connection each: a command's answer may be held up
//! by charon's work, and only one command may be under way on a connection.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::message::{DecodeError, EncodeError, Message};
use super::packet::{Frames, Packet};

/// Oldest strongSwan whose CHILD_SAs take `label_mode = simple`.
const OLDEST: [u32; 3] = [5, 9, 6];

/// What goes wrong with charon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket.
    #[error(
        "charon's socket {path} is not there: start strongSwan (`systemctl start strongswan`) with its vici plugin, or set `vici` in [ike] to the socket that charon's `plugins.vici.socket` names"
    )]
    Absent {
        /// The socket.
        path: PathBuf,
    },
    /// A socket that nobody serves.
    #[error("nobody listens on {path}: charon has stopped; start it (`systemctl start strongswan`)")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// A socket for others.
    #[error(
        "no permission to open {path}: run lanekeeper as root, or as the user and group that `charon.user` and `charon.group` of strongswan.conf name"
    )]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// Any other failure of the socket.
    #[error("charon's socket {path}: {source}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// charon has closed the connection.
    #[error("charon closed its socket while `{during}` was under way; see its log for a crash or a stop")]
    Closed {
        /// The command or wait.
        during: String,
    },
    /// charon does not answer.
    #[error("charon did not answer `{command}` within {} ms; it hangs, or all its worker threads are busy (`charon.threads`)", after.as_millis())]
    Timeout {
        /// The command.
        command: String,
        /// How long was waited.
        after: Duration,
    },
    /// A command was abandoned before its answer came.
    #[error("an earlier command on this connection was abandoned; connect again")]
    OutOfStep,
    /// charon answers no.
    #[error("charon refuses `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// Its `errmsg`.
        reason: String,
    },
    /// charon does not know the command.
    #[error("charon does not know the command `{command}`; strongSwan 5.9.6 or newer is needed")]
    UnknownCommand {
        /// The command.
        command: String,
    },
    /// charon does not know the event.
    #[error("charon does not know the event `{event}`; strongSwan 5.9.6 or newer is needed")]
    UnknownEvent {
        /// The event.
        event: String,
    },
    /// An answer that fits no question.
    #[error("charon answered `{command}` with a packet of another kind")]
    Unexpected {
        /// The command.
        command: String,
    },
    /// Labels are not to be had.
    #[error(
        "{daemon} is strongSwan {found}, which cannot label CHILD_SAs: install 5.9.6 or newer on both ends (Debian 12 has 5.9.8)"
    )]
    Version {
        /// The daemon's name.
        daemon: String,
        /// Its version.
        found: String,
    },
    /// Bytes that make no sense.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message that cannot be sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, and for each packet of a streamed one.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), answer: Duration::from_secs(5) }
    }
}

/// A connection for commands.
pub struct Client {
    wire: Wire,
    /// A command is under way or was abandoned.
    busy: bool,
}

impl Client {
    /// Connects.
    pub async fn connect(path: &Path, timeouts: Timeouts) -> Result<Self, Error> {
        Ok(Self { wire: Wire::connect(path, timeouts).await?, busy: false })
    }

    /// charon's version, when it is new enough for lanes.
    pub async fn check_version(&mut self) -> Result<String, Error> {
        let answer = self.request("version", Message::new()).await?;
        let found = answer.text("version").unwrap_or("of unknown version").to_owned();
        if is_new_enough(&found) {
            Ok(found)
        } else {
            Err(Error::Version { daemon: answer.text("daemon").unwrap_or("the daemon").to_owned(), found })
        }
    }

    /// One command with one answer. `success = no` is an error.
    pub async fn request(&mut self, command: &str, arguments: Message) -> Result<Message, Error> {
        let within = self.wire.timeouts.answer;
        self.request_within(command, arguments, within).await
    }

    /// The same for a command that takes its time.
    pub async fn request_within(
        &mut self,
        command: &str,
        arguments: Message,
        within: Duration,
    ) -> Result<Message, Error> {
        self.begin()?;
        let answer = self.exchange(command, arguments, within, &mut |_, _| ()).await?;
        self.busy = false;
        granted(command, answer)
    }

    /// A command whose answer is streamed as `event`s before it. `within` bounds the wait for each packet.
    pub async fn stream(
        &mut self,
        command: &str,
        event: &str,
        arguments: Message,
        within: Duration,
        mut each: impl FnMut(Message),
    ) -> Result<Message, Error> {
        self.begin()?;
        self.wire.register(&Packet::Register(event.to_owned()), event).await?;
        let answer = self
            .exchange(command, arguments, within, &mut |name, message| {
                if name == event {
                    each(message);
                }
            })
            .await?;
        self.wire.register(&Packet::Unregister(event.to_owned()), event).await?;
        self.busy = false;
        granted(command, answer)
    }

    /// Marks the connection as used: an answer that nobody awaited would be taken for the next command's.
    fn begin(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.busy, true) { Err(Error::OutOfStep) } else { Ok(()) }
    }

    async fn exchange(
        &mut self,
        command: &str,
        arguments: Message,
        within: Duration,
        on_event: &mut impl FnMut(&str, Message),
    ) -> Result<Message, Error> {
        self.wire.send(&Packet::Request { name: command.to_owned(), message: arguments }, command).await?;
        loop {
            match self.wire.receive_within(command, within).await? {
                Packet::Response(message) => return Ok(message),
                Packet::Event { name, message } => on_event(&name, message),
                Packet::CommandUnknown => return Err(Error::UnknownCommand { command: command.to_owned() }),
                Packet::Request { .. }
                | Packet::Register(_)
                | Packet::Unregister(_)
                | Packet::Confirm
                | Packet::EventUnknown => return Err(Error::Unexpected { command: command.to_owned() }),
            }
        }
    }
}

/// A connection for events.
pub struct Listener {
    wire: Wire,
}

impl Listener {
    /// Connects and registers; from its return on no such event is missed.
    pub async fn connect(path: &Path, timeouts: Timeouts, events: &[&str]) -> Result<Self, Error> {
        let mut wire = Wire::connect(path, timeouts).await?;
        for event in events {
            wire.register(&Packet::Register((*event).to_owned()), event).await?;
        }
        Ok(Self { wire })
    }

    /// The next event and its name. Waits as long as it takes; dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<(String, Message), Error> {
        loop {
            if let Packet::Event { name, message } = self.wire.receive("waiting for events").await? {
                return Ok((name, message));
            }
        }
    }
}

/// A socket and the packets on it.
struct Wire {
    path: PathBuf,
    stream: UnixStream,
    frames: Frames,
    timeouts: Timeouts,
    /// Events that came before a registration's confirmation.
    early: std::collections::VecDeque<Packet>,
}

impl Wire {
    async fn connect(path: &Path, timeouts: Timeouts) -> Result<Self, Error> {
        let stream = match timeout(timeouts.connect, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refused(path, error)),
            Err(_) => return Err(Error::Timeout { command: "connect".to_owned(), after: timeouts.connect }),
        };
        let early = std::collections::VecDeque::new();
        Ok(Self { path: path.to_owned(), stream, frames: Frames::default(), timeouts, early })
    }

    async fn send(&mut self, packet: &Packet, command: &str) -> Result<(), Error> {
        let bytes = packet.encode()?;
        match timeout(self.timeouts.answer, self.stream.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(command, error)),
            Err(_) => Err(Error::Timeout { command: command.to_owned(), after: self.timeouts.answer }),
        }
    }

    /// Registers or unregisters; events that come before the confirmation are kept.
    async fn register(&mut self, packet: &Packet, event: &str) -> Result<(), Error> {
        let during = format!("register {event}");
        self.send(packet, &during).await?;
        let mut early = Vec::new();
        let answer = loop {
            match self.receive_within(&during, self.timeouts.answer).await? {
                packet @ Packet::Event { .. } => early.push(packet),
                answer => break answer,
            }
        };
        self.early.extend(early);
        match answer {
            Packet::Confirm => Ok(()),
            Packet::EventUnknown => Err(Error::UnknownEvent { event: event.to_owned() }),
            Packet::Request { .. }
            | Packet::Response(_)
            | Packet::CommandUnknown
            | Packet::Register(_)
            | Packet::Unregister(_)
            | Packet::Event { .. } => Err(Error::Unexpected { command: during }),
        }
    }

    async fn receive_within(&mut self, command: &str, within: Duration) -> Result<Packet, Error> {
        match timeout(within, self.receive(command)).await {
            Ok(packet) => packet,
            Err(_) => Err(Error::Timeout { command: command.to_owned(), after: within }),
        }
    }

    /// The next packet. Cancel-safe: what was read stays in `frames`.
    async fn receive(&mut self, during: &str) -> Result<Packet, Error> {
        if let Some(packet) = self.early.pop_front() {
            return Ok(packet);
        }
        loop {
            if let Some(packet) = self.frames.next_packet()? {
                return Ok(packet);
            }
            let mut chunk = [0u8; 16 * 1024];
            match self.stream.read(&mut chunk).await {
                Ok(0) => return Err(Error::Closed { during: during.to_owned() }),
                Ok(len) => self.frames.push(&chunk[..len]),
                Err(error) => return Err(self.failed(during, error)),
            }
        }
    }

    fn failed(&self, during: &str, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed { during: during.to_owned() },
            _ => Error::Socket { path: self.path.clone(), source: error },
        }
    }
}

fn refused(path: &Path, error: io::Error) -> Error {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Error::Absent { path },
        io::ErrorKind::ConnectionRefused => Error::NotRunning { path },
        io::ErrorKind::PermissionDenied => Error::Permission { path },
        _ => Error::Socket { path, source: error },
    }
}

fn granted(command: &str, answer: Message) -> Result<Message, Error> {
    match answer.text("success") {
        Some("no") => Err(Error::Refused {
            command: command.to_owned(),
            reason: answer.text("errmsg").unwrap_or("no reason given").to_owned(),
        }),
        Some(_) | None => Ok(answer),
    }
}

/// Compares `5.9.8`, `6.0.0beta6`, `5.9.14dr1` by the numbers at the front of each part.
fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse::<u32>().unwrap_or(0)
    });
    let found = [(); 3].map(|()| parts.next().unwrap_or(0));
    found >= OLDEST
}

#[cfg(test)]
mod tests;
