//! The programs that time packets, on veth pairs: what is counted, of which device, and what each packet pays for it.

mod witness;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use lanekeeper::compile::compile;
use lanekeeper::kernel::dataplane::{Dataplane, Stopwatch};
use lanekeeper::lane::LaneId;
use lanekeeper::policy::{Class, ClassIndex, Fallback, Lane, Policy};
use lanekeeper_common::abi::program;
use lanekeeper_common::latency::{Delays, SENT, STAMP};
use nix::mount::{MntFlags, MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket};
use std::os::fd::AsRawFd;
use witness::random::Random;

/// Runs on a thread with namespaces of its own: what leaves by lk0 comes in by far0, which hands it to wan0.
fn alone(test: impl FnOnce(&Path) + Send + 'static) {
    // Programs are found by their names.
    static FIRST: Mutex<()> = Mutex::new(());
    let _first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        for words in [
            "ip link add lk0 type veth peer name far0",
            "ip link add wan0 type veth peer name end0",
            "ip link set lk0 up",
            "ip link set far0 up",
            "ip link set wan0 up",
            "ip link set end0 up",
            "tc qdisc add dev far0 clsact",
            "tc filter add dev far0 ingress u32 match u32 0 0 action mirred egress redirect dev wan0",
        ] {
            let mut words = words.split(' ');
            assert!(Command::new(words.next().unwrap()).args(words).status().unwrap().success());
        }
        test(folder.path());
        nix::mount::umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn policy() -> Policy {
    let mut policy = witness::policy::policy(&mut Random::new(1));
    policy.rules.clear();
    policy.tenants.clear();
    policy.mark_mask = 0xff;
    policy.default_class = ClassIndex(0);
    policy.classes =
        vec![Class { name: "default".into(), lanes: 1, fallback: Fallback::Block, outer_dscp: None, on_demand: None }];
    policy.tunnels.truncate(1);
    policy.tunnels[0].classes = vec![ClassIndex(0)];
    policy.tunnels[0].lanes = vec![Lane {
        class: ClassIndex(0),
        index: 0,
        mark: 1,
        reqid: 0x4c4b_0001,
        label: "default.0".into(),
        clients: Default::default(),
    }];
    policy
}

fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// Sends so many frames of UDP by lk0.
fn send(count: u64) {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2]);
    frame.extend([0x10, 0, 0x13, 0xc4, 0, 40, 0, 0]);
    frame.extend([0x55; 32]);
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None::<SockProtocol>).unwrap();
    let to: LinkAddr = nix::ifaddrs::getifaddrs()
        .unwrap()
        .filter(|one| one.interface_name == "lk0")
        .find_map(|one| one.address.and_then(|address| address.as_link_addr().copied()))
        .unwrap();
    for _ in 0..count {
        sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::empty()).unwrap();
    }
}

/// A data path whose tunnel's device is lk0, with its lane open.
fn dataplane(root: &Path, policy: &Policy) -> Dataplane {
    let mut dataplane = Dataplane::open(root).unwrap_or_else(|error| panic!("{error}"));
    let tables = compile(policy, &mut dataplane.registry().unwrap()).unwrap();
    dataplane.load(&tables).unwrap();
    let tunnel = policy.tunnels[0].name.clone();
    dataplane.attach_ethernet("lk0", &tunnel).unwrap();
    dataplane.set_up(&LaneId { tunnel, class: "default".into(), index: 0 }, true).unwrap();
    dataplane
}

fn timed(stopwatch: &Stopwatch) -> u64 {
    let delays = stopwatch.delays().unwrap();
    assert_eq!(delays.len(), 1, "{delays:?}");
    delays.values().flat_map(|Delays { buckets, .. }| buckets).sum()
}

#[test]
fn each_packet_is_counted_by_the_lowest_device_that_sends_it() {
    alone(|root| {
        let policy = policy();
        let dataplane = dataplane(root, &policy);
        let mut stopwatch = Stopwatch::open(root, 1, policy.mark_mask).unwrap_or_else(|error| panic!("{error}"));
        send(10);
        stopwatch.follow(&dataplane, &policy, &BTreeSet::new()).unwrap();
        assert_eq!(timed(&stopwatch), 0, "before it was told to");
        send(100);
        assert_eq!(timed(&stopwatch), 100);
        // Where wan0 hands packets on, nobody has sent them yet.
        stopwatch.follow(&dataplane, &policy, &BTreeSet::from([ifindex("wan0")])).unwrap();
        send(100);
        assert_eq!(timed(&stopwatch), 100);
        stopwatch.follow(&dataplane, &policy, &BTreeSet::new()).unwrap();
        send(1);
        assert_eq!(timed(&stopwatch), 101);
        // Another one goes on where it ended.
        drop(stopwatch);
        send(10);
        let mut stopwatch = Stopwatch::open(root, 10, policy.mark_mask).unwrap();
        stopwatch.follow(&dataplane, &policy, &BTreeSet::new()).unwrap();
        assert_eq!(timed(&stopwatch), 101);
        send(2000);
        let some = timed(&stopwatch) - 101;
        assert!((150..=260).contains(&some), "{some} of 2000");
    });
}

/// Runs and nanoseconds of a program of this kernel, the last one loaded of that name.
fn run_time(name: &str) -> (u64, u64) {
    let short = &name[..name.len().min(15)];
    let of = loaded_programs().filter_map(Result::ok).filter(|one| one.name_as_str() == Some(short));
    let last = of.last().unwrap_or_else(|| panic!("no {name}"));
    (last.run_count(), last.run_time().as_nanos() as u64)
}

/// Prints what each run of it takes, with what the kernel's stopwatch adds.
#[test]
fn each_packet_passes_each_program_once() {
    const PACKETS: u64 = 20_000;
    alone(|root| {
        let policy = policy();
        let dataplane = dataplane(root, &policy);
        let _stats = enable_stats(Stats::RunTime).unwrap();
        for every in [1, 1024] {
            let mut stopwatch = Stopwatch::open(root, every, policy.mark_mask).unwrap();
            stopwatch.follow(&dataplane, &policy, &BTreeSet::new()).unwrap();
            for name in [program::OUT, STAMP, SENT] {
                let before = run_time(name);
                send(PACKETS);
                let after = run_time(name);
                let runs = after.0 - before.0;
                println!("every {every}: {name}: {:.0} ns", (after.1 - before.1) as f64 / runs.max(1) as f64);
                // The tracepoint sees other devices' packets too.
                assert!(runs == PACKETS || name == SENT && runs > PACKETS, "{name}: {runs} runs for {PACKETS} packets");
            }
        }
    });
}
