//! The mark of what a gateway itself sends, before the route lookup: by which table the kernel routes it, as its source shows.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use ipnet::IpNet;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use xtask::lab::cgroup::Cgroup;
use xtask::lab::gateways::Gateways;
use xtask::lab::netns::Ns;
use xtask::lab::scenario::{Class, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Far above what it takes: the CPU is emulated, and the agent looks for cgroups every second.
const LIMIT: Duration = Duration::from_secs(60);

/// Marks 1 and 2. What of /lk-sockets/mixed goes to port 9999 by UDP is the slice's class.
fn scenario(service: &str) -> Scenario {
    let rule = |class: &str, rest: &str| format!("[[rule]]\nclass = \"{class}\"\n{rest}\n\n");
    Scenario {
        classes: vec![Class::new("backup"), Class::new("system"), Class::new("default")],
        rules: "[host]\nmark-sockets = true\n\n".to_owned()
            + &rule("system", "cgroup = \"/lk-sockets/mixed\"\nprotocol = \"udp\"\ndestination-port = 9999")
            + &rule(service, "cgroup = [\"/lk-sockets/backup\", \"/lk-sockets/mixed\"]")
            + &rule("system", "cgroup = \"/lk-sockets\""),
        ..Scenario::four_classes(Keying::Static)
    }
}

/// Three tables lead to one host, which is this one, by sources that end in the mark that leads to the table. That of local
/// addresses comes behind them.
const ROUTES: &str = "
for ip in 'ip -4' 'ip -6'; do
    $ip rule add pref 200 lookup local
    $ip rule del pref 0
    $ip rule add pref 103 lookup 100
    for n in 1 2; do $ip rule add pref 10$n fwmark $n/0xff lookup 10$n; done
done
ip addr add 198.51.100.1/32 dev lo
ip addr add 2001:db8:51::1/128 dev lo nodad
for n in 0 1 2; do
    ip addr add 198.18.0.1$n/32 dev lo
    ip addr add 2001:db8:18::1$n/128 dev lo nodad
    ip route add local 198.51.100.1 dev lo src 198.18.0.1$n table 10$n
    ip -6 route add local 2001:db8:51::1 dev lo src 2001:db8:18::1$n table 10$n
done";

const HOST4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1));
const MAPPED: IpAddr = IpAddr::V6(Ipv4Addr::new(198, 51, 100, 1).to_ipv6_mapped());

/// The table that routed it, by the source.
fn table(source: IpAddr) -> u8 {
    let last = match source {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.octets()[3],
            None => address.segments()[7] as u8 - 6,
        },
    };
    last - 10
}

