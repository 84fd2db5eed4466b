//! Roadwarriors: clients from anywhere share one adopted connection and one device. Each has its own CHILD_SA of each lane, found by
//! the lane's mark and its virtual IP; they come and go, and nobody else notices.

mod equal;
mod joint;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::capture::Capture;
use xtask::lab::gateways::LANES_UP;
use xtask::lab::scenario::{DEVICE, TUNNEL};
use xtask::lab::traffic::{Flow, Traffic, assert_whole};
use xtask::lab::{Side, dump, netns, sa};
use xtask::soak::footprint;

use stage::{CLIENTS, Client, FOLLOWED, KEY, LANES, OUTER, Stage, clients_conf, outer};

#[test]
fn attach_clients_share_a_device_and_each_lane_is_a_set_of_their_sas() {
    let mut stage = Stage::new();
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    for client in CLIENTS {
        stage.connect(client);
    }
    let up = stage.0.agent(Side::A).wait_for_lanes(3, LANES_UP);
    up.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.0.agent_of(Side::A).log()));
    stage.wait_for_clients(3, [3, 3, 3]);
    stage.wait_for_routes(&CLIENTS);
    stage.assert_planned();

    stage.assert_each_class_has_its_lane(&CLIENTS);
    let metrics = stage.0.agent_of(Side::A).metrics().unwrap();
    assert_eq!(metrics.sum("lanekeeper_tunnel_clients", &[("tunnel", TUNNEL)]) as u64, 3);

    // Keys change and a client leaves, under the traffic of the others: they lose nothing.
    let flows: Vec<Flow> = [1, 3].into_iter().flat_map(|client| stage.flows(client, 400)).collect();
    let traffic = Traffic::start(&flows).unwrap();
    for child in LANES {
        stage.swanctl(Side::A, &format!("--rekey --child {child}"));
    }
    stage.swanctl(Side::A, "--rekey --ike roads");
    thread::sleep(Duration::from_secs(1));
    stage.swanctl(Side::B, "--terminate --ike client-2");
    stage.wait_for_clients(2, [2, 2, 2]);
    stage.wait_for_routes(&[1, 3]);
    assert_eq!(stage.by_kernel(2), []);
    assert_whole(&traffic.finish().unwrap());
    assert_eq!(stage.received(&[1, 2, 3], 5), [[5; 6], [0; 6], [5; 6]].concat());
    stage.assert_planned();

    // A client lacks a lane that another has: the lane is up, and the kernel drops what is for the one that lacks it.
    stage.swanctl(Side::B, "--terminate --ike client-3 --child voice");
    stage.wait_for_clients(2, [1, 2, 2]);
    assert_eq!(stage.received(&[1, 3], 5), [5, 5, 5, 5, 5, 5, 0, 5, 5, 0, 5, 5]);
    // Nobody has it: its class falls back.
    stage.swanctl(Side::B, "--terminate --ike client-1 --child voice");
    stage.wait_for_clients(2, [0, 2, 2]);
    assert_eq!(stage.received(&[1, 3], 5), [5, 5, 5, 0, 5, 5, 5, 5, 5, 0, 5, 5]);
    stage.assert_planned();

    // The last ones leave, through a restart of the agent, and one comes back.
    stage.swanctl(Side::B, "--terminate --ike client-1");
    stage.0.agent(Side::A).kill().unwrap();
    stage.swanctl(Side::B, "--terminate --ike client-3");
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_clients(0, [0, 0, 0]);
    stage.wait_for_routes(&[]);
    assert_eq!(stage.received(&[1], 5), [0; 6]);
    stage.connect(1);
    stage.wait_for_clients(1, [1, 1, 1]);
    stage.wait_for_routes(&[1]);
    assert_eq!(stage.received(&[1], 5), [5; 6]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");

    stage.swanctl(Side::B, "--terminate --ike client-1");
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}

