//! Against a charon that does as it is told, and worse.

use tokio::net::UnixListener;

use super::*;

/// What the false charon does with each packet in turn.
enum Part {
    Send(Vec<Packet>),
    Bytes(Vec<u8>),
    Nothing,
    Close,
}

struct FalseCharon {
    folder: tempfile::TempDir,
}

impl FalseCharon {
    /// One connection at a time; each packet that comes in plays the next part.
    fn play(parts: Vec<Part>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(folder.path().join("vici")).unwrap();
        tokio::spawn(async move {
            let mut parts = parts.into_iter();
            'connection: loop {
                let Ok((mut stream, _)) = socket.accept().await else { return };
                let mut frames = Frames::default();
                let mut chunk = [0; 4096];
                loop {
                    while let Ok(Some(_)) = frames.next_packet() {
                        match parts.next() {
                            Some(Part::Send(packets)) => {
                                for packet in packets {
                                    stream.write_all(&packet.encode().unwrap()).await.unwrap();
                                }
                            }
                            Some(Part::Bytes(bytes)) => stream.write_all(&bytes).await.unwrap(),
                            Some(Part::Nothing) => {}
                            Some(Part::Close) | None => continue 'connection,
                        }
                    }
                    match stream.read(&mut chunk).await {
                        Ok(len) if len > 0 => frames.push(&chunk[..len]),
                        _ => continue 'connection,
                    }
                }
            }
        });
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vici")
    }

    async fn client(&self) -> Client {
        Client::connect(&self.path(), quick()).await.unwrap()
    }
}

fn quick() -> Timeouts {
    Timeouts { connect: Duration::from_millis(200), answer: Duration::from_millis(100) }
}

fn response(message: Message) -> Part {
    Part::Send(vec![Packet::Response(message)])
}

fn event(name: &str, value: &str) -> Packet {
    Packet::Event { name: name.to_owned(), message: Message::new().with("value", value) }
}

#[tokio::test]
async fn events_between_a_request_and_its_answer_are_no_answer() {
    let answer = Packet::Response(Message::new().with("daemon", "charon"));
    let charon = FalseCharon::play(vec![Part::Send(vec![event("log", "x"), answer])]);
    let answer = charon.client().await.request("version", Message::new()).await.unwrap();
    assert_eq!(answer.text("daemon"), Some("charon"));
}

#[tokio::test]
async fn a_streamed_answer_is_registered_for_and_unregistered() {
    let stream =
        vec![event("list-sa", "1"), event("other", "2"), event("list-sa", "3"), Packet::Response(Message::new())];
    let confirm = || Part::Send(vec![Packet::Confirm]);
    let charon = FalseCharon::play(vec![confirm(), Part::Send(stream), confirm(), response(Message::new())]);
    let mut client = charon.client().await;
    let mut seen = Vec::new();
    let each = |message: Message| seen.push(message.text("value").unwrap_or_default().to_owned());
    client.stream("list-sas", "list-sa", Message::new(), quick().answer, each).await.unwrap();
    assert_eq!(seen, ["1", "3"]);
    client.request("version", Message::new()).await.unwrap();
}

