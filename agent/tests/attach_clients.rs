//! Roadwarriors: clients from anywhere share one adopted connection and one device. Each has its own CHILD_SA of each lane, found by
//! the lane's mark and its virtual IP; they come and go, and nobody else notices.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, DEVICE, IF_ID, Keying, PSK, Scenario, TUNNEL};
use xtask::lab::swanctl;
use xtask::lab::traffic::{Flow, Traffic, assert_whole};
use xtask::lab::{Family, Side, dump, sa};
use xtask::soak::footprint;

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Lanes in the order of their marks, by the names of their children.
const LANES: [&str; 3] = ["voice", "bulk", "rest"];
/// Where virtual IPs come from.
const POOL: &str = "10.66.0.0/24";
/// That of the device's address.
const NETWORK: &str = "10.255.0.0/30";
/// From the event to the kernel's table: two seconds, and as much again for an emulated processor.
const FOLLOWED: Duration = Duration::from_secs(4);

/// Clients by their numbers, from 1.
type Client = u8;
const CLIENTS: [Client; 3] = [1, 2, 3];

/// Its outer address; all are B's.
fn outer(client: Client) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 10 + client).into()
}

/// What the pool gives it, if clients come in the order of their numbers.
fn inner(client: Client) -> IpAddr {
    Ipv4Addr::new(10, 66, 0, client).into()
}

fn child(name: &str, mark: usize, if_id: &str, local_ts: &str, remote_ts: &str) -> String {
    format!(
        "{name} {{ local_ts = {local_ts}
            remote_ts = {remote_ts}
            label = {name}
            label_mode = simple
            mark_in = {mark}/0xff
            mark_out = {mark}/0xff
            set_mark_in = %same
            {if_id} }}\n"
    )
}

fn children(if_id: &str, local_ts: &str, remote_ts: &str) -> String {
    LANES.iter().zip(1..).map(|(name, mark)| child(name, mark, if_id, local_ts, remote_ts)).collect()
}

fn if_ids(if_id: impl ToString) -> String {
    let if_id = if_id.to_string();
    format!("if_id_in = {if_id}\n            if_id_out = {if_id}")
}

/// The gateway's: one connection for whoever has the secret. The if_ids are those of the connection, or of its children.
fn gateway_conf(of_connection: &str, of_children: &str) -> String {
    let (ours, lan, id) = (Side::A.outer(Family::V4), Side::A.lan(Family::V4), Side::A.identity());
    format!(
        "connections {{ roads {{
            version = 2
            local_addrs = {ours}
            remote_addrs = %any
            pools = pool
            {of_connection}
            local {{ auth = psk
                id = {id} }}
            remote {{ auth = psk
                id = %any }}
            children {{ {} }} }} }}
        pools {{ pool {{ addrs = {POOL} }} }}
        secrets {{ ike-roads {{ secret = \"{PSK}\" }} }}\n",
        children(of_children, lan, "dynamic")
    )
}

/// One charon is all clients: each its own identity, outer address and device.
fn clients_conf(clients: impl Iterator<Item = Client>) -> String {
    let (gateway, lan, id) = (Side::A.outer(Family::V4), Side::A.lan(Family::V4), Side::A.identity());
    let connection = |client: Client| {
        format!(
            "client-{client} {{
            version = 2
            local_addrs = {}
            remote_addrs = {gateway}
            vips = 0.0.0.0
            local {{ auth = psk
                id = client-{client}.example }}
            remote {{ auth = psk
                id = {id} }}
            children {{ {} }} }}\n",
            outer(client),
            children(&if_ids(50 + u32::from(client)), "dynamic", lan)
        )
    };
    let connections: String = clients.map(connection).collect();
    format!("connections {{ {connections} }}\nsecrets {{ ike-roads {{ secret = \"{PSK}\" }} }}\n")
}

struct Stage(Gateways);

