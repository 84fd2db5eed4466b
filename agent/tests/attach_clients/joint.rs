//! Clients and a branch by one XFRM interface: its routes say the if_id of each, or both have one and the kernel tells them apart by
//! selectors. A packet's destination says whose lanes it takes.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::capture::Capture;
use xtask::lab::gateways::LANES_UP;
use xtask::lab::observe::{Observe, Observed};
use xtask::lab::scenario::{DEVICE, IF_ID, PSK, TUNNEL};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side, dump, sa};

use crate::stage::{CLIENTS, FOLLOWED, POOL, Stage, clients_conf};

/// The branch's tunnel.
const OFFICE: &str = "office";
const CLASSES: [&str; 3] = ["voice", "bulk", "default"];
/// Destination port and DSCP of a packet of each class.
const OF_CLASSES: [(u16, u8); 3] = [(5060, 46), (9000, 0), (7000, 0)];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What both tunnels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// An external interface.
    Routes,
    /// One if_id.
    IfId,
}

impl By {
    /// The if_id of the branch.
    fn if_id(self) -> u32 {
        match self {
            Self::Routes => IF_ID + 1,
            Self::IfId => IF_ID,
        }
    }

    fn external(self) -> &'static str {
        match self {
            Self::Routes => "external = true, ",
            Self::IfId => "",
        }
    }
}

/// The branch beside the clients, of whose network it is B's own LAN.
fn office(stage: &Stage, by: By, device: &str) -> String {
    let lans = |side: Side| FAMILIES.map(|family| format!("{:?}", side.lan(family))).join(", ");
    let (local, remote) = (lans(Side::A), lans(Side::B));
    let if_id = by.if_id();
    format!(
        "\n[[tunnel]]\nname = {OFFICE:?}\nlocal = \"{}\"\nremote = \"{}\"\nclasses = {CLASSES:?}\n\
         device = {{ type = \"xfrm\", {device}if-id = {if_id}, mtu = 1400 }}\n\
         routes = [{remote}]\nlocal-ts = [{local}]\nremote-ts = [{remote}]\n\
         [tunnel.ike]\nlocal-id = \"{}\"\nremote-id = \"{}\"\nauth = {{ psk-file = \"{}/tunnel.psk\" }}\n",
        Side::A.outer(Family::V4),
        Side::B.outer(Family::V4),
        Side::A.identity(),
        Side::B.identity(),
        stage.0.lab().files(Side::A).display()
    )
}

/// Writes A's file with the branch, which has that device.
fn write(stage: &Stage, clients: &str, by: By, device: &str) {
    fs::write(stage.0.agent_of(Side::A).config(), format!("{clients}{}", office(stage, by, device))).unwrap();
}

/// A's file without the branch, whose device is for more than it.
fn of_clients(stage: &Stage, by: By) -> String {
    let toml = fs::read_to_string(stage.0.agent_of(Side::A).config()).unwrap();
    let (routes, if_id) = (format!("{POOL:?}, \"selectors\""), format!("if-id = {IF_ID},"));
    assert!(toml.contains(&routes) && toml.contains(&if_id), "{toml}");
    toml.replace(&routes, &format!("{POOL:?}")).replace(&if_id, &format!("{}{if_id}", by.external()))
}

/// B's own part of the branch, by hand: what `swanctl FILE --peer` prints, a device, routes and marks.
fn stage(by: By) -> (Stage, String) {
    let stage = Stage::new();
    let clients = of_clients(&stage, by);
    write(&stage, &clients, by, &format!("name = {DEVICE:?}, {}", by.external()));
    let agent = stage.0.agent_of(Side::A);
    let printed = agent.must(&["swanctl", &agent.config().display().to_string(), "--peer"]).unwrap();
    let added = match by {
        By::Routes => {
            format!("#   ip link add {DEVICE} type xfrm external\n#   ip route add PREFIX encap xfrm if_id 43")
        }
        By::IfId => format!("#   ip link add {DEVICE} type xfrm dev WAN if_id {IF_ID}\n"),
    };
    assert!(printed.contains(&added), "{printed}");
    let printed = printed.replace("# secret = \"...\"", &format!("secret = \"{PSK}\""));
    stage.load(Side::B, &format!("{}{printed}", clients_conf(CLIENTS.into_iter())));
    let routes = FAMILIES.map(|family| format!("ip route add {} dev office\n", Side::A.lan(family))).concat();
    let script = format!(
        "ip link add office type xfrm dev wan0 if_id {}
         ip link set office mtu 1400 up
         nft add rule inet lanes out oifname office meta mark set 3
         nft add rule inet lanes out oifname office udp dport 9000-9999 meta mark set 2
         nft add rule inet lanes out oifname office ip dscp ef meta mark set 1
         nft add rule inet lanes out oifname office ip6 dscp ef meta mark set 1
         {routes}",
        by.if_id()
    );
    stage.0.lab().gateway(Side::B).sh(&script).unwrap();
    (stage, clients)
}

