//! The lab itself, with lanes made by hand and no agent: a fault found in a lane is not the lab's.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use xtask::lab::capture::Capture;
use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::Traffic;
use xtask::lab::{Family, Lab, Side, congestion, handmade, sa};

#[test]
fn lab_counts_every_packet_of_a_lane_on_the_wire_and_in_the_kernel() {
    let lab = Lab::new("hand").unwrap();
    handmade::two_lanes(&lab).unwrap();
    let capture = Capture::start(&lab.wan()).unwrap();
    let mut voice = lab.flow("voice", Side::A, Family::V4, 5060);
    (voice.dscp, voice.count) = (46, Some(50));
    let mut bulk = lab.flow("bulk", Side::B, Family::V4, 9000);
    bulk.count = Some(70);
    let tallies = Traffic::run(&[voice, bulk]).unwrap();
    assert_eq!(tallies.iter().map(|tally| (tally.sent, tally.received)).collect::<Vec<_>>(), [(50, 50), (70, 70)]);

    let states = sa::list(&lab.gateway(Side::B)).unwrap();
    let mut packets: Vec<_> = states.iter().map(|state| (state.source, state.reqid, state.packets)).collect();
    packets.sort_unstable();
    let (a, b) = (Side::A.outer(Family::V4), Side::B.outer(Family::V4));
    assert_eq!(packets, [(a, 1, 0), (a, 2, 50), (b, 1, 70), (b, 2, 0)]);

    let seen = capture.stop().unwrap();
    assert_eq!((seen.esp_total(), seen.clear), (120, 0), "{seen:?}");
}

#[test]
fn lab_charons_answer_and_come_back_after_a_kill() {
    let scenario = Scenario::four_classes(Keying::Certificate);
    let mut gateways = Gateways::idle("charon", scenario, Path::new(env!("CARGO_BIN_EXE_lanekeeper"))).unwrap();
    for side in [Side::A, Side::B] {
        assert!(gateways.charon(side).unwrap().swanctl("--version").unwrap().contains("strongSwan"));
    }
    gateways.take_charon(Side::A).unwrap().kill().unwrap();
    gateways.start_charon(Side::A).unwrap();
    assert!(gateways.charon(Side::A).unwrap().swanctl("--stats").unwrap().contains("uptime"));
}

#[test]
fn lab_sees_cleartext() {
    let lab = Lab::new("clear").unwrap();
    let capture = Capture::start(&lab.wan()).unwrap();
    let mut flow = lab.flow("plain", Side::A, Family::V6, 9000);
    flow.count = Some(10);
    // Without a tunnel the gateway sends it to its default route, and the router knows no way to the LAN.
    Traffic::run(&[flow]).unwrap();
    let seen = capture.stop().unwrap();
    assert!(seen.clear >= 10, "{seen:?}");
}

#[test]
fn lab_takes_no_word_that_nobody_listens_for_ike_for_cleartext() {
    let lab = Lab::new("deaf").unwrap();
    let capture = Capture::start(&lab.wan()).unwrap();
    for family in [Family::V4, Family::V6] {
        let [from, to] = [Side::A, Side::B].map(|side| SocketAddr::new(side.outer(family), 500));
        let answer = lab.gateway(Side::A).run(|| {
            let socket = UdpSocket::bind(from)?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            socket.send(&[0; 28])?;
            Ok(socket.recv(&mut [0; 64]).unwrap_err().kind())
        });
        assert_eq!(answer.unwrap(), ErrorKind::ConnectionRefused);
    }
    let seen = capture.stop().unwrap();
    assert_eq!((seen.ike, seen.clear), (2, 0), "{seen:?}");
}

#[test]
fn lab_shows_one_sa_losing_what_two_lanes_keep() {
    let time = Duration::from_secs(10);
    let one = {
        let lab = Lab::new("one").unwrap();
        handmade::one_sa(&lab).unwrap();
        congestion::measure(&lab, time).unwrap()
    };
    let lanes = {
        let lab = Lab::new("two").unwrap();
        handmade::two_lanes(&lab).unwrap();
        congestion::measure(&lab, time).unwrap()
    };
    println!("one SA: {one:?}\nlanes: {lanes:?}");
    assert!(one.sequence_errors > 100 && one.bulk_loss_percent() > 50.0, "{one:?}");
    assert_eq!(lanes.sequence_errors, 0, "{lanes:?}");
    assert_eq!(lanes.bulk_arrived(), lanes.bulk.received, "{lanes:?}");
    assert_eq!(lanes.voice.lost(), 0, "{lanes:?}");
}