#[tokio::test]
async fn a_stalling_charon_ends_in_a_timeout_and_the_connection_is_not_used_again() {
    let charon = FalseCharon::play(vec![Part::Nothing]);
    let mut client = charon.client().await;
    let error = client.request("version", Message::new()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(matches!(client.request("version", Message::new()).await, Err(Error::OutOfStep)));
}

#[tokio::test]
async fn a_stream_that_dries_up_ends_in_a_timeout() {
    let charon = FalseCharon::play(vec![Part::Send(vec![Packet::Confirm]), Part::Send(vec![event("list-sa", "1")])]);
    let mut client = charon.client().await;
    let error = client.stream("list-sas", "list-sa", Message::new(), quick().answer, |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_is_charons_word_and_the_connection_lives_on() {
    let no = Message::new().with("success", "no").with("errmsg", "no such thing");
    let charon = FalseCharon::play(vec![response(no), response(Message::new())]);
    let mut client = charon.client().await;
    let error = client.request("load-conn", Message::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "charon refuses `load-conn`: no such thing");
    client.request("version", Message::new()).await.unwrap();
}

#[tokio::test]
async fn a_closed_connection_says_what_was_under_way() {
    let charon = FalseCharon::play(vec![Part::Close]);
    let error = charon.client().await.request("stats", Message::new()).await.unwrap_err();
    assert!(matches!(&error, Error::Closed { during } if during == "stats"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_packet_are_an_error() {
    let charon = FalseCharon::play(vec![Part::Bytes(vec![0xff; 64])]);
    let error = charon.client().await.request("stats", Message::new()).await.unwrap_err();
    assert!(matches!(error, Error::Decode(DecodeError::TooLong(_))), "{error}");
}

#[tokio::test]
async fn events_that_come_before_a_confirmation_are_not_lost() {
    let charon = FalseCharon::play(vec![
        Part::Send(vec![Packet::Confirm]),
        Part::Send(vec![event("child-updown", "early"), Packet::Confirm, event("child-updown", "late")]),
    ]);
    let mut listener = Listener::connect(&charon.path(), quick(), &["child-updown", "ike-updown"]).await.unwrap();
    for wanted in ["early", "late"] {
        let (_, message) = listener.next().await.unwrap();
        assert_eq!(message.text("value"), Some(wanted));
    }
}

#[tokio::test]
async fn an_old_charon_is_named_with_the_cure() {
    let old = Message::new().with("daemon", "charon-systemd").with("version", "5.9.5");
    let charon = FalseCharon::play(vec![response(old)]);
    let error = charon.client().await.check_version().await.unwrap_err().to_string();
    assert!(
        error.contains("charon-systemd is strongSwan 5.9.5") && error.contains("install 5.9.6 or newer"),
        "{error}"
    );
}

#[tokio::test]
async fn a_socket_that_is_not_there_or_not_served_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vici");
    assert!(matches!(Client::connect(&path, quick()).await, Err(Error::Absent { .. })));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path, quick()).await, Err(Error::NotRunning { .. })));
    let denied = refused(&path, io::ErrorKind::PermissionDenied.into());
    assert!(denied.to_string().contains("run lanekeeper as root"), "{denied}");
}

#[test]
fn versions_are_compared_by_number() {
    for (version, wanted) in [
        ("5.9.8", true),
        ("5.9.6", true),
        ("5.9.14dr1", true),
        ("5.10", true),
        ("6.0.0beta6", true),
        ("6", true),
        ("5.9.5", false),
        ("5.9", false),
        ("4.6.9", false),
        ("", false),
        ("of unknown version", false),
    ] {
        assert_eq!(is_new_enough(version), wanted, "{version}");
    }
}

/// Printed for the eye (`--nocapture`); each must name its object, and none may end in a period.
#[test]
fn every_error_is_a_sentence_of_its_own() {
    let path = PathBuf::from("/run/x.vici");
    let text = |text: &str| text.to_owned();
    let errors = [
        (Error::Absent { path: path.clone() }, "/run/x.vici is not there"),
        (Error::NotRunning { path: path.clone() }, "nobody listens on /run/x.vici"),
        (Error::Permission { path: path.clone() }, "no permission to open /run/x.vici"),
        (Error::Socket { path, source: io::ErrorKind::OutOfMemory.into() }, "/run/x.vici: "),
        (Error::Closed { during: text("stats") }, "while `stats` was under way"),
        (Error::Timeout { command: text("stats"), after: Duration::from_secs(5) }, "`stats` within 5000 ms"),
        (Error::OutOfStep, "abandoned"),
        (Error::Refused { command: text("load-conn"), reason: text("why") }, "refuses `load-conn`: why"),
        (Error::UnknownCommand { command: text("stats") }, "the command `stats`"),
        (Error::UnknownEvent { event: text("log") }, "the event `log`"),
        (Error::Unexpected { command: text("stats") }, "answered `stats` with a packet of another kind"),
        (Error::Version { daemon: text("charon"), found: text("5.8") }, "charon is strongSwan 5.8"),
        (Error::Decode(DecodeError::Unclosed), "not closed"),
        (Error::Encode(EncodeError::TooDeep), "nest deeper"),
    ];
    for (error, wanted) in errors {
        let shown = error.to_string();
        println!("{shown}");
        assert!(shown.contains(wanted) && !shown.ends_with('.'), "{shown}");
    }
}