fn any(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn udp(like: IpAddr) -> UdpSocket {
    UdpSocket::bind((any(like), 0)).unwrap()
}

fn mark(socket: &impl AsFd) -> u32 {
    getsockopt(socket, sockopt::Mark).unwrap()
}

/// Sends to the port of `to`, connected or not; the table that routed it.
fn send(socket: &UdpSocket, to: IpAddr, port: u16, connected: bool) -> u8 {
    let receiver = UdpSocket::bind((any(if to == MAPPED { HOST4 } else { to }), port)).unwrap();
    receiver.set_read_timeout(Some(LIMIT)).unwrap();
    if connected {
        socket.connect((to, port)).unwrap();
        socket.send(b"x").unwrap();
    } else {
        socket.send_to(b"x", (to, port)).unwrap();
    }
    table(receiver.recv_from(&mut [0; 8]).unwrap().1.ip())
}

/// Connects by TCP: the mark then, and the table.
fn connect(to: IpAddr) -> (u32, u8) {
    let listener = TcpListener::bind((any(if to == MAPPED { HOST4 } else { to }), 8080)).unwrap();
    let stream = TcpStream::connect((to, 8080)).unwrap();
    let (_, peer) = listener.accept().unwrap();
    (mark(&stream), table(peer.ip()))
}

/// Runs it in the namespace, on a thread of this process.
fn inside<T: Send>(ns: &Ns, work: impl FnOnce() -> T + Send) -> T {
    ns.run(|| Ok(work())).unwrap()
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !there() {
        assert!(Instant::now() < deadline, "{what} takes longer than {LIMIT:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Packets of A's outbound SAs, by the order of the classes.
fn sent(gateways: &Gateways) -> Result<[u64; 3]> {
    let packets = gateways.kernel_packets(Side::A)?;
    Ok(["backup", "system", "default"].map(|class| packets[&(class, 0, true)]))
}

/// What each of these cgroups' sockets get, and which of the classes that is.
fn check_marks(ns: &Ns, service: u32, backup: &Cgroup, slice: &Cgroup, mixed: &Cgroup) {
    let class = service as u8;
    for to in [HOST4, HOST6] {
        for (cgroup, class) in [(backup, service), (slice, 2)] {
            cgroup.during(|| {
                inside(ns, || {
                    let socket = udp(to);
                    assert_eq!(mark(&socket), class, "{to}");
                    assert_eq!(send(&socket, to, 7000, false), class as u8, "{to}");
                    assert_eq!(send(&socket, to, 7000, true), class as u8, "{to}");
                    assert_eq!(connect(to), (class, class as u8), "{to}");
                });
            });
        }
        // Where UDP goes decides; unconnected sockets may send both ways, TCP is one of them.
        mixed.during(|| {
            inside(ns, || {
                // A source, once chosen, stays with a socket.
                let (socket, other) = (udp(to), udp(to));
                let certain = if service == 2 { 2 } else { 0 };
                assert_eq!((mark(&socket), send(&socket, to, 9999, false)), (certain.into(), certain), "{to}");
                assert_eq!((send(&socket, to, 9999, true), mark(&socket)), (2, 2), "{to}");
                assert_eq!((send(&other, to, 9998, true), mark(&other)), (class, service), "{to}");
                assert_eq!(connect(to), (service, class), "{to}");
            });
        });
        let nobody = inside(ns, || (mark(&udp(to)), send(&udp(to), to, 7000, true), connect(to)));
        assert_eq!(nobody, (0, 0, (0, 0)), "{to}");
    }
}

/// The links of programs that are on no device.
fn pinned(gateways: &Gateways) -> Vec<PathBuf> {
    let folder = gateways.agent_of(Side::A).bpffs().join("lanekeeper/links");
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|link| link.path());
    paths.filter(|path| path.to_string_lossy().contains("/0_lanekeeper_")).collect()
}

#[test]
fn classify_sockets_before_the_route_lookup() {
    let slice = Cgroup::new("/lk-sockets").unwrap();
    let (backup, mixed) = (Cgroup::new("/lk-sockets/backup").unwrap(), Cgroup::new("/lk-sockets/mixed").unwrap());
    let mut gateways = Gateways::start("sockets", scenario("backup"), Path::new(BINARY)).unwrap();
    let ns = gateways.lab().gateway(Side::A);
    ns.sh(ROUTES).unwrap();
    assert_eq!(pinned(&gateways).len(), 5, "{}", gateways.agent_of(Side::A).log());
    check_marks(&ns, 1, &backup, &slice, &mixed);
    // A socket of IPv6 that sends IPv4.
    mixed.during(|| {
        inside(&ns, || {
            let (socket, other) = (udp(MAPPED), udp(MAPPED));
            assert_eq!((send(&socket, MAPPED, 9999, true), mark(&socket)), (2, 2));
            assert_eq!((send(&other, MAPPED, 9998, true), mark(&other)), (1, 1));
            assert_eq!(connect(MAPPED), (1, 1));
        });
    });
    // Bits of others stay, and so do ours where the program itself has set them.
    backup.during(|| {
        inside(&ns, || {
            for (own, wanted) in [(0x500, 0x501), (0x502, 0x502), (0x503, 0x503), (0x501, 0x501)] {
                let socket = udp(HOST4);
                setsockopt(&socket, sockopt::Mark, &own).unwrap();
                send(&socket, HOST4, 7000, true);
                assert_eq!(mark(&socket), wanted, "{own:#x}");
            }
        });
    });
    // In the hands of another cgroup it keeps what it has.
    let moved = mixed.during(|| inside(&ns, || udp(HOST4)));
    assert_eq!(inside(&ns, || (send(&moved, HOST4, 9999, true), mark(&moved))), (0, 0));
    // What another namespace sends, this host at most forwards.
    let elsewhere = gateways.lab().lan(Side::A);
    assert_eq!(backup.during(|| inside(&elsewhere, || mark(&udp(HOST4)))), 0);
    two_cgroups_take_two_lanes(&gateways, &backup, &slice);

    // Rules of now: those that are made from now on at once, others from the datagram after the next one on.
    let (old, connected) = backup.during(|| inside(&ns, || (udp(HOST4), udp(HOST4))));
    inside(&ns, || connected.connect((HOST4, 7000)).unwrap());
    gateways.rewrite(scenario("system")).unwrap();
    gateways.agent(Side::A).must(&["reload"]).unwrap();
    backup.during(|| {
        inside(&ns, || {
            assert_eq!((mark(&old), send(&old, HOST4, 7000, false)), (1, 1));
            assert_eq!((mark(&old), send(&old, HOST4, 7000, false)), (2, 2));
            connected.send(b"x").unwrap_or_default();
            assert_eq!(mark(&connected), 1);
        });
    });
    check_marks(&ns, 2, &backup, &slice, &mixed);

    // It goes on without an agent, and with the next one.
    gateways.agent(Side::A).kill().unwrap();
    check_marks(&ns, 2, &backup, &slice, &mixed);
    gateways.agent(Side::A).start().unwrap();
    check_marks(&ns, 2, &backup, &slice, &mixed);

    // A program that somebody took off is put back.
    let links = pinned(&gateways);
    assert_eq!(links.len(), 5, "{links:?}");
    fs::remove_file(links.iter().find(|path| path.ends_with("0_lanekeeper_socket")).unwrap()).unwrap();
    wait_for("putting a program back", || {
        backup.during(|| inside(&ns, || mark(&udp(HOST4)))) == 2 && pinned(&gateways).len() == 5
    });

    // Without the setting nothing is left, with `down` neither.
    let mut without = scenario("backup");
    without.rules = without.rules.replace("mark-sockets = true", "mark-sockets = false");
    gateways.rewrite(without).unwrap();
    gateways.agent(Side::A).must(&["reload"]).unwrap();
    assert_eq!(backup.during(|| inside(&ns, || mark(&udp(HOST4)))), 0);
    assert!(pinned(&gateways).is_empty());
    two_cgroups_take_two_lanes(&gateways, &backup, &slice);
    gateways.rewrite(scenario("backup")).unwrap();
    gateways.agent(Side::A).must(&["reload"]).unwrap();
    assert_eq!(backup.during(|| inside(&ns, || mark(&udp(HOST4)))), 1);
    gateways.agent(Side::A).stop().unwrap();
    gateways.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(backup.during(|| inside(&ns, || mark(&udp(HOST4)))), 0);
    assert!(!gateways.agent_of(Side::A).bpffs().join("lanekeeper").exists());
    drop((gateways, mixed, backup, slice));
}

fn two_cgroups_take_two_lanes(gateways: &Gateways, backup: &Cgroup, slice: &Cgroup) {
    let address =
        |side: Side, port| SocketAddr::new(side.tunnel_address(Family::V4).parse::<IpNet>().unwrap().addr(), port);
    let flow = |port, count| Flow {
        from: gateways.lab().gateway(Side::A),
        to: gateways.lab().gateway(Side::B),
        source: address(Side::A, port),
        destination: address(Side::B, port),
        count: Some(count),
        ..gateways.lab().flow("host", Side::A, Family::V4, port)
    };
    let run = |flow: Flow| {
        let before = sent(gateways).unwrap();
        let tally = Traffic::run(&[flow]).unwrap()[0];
        assert_eq!((tally.sent, tally.lost()), (tally.sent, 0));
        let after = sent(gateways).unwrap();
        [0, 1, 2].map(|class| after[class] - before[class])
    };
    assert_eq!(backup.during(|| run(flow(7101, 30))), [30, 0, 0]);
    assert_eq!(slice.during(|| run(flow(7102, 20))), [0, 20, 0]);
    assert_eq!(run(flow(7103, 10)), [0, 0, 10]);
}
