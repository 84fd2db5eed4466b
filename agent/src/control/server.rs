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
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// An agent that answers every request with its name.
    async fn echo(folder: &Path) -> PathBuf {
        echo_within(folder, LIMITS, String::new()).await
    }

    /// The same, with so much to say besides.
    async fn echo_within(folder: &Path, limits: Limits, more: String) -> PathBuf {
        let socket = folder.join("control.sock");
        let server = Server::bind(&socket, folder).unwrap();
        let (calls, mut mailbox) = mpsc::channel::<Call>(1);
        tokio::spawn(server.serve_within(limits, calls));
        tokio::spawn(async move {
            while let Some(call) = mailbox.recv().await {
                let _ = call.reply.send(Reply::Done { message: format!("{:?}{more}", call.request) });
            }
        });
        socket
    }

    async fn talk(socket: &Path, bytes: Vec<u8>) -> String {
        let socket = socket.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            all
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn client_and_server_understand_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo(folder.path()).await;
        let asked = tokio::task::spawn_blocking(move || client::ask(&socket, &Request::Reload {})).await.unwrap();
        assert_eq!(asked.unwrap(), Reply::Done { message: "Reload".into() });
    }

    #[tokio::test]
    async fn one_connection_may_ask_several_times() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo(folder.path()).await;
        let said = talk(&socket, [Request::Status {}.encode(), Request::Confirm {}.encode()].concat()).await;
        assert_eq!(said.lines().count(), 2, "{said}");
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_too_much_of_it_hung_up_on() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo(folder.path()).await;
        assert!(talk(&socket, b"hello\n".to_vec()).await.contains("refused"));
        let said = talk(&socket, vec![b'x'; REQUEST_LIMIT + 1]).await;
        assert!(said.contains("line of more than 262144 bytes"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo(folder.path()).await;
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    }

    #[tokio::test]
    async fn a_living_agent_keeps_its_socket_and_a_dead_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo(folder.path()).await;
        let error = Server::bind(&socket, folder.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("another lanekeeper answers there; stop it, or give this one its own --socket"),
            "{error}"
        );
        let stale = folder.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        Server::bind(&stale, folder.path()).unwrap();
    }

    /// Connected as the agent's own user, blocking.
    fn connect(socket: &Path) -> std::os::unix::net::UnixStream {
        let stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// What comes until the other end hangs up, and after how long it did.
    fn rest(mut stream: std::os::unix::net::UnixStream) -> (String, Duration) {
        let start = std::time::Instant::now();
        let mut all = Vec::new();
        // A reset is an end as well: what was said and not read is lost.
        match stream.read_to_end(&mut all) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("nobody hung up"),
            Ok(_) | Err(_) => (String::from_utf8(all).unwrap(), start.elapsed()),
        }
    }

    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    /// What is said to whoever is let in: a place is free a moment after its holder is gone.
    fn until_there_is_a_place(ask: impl Fn() -> Reply) -> Reply {
        for _ in 0..100 {
            match ask() {
                Reply::Refused { error } if error.contains("connections already") => {}
                reply => return reply,
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        ask()
    }

    fn quick() -> Limits {
        Limits { line: Duration::from_secs(1), conversation: Duration::from_secs(3), work: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn fault_half_a_request_is_hung_up_on_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo(folder.path()).await;
        let (said, after) = blocking(move || {
            let mut stream = connect(&socket);
            stream.write_all(b"{\"verb\":").unwrap();
            rest(stream)
        })
        .await;
        assert_eq!(said, "");
        assert!((LIMITS.line / 2..2 * LIMITS.line).contains(&after), "{after:?}");
    }

    #[tokio::test]
    async fn fault_a_request_that_trickles_in_is_hung_up_on_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo_within(folder.path(), quick(), String::new()).await;
        let started = std::time::Instant::now();
        let whole = blocking(move || {
            let mut stream = connect(&socket);
            (0..200).all(|_| {
                std::thread::sleep(Duration::from_millis(50));
                stream.write_all(b" ").is_ok()
            })
        })
        .await;
        assert!(!whole, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn fault_a_conversation_without_end_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo_within(folder.path(), quick(), String::new()).await;
        let started = std::time::Instant::now();
        let answers = blocking(move || {
            let mut stream = connect(&socket);
            let mut byte = [0];
            (0..100)
                .take_while(|_| {
                    std::thread::sleep(Duration::from_millis(100));
                    stream.write_all(&Request::Status {}.encode()).is_ok()
                        && loop {
                            match stream.read(&mut byte) {
                                Ok(1) if byte == *b"\n" => break true,
                                Ok(1) => {}
                                Ok(_) | Err(_) => break false,
                            }
                        }
                })
                .count()
        })
        .await;
        assert!((2..=31).contains(&answers), "{answers} in {:?}", started.elapsed());
    }

    #[tokio::test]
    async fn fault_an_answer_that_is_not_taken_is_given_up_and_its_place_freed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo_within(folder.path(), quick(), "x".repeat(1 << 20)).await;
        let (kept, freed) = blocking(move || {
            let ask = |_| {
                let mut stream = connect(&socket);
                stream.write_all(&Request::Status {}.encode()).unwrap();
                stream
            };
            let idle: Vec<_> = (0..EACH).map(ask).collect();
            std::thread::sleep(Duration::from_secs(3));
            let kept: Vec<usize> = idle.into_iter().map(|stream| rest(stream).0.len()).collect();
            let freed = until_there_is_a_place(|| Reply::decode(rest(ask(0)).0.as_bytes()).unwrap());
            (kept, freed)
        })
        .await;
        assert!(kept.iter().all(|bytes| (1..1 << 20).contains(bytes)), "{kept:?}");
        assert!(matches!(&freed, Reply::Done { message } if message.len() > 1 << 20), "{:.100?}", freed);
    }

    #[tokio::test]
    async fn fault_one_connection_too_many_is_told_so_at_once_and_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let socket = echo(folder.path()).await;
        let (first, refused, after, freed) = blocking(move || {
            let mut idle: Vec<_> = (0..EACH).map(|_| connect(&socket)).collect();
            let start = std::time::Instant::now();
            let refused = client::ask(&socket, &Request::Status {}).unwrap();
            let after = start.elapsed();
            let mut first = idle.pop().unwrap();
            first.write_all(&Request::Status {}.encode()).unwrap();
            first.shutdown(std::net::Shutdown::Write).unwrap();
            let first = rest(first).0;
            (first, refused, after, until_there_is_a_place(|| client::ask(&socket, &Request::Status {}).unwrap()))
        })
        .await;
        let uid = nix::unistd::geteuid();
        let error = format!("uid {uid} has 16 connections already; end one of them, or try again");
        assert_eq!(refused, Reply::Refused { error });
        assert!(after < Duration::from_secs(1), "{after:?}");
        assert!(first.contains("Status"), "{first}");
        assert_eq!(freed, Reply::Done { message: "Status".into() });
    }

    /// An agent that lets everybody observe, and then says so much without end.
    async fn talkative(folder: &Path, limits: Limits, size: usize) -> (PathBuf, oneshot::Receiver<usize>) {
        let socket = folder.join("control.sock");
        let server = Server::bind(&socket, folder).unwrap();
        let (calls, mut mailbox) = mpsc::channel::<Call>(1);
        tokio::spawn(server.serve_within(limits, calls));
        let (left, is_gone) = oneshot::channel();
        tokio::spawn(async move {
            let Call { reply, lines, .. } = mailbox.recv().await.unwrap();
            reply.send(Reply::Observing {}).unwrap();
            let mut said = 0;
            while lines.send(Reply::Done { message: "x".repeat(size) }).await.is_ok() {
                said += 1;
            }
            let _ = left.send(said);
            // Others still find somebody.
            while mailbox.recv().await.is_some() {}
        });
        (socket, is_gone)
    }

    fn observe() -> Vec<u8> {
        Request::Observe { wish: crate::observe::Wish { rate: 1, ..Default::default() } }.encode()
    }

    #[tokio::test]
    async fn see_observe_outlasts_a_conversation_and_ends_when_its_reader_hangs_up() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, is_gone) = talkative(folder.path(), quick(), 1000).await;
        let read = blocking(move || {
            let mut stream = connect(&socket);
            stream.write_all(&observe()).unwrap();
            let started = std::time::Instant::now();
            let (mut buffer, mut read) = ([0; 4096], 0);
            while started.elapsed() < 2 * quick().conversation {
                read += stream.read(&mut buffer).unwrap();
            }
            read
        })
        .await;
        assert!(read > 100_000, "{read}");
        assert!(timeout(Duration::from_secs(5), is_gone).await.unwrap().unwrap() > 100);
    }

    #[tokio::test]
    async fn see_observe_hangs_up_on_a_reader_that_does_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, is_gone) = talkative(folder.path(), quick(), 100_000).await;
        let idle = blocking(move || {
            let mut stream = connect(&socket);
            stream.write_all(&observe()).unwrap();
            stream
        })
        .await;
        let said = timeout(Duration::from_secs(10), is_gone).await.unwrap().unwrap();
        assert!(said < 2 * WAITING, "{said} were said to nobody");
        drop(idle);
    }

    #[test]
    fn fault_who_is_turned_away_is_told_by_which_limit() {
        let places = Places::new(places::Limits { each: 1, all: 2 });
        let _held = [admit(&places, 1000).unwrap(), admit(&places, 1001).unwrap()];
        let said = |uid| admit(&places, uid).unwrap_err().to_string();
        assert_eq!(said(1000), "uid 1000 has 16 connections already; end one of them, or try again");
        assert_eq!(said(1002), "48 readers are connected already; end one of them, or try again");
    }

    #[tokio::test]
    async fn fault_an_agent_that_hangs_is_said_to_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let server = Server::bind(&socket, folder.path()).unwrap();
        let (calls, mailbox) = mpsc::channel::<Call>(1);
        tokio::spawn(server.serve_within(Limits { work: Duration::from_millis(200), ..LIMITS }, calls));
        // The first fills the mailbox, which nobody empties: the second cannot even be put there.
        for _ in 0..2 {
            let socket = socket.clone();
            let said = blocking(move || client::ask(&socket, &Request::Status {}).unwrap()).await;
            assert_eq!(said, Reply::Refused { error: "no answer within 0 s; see the agent's log".into() });
        }
        drop(mailbox);
    }

    #[test]
    fn silence_is_told_apart_from_absence() {
        let folder = tempfile::tempdir().unwrap();
        let error = client::ask(&folder.path().join("none"), &Request::Status {}).unwrap_err().to_string();
        assert!(error.contains("no lanekeeper answers there"), "{error}");
        assert!(error.contains("start `lanekeeper run`"), "{error}");
    }
}
