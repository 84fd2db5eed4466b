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
    assert!(error.ends_with("another lanekeeper answers there; stop it, or give this one its own --socket"), "{error}");
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
        let mut idle: Vec<_> = (0..EACH).map(ask).collect();
        // An answer's time counts from where it begins.
        idle.iter_mut().for_each(|stream| stream.read_exact(&mut [0]).unwrap());
        std::thread::sleep(quick().conversation + Duration::from_secs(1));
        let kept: Vec<usize> = idle.into_iter().map(|stream| rest(stream).0.len()).collect();
        let freed = until_there_is_a_place(|| Reply::decode(rest(ask(0)).0.as_bytes()).unwrap());
        (kept, freed)
    })
    .await;
    assert!(kept.iter().all(|bytes| *bytes < 1 << 20), "{kept:?}");
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
