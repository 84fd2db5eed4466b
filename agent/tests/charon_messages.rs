//! What the operator reads where charon is absent, stopped, silent or of the wrong version: the whole text.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lanekeeper::vici::{Client, Error, Frames, Message, Packet, Timeouts};

/// For a charon that never answers: all others have as long as they need.
const QUICK: Timeouts = Timeouts { connect: Duration::from_millis(500), answer: Duration::from_millis(100) };

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("charon.vici")
    }

    /// The text without this test's folder.
    fn text(&self, error: &Error) -> String {
        error.to_string().replace(&self.folder.path().display().to_string(), "/run")
    }
}

/// Connects and asks for the version.
async fn greet(socket: &Path, timeouts: Timeouts) -> Result<String, Error> {
    Client::connect(socket, timeouts).await?.check_version().await
}

/// A charon that answers one request with `answer`, or never.
fn serve(socket: &Path, answer: Option<Packet>) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut frames = Frames::default();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            frames.push(&bytes[..count]);
            if let Ok(Some(_)) = frames.next_packet()
                && let Some(answer) = &answer
            {
                let body = answer.encode().expect("a packet");
                stream.write_all(&body).expect("a client");
            }
        }
    })
}

#[tokio::test]
async fn charon_is_absent() {
    let bench = Bench::new();
    let error = greet(&bench.socket(), Timeouts::default()).await.expect_err("nobody is there");
    assert_eq!(
        bench.text(&error),
        "charon's socket /run/charon.vici is not there: start strongSwan (`systemctl start strongswan`) with its vici \
         plugin, or set `vici` in [ike] to the socket that charon's `plugins.vici.socket` names"
    );
}

#[tokio::test]
async fn charon_has_stopped() {
    let bench = Bench::new();
    drop(UnixListener::bind(bench.socket()).expect("a socket"));
    let error = greet(&bench.socket(), Timeouts::default()).await.expect_err("nobody listens");
    assert_eq!(
        bench.text(&error),
        "nobody listens on /run/charon.vici: charon has stopped; start it (`systemctl start strongswan`)"
    );
}

#[tokio::test]
async fn charon_is_too_old_to_label_lanes() {
    let bench = Bench::new();
    let version = Message::new().with("daemon", "charon").with("version", "5.9.1");
    let charon = serve(&bench.socket(), Some(Packet::Response(version)));
    let error = greet(&bench.socket(), Timeouts::default()).await.expect_err("too old");
    assert_eq!(
        bench.text(&error),
        "charon is strongSwan 5.9.1, which cannot label CHILD_SAs: install 5.9.6 or newer on both ends (Debian 12 has 5.9.8)"
    );
    charon.join().expect("no panic in charon");
}

#[tokio::test]
async fn charon_of_a_good_version_is_welcome() {
    let bench = Bench::new();
    let version = Message::new().with("daemon", "charon").with("version", "5.9.8");
    let charon = serve(&bench.socket(), Some(Packet::Response(version)));
    assert_eq!(greet(&bench.socket(), Timeouts::default()).await.expect("new enough"), "5.9.8");
    charon.join().expect("no panic in charon");
}

#[tokio::test]
async fn charon_hangs() {
    let bench = Bench::new();
    let charon = serve(&bench.socket(), None);
    let error = greet(&bench.socket(), QUICK).await.expect_err("silence");
    assert_eq!(
        bench.text(&error),
        "charon did not answer `version` within 100 ms; it hangs, or all its worker threads are busy (`charon.threads`)"
    );
    charon.join().expect("no panic in charon");
}