#[test]
fn attach_clients_have_devices_of_their_own_while_they_are_there() {
    let mut stage = Stage::new();
    stage.separate("%unique");
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_devices(0, &[]);
    let idle = machine(&stage);
    for client in [1, 2] {
        stage.connect(client);
    }
    stage.wait_for_clients(2, [2, 2, 2]);
    let before = stage.wait_for_devices(2, &[1, 2]);
    stage.assert_planned();
    stage.assert_each_class_has_its_lane(&[1, 2]);

    // One leaves under the traffic of the other, whose keys and IKE_SA change: its device stays, and loses nothing.
    let traffic = Traffic::start(&stage.flows(1, 300)).unwrap();
    stage.swanctl(Side::A, "--rekey --child voice");
    stage.swanctl(Side::A, "--rekey --ike roads");
    thread::sleep(Duration::from_millis(500));
    stage.swanctl(Side::B, "--terminate --ike client-2");
    stage.wait_for_clients(1, [1, 1, 1]);
    let after = stage.wait_for_devices(1, &[1]);
    assert_whole(&traffic.finish().unwrap());
    assert_eq!(after, before[..1]);
    assert_eq!(stage.received(&[1, 2], 5), [[5; 6], [0; 6]].concat());
    stage.assert_planned();

    // The last one leaves while no agent runs: nothing of any of them stays.
    stage.0.agent(Side::A).kill().unwrap();
    stage.swanctl(Side::B, "--terminate --ike client-1");
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_devices(0, &[]);
    assert_eq!(stage.received(&[1], 5), [0; 6]);
    assert_eq!(dump::difference(&idle, &machine(&stage)), Vec::<String>::new());

    // Two devices each, one for what comes in.
    stage.separate("%unique-dir");
    stage.connect(1);
    stage.wait_for_clients(1, [1, 1, 1]);
    stage.wait_for_devices(2, &[1]);
    stage.assert_each_class_has_its_lane(&[1]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");
    stage.swanctl(Side::B, "--terminate --ike client-1");
    stage.wait_for_devices(0, &[]);
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}

#[test]
fn attach_clients_share_a_vti_for_any_peer() {
    netns::run(Command::new("modprobe").args(["-a", "ip_vti", "ip6_vti"])).unwrap();
    let mut stage = Stage::new();
    stage.by_vti(&KEY);
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    assert_eq!(stage.received(&[1], 5), [0; 6]);
    for client in CLIENTS {
        stage.come(client);
    }
    let deadline = Instant::now() + FOLLOWED;
    while stage.clients() != (3, vec![3]) {
        let log = || format!("{:#}\n{}", stage.status(), stage.0.agent_of(Side::A).log());
        assert!(Instant::now() < deadline, "{}", log());
        thread::sleep(Duration::from_millis(50));
    }
    stage.wait_for_routes(&CLIENTS);
    stage.assert_planned();

    // Every class falls back to the one lane, to each client by its own SA and back.
    let sent: Vec<Vec<(u32, u64)>> = CLIENTS.map(|client| stage.by_kernel(client)).to_vec();
    let (out, back) = stage.counted(&["default"])[0];
    assert_eq!(stage.received(&CLIENTS, 10), [10; 18]);
    assert_eq!(stage.counted(&["default"]), [(out + 90, back + 90)]);
    for (client, sent) in CLIENTS.into_iter().zip(sent) {
        let [(KEY, packets)] = sent[..] else { panic!("client {client}: {sent:?}") };
        assert_eq!(stage.by_kernel(client), [(KEY, packets + 30)], "client {client}");
    }

    // One leaves under the traffic of the others, and charon's keys change.
    let flows: Vec<Flow> = [1, 3].into_iter().flat_map(|client| stage.flows(client, 300)).collect();
    let traffic = Traffic::start(&flows).unwrap();
    stage.swanctl(Side::A, "--rekey --child rest");
    thread::sleep(Duration::from_millis(500));
    stage.leave(2);
    stage.wait_for_routes(&[1, 3]);
    assert_whole(&traffic.finish().unwrap());
    assert_eq!(stage.received(&CLIENTS, 5), [[5; 6], [0; 6], [5; 6]].concat());
    stage.assert_planned();

    // Without the device the routes behind it block.
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.lab().gateway(Side::A).sh(&format!("ip link del {DEVICE}")).unwrap();
    assert_eq!(stage.received(&[1], 5)[..3], [0; 3]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");
    for client in [1, 3] {
        stage.leave(client);
    }
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}

#[test]
fn attach_clients_have_vtis_of_their_own_while_they_are_there() {
    netns::run(Command::new("modprobe").args(["-a", "ip_vti", "ip6_vti"])).unwrap();
    let mut stage = Stage::new();
    stage.by_vti_each();
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_devices(0, &[]);
    for client in [1, 2] {
        stage.come(client);
    }
    let before = stage.wait_for_devices(2, &[1, 2]);
    stage.assert_planned();
    let (out, back) = stage.counted(&["default"])[0];
    assert_eq!(stage.received(&[1, 2], 10), [10; 12]);
    assert_eq!(stage.counted(&["default"]), [(out + 60, back + 60)]);

    // A rekey moves nothing, and one who leaves takes his device alone.
    let traffic = Traffic::start(&stage.flows(1, 300)).unwrap();
    stage.swanctl(Side::A, "--rekey --child rest");
    thread::sleep(Duration::from_millis(500));
    stage.leave(2);
    assert_eq!(stage.wait_for_devices(1, &[1]), before[..1]);
    assert_whole(&traffic.finish().unwrap());
    assert_eq!(stage.received(&[1, 2], 5), [[5; 6], [0; 6]].concat());
    stage.leave(1);
    stage.wait_for_devices(0, &[]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}

#[test]
fn attach_clients_move_and_their_esp_stays_out_of_a_default_route() {
    let mut stage = Stage::new();
    stage.everywhere();
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    let (home, away) = (outer(1), outer(81));
    stage.move_to(None, home);
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_clients(0, [0; 3]);
    let connects = "--initiate --ike client-1 --child rest --timeout 8";
    // Where the file does not name the mark, the answers to a client enter the tunnel that it wants to have.
    assert!(stage.0.charon(Side::B).unwrap().swanctl(connects).is_err());
    stage.swanctl(Side::B, "--terminate --ike client-1 --force");

    let config = stage.0.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    fs::write(&config, toml.replacen("[mark]\n", &format!("[mark]\nouter = {OUTER:#x}\n"), 1)).unwrap();
    stage.0.agent_of(Side::A).must(&["reload"]).unwrap();
    stage.connect(1);
    stage.wait_for_clients(1, [1, 1, 1]);
    stage.assert_planned();
    stage.assert_each_class_has_its_lane(&[1]);
    let gateway = stage.0.lab().gateway(Side::A);
    let way = |mark: u32| gateway.sh(&format!("ip route get {away} mark {mark:#x}")).unwrap();
    assert!(way(0).contains(DEVICE) && way(OUTER + 1).contains("wan0"), "{} {}", way(0), way(OUTER));

    // It moves: what it had it still has, and both ends can still change keys.
    let esp_to = |address| sa::list(&gateway).unwrap().into_iter().filter(|sa| sa.destination == address).count();
    assert_eq!((esp_to(home), esp_to(away)), (3, 0));
    stage.move_to(Some(home), away);
    let deadline = Instant::now() + MOVED;
    while (esp_to(home), esp_to(away)) != (0, 3) {
        let log = || stage.0.charon(Side::B).unwrap().log().unwrap();
        assert!(Instant::now() < deadline, "{} and {} SAs\n{}", esp_to(home), esp_to(away), log());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(stage.received(&[1], 20), [20; 6]);
    stage.swanctl(Side::A, "--rekey --ike roads");
    stage.swanctl(Side::A, "--rekey --child voice");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(stage.received(&[1], 20), [20; 6]);
    stage.assert_planned();
    let doctor = stage.0.agent_of(Side::A).call(&["doctor", &config.display().to_string()]).unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!said.contains("loop") && !said.contains("[mark] outer"), "{said}");

    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");
    stage.leave(1);
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}

/// From a client's new address to its SAs at the gateway: charon looks for a path, and asks by it.
const MOVED: Duration = Duration::from_secs(60);

/// What a variable says, for a run by hand.
fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

/// Time that a process has had of a processor, in user and kernel mode (proc(5), stat).
fn processor(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

/// A dozen for 20 s, for a guest's processor is emulated; or as many as are asked for: `cargo xtask guest -- env
/// LANEKEEPER_CLIENTS=200 LANEKEEPER_SECONDS=300 ...` of this target.
#[test]
fn attach_clients_who_come_and_go_at_random_leave_nothing() {
    let crowd = Client::try_from(asked("LANEKEEPER_CLIENTS", 12)).unwrap();
    let time = Duration::from_secs(asked("LANEKEEPER_SECONDS", 20));
    let mut stage = Stage::new();
    stage.separate("%unique");
    let others = (1..=crowd).filter(|client| !CLIENTS.contains(client));
    let addresses: String = others.map(|client| format!("ip addr add {}/24 dev wan0\n", outer(client))).collect();
    stage.0.lab().gateway(Side::B).sh(&addresses).unwrap();
    stage.load(Side::B, &clients_conf(1..=crowd));
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    // Who comes first brings what stays, such as names of the counters.
    stage.come(1);
    stage.wait_for_crowd(1);
    stage.leave(1);
    stage.wait_for_crowd(0);
    let idle = machine(&stage);
    let before = footprint::read(stage.0.agent_of(Side::A)).unwrap();

    let agent = stage.0.agent_of(Side::A).id().unwrap();
    let (begin, had) = (Instant::now(), processor(agent));
    let mut there = BTreeSet::new();
    let (mut moves, mut most) = (0, 0);
    // Knuth's MMIX: who moves is the same each time.
    let mut random: u64 = 7;
    while begin.elapsed() < time {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let client = 1 + ((random >> 33) % u64::from(crowd)) as Client;
        if there.remove(&client) {
            stage.leave(client);
        } else {
            stage.come(client);
            there.insert(client);
        }
        (moves, most) = (moves + 1, most.max(there.len()));
    }
    stage.wait_for_crowd(there.len());
    let (took, used) = (begin.elapsed(), processor(agent).saturating_sub(had));
    let share = 100.0 * used.as_secs_f64() / took.as_secs_f64();
    println!("{crowd} clients, {moves} moves in {took:.0?}, {most} at once; the agent had {share:.1} % of a processor");
    assert!(most > usize::from(crowd) / 4, "{most} at once");

    there.into_iter().for_each(|client| stage.leave(client));
    stage.wait_for_crowd(0);
    let after = footprint::read(stage.0.agent_of(Side::A)).unwrap();
    println!("resident before {} KiB, after {} KiB", before.rss, after.rss);
    assert_eq!(after.counts, before.counts);
    assert_eq!(dump::difference(&idle, &machine(&stage)), Vec::<String>::new());
    assert_eq!(capture.stop().unwrap().clear, 0);
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}
