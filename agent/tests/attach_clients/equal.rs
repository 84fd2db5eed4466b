//! Two clients with the same network behind them: the gateway's firewall tells them apart by bits of the mark that are not ours.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use xtask::lab::capture::Capture;
use xtask::lab::scenario::{IF_ID, PSK};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side, dump};

use crate::stage::{Client, LANES, POOL, Stage, if_ids};

/// Behind each.
const NETWORK: &str = "10.9.0.0/24";
/// Of the host there, each time.
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const BOTH: [Client; 2] = [1, 2];

/// The bit of the mark by which the firewall knows a client.
fn bit(client: Client) -> u32 {
    0x80 << client
}

/// The host of the LAN that has to do with this client.
fn near(client: Client) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, 1 + client).into()
}

/// How they are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// An XFRM interface, which marks at its egress.
    Device,
    /// Nothing but marks, which the LAN's port writes.
    Marks,
}

/// A connection for each client, whose lanes have the client's bit beside their own mark.
fn gateway_conf(by: By) -> String {
    let (ours, lan, id) = (Side::A.outer(Family::V4), Side::A.lan(Family::V4), Side::A.identity());
    let connection = |client: Client| {
        let child = |(name, mark): (&&str, u32)| {
            let mark = format!("{:#x}/{:#x}", bit(client) | mark, 0xfff);
            format!(
                "{name} {{ local_ts = {lan}
                remote_ts = {NETWORK}
                label = {name}
                label_mode = simple
                mark_in = {mark}
                mark_out = {mark}
                set_mark_in = %same
                {} }}\n",
                match by {
                    By::Device => if_ids(IF_ID),
                    By::Marks => String::new(),
                }
            )
        };
        let children: String = LANES.iter().zip(1..).map(child).collect();
        format!(
            "roads-{client} {{
            version = 2
            local_addrs = {ours}
            remote_addrs = %any
            local {{ auth = psk
                id = {id} }}
            remote {{ auth = psk
                id = client-{client}.example }}
            children {{ {children} }} }}\n"
        )
    };
    let connections: String = BOTH.into_iter().map(connection).collect();
    format!("connections {{ {connections} }}\nsecrets {{ ike-roads {{ secret = \"{PSK}\" }} }}\n")
}

