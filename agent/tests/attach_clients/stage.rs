//! The stage: a gateway with an agent, and a charon that is all clients.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Class, DEVICE, IF_ID, Keying, PSK, Scenario, TUNNEL};
use xtask::lab::swanctl;
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side, sa};

/// The key of a VTI, and so the mark of its SAs.
pub const KEY: u32 = 0x4c00;

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Lanes in the order of their marks, by the names of their children.
pub const LANES: [&str; 3] = ["voice", "bulk", "rest"];
/// Where virtual IPs come from.
pub const POOL: &str = "10.66.0.0/24";
/// That of the device's address.
pub const NETWORK: &str = "10.255.0.0/30";
/// From the event to the kernel's table: two seconds, and as much again for an emulated processor.
pub const FOLLOWED: Duration = Duration::from_secs(4);

/// Clients by their numbers, from 1.
pub type Client = u8;
pub const CLIENTS: [Client; 3] = [1, 2, 3];

/// Its outer address; all are B's.
pub fn outer(client: Client) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 10 + client).into()
}

/// What the pool gives it, if clients come in the order of their numbers.
pub fn inner(client: Client) -> IpAddr {
    Ipv4Addr::new(10, 66, 0, client).into()
}

pub fn child(name: &str, mark: usize, if_id: &str, local_ts: &str, remote_ts: &str) -> String {
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

pub fn children(if_id: &str, local_ts: &str, remote_ts: &str) -> String {
    LANES.iter().zip(1..).map(|(name, mark)| child(name, mark, if_id, local_ts, remote_ts)).collect()
}

/// What ESP and IKE of the gateway have, where routes around clients pass them by it.
pub const OUTER: u32 = 0x2000;

/// The gateway's, for its LAN.
pub fn of_gateway(if_id: &str) -> String {
    children(if_id, Side::A.lan(Family::V4), "dynamic")
}

pub fn if_ids(if_id: impl ToString) -> String {
    let if_id = if_id.to_string();
    format!("if_id_in = {if_id}\n            if_id_out = {if_id}")
}

/// The gateway's: one connection for whoever has the secret.
pub fn gateway_conf(of_connection: &str, children: &str) -> String {
    let (ours, id) = (Side::A.outer(Family::V4), Side::A.identity());
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
            children {{ {children} }} }} }}
        pools {{ pool {{ addrs = {POOL} }} }}
        secrets {{ ike-roads {{ secret = \"{PSK}\" }} }}\n"
    )
}

/// One charon is all clients: each its own identity, outer address and device.
pub fn clients_conf(clients: impl Iterator<Item = Client>) -> String {
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

pub struct Stage(pub Gateways);

impl Stage {
    pub fn new() -> Self {
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
        stage.load(Side::A, &gateway_conf("", &of_gateway(&if_ids(IF_ID))));
        stage.load(Side::B, &clients_conf(CLIENTS.into_iter()));
        stage
    }

    pub fn load(&self, side: Side, conf: &str) {
        let file = self.0.lab().files(side).join("swanctl.conf");
        fs::write(&file, conf).unwrap();
        self.swanctl(side, &format!("--load-all --file {}", file.display()));
    }

    /// Gives each client a device of its own, by the if_ids that charon gives its IKE_SA.
    pub fn separate(&self, unique: &str) {
        self.load(Side::A, &gateway_conf(&if_ids(unique), &of_gateway("")));
        let config = self.0.agent_of(Side::A).config();
        let toml = fs::read_to_string(&config).unwrap();
        let toml = toml.replace(&format!("name = {DEVICE:?}"), "name = \"lk-rw%d\"");
        let toml = toml.replace(&format!("if-id = {IF_ID}"), "if-id = \"%unique\"");
        assert!(toml.contains("lk-rw%d") && toml.contains("%unique"), "{toml}");
        fs::write(&config, toml).unwrap();
    }

    /// Has clients share a VTI, with one child each: all classes fall back to its one lane.
    pub fn by_vti(&self, key: &dyn std::fmt::Display) {
        let lan = Side::A.lan(Family::V4);
        let keyed = format!(
            "rest {{ local_ts = {lan}
                remote_ts = dynamic
                label = rest
                label_mode = simple
                mark_in = {key}
                mark_out = {key} }}\n"
        );
        self.load(Side::A, &gateway_conf("", &keyed));
        let config = self.0.agent_of(Side::A).config();
        let mut toml = fs::read_to_string(&config).unwrap();
        for (from, to) in [
            (format!("type = \"xfrm\", if-id = {IF_ID}"), format!("type = \"vti\", key = {key}")),
            ("name = \"bulk\"\n".to_owned(), "name = \"bulk\"\nfallback = \"default\"\n".to_owned()),
            ("classes = [\"voice\", \"bulk\", \"default\"]".to_owned(), "classes = [\"default\"]".to_owned()),
            ("{ class = \"voice\", names = [\"voice\"] },\n".to_owned(), String::new()),
            ("{ class = \"bulk\", names = [\"bulk*\"] },\n".to_owned(), String::new()),
        ] {
            assert!(toml.contains(&from), "{from} is not in {toml}");
            toml = toml.replacen(&from, &to, 1);
        }
        fs::write(&config, toml).unwrap();
        let one_lane = "nft flush chain inet lanes out; nft add rule inet lanes out oifname \"cl*\" meta mark set 3";
        self.0.lab().gateway(Side::B).sh(one_lane).unwrap();
    }

    /// The same, and each has a VTI of its own, by the mark that charon gives its CHILD_SA.
    pub fn by_vti_each(&self) {
        self.by_vti(&"%unique");
        let config = self.0.agent_of(Side::A).config();
        let toml = fs::read_to_string(&config).unwrap();
        let toml = toml
            .replace("key = %unique", "key = \"%unique\"")
            .replace(&format!("name = {DEVICE:?}"), "name = \"lk-rw%d\"");
        fs::write(&config, toml).unwrap();
    }

    /// Has all that the gateway does not know better routed to the clients, who are anywhere, and IKE and ESP marked; the file does
    /// not know the mark yet.
    pub fn everywhere(&mut self) {
        let files = self.0.lab().files(Side::A);
        fs::create_dir_all(files.join("strongswan.d")).unwrap();
        let marked = format!("charon {{ plugins {{ socket-default {{ fwmark = {OUTER:#x} }} }} }}\n");
        fs::write(files.join("strongswan.d/mark.conf"), marked).unwrap();
        self.0.take_charon(Side::A).unwrap().kill().unwrap();
        self.0.start_charon(Side::A).unwrap();
        let marked = format!("{}\n            set_mark_out = {OUTER:#x}/{OUTER:#x}", if_ids(IF_ID));
        self.load(Side::A, &gateway_conf("", &of_gateway(&marked)));
        let config = self.0.agent_of(Side::A).config();
        let toml = fs::read_to_string(&config).unwrap();
        let pool = format!("{POOL:?}, \"selectors\"");
        assert!(toml.contains(&pool), "{toml}");
        fs::write(&config, toml.replace(&pool, &format!("\"0.0.0.0/0\", {pool}"))).unwrap();
        // A client goes by the address that its route has.
        let roaming = clients_conf(1..=1).replace(&format!("local_addrs = {}", outer(1)), "local_addrs = %any");
        self.load(Side::B, &roaming);
    }

    /// Takes the first client to another outer address.
    pub fn move_to(&self, from: Option<IpAddr>, to: IpAddr) {
        let b = self.0.lab().gateway(Side::B);
        let gateway = Side::A.outer(Family::V4);
        let way = b.sh("ip -4 route show default").unwrap();
        let via = way.split_whitespace().skip_while(|word| *word != "via").nth(1).unwrap();
        b.sh(&format!("ip addr replace {to}/24 dev wan0; ip route replace {gateway}/32 via {via} src {to}")).unwrap();
        if let Some(from) = from {
            b.sh(&format!("ip addr del {from}/24 dev wan0")).unwrap();
        }
    }

    /// Our devices, and what is routed into each.
    pub fn devices(&self) -> Vec<(String, Vec<String>)> {
        let gateway = self.0.lab().gateway(Side::A);
        let list = gateway.sh("ip -o link").unwrap();
        let table = gateway.sh("ip -4 route show proto 76").unwrap();
        let name = |line: &str| {
            let name = line.split_whitespace().nth(1)?.split(['@', ':']).next()?;
            name.starts_with("lk-").then(|| name.to_owned())
        };
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
    pub fn wait_for_devices(&self, count: usize, clients: &[Client]) -> Vec<(String, String)> {
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
    pub fn wait_for_crowd(&self, count: usize) {
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
    pub fn write_config(&self) {
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

    pub fn swanctl(&self, side: Side, arguments: &str) -> String {
        self.0.charon(side).unwrap().swanctl(arguments).unwrap()
    }

    pub fn connect(&self, client: Client) {
        for child in LANES {
            self.swanctl(Side::B, &format!("--initiate --ike client-{client} --child {child} --timeout 60"));
        }
    }

    /// With one lane of the three.
    pub fn come(&self, client: Client) {
        self.swanctl(Side::B, &format!("--initiate --ike client-{client} --child rest --timeout 60"));
    }

    pub fn leave(&self, client: Client) {
        self.swanctl(Side::B, &format!("--terminate --ike client-{client}"));
    }

    /// A packet of each class to a client's virtual IP, and one back.
    pub fn flows(&self, client: Client, count: u64) -> Vec<Flow> {
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
    pub fn received(&self, clients: &[Client], count: u64) -> Vec<u64> {
        let flows: Vec<Flow> = clients.iter().flat_map(|client| self.flows(*client, count)).collect();
        Traffic::run(&flows).unwrap().iter().map(|tally| tally.received).collect()
    }

    /// Packets of the lane of each of these classes, out and in, as the agent counts them.
    pub fn counted(&self, classes: &[&str]) -> Vec<(u64, u64)> {
        let metrics = self.0.agent_of(Side::A).metrics().unwrap();
        let of = |class, direction| {
            let labels = [("tunnel", TUNNEL), ("class", class), ("lane", "0"), ("direction", direction)];
            metrics.count("lanekeeper_lane_packets_total", &labels)
        };
        classes.iter().map(|class| (of(class, "out"), of(class, "in"))).collect()
    }

    /// Packets that A's kernel has sent to each client by mark, and marks of SAs of other clients: there is none.
    pub fn by_kernel(&self, client: Client) -> Vec<(u32, u64)> {
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
    pub fn assert_each_class_has_its_lane(&self, clients: &[Client]) {
        let sent: Vec<Vec<(u32, u64)>> = clients.iter().map(|client| self.by_kernel(*client)).collect();
        let classes = ["voice", "bulk", "default"];
        let (counted, n) = (self.counted(&classes), clients.len());
        assert_eq!(self.received(clients, 10), vec![10; 6 * n]);
        let now = self.counted(&classes).into_iter().zip(counted);
        let added: Vec<(u64, u64)> = now.map(|(now, before)| (now.0 - before.0, now.1 - before.1)).collect();
        assert_eq!(added, [(10 * n as u64, 10 * n as u64); 3]);
        for (client, sent) in clients.iter().zip(sent) {
            let wanted: Vec<(u32, u64)> = sent.into_iter().map(|(mark, packets)| (mark, packets + 10)).collect();
            assert_eq!(wanted.iter().map(|(mark, _)| *mark).collect::<Vec<_>>(), [1, 2, 3]);
            assert_eq!(self.by_kernel(*client), wanted, "client {client}");
        }
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.0.agent_of(Side::A).must(&["status", "--json"]).unwrap()).unwrap()
    }

    /// How many clients the tunnel has, and each lane.
    pub fn clients(&self) -> (u64, Vec<u64>) {
        let status = self.status();
        let tunnel = &status["tunnels"][0];
        let lanes = tunnel["lanes"].as_array().unwrap();
        (tunnel["clients"].as_u64().unwrap(), lanes.iter().map(|lane| lane["clients"].as_u64().unwrap()).collect())
    }

    pub fn wait_for_clients(&self, clients: u64, lanes: [u64; 3]) {
        let deadline = Instant::now() + FOLLOWED;
        while self.clients() != (clients, lanes.to_vec()) {
            let log = || format!("{:#}\n{}", self.status(), self.0.agent_of(Side::A).log());
            assert!(Instant::now() < deadline, "wanted {clients} {lanes:?}: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Routes of ours: `PREFIX` into the device, or `unreachable PREFIX`.
    pub fn routes(&self) -> Vec<String> {
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
    pub fn wait_for_routes(&self, clients: &[Client]) {
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

    pub fn assert_planned(&self) {
        let agent = self.0.agent_of(Side::A);
        let plan = agent.must(&["plan", &agent.config().display().to_string()]).unwrap();
        assert_eq!(plan, "nothing to do\n");
    }
}