impl Stage {
    fn new() -> Self {
        let scenario = Scenario {
            classes: vec![Class::new("voice").fallback("default"), Class::new("bulk"), Class::new("default")],
            rules: "[[rule]]\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n\n\
                    [[rule]]\nclass = \"bulk\"\nprotocol = \"udp\"\nsource-port = [\"29000-29999\"]\n"
                .to_owned(),
            ..Scenario::four_classes(Keying::Psk)
        };
        let stage = Self(Gateways::idle("clients", scenario, Path::new(BINARY)).unwrap());
        stage.write_config();
        let lan = Side::A.lan(Family::V4);
        let device = |client: &Client| {
            format!(
                "ip addr add {}/24 dev wan0
                 ip link add cl{client} type xfrm dev wan0 if_id 5{client}
                 ip link set cl{client} mtu 1400 up
                 ip addr add {inner}/32 dev cl{client}
                 ip route add {lan} dev cl{client} table 10{client}
                 ip rule add from {inner} lookup 10{client}
                 nft add rule inet lanes out oifname cl{client} meta mark set 3
                 nft add rule inet lanes out oifname cl{client} udp dport 9000-9999 meta mark set 2
                 nft add rule inet lanes out oifname cl{client} ip dscp ef meta mark set 1\n",
                outer(*client),
                inner = inner(*client)
            )
        };
        let devices: String = CLIENTS.iter().map(device).collect();
        let script = format!(
            "nft add table inet lanes
             nft add chain inet lanes out '{{ type filter hook postrouting priority -150; }}'\n{devices}"
        );
        stage.0.lab().gateway(Side::B).sh(&script).unwrap();
        stage.load(Side::A, &gateway_conf("", &if_ids(IF_ID)));
        stage.load(Side::B, &clients_conf(CLIENTS.into_iter()));
        stage
    }

    fn load(&self, side: Side, conf: &str) {
        let file = self.0.lab().files(side).join("swanctl.conf");
        fs::write(&file, conf).unwrap();
        self.swanctl(side, &format!("--load-all --file {}", file.display()));
    }

    /// Gives each client a device of its own, by the if_ids that charon gives its IKE_SA.
    fn separate(&self, unique: &str) {
        self.load(Side::A, &gateway_conf(&if_ids(unique), ""));
        let config = self.0.agent_of(Side::A).config();
        let toml = fs::read_to_string(&config).unwrap();
        let toml = toml.replace(&format!("name = {DEVICE:?}"), "name = \"lk-rw%d\"");
        let toml = toml.replace(&format!("if-id = {IF_ID}"), "if-id = \"%unique\"");
        assert!(toml.contains("lk-rw%d") && toml.contains("%unique"), "{toml}");
        fs::write(&config, toml).unwrap();
    }