/// The same network on all of them, and a way back for each.
fn equal(stage: &Stage, by: By) {
    stage.load(Side::A, &gateway_conf(by));
    let clients = crate::stage::clients_conf(BOTH.into_iter());
    let clients =
        clients.replace("vips = 0.0.0.0\n", "").replace("local_ts = dynamic", &format!("local_ts = {NETWORK}"));
    stage.load(Side::B, &clients);
    let there = |client: &Client| {
        let near = near(*client);
        format!("ip addr add {FAR}/32 dev cl{client}; ip route add {near}/32 dev cl{client} src {FAR}\n")
    };
    stage.0.lab().gateway(Side::B).sh(&BOTH.iter().map(there).collect::<String>()).unwrap();
    stage.0.lab().lan(Side::A).sh(&format!("ip addr add {}/24 dev eth0", near(2))).unwrap();
    // Out, who asks says whose network is meant; in, the mark says whose it was: so could DNAT and SNAT.
    let by_client = |client: &Client| {
        let (near, bit) = (near(*client), bit(*client));
        format!(
            "nft add rule inet clients out ip saddr {near} ip daddr {NETWORK} meta mark set mark or {bit:#x}
             nft add rule inet clients back oifname lan0 meta mark and 0xf00 == {bit:#x} ip daddr {near} counter\n"
        )
    };
    let script = format!(
        "nft add table inet clients
         nft add chain inet clients out '{{ type filter hook prerouting priority -150; }}'
         nft add chain inet clients back '{{ type filter hook postrouting priority 100; }}'\n{}",
        BOTH.iter().map(by_client).collect::<String>()
    );
    stage.0.lab().gateway(Side::A).sh(&script).unwrap();
    write_config(stage, by);
}

fn write_config(stage: &Stage, by: By) {
    let config = stage.0.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    let routes = format!("{POOL:?}, \"selectors\"");
    assert!(toml.contains(&routes) && toml.contains("connection = \"roads\""), "{toml}");
    let toml = toml.replace("connection = \"roads\"", "connection = \"roads-*\"");
    let toml = match by {
        By::Device => toml.replace(&routes, &format!("{NETWORK:?}")),
        By::Marks => {
            let lan = Side::A.lan(Family::V4);
            let line = |line: &str| match line.split(" = ").next() {
                Some("device") => "device = { type = \"none\" }\n".to_owned(),
                Some("routes") => format!("local-ts = {lan:?}\nremote-ts = {NETWORK:?}\n"),
                _ => format!("{line}\n"),
            };
            toml.lines().map(line).collect::<String>() + "\n[[port]]\nname = \"lan0\"\n"
        }
    };
    fs::write(&config, toml).unwrap();
}

/// To the network behind a client, and back.
fn flows(stage: &Stage, client: Client, count: u64) -> [Flow; 2] {
    let (lan, b) = (stage.0.lab().lan(Side::A), stage.0.lab().gateway(Side::B));
    let port = 7000 + u16::from(client);
    let flow = |name: &str, from: &_, to: &_, source: IpAddr, destination: IpAddr, port: u16| Flow {
        name: format!("{name} client {client}"),
        from: Clone::clone(from),
        to: Clone::clone(to),
        source: SocketAddr::new(source, 10_000 + port),
        destination: SocketAddr::new(destination, port),
        count: Some(count),
        ..stage.0.lab().flow("", Side::A, Family::V4, port)
    };
    [flow("to", &lan, &b, near(client), FAR, port), flow("from", &b, &lan, FAR, near(client), port + 100)]
}

fn are_told_apart(by: By) {
    let mut stage = Stage::new();
    equal(&stage, by);
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    for client in BOTH {
        stage.connect(client);
    }
    stage.wait_for_clients(2, [2, 2, 2]);
    stage.assert_planned();

    let sent = |stage: &Stage| BOTH.map(|client| stage.by_kernel(client));
    let before = sent(&stage);
    let tallies = Traffic::run(&BOTH.map(|client| flows(&stage, client, 20)).concat()).unwrap();
    assert_eq!(tallies.iter().map(|tally| tally.received).collect::<Vec<_>>(), [20; 4], "{tallies:?}");
    for ((client, before), after) in BOTH.into_iter().zip(before).zip(sent(&stage)) {
        let marks: Vec<u32> = after.iter().map(|(mark, _)| *mark).collect();
        assert_eq!(marks, [1, 2, 3].map(|mark| bit(client) | mark));
        let carried: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after.1 - before.1).collect();
        assert_eq!(carried, [0, 0, 20], "client {client}");
    }
    let gateway = stage.0.lab().gateway(Side::A);
    let back = gateway.sh("nft list chain inet clients back").unwrap();
    assert_eq!(back.matches("counter packets 20 ").count(), 2, "{back}");

    let counted = stage.counted(&["voice", "bulk", "default"]);
    assert_eq!(counted, [(0, 0), (0, 0), (40, 40)]);

    // Without the firewall's word nobody is meant: nothing is for both.
    gateway.sh("nft flush chain inet clients out").unwrap();
    let [there, _] = flows(&stage, 1, 10);
    assert_eq!(Traffic::run(&[there]).unwrap()[0].received, 0);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");

    for client in BOTH {
        stage.leave(client);
    }
    stage.wait_for_clients(0, [0, 0, 0]);
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}

#[test]
fn attach_clients_with_equal_networks_are_told_apart_by_mark() {
    are_told_apart(By::Device);
}

#[test]
fn attach_clients_with_equal_networks_need_no_device() {
    are_told_apart(By::Marks);
}