/// A packet of each class, in each family, to the branch and back.
fn flows(stage: &Stage) -> Vec<Flow> {
    let mut flows = Vec::new();
    for from in [Side::A, Side::B] {
        for family in FAMILIES {
            for (port, dscp) in OF_CLASSES {
                let mut flow = Flow { dscp, count: Some(10), ..stage.0.lab().flow("branch", from, family, port) };
                flow.source.set_port(20_000 + port);
                flows.push(flow);
            }
        }
    }
    flows
}

fn received(stage: &Stage) -> Vec<u64> {
    Traffic::run(&flows(stage)).unwrap().iter().map(|tally| tally.received).collect()
}

/// Packets of the branch's lanes: out and in as the agent counts them, and out as the kernel does.
fn counted(stage: &Stage) -> [Vec<u64>; 3] {
    let metrics = stage.0.agent_of(Side::A).metrics().unwrap();
    let of = |direction| {
        let lane = |class: &str| {
            let labels = [("tunnel", OFFICE), ("class", class), ("lane", "0"), ("direction", direction)];
            metrics.count("lanekeeper_lane_packets_total", &labels)
        };
        CLASSES.map(lane).to_vec()
    };
    let mut sent: Vec<(u32, u64)> = sa::list(&stage.0.lab().gateway(Side::A))
        .unwrap()
        .into_iter()
        .filter(|sa| sa.destination == Side::B.outer(Family::V4))
        .map(|sa| (sa.mark.0, sa.packets))
        .collect();
    sent.sort_unstable();
    [of("out"), of("in"), sent.into_iter().map(|(_, packets)| packets).collect()]
}

/// Each class of the branch by its own lane, whichever device it has.
fn assert_branch_has_its_lanes(stage: &Stage) {
    let before = counted(stage);
    assert_eq!(received(stage), [10; 12], "{}", stage.0.agent_of(Side::A).log());
    for (before, after) in before.into_iter().zip(counted(stage)) {
        let added: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        assert_eq!(added, [20; 3]);
    }
}

/// Somebody watches the branch: each of its packets is seen once each way, with its own lane, and none of the clients'.
fn assert_branch_is_seen(stage: &Stage) {
    let watch = Observe::start(stage.0.agent_of(Side::A), &["--rate", "1000", "--tunnel", OFFICE]).unwrap();
    assert_eq!(received(stage), [10; 12]);
    assert_eq!(stage.received(&[1], 5), [5; 6]);
    watch.wait_for(120, &OF_CLASSES.map(|(port, _)| port)).unwrap();
    let Observed { lines, said, .. } = watch.stop().unwrap();
    let mut seen: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["protocol"] == "udp") {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        assert_eq!((text("tunnel"), text("device")), (OFFICE.to_owned(), DEVICE.to_owned()), "{line}");
        *seen.entry((text("direction"), text("lane"))).or_default() += 1;
    }
    let lane = |way: &str, class: &str| ((way.to_owned(), format!("{class}.0")), 20);
    let wanted = ["in", "out"].into_iter().flat_map(|way| CLASSES.map(|class| lane(way, class)));
    assert_eq!(seen, wanted.collect(), "{said}");
}

/// Until `plan` has nothing to do, and the branch's routes lead into that device.
fn wait_until_routed(stage: &Stage, device: &str) {
    let agent = stage.0.agent_of(Side::A);
    let gateway = stage.0.lab().gateway(Side::A);
    let deadline = Instant::now() + FOLLOWED;
    loop {
        let routes = FAMILIES.map(|family| {
            let ip = if family == Family::V4 { "ip -4" } else { "ip -6" };
            gateway.sh(&format!("{ip} route show {} proto 76", Side::B.lan(family)))
        });
        let into = routes.map(|text| text.unwrap_or_default());
        let is_there = into.iter().all(|text| text.contains(&format!("dev {device} ")));
        let plan = agent.call(&["plan", &agent.config().display().to_string()]).unwrap();
        if is_there && plan.stdout == b"nothing to do\n" {
            return;
        }
        assert!(Instant::now() < deadline, "{into:?} {plan:?}\n{}", agent.log());
        thread::sleep(Duration::from_millis(50));
    }
}

