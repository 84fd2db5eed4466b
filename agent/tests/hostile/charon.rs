//! Whoever listens where charon should.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lanekeeper::config;
use lanekeeper::ike::adopted::{Child, Followed};
use lanekeeper::ike::machine::{Input, Machine};
use lanekeeper::ike::sas::{IkeSa, Notice};
use lanekeeper::ike::{Connection, Credentials, Load, Standing};
use lanekeeper::lane::LaneId;
use lanekeeper::policy::{Policy, TunnelIndex};
use lanekeeper::vici::{DecodeError, Frames, Message, Packet};

/// A tunnel of ours and one of theirs, with names that charon's messages in the corpus have.
const FILE: &str = r#"
[[class]]
name = "voice"
[[class]]
name = "bulk"
lanes = 2
[[tunnel]]
name = "b7"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice", "bulk"]
device = { type = "xfrm", name = "lk-b7", if-id = 42 }
routes = ["10.2.0.0/16"]
[tunnel.ike]
auth = { psk-file = "/nowhere" }
[[tunnel]]
name = "b9"
local = "192.0.2.1"
remote = "192.0.2.9"
classes = ["voice", "bulk"]
device = { type = "xfrm", name = "lk-b9", if-id = 45, addresses = "virtual" }
routes = "selectors"
[tunnel.adopt]
connection = "b9"
children = [{ class = "voice", names = ["voice*"] }, { class = "bulk", names = ["*"] }]
[default]
class = "voice"
"#;

/// Bytes are what comes from the socket: cut into packets in the same way however they come, said again as they were read, and
/// whatever they tell, every lane of the policy has a condition and nothing that is not in the policy has.
pub fn vici(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else { return };
    let whole = packets(stream, stream.len().max(1));
    assert_eq!(packets(stream, usize::from(step).max(1)), whole);
    let packets = match whole {
        Ok(packets) | Err((packets, _)) => packets,
    };
    for packet in &packets {
        if let Ok(encoded) = packet.encode() {
            assert_eq!(Packet::decode(&encoded[4..]).as_ref(), Ok(packet));
        }
    }
    let policy = config::parse_text("fuzz.toml", FILE).unwrap().policy;
    tell_machine(&policy, &packets);
    tell_followed(&policy, &packets);
}

type Cut = Result<Vec<Packet>, (Vec<Packet>, DecodeError)>;

fn packets(stream: &[u8], step: usize) -> Cut {
    let (mut frames, mut packets) = (Frames::default(), Vec::new());
    for part in stream.chunks(step) {
        frames.push(part);
        loop {
            match frames.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return Err((packets, error)),
            }
        }
    }
    Ok(packets)
}

fn sections(packets: &[Packet]) -> impl Iterator<Item = (&str, &Message)> {
    packets.iter().flat_map(|packet| match packet {
        Packet::Event { message, .. } | Packet::Response(message) | Packet::Request { message, .. } => {
            message.sections().collect::<Vec<_>>()
        }
        Packet::CommandUnknown
        | Packet::Register(_)
        | Packet::Unregister(_)
        | Packet::Confirm
        | Packet::EventUnknown => Vec::new(),
    })
}

fn tell_machine(policy: &Policy, packets: &[Packet]) {
    let mut machine = Machine::new(1);
    let connections = Connection::all(policy, TunnelIndex(0));
    let lanes: BTreeSet<LaneId> =
        connections.iter().flat_map(|connection| &connection.lanes).map(|lane| lane.lane.clone()).collect();
    let mut now = Duration::ZERO;
    for connection in connections {
        let credentials = Credentials::Psk(b"no key".to_vec().into());
        machine.step(now, Input::Load(Arc::new(Load { connection, credentials }), Standing::Adopt));
    }
    machine.step(now, Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
    let sas: Vec<IkeSa> = sections(packets).filter_map(|(name, section)| IkeSa::read(name, section)).collect();
    let notices = packets.iter().filter_map(|packet| match packet {
        Packet::Event { name, message } => Notice::read(name, message),
        _ => None,
    });
    let inputs = notices.map(Input::Notice).chain([Input::Sas { asked: now, sas }, Input::Tick]);
    for input in inputs.collect::<Vec<_>>() {
        now += Duration::from_secs(1);
        machine.step(now, input);
        assert!(machine.wake().is_some(), "it would sleep for ever");
        for status in machine.status() {
            assert_eq!(status.tunnel, "b7");
            assert_eq!(status.lanes.iter().map(|lane| lane.lane.clone()).collect::<BTreeSet<_>>(), lanes);
        }
    }
}

fn tell_followed(policy: &Policy, packets: &[Packet]) {
    let children: Vec<Child> = sections(packets).flat_map(|(name, section)| Child::read_all(name, section)).collect();
    for followed in Followed::all(policy) {
        let own: BTreeSet<LaneId> = followed.lanes().collect();
        let bound = followed.bind(&children, &Default::default());
        assert!(bound.lanes.keys().all(|lane| own.contains(lane)), "{bound:?}");
        // A look without a change changes nothing.
        assert_eq!(followed.bind(&children, &bound.lanes).lanes, bound.lanes);
        let inner = followed.inner(&children, []);
        assert_eq!(followed.inner(&children, []).ends, inner.ends);
    }
}
