//! The answering end: a few connections at a time, each with little room and little time, all handed to one mailbox.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{Error, REQUEST_LIMIT, Reply, Request, client};

/// Connections at a time; a status takes milliseconds.
const CONNECTIONS: usize = 16;

/// For a request line to arrive, and for its answer to be taken.
const LINE: Duration = Duration::from_secs(5);

/// For the agent to do what was asked; below the patience of [`client`].
const WORK: Duration = Duration::from_secs(80);

/// A request and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub reply: oneshot::Sender<Reply>,
}

/// A bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    listener: UnixListener,
}

impl Server {
    /// Binds `socket` with mode 0660. A file that a dead agent left behind is replaced.
    pub fn bind(socket: &Path) -> Result<Self, Error> {
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
        std::fs::rename(&fresh, socket).map_err(io("move into place"))?;
        Ok(Self { socket: socket.into(), listener })
    }

    /// Hands every request to `calls`, until nobody takes them any more.
    pub async fn serve(self, calls: mpsc::Sender<Call>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let permit = Arc::clone(&room).acquire_owned().await.expect("never closed");
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
            let calls = calls.clone();
            tokio::spawn(async move {
                if let Err(error) = converse(stream, calls).await {
                    tracing::debug!(%error, "control connection ended");
                }
                drop(permit);
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Answers line after line until the other end hangs up, is silent for too long or talks too much.
async fn converse(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        timeout(LINE, (&mut read).take(REQUEST_LIMIT as u64 + 1).read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        let reply = match Request::decode(&line) {
            Ok(request) => hand_over(request, &calls).await,
            Err(error) => Reply::Refused { error: error.to_string() },
        };
        timeout(LINE, write.write_all(&reply.encode())).await??;
        if !whole {
            return Ok(());
        }
    }
}

async fn hand_over(request: Request, calls: &mpsc::Sender<Call>) -> Reply {
    let (reply, answer) = oneshot::channel();
    if calls.send(Call { request, reply }).await.is_err() {
        return Reply::Refused { error: "the agent is stopping".into() };
    }
    match timeout(WORK, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Reply::Refused { error: "the agent is stopping".into() },
        Err(_) => Reply::Refused { error: format!("no answer within {} s; see the agent's log", WORK.as_secs()) },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// An agent that answers every request with its name.
    async fn echo(folder: &Path) -> PathBuf {
        let socket = folder.join("control.sock");
        let server = Server::bind(&socket).unwrap();
        let (calls, mut mailbox) = mpsc::channel::<Call>(1);
        tokio::spawn(server.serve(calls));
        tokio::spawn(async move {
            while let Some(call) = mailbox.recv().await {
                let _ = call.reply.send(Reply::Done { message: format!("{:?}", call.request) });
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
        let error = Server::bind(&socket).unwrap_err().to_string();
        assert!(
            error.ends_with("another lanekeeper answers there; stop it, or give this one its own --socket"),
            "{error}"
        );
        let stale = folder.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        Server::bind(&stale).unwrap();
    }

    #[test]
    fn silence_is_told_apart_from_absence() {
        let folder = tempfile::tempdir().unwrap();
        let error = client::ask(&folder.path().join("none"), &Request::Status {}).unwrap_err().to_string();
        assert!(error.contains("no lanekeeper answers there"), "{error}");
        assert!(error.contains("start `lanekeeper run`"), "{error}");
    }
}
