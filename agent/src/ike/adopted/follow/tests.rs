//! Against a charon that lists what it is told to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::*;
use crate::ike::testing;
use crate::policy::adopt::{Adopt, Children, Inside, Pattern};
use crate::policy::{ClassIndex, Keying};
use crate::vici::{Frames, Packet};

/// Answers each `list-sas` with the next of its lists, the last again and again, and has an event after each.
struct FalseCharon {
    lists: Mutex<Vec<Vec<Message>>>,
    /// How many were asked for.
    listed: watch::Sender<usize>,
}

impl FalseCharon {
    async fn serve(self: Arc<Self>, mut stream: UnixStream) {
        let mut frames = Frames::default();
        let mut chunk = [0; 4096];
        let (mut listens, mut listed) = (false, self.listed.subscribe());
        loop {
            while let Ok(Some(packet)) = frames.next_packet() {
                listens |= matches!(&packet, Packet::Register(name) if name == "ike-rekey");
                for answer in self.answer(packet) {
                    stream.write_all(&answer.encode().unwrap()).await.unwrap();
                }
            }
            tokio::select! {
                read = stream.read(&mut chunk) => match read {
                    Ok(len) if len > 0 => frames.push(&chunk[..len]),
                    Ok(_) | Err(_) => return,
                },
                _ = listed.changed(), if listens => {
                    let event = Packet::Event { name: "ike-rekey".to_owned(), message: Message::new() };
                    stream.write_all(&event.encode().unwrap()).await.unwrap();
                }
            }
        }
    }

    fn answer(&self, packet: Packet) -> Vec<Packet> {
        match packet {
            Packet::Register(_) | Packet::Unregister(_) => vec![Packet::Confirm],
            Packet::Request { name, .. } if name == "list-sas" => {
                let mut lists = self.lists.lock().unwrap();
                let next = if lists.len() > 1 { lists.remove(0) } else { lists[0].clone() };
                self.listed.send_modify(|listed| *listed += 1);
                let event = |message| Packet::Event { name: "list-sa".to_owned(), message };
                next.into_iter().map(event).chain([Packet::Response(Message::new())]).collect()
            }
            Packet::Request { .. } => vec![Packet::Response(Message::new().with("version", "5.9.8"))],
            _ => Vec::new(),
        }
    }
}

fn policy() -> Policy {
    let mut policy = testing::policy();
    policy.tunnels[0].keying = Keying::Adopted(Adopt {
        connection: "office".to_owned(),
        children: vec![Children { class: ClassIndex(0), names: vec![Pattern("voice".to_owned())] }],
        routes: false,
        addresses: false,
        inside: Inside::default(),
    });
    policy
}

/// `office` with its IKE_SA of that number and `voice`.
fn listed(id: &str) -> Message {
    let child = Message::new()
        .with("name", "voice")
        .with("uniqueid", "5")
        .with("state", "INSTALLED")
        .with("reqid", "7")
        .with("mark-out", "00000001")
        .with("mark-mask-out", "000000ff")
        .with("if-id-out", "0000002a")
        .with("if-id-in", "0000002a");
    let ike = Message::new()
        .with("uniqueid", id)
        .with("state", "ESTABLISHED")
        .with_section("child-sas", Message::new().with_section("voice-5", child));
    Message::new().with_section("office", ike)
}

/// What is told of voice's lane until charon has been asked for so many lists.
async fn told(lists: Vec<Vec<Message>>, until: usize) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vici");
    let socket = UnixListener::bind(&path).unwrap();
    let charon = Arc::new(FalseCharon { lists: Mutex::new(lists), listed: watch::channel(0).0 });
    let mut asked = charon.listed.subscribe();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&charon).serve(stream));
        }
    });
    let (events, mut told) = mpsc::channel(100);
    let following = tokio::spawn(follow(path, Followed::all(&policy()), Learned::new(), events));
    timeout(Duration::from_secs(30), asked.wait_for(|listed| *listed >= until)).await.unwrap().unwrap();
    following.abort();
    serving.abort();
    let mut of_voice = Vec::new();
    while let Some(event) = told.recv().await {
        match event {
            Event::Adopted(..) => of_voice.push("up"),
            Event::LaneDown(lane) if lane.class == "voice" => of_voice.push("down"),
            _ => {}
        }
    }
    of_voice
}

#[tokio::test]
async fn a_list_that_has_neither_of_two_ike_sas_during_a_rekey_takes_no_lane() {
    let lists = vec![vec![listed("1")], vec![], vec![listed("2")]];
    assert_eq!(told(lists, 5).await, ["up"]);
}

#[tokio::test]
async fn what_two_lists_in_a_row_lack_is_gone() {
    assert_eq!(told(vec![vec![listed("1")], vec![]], 5).await, ["up", "down"]);
}

#[test]
fn the_virtual_ips_of_an_ike_sa_that_stands_are_its_connections() {
    let section = |state: &str, given: &[&str]| {
        Message::new().with("uniqueid", "1").with("state", state).with_list("local-vips", given)
    };
    let mut seen = Seen::default();
    // While one IKE_SA takes another's place there are two of the connection.
    seen.add("office", &section("ESTABLISHED", &["10.3.0.1", "2001:db8:3::1"]));
    seen.add("office", &section("REKEYING", &["10.3.0.1", "10.3.0.2"]));
    seen.add("office", &section("DELETING", &["10.3.0.3"]));
    seen.add("home", &section("ESTABLISHED", &[]));
    let given =
        |connection: &str| -> Vec<String> { seen.virtual_ips[connection].iter().map(ToString::to_string).collect() };
    assert_eq!(given("office"), ["10.3.0.1", "10.3.0.2", "2001:db8:3::1"]);
    assert_eq!(given("home"), [] as [&str; 0]);
}