    /// Our devices, and what is routed into each.
    fn devices(&self) -> Vec<(String, Vec<String>)> {
        let gateway = self.0.lab().gateway(Side::A);
        let list = gateway.sh("ip -o link show type xfrm").unwrap();
        let table = gateway.sh("ip -4 route show proto 76").unwrap();
        let name = |line: &str| line.split_whitespace().nth(1)?.split('@').next().map(str::to_owned);
        let routes = |device: &str| -> Vec<String> {
            let into = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                matches!(words[..], [_, "dev", of, ..] if of == device).then(|| words[0].to_owned())
            };
            table.lines().filter_map(into).collect()
        };
        list.lines().filter_map(name).map(|name| (name.clone(), routes(&name))).collect()
    }

    /// Waits until there are so many, and returns those that something is routed into, by what that is.
    fn wait_for_devices(&self, count: usize, clients: &[Client]) -> Vec<(String, String)> {
        let wanted: Vec<String> = clients.iter().map(|client| inner(*client).to_string()).collect();
        let deadline = Instant::now() + FOLLOWED;
        loop {
            let devices = self.devices();
            let mut routed: Vec<(String, String)> = devices
                .iter()
                .flat_map(|(device, routes)| routes.iter().map(move |route| (route.clone(), device.clone())))
                .collect();
            routed.sort();
            if devices.len() == count && routed.iter().map(|(route, _)| route).eq(&wanted) {
                return routed;
            }
            let log = || self.0.agent_of(Side::A).log();
            assert!(Instant::now() < deadline, "{devices:?}, wanted {count}, {wanted:?}\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until so many have a device each, with a route of their own into it and one below it, and nobody else has.
    fn wait_for_crowd(&self, count: usize) {
        self.wait_for_clients(count as u64, [0, 0, count as u64]);
        let deadline = Instant::now() + FOLLOWED;
        loop {
            let devices = self.devices();
            let routes: BTreeSet<&String> = devices.iter().flat_map(|(_, routes)| routes).collect();
            let one_each = devices.len() == routes.len() && devices.iter().all(|(_, routes)| routes.len() == 1);
            let table = self.routes();
            let below = table.iter().filter(|route| route.starts_with("unreachable") && !route.contains('/')).count();
            if one_each && routes.len() == count && below == count {
                return;
            }
            let log = || self.0.agent_of(Side::A).log();
            assert!(Instant::now() < deadline, "wanted {count}: {devices:?}, {table:?}\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A's: the clients' connection adopted, routed by the pool and by what their SAs are for.
    fn write_config(&self) {
        let config = self.0.agent_of(Side::A).config();
        let toml = fs::read_to_string(&config).unwrap();
        let remote = format!("remote = \"{}\"", Side::B.outer(Family::V4));
        let routes = [Family::V4, Family::V6].map(|family| format!("{:?}", Side::B.lan(family))).join(", ");
        assert!(toml.contains(&remote) && toml.contains(&routes), "{toml}");
        let toml = toml.replace(&remote, "remote = \"any\"");
        let toml = toml.replace(&routes, &format!("\"{POOL}\", \"selectors\""));
        let adopt = "connection = \"roads\"\nchildren = [\n\
                     { class = \"voice\", names = [\"voice\"] },\n\
                     { class = \"bulk\", names = [\"bulk*\"] },\n\
                     { class = \"default\", names = [\"rest\"] },\n]";
        fs::write(&config, swanctl::adopting(&toml, adopt).unwrap()).unwrap();
    }

    fn swanctl(&self, side: Side, arguments: &str) -> String {
        self.0.charon(side).unwrap().swanctl(arguments).unwrap()
    }

    fn connect(&self, client: Client) {
        for child in LANES {
            self.swanctl(Side::B, &format!("--initiate --ike client-{client} --child {child} --timeout 60"));
        }
    }

    /// With one lane of the three.
    fn come(&self, client: Client) {
        self.swanctl(Side::B, &format!("--initiate --ike client-{client} --child rest --timeout 60"));
    }

    fn leave(&self, client: Client) {
        self.swanctl(Side::B, &format!("--terminate --ike client-{client}"));
    }

    /// A packet of each class to a client's virtual IP, and one back.
    fn flows(&self, client: Client, count: u64) -> Vec<Flow> {
        let (lan, b) = (self.0.lab().lan(Side::A), self.0.lab().gateway(Side::B));
        let host = Side::A.host(Family::V4);
        let ports = [(5060, 46), (9000, 0), (7000, 0)];
        let there = ports.map(|(port, dscp)| Flow {
            name: format!("to client {client}"),
            from: lan.clone(),
            to: b.clone(),
            source: SocketAddr::new(host, 20_000 + port + u16::from(client)),
            destination: SocketAddr::new(inner(client), port),
            dscp,
            count: Some(count),
            ..self.0.lab().flow("", Side::A, Family::V4, port)
        });
        let back = ports.map(|(port, dscp)| Flow {
            name: format!("from client {client}"),
            from: b.clone(),
            to: lan.clone(),
            source: SocketAddr::new(inner(client), 20_000 + port),
            destination: SocketAddr::new(host, port + u16::from(client)),
            dscp,
            count: Some(count),
            ..self.0.lab().flow("", Side::B, Family::V4, port)
        });
        there.into_iter().chain(back).collect()
    }

    /// What each flow of those clients has received.
    fn received(&self, clients: &[Client], count: u64) -> Vec<u64> {
        let flows: Vec<Flow> = clients.iter().flat_map(|client| self.flows(*client, count)).collect();
        Traffic::run(&flows).unwrap().iter().map(|tally| tally.received).collect()
    }

    /// Packets of each lane, out and in, as the agent counts them.
    fn counted(&self) -> Vec<(u64, u64)> {
        let metrics = self.0.agent_of(Side::A).metrics().unwrap();
        let of = |class, direction| {
            let labels = [("tunnel", TUNNEL), ("class", class), ("lane", "0"), ("direction", direction)];
            metrics.count("lanekeeper_lane_packets_total", &labels)
        };
        ["voice", "bulk", "default"].map(|class| (of(class, "out"), of(class, "in"))).to_vec()
    }

    /// Packets that A's kernel has sent to each client by mark, and marks of SAs of other clients: there is none.
    fn by_kernel(&self, client: Client) -> Vec<(u32, u64)> {
        let mut sent: Vec<(u32, u64)> = sa::list(&self.0.lab().gateway(Side::A))
            .unwrap()
            .into_iter()
            .filter(|sa| sa.destination == outer(client))
            .map(|sa| (sa.mark.0, sa.packets))
            .collect();
        sent.sort_unstable();
        sent
    }

    /// Each class to each client by that client's own SA, and counted for the one lane, both ways.
    fn assert_each_class_has_its_lane(&self, clients: &[Client]) {
        let sent: Vec<Vec<(u32, u64)>> = clients.iter().map(|client| self.by_kernel(*client)).collect();
        let (counted, n) = (self.counted(), clients.len());
        assert_eq!(self.received(clients, 10), vec![10; 6 * n]);
        let now = self.counted().into_iter().zip(counted);
        let added: Vec<(u64, u64)> = now.map(|(now, before)| (now.0 - before.0, now.1 - before.1)).collect();
        assert_eq!(added, [(10 * n as u64, 10 * n as u64); 3]);
        for (client, sent) in clients.iter().zip(sent) {
            let wanted: Vec<(u32, u64)> = sent.into_iter().map(|(mark, packets)| (mark, packets + 10)).collect();
            assert_eq!(wanted.iter().map(|(mark, _)| *mark).collect::<Vec<_>>(), [1, 2, 3]);
            assert_eq!(self.by_kernel(*client), wanted, "client {client}");
        }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.0.agent_of(Side::A).must(&["status", "--json"]).unwrap()).unwrap()
    }

    /// How many clients the tunnel has, and each lane.
    fn clients(&self) -> (u64, Vec<u64>) {
        let status = self.status();
        let tunnel = &status["tunnels"][0];
        let lanes = tunnel["lanes"].as_array().unwrap();
        (tunnel["clients"].as_u64().unwrap(), lanes.iter().map(|lane| lane["clients"].as_u64().unwrap()).collect())
    }

    fn wait_for_clients(&self, clients: u64, lanes: [u64; 3]) {
        let deadline = Instant::now() + FOLLOWED;
        while self.clients() != (clients, lanes.to_vec()) {
            let log = || format!("{:#}\n{}", self.status(), self.0.agent_of(Side::A).log());
            assert!(Instant::now() < deadline, "wanted {clients} {lanes:?}: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Routes of ours: `PREFIX` into the device, or `unreachable PREFIX`.
    fn routes(&self) -> Vec<String> {
        let text = self.0.lab().gateway(Side::A).sh("ip -4 route show proto 76").unwrap();
        let short = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["unreachable", prefix, ..] => format!("unreachable {prefix}"),
                [prefix, "dev", device, ..] if *device == DEVICE => (*prefix).to_owned(),
                other => other.join(" "),
            }
        };
        let mut routes: Vec<String> = text.lines().map(short).collect();
        routes.sort();
        routes
    }

    /// The pool, and each of these clients, into the device; nothing of those who have gone.
    fn wait_for_routes(&self, clients: &[Client]) {
        let addresses = || clients.iter().map(|client| inner(*client).to_string());
        let mut wanted: Vec<String> = addresses().chain([POOL.to_owned()]).collect();
        let unreachable = addresses().chain([POOL, NETWORK].map(str::to_owned));
        wanted.extend(unreachable.map(|prefix| format!("unreachable {prefix}")));
        wanted.sort();
        let deadline = Instant::now() + FOLLOWED;
        while self.routes() != wanted {
            assert!(Instant::now() < deadline, "{:?}, wanted {wanted:?}", self.routes());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn assert_planned(&self) {
        let agent = self.0.agent_of(Side::A);
        let plan = agent.must(&["plan", &agent.config().display().to_string()]).unwrap();
        assert_eq!(plan, "nothing to do\n");
    }
}

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