fn have_one_device(by: By) {
    let (mut stage, clients) = stage(by);
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    for client in [1, 2] {
        stage.connect(client);
    }
    let up = stage.0.agent(Side::A).wait_for_lanes(6, LANES_UP);
    up.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.0.agent_of(Side::A).log()));
    stage.wait_for_clients(2, [2, 2, 2]);
    stage.assert_planned();
    stage.assert_each_class_has_its_lane(&[1, 2]);
    assert_branch_has_its_lanes(&stage);
    assert_branch_is_seen(&stage);

    let gateway = stage.0.lab().gateway(Side::A);
    let agent = stage.0.agent_of(Side::A);
    let config = agent.config().display().to_string();
    let routes = gateway.sh("ip route show proto 76; ip -6 route show proto 76").unwrap();
    assert_eq!(routes.matches("encap xfrm if_id").count(), if by == By::Routes { 3 } else { 0 }, "{routes}");
    let devices = agent.must(&["devices"]).unwrap();
    assert!(devices.contains(&format!("{TUNNEL}, {OFFICE}")), "{devices}");
    assert_eq!(devices.contains("external"), by == By::Routes, "{devices}");
    for (to, tunnel) in [("10.2.0.2", OFFICE), ("10.66.0.1", TUNNEL)] {
        let packet = format!("udp 10.1.0.2:4000 > {to}:5060 dscp ef in lan0");
        let explained = agent.must(&["explain", &config, &packet]).unwrap();
        assert!(explained.contains(tunnel) && explained.contains("sa      spi"), "{explained}");
    }

    // What is routed into the device and is behind none of the two goes nowhere, and is counted.
    gateway.sh(&format!("ip route add 10.77.0.0/16 dev {DEVICE}")).unwrap();
    stage.0.lab().lan(Side::B).sh("ip addr add 10.77.0.2/32 dev eth0").unwrap();
    let blocked = |stage: &Stage| {
        let metrics = stage.0.agent_of(Side::A).metrics().unwrap();
        metrics.sum("lanekeeper_blocked_packets_total", &[("reason", "no_tables")]) as u64
    };
    let before = blocked(&stage);
    let mut astray = flows(&stage)[2].clone();
    astray.destination.set_ip("10.77.0.2".parse().unwrap());
    assert_eq!(Traffic::run(&[astray]).unwrap()[0].received, 0);
    assert_eq!(blocked(&stage) - before, 10);
    gateway.sh("ip route del 10.77.0.0/16").unwrap();

    // Somebody takes the routes away, and then the device.
    for script in [
        "ip route flush proto 76; ip -6 route flush proto 76".to_owned(),
        format!("ip link del {DEVICE}"),
        format!("ip route replace {} dev {DEVICE} proto 76", Side::B.lan(Family::V4)),
    ] {
        gateway.sh(&script).unwrap();
        wait_until_routed(&stage, DEVICE);
        assert_branch_has_its_lanes(&stage);
    }

    // A client leaves; the branch and the other client do not notice.
    stage.leave(2);
    stage.wait_for_clients(1, [1, 1, 1]);
    stage.assert_each_class_has_its_lane(&[1]);
    assert_branch_has_its_lanes(&stage);

    // The branch gets a device of its own, and has the common one again. Its SAs stay.
    if by == By::Routes {
        for device in ["lk-office", DEVICE] {
            let external = if device == DEVICE { by.external() } else { "" };
            write(&stage, &clients, by, &format!("name = {device:?}, {external}"));
            stage.0.agent_of(Side::A).hang_up().unwrap();
            wait_until_routed(&stage, device);
            assert_branch_has_its_lanes(&stage);
            stage.assert_each_class_has_its_lane(&[1]);
        }
    }
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");

    stage.leave(1);
    stage.wait_for_clients(0, [0, 0, 0]);
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}

#[test]
fn attach_clients_share_an_external_device_with_a_branch() {
    have_one_device(By::Routes);
}

#[test]
fn attach_clients_share_an_if_id_with_a_branch() {
    have_one_device(By::IfId);
}
