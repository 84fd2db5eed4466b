//! Pins, adoption and attachment, in a network namespace and on a bpffs of the test's own.

mod witness;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lanekeeper::compile::compile;
use lanekeeper::compile::edit::Beside;
use lanekeeper::compile::registry::Key;
use lanekeeper::compile::series::{Direction, Series};
use lanekeeper::kernel::dataplane::{Dataplane, Error, Trial};
use lanekeeper::lane::LaneId;
use lanekeeper::model::Probe;
use lanekeeper::policy::{ClassIndex, Policy, Rule};
use lanekeeper_common::abi::{Device, NAME_BYTES, Name, Numbers, VERSION, space};
use nix::mount::{MntFlags, MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use witness::random::Random;

/// Runs on a thread with namespaces of its own: an unmounted bpffs and a veth pair vanish with it.
fn alone(test: impl FnOnce(&Path) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        ip("link add lk-a type veth peer name lk-b");
        // The kernel's own IPv6 chatter would be counted.
        ip("link set lk-a addrgenmode none");
        ip("addr add 10.9.0.1/24 dev lk-a");
        ip("link set lk-a up");
        ip("link set lk-b up");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev lk-a");
        test(folder.path());
        // Lazily: a process that another test starts may hold a file of it until it is another program.
        nix::mount::umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// One class of one lane in one tunnel, no rules.
fn policy() -> Policy {
    let mut policy = witness::policy::policy(&mut Random::new(1));
    policy.rules.clear();
    policy.tenants.clear();
    policy.classes.truncate(1);
    policy.tunnels.truncate(1);
    policy.classes[0].lanes = 1;
    policy.default_class.0 = 0;
    let tunnel = &mut policy.tunnels[0];
    tunnel.classes = vec![policy.default_class];
    tunnel.lanes = vec![lanekeeper::policy::Lane {
        class: policy.default_class,
        index: 0,
        mark: 1 << policy.mark_mask.trailing_zeros(),
        reqid: 0x4c4b_0001,
        clients: Default::default(),
        label: "class0.0".into(),
    }];
    policy
}

fn lane() -> LaneId {
    LaneId { tunnel: "tunnel0".into(), class: "class0".into(), index: 0 }
}

/// Sends datagrams out of lk-a; false where the kernel says that they were dropped.
fn send(count: usize) -> bool {
    let socket = std::net::UdpSocket::bind("10.9.0.1:0").unwrap();
    (0..count).all(|_| socket.send_to(b"lanekeeper", "10.9.0.2:5060").is_ok())
}

/// Packets that came out at lk-b.
fn received() -> u64 {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("lk-b:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn count(dataplane: &Dataplane, of: impl Fn(&Series) -> bool) -> u64 {
    dataplane.counters().unwrap().iter().filter(|reading| of(&reading.series)).map(|reading| reading.packets).sum()
}

fn out(series: &Series) -> bool {
    matches!(series, Series::Lane { direction: Direction::Out, .. })
}

fn blocked(series: &Series) -> bool {
    matches!(series, Series::Blocked { .. })
}

fn loaded(root: &Path) -> Dataplane {
    let mut dataplane = Dataplane::open(root).unwrap_or_else(|error| panic!("{error}"));
    let tables = compile(&policy(), &mut dataplane.registry().unwrap()).unwrap();
    dataplane.load(&tables).unwrap();
    dataplane.attach_ethernet("lk-a", "tunnel0").unwrap();
    dataplane
}

#[test]
fn a_lane_takes_effect_with_one_write() {
    alone(|root| {
        let mut dataplane = loaded(root);
        send(5);
        assert_eq!((count(&dataplane, out), count(&dataplane, blocked)), (0, 5));
        dataplane.set_up(&lane(), true).unwrap();
        assert!(send(7));
        assert_eq!((count(&dataplane, out), count(&dataplane, blocked)), (7, 5));
        dataplane.set_up(&lane(), false).unwrap();
        send(1);
        assert_eq!((count(&dataplane, out), count(&dataplane, blocked)), (7, 6));
    });
}

#[test]
fn a_new_agent_adopts_tables_lanes_counters_and_devices() {
    alone(|root| {
        let mut dataplane = loaded(root);
        dataplane.set_up(&lane(), true).unwrap();
        assert!(send(3));
        let before = dataplane.observed().unwrap();
        drop(dataplane);
        // Nobody is there and packets go on.
        assert!(send(4));
        let mut dataplane = Dataplane::open(root).unwrap();
        assert_eq!(dataplane.observed().unwrap(), before);
        assert_eq!(before.attached, vec![("lk-a".to_owned(), "tunnel0".to_owned())]);
        assert!(send(2));
        assert_eq!(count(&dataplane, out), 9);
        let tables = compile(&policy(), &mut dataplane.registry().unwrap()).unwrap();
        assert_eq!(Some(tables.digest), before.digest);
        assert_eq!(dataplane.load(&tables).unwrap(), before.generation + 1);
        assert!(send(1));
        assert_eq!(count(&dataplane, out), 10);
        assert_eq!(dataplane.lanes_up().unwrap(), vec![lane()]);
    });
}

/// Makes what is pinned that of another version: its tables are not looked into, whatever their shapes.
fn become_other(root: &Path, version: u32) -> PathBuf {
    let other = root.join(format!("lanekeeper/v{version}"));
    std::fs::rename(maps(root), &other).unwrap();
    other
}

#[test]
fn fault_tables_of_another_version_are_gone_by_until_this_one_has_its_programs_there() {
    alone(|root| {
        let mut dataplane = loaded(root);
        dataplane.set_up(&lane(), true).unwrap();
        dataplane.set_wan(&wan(["lk-b"])).unwrap();
        dataplane.set_arrivals(&wan(["lk-b"])).unwrap();
        assert!(send(1));
        for version in [VERSION - 1, VERSION + 1] {
            let before = count(&dataplane, out);
            drop(dataplane);
            let other = become_other(root, version);
            assert!(Dataplane::peek(root).unwrap().is_none());
            // Twice, as the first one is killed in between.
            drop(Dataplane::open(root).unwrap());
            let mut next = Dataplane::open(root).unwrap();
            assert_eq!(next.lanes_up().unwrap(), [lane()]);
            let seen = next.observed().unwrap();
            assert_eq!((seen.digest, seen.attached), (None, vec![]));
            assert!(send(2), "those of version {version}");
            let tables = compile(&policy(), &mut next.registry().unwrap()).unwrap();
            next.load(&tables).unwrap();
            assert!(send(3), "those of version {version} still");
            assert_eq!(next.observed().unwrap().attached, vec![]);
            assert!(other.exists());
            next.attach_ethernet("lk-a", "tunnel0").unwrap();
            assert_eq!(next.observed().unwrap().attached.len(), 1);
            next.set_wan(&wan(["lk-b"])).unwrap();
            next.set_arrivals(&wan(["lk-b"])).unwrap();
            next.succeed().unwrap();
            assert!(send(4));
            assert_eq!(count(&next, out) - before, 9, "from version {version}");
            assert!(!other.exists() && is_dressed(root) && is_counted(root));
            dataplane = next;
        }
        assert_eq!((count(&dataplane, out), count(&dataplane, blocked)), (19, 0));
        // Nothing was attached beside what was there.
        let ours = tc_state().lines().filter(|line| line.contains("lanekeeper_out")).count();
        assert!(ours <= 1, "{}", tc_state());
    });
}

#[test]
fn fault_programs_of_another_version_that_nobody_wants_go() {
    alone(|root| {
        // By its tables the lane is down for good.
        let mut dataplane = loaded(root);
        dataplane.set_wan(&wan(["lk-b"])).unwrap();
        dataplane.set_arrivals(&wan(["lk-b"])).unwrap();
        drop(dataplane);
        let came = received();
        send(1);
        assert_eq!(received(), came);
        let other = become_other(root, VERSION - 1);
        let mut dataplane = Dataplane::open(root).unwrap();
        dataplane.succeed().unwrap();
        assert!(send(3));
        assert_eq!((received() - came, count(&dataplane, out), count(&dataplane, blocked)), (3, 0, 1));
        assert!(!other.exists() && !is_dressed(root) && !is_counted(root));
        assert!(!tc_state().contains("lanekeeper"), "{}", tc_state());
    });
}

#[test]
fn fault_the_names_of_another_version_keep_their_numbers() {
    alone(|root| {
        drop(loaded(root));
        let pinned = aya::maps::MapData::from_pin(root.join("lanekeeper/kept/NAMES")).unwrap();
        let mut names = aya::maps::HashMap::<_, Name, Numbers>::try_from(aya::maps::Map::HashMap(pinned)).unwrap();
        let mut name = Name([0; NAME_BYTES]);
        name.0[..8].copy_from_slice(b"later\0x\0");
        names.insert(name, Numbers { first: 5000, count: 10, space: space::COUNTER }, 0).unwrap();
        become_other(root, VERSION + 1);
        let mut dataplane = Dataplane::open(root).unwrap();
        let mut other = policy();
        other.classes[0].name = "new".into();
        let tables = compile(&other, &mut dataplane.registry().unwrap()).unwrap();
        dataplane.load(&tables).unwrap();
        let class = Key::Class { tenant: String::new(), class: "new".into() };
        assert!(dataplane.registry().unwrap().get(&class).unwrap() >= 5010);
        assert_eq!(names.get(&name, 0).unwrap().first, 5000);
    });
}

#[test]
fn fault_a_pinned_link_of_another_shape_is_not_adopted() {
    alone(|root| {
        let mut dataplane = loaded(root);
        let [ours, theirs] = ["lanekeeper_in", "lanekeeper_out"].map(|name| pin(name, root));
        if !ours.exists() {
            // Filters have no pins.
            return;
        }
        std::fs::rename(&ours, &theirs).unwrap();
        match dataplane.attach_ethernet("lk-a", "tunnel0") {
            Err(Error::Pin { path, problem }) => {
                assert!(path == theirs && problem == "is Ingress, not Egress", "{path:?}: {problem}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_lane_closes_while_the_rest_of_the_data_path_is_at_work() {
    alone(|root| {
        let mut dataplane = loaded(root);
        dataplane.set_up(&lane(), true).unwrap();
        let gate = dataplane.gate();
        // As whoever loads tables or reads counters does.
        let dataplane = std::sync::Mutex::new(dataplane);
        let held = dataplane.lock().unwrap();
        assert!(send(1));
        std::thread::spawn(move || gate.lock().unwrap().set_up(&lane(), false).unwrap()).join().unwrap();
        send(1);
        assert_eq!((count(&held, out), count(&held, blocked)), (1, 1));
    });
}

#[test]
fn a_new_agent_knows_what_is_open_and_counts_on_before_it_loads() {
    alone(|root| {
        let repair = Series::Repair { kind: "route".into() };
        let mut dataplane = loaded(root);
        dataplane.set_up(&lane(), true).unwrap();
        dataplane.tally(&Series::Overrun, 2).unwrap();
        dataplane.tally(&repair, 1).unwrap();
        drop(dataplane);
        let mut dataplane = Dataplane::open(root).unwrap();
        assert_eq!(dataplane.lanes_up().unwrap(), vec![lane()]);
        dataplane.tally(&Series::Overrun, 1).unwrap();
        let of = |wanted: Series| count(&dataplane, |series| *series == wanted);
        assert_eq!((of(Series::Overrun), of(repair)), (3, 1));
    });
}

#[test]
fn a_detached_device_is_left_alone() {
    alone(|root| {
        let mut dataplane = loaded(root);
        dataplane.detach("lk-a").unwrap();
        dataplane.detach("lk-a").unwrap();
        dataplane.detach("no-such").unwrap();
        assert!(send(3));
        assert_eq!(dataplane.observed().unwrap().attached, vec![]);
        assert_eq!(count(&dataplane, blocked) + count(&dataplane, out), 0);
    });
}

#[test]
fn nothing_is_left_behind() {
    alone(|root| {
        // The kernel itself may have put iterators there.
        let entries = || std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let before = entries();
        drop(loaded(root));
        Dataplane::remove_all(root).unwrap();
        assert_eq!(entries(), before);
        assert!(send(2));
        assert!(Dataplane::peek(root).unwrap().is_none());
        Dataplane::remove_all(root).unwrap();
    });
}

#[test]
fn a_device_made_again_gets_programs_again() {
    alone(|root| {
        let mut dataplane = loaded(root);
        ip("link del lk-a");
        assert_eq!(dataplane.observed().unwrap().attached, vec![]);
        ip("link add lk-a type veth peer name lk-b");
        dataplane.attach_ethernet("lk-a", "tunnel0").unwrap();
        assert_eq!(dataplane.observed().unwrap().attached.len(), 1);
    });
}

#[test]
fn a_pin_of_another_shape_is_not_adopted() {
    alone(|root| {
        drop(loaded(root));
        let folder = root.join("lanekeeper/kept");
        std::fs::remove_file(folder.join("LANES_UP")).unwrap();
        std::fs::rename(folder.join("TALLIES"), folder.join("LANES_UP")).unwrap();
        match Dataplane::open(root) {
            Err(Error::Pin { path, problem }) => {
                assert!(path.ends_with("LANES_UP") && problem.contains("not"), "{problem}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn names_keep_their_counters_when_the_policy_changes() {
    alone(|root| {
        let mut dataplane = loaded(root);
        dataplane.set_up(&lane(), true).unwrap();
        assert!(send(2));
        let mut other = policy();
        other.classes[0].name = "renamed".into();
        let tables = compile(&other, &mut dataplane.registry().unwrap()).unwrap();
        dataplane.load(&tables).unwrap();
        assert_eq!(count(&dataplane, out), 2);
        send(1);
        // The old lane is not up under its new name, and the old name comes back closed.
        assert_eq!(count(&dataplane, blocked), 1);
        let tables = compile(&policy(), &mut dataplane.registry().unwrap()).unwrap();
        dataplane.load(&tables).unwrap();
        assert!(dataplane.lanes_up().unwrap().is_empty());
    });
}

/// Qdiscs, filters and their names on lk-a, as tc prints them.
fn tc_state() -> String {
    ["qdisc show dev lk-a", "filter show dev lk-a ingress", "filter show dev lk-a egress"].map(tc).concat()
}

fn tc(words: &str) -> String {
    let output = Command::new("tc").args(words.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_wan_program_goes_and_so_does_a_qdisc_of_ours() {
    alone(|root| {
        let before = tc_state();
        assert!(before.contains("qdisc"), "{before}");
        let mut dataplane = loaded(root);
        dataplane.set_wan(&wan(["lk-a"])).unwrap();
        dataplane.set_arrivals(&wan(["lk-b"])).unwrap();
        assert!(is_dressed(root) && is_counted(root));
        drop(dataplane);
        Dataplane::remove_all(root).unwrap();
        assert_eq!(tc_state(), before);
    });
}

fn wan<const N: usize>(devices: [&str; N]) -> BTreeSet<String> {
    devices.map(str::to_owned).into()
}

/// Whether the program for outer DSCPs is on one of them.
fn is_dressed(root: &Path) -> bool {
    is_on(root, "lanekeeper_wan", "egress")
}

/// Whether that which counts what came out of tunnels without a device is.
fn is_counted(root: &Path) -> bool {
    is_on(root, "lanekeeper_arrived", "ingress")
}

fn is_on(root: &Path, program: &str, hook: &str) -> bool {
    // A link's pin tells as long as nobody detached it.
    let on = |device: &str| {
        let ifindex = nix::net::if_::if_nametoindex(device).unwrap();
        root.join(format!("lanekeeper/links/{ifindex}_{program}")).exists()
            || tc(&format!("filter show dev {device} {hook}")).contains(program)
    };
    ["lk-a", "lk-b"].into_iter().any(on)
}

#[test]
fn the_wan_program_of_an_agent_before_goes_when_it_is_not_wanted() {
    alone(|root| {
        let before = tc_state();
        let mut dataplane = Dataplane::open(root).unwrap();
        dataplane.set_wan(&wan(["lk-a", "no-such"])).unwrap();
        dataplane.set_wan(&wan(["lk-a"])).unwrap();
        assert!(is_dressed(root));
        drop(dataplane);
        Dataplane::open(root).unwrap().set_wan(&wan([])).unwrap();
        assert!(!is_dressed(root));
        assert_eq!(tc_state(), before);
    });
}

#[test]
fn a_wan_device_made_again_under_its_name_is_dressed_again() {
    alone(|root| {
        let mut dataplane = Dataplane::open(root).unwrap();
        dataplane.set_wan(&wan(["lk-a"])).unwrap();
        ip("link del lk-a");
        ip("link add lk-a type veth peer name lk-b");
        assert!(!is_dressed(root));
        dataplane.set_wan(&wan(["lk-a"])).unwrap();
        assert!(is_dressed(root));
        let links = std::fs::read_dir(root.join("lanekeeper/links")).unwrap().count();
        assert!(links <= 1, "{links} links: that of the device that is gone is kept");
    });
}

#[test]
fn a_qdisc_that_somebody_uses_or_made_stays() {
    alone(|root| {
        drop(loaded(root));
        tc("qdisc add dev lk-a clsact");
        let theirs = ["filter", "add", "dev", "lk-a", "egress", "prio", "9", "bpf", "bytecode", "1,6 0 0 0"];
        Command::new("tc").args(theirs).status().unwrap();
        // With TCX the qdisc is theirs alone, and the host's kernel may have no classifiers.
        let filters = tc_state().contains("lanekeeper");
        Dataplane::remove_all(root).unwrap();
        let state = tc_state();
        assert!(state.contains("clsact") && !state.contains("lanekeeper"), "{state}");
        assert!(!filters || state.contains("pref 9 "), "{state}");
        tc("filter del dev lk-a egress");
        drop(loaded(root));
        Dataplane::remove_all(root).unwrap();
        let state = tc_state();
        assert!(state.contains("clsact") && !state.contains("lanekeeper"), "{state}");
    });
}

#[test]
fn a_program_that_somebody_took_away_is_missed() {
    alone(|root| {
        let mut dataplane = loaded(root);
        let pin = pin("lanekeeper_in", root);
        for take_away in [remove, detach] {
            if pin.exists() {
                take_away(&pin);
            } else {
                assert!(tc_state().contains("lanekeeper_in"), "{}", tc_state());
                tc("filter del dev lk-a ingress");
            }
            assert_eq!(dataplane.observed().unwrap().attached, vec![]);
            dataplane.attach_ethernet("lk-a", "tunnel0").unwrap();
            assert_eq!(dataplane.observed().unwrap().attached.len(), 1);
        }
    });
}

/// The pin of a program's link on lk-a; there is none on kernels without TCX.
fn pin(program: &str, root: &Path) -> PathBuf {
    let ifindex = nix::net::if_::if_nametoindex("lk-a").unwrap();
    root.join(format!("lanekeeper/links/{ifindex}_{program}"))
}

fn remove(pin: &Path) {
    std::fs::remove_file(pin).unwrap();
    // The kernel detaches when it frees the inode.
    std::thread::sleep(std::time::Duration::from_millis(500));
}

/// What `bpftool link detach pinned` does: the link and its pin stay.
fn detach(pin: &Path) {
    /// linux/bpf.h, enum bpf_cmd.
    const BPF_OBJ_GET: i32 = 7;
    const BPF_LINK_DETACH: i32 = 34;
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let get = [path.as_ptr() as u64, 0];
    // SAFETY: the kernel reads `get` and its path, and then `link`, which all outlive the calls.
    unsafe {
        let link = libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, get.as_ptr(), size_of_val(&get));
        assert!(link >= 0, "{}", std::io::Error::last_os_error());
        let detach = [link as u32];
        let done = libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, detach.as_ptr(), size_of_val(&detach));
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        libc::close(link as i32);
    }
    assert!(pin.exists());
}

#[test]
fn a_device_that_took_the_number_of_another_is_not_taken_for_it() {
    alone(|root| {
        let mut dataplane = loaded(root);
        let ifindex = nix::net::if_::if_nametoindex("lk-a").unwrap();
        ip("link del lk-a");
        ip(&format!("link add lk-a index {ifindex} type veth peer name lk-b"));
        assert_eq!(dataplane.observed().unwrap().attached, vec![]);
        dataplane.attach_ethernet("lk-a", "tunnel0").unwrap();
        assert_eq!(dataplane.observed().unwrap().attached.len(), 1);
    });
}

#[test]
fn classify_follows_one_of_two_lists_while_a_rule_moves_between_them() {
    alone(|root| {
        let family = &witness::list::FAMILIES[5];
        let mut policy = witness::list::policy(family, 100);
        policy.rules.iter_mut().for_each(|rule| rule.protocol = Some(6));
        // Port 5060 is taken by what moves or by the rule that is now below and now above it; 8000 by what moves, wherever
        // it is, and never by the default, whose class is neither's.
        let rule = |class, destination_port| {
            let protocol = Some(17);
            Rule { class: ClassIndex(class), protocol, destination_port, ..Rule::default() }
        };
        policy.rules.push(rule(1, vec![(5060, 5060)]));
        let mut dataplane = Dataplane::open(root).unwrap_or_else(|error| panic!("{error}"));
        let moved = rule(2, vec![(5060, 5060), (7000, 9000)]);
        let mut first = policy.clone();
        first.rules.insert(0, moved.clone());
        let tables = compile(&first, &mut dataplane.registry().unwrap()).unwrap();
        let generation = dataplane.load(&tables).unwrap();
        let mut trial = Trial::over(root, &tables).unwrap();
        trial.set_all_up().unwrap();
        trial.set_tunnel("tunnel0").unwrap();
        let addresses = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
        let packets = [5060, 8000].map(|port| witness::packet::whole(&mut Random::new(1), addresses, 17, (9, port)));

        let done = std::sync::atomic::AtomicBool::new(false);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let last = policy.rules.len();
        let seen = std::thread::scope(|scope| {
            let packets = scope.spawn(|| {
                let mut seen = [0u32; 4];
                while !done.load(relaxed) {
                    for packet in &packets {
                        let probe =
                            Probe { frame: &packet.frame, mark: 0, ingress: None, stripped: None, cgroup: None };
                        seen[trial.run(&probe).unwrap().class.0] += 1;
                    }
                }
                seen
            });
            for _ in 0..500 {
                for (from, to) in [(0, last + 1), (last, 0)] {
                    assert!(dataplane.insert(&policy, &moved, to, Beside::Next).unwrap());
                    assert!(dataplane.remove(if to <= from { from + 1 } else { from }).unwrap());
                }
            }
            done.store(true, relaxed);
            packets.join().unwrap()
        });
        println!("packets by class: {seen:?}");
        assert_eq!((seen[0], seen[3]), (0, 0), "of neither list");
        assert!(seen[1] > 0 && seen[2] > 0, "{seen:?}");
        assert_eq!(dataplane.observed().unwrap().generation, generation, "all of it was in place");
        assert_eq!(dataplane.observed().unwrap().digest, Some(tables.digest));
    });
}

fn maps(root: &Path) -> PathBuf {
    root.join(format!("lanekeeper/v{VERSION}"))
}

fn kept(root: &Path) -> PathBuf {
    root.join("lanekeeper/kept")
}

#[test]
fn fault_a_pin_of_a_map_that_somebody_removed_is_there_again() {
    alone(|root| {
        let dataplane = loaded(root);
        assert_eq!(dataplane.pin_again().unwrap(), [] as [&str; 0]);
        let names = ["RECORDS", "NAMES", "COUNTERS"];
        let pins = [maps(root).join(names[0]), kept(root).join(names[1]), kept(root).join(names[2])];
        let id = |pin: &PathBuf| aya::maps::MapInfo::from_pin(pin).unwrap().id();
        let before = pins.each_ref().map(id);
        pins.iter().for_each(|pin| std::fs::remove_file(pin).unwrap());
        let again: BTreeSet<&str> = dataplane.pin_again().unwrap().into_iter().collect();
        assert_eq!(again, names.into());
        assert_eq!(pins.each_ref().map(id), before);
    });
}

#[test]
fn fault_one_pin_that_somebody_removed_while_no_agent_ran_costs_no_count() {
    alone(|root| {
        let event = Series::Repair { kind: "route".to_owned() };
        let tallied = |dataplane: &Dataplane| {
            let all = dataplane.counters().unwrap();
            all.iter().find(|reading| reading.series == event).map(|reading| reading.packets)
        };
        let mut dataplane = loaded(root);
        dataplane.set_up(&lane(), true).unwrap();
        dataplane.tally(&event, 7).unwrap();
        assert!(send(2));
        let before = count(&dataplane, out);
        drop(dataplane);
        let pins = |name: &str| [kept(root).join(name), root.join("lanekeeper/spare").join(name)];
        let ids = |name: &str| pins(name).map(|pin| aya::maps::MapInfo::from_pin(pin).unwrap().id());
        for name in ["NAMES", "COUNTERS", "TALLIES", "LANES_UP", "SOCKETS"] {
            let was = ids(name);
            assert_eq!(was[0], was[1]);
            for pin in pins(name) {
                std::fs::remove_file(&pin).unwrap();
                let dataplane = Dataplane::open(root).unwrap();
                assert_eq!(ids(name), was, "{name}");
                assert_eq!((count(&dataplane, out), tallied(&dataplane)), (before, Some(7)), "{name}");
                assert!(!dataplane.lacks_pins());
                drop(dataplane);
            }
        }
        // Or all first ones, with their folder.
        std::fs::remove_dir_all(kept(root)).unwrap();
        let dataplane = Dataplane::open(root).unwrap();
        assert_eq!((count(&dataplane, out), tallied(&dataplane)), (before, Some(7)));
        drop(dataplane);
        // Without the first, and with another map in the place of the second, all begins anew: the other is not adopted.
        let [first, second] = pins("TALLIES");
        for pin in [&first, &second] {
            std::fs::remove_file(pin).unwrap();
        }
        aya::maps::MapData::from_pin(kept(root).join("LANES_UP")).unwrap().pin(&second).unwrap();
        let dataplane = Dataplane::open(root).unwrap();
        assert_eq!((count(&dataplane, out), tallied(&dataplane)), (before, Some(0)));
        assert_eq!(ids("TALLIES")[0], ids("TALLIES")[1]);
        assert_ne!(ids("TALLIES")[0], ids("LANES_UP")[0]);
    });
}

#[test]
fn fault_an_agent_that_finds_a_map_less_takes_packets_over_when_its_tables_are_loaded() {
    alone(|root| {
        let mut dataplane = loaded(root);
        dataplane.set_up(&lane(), true).unwrap();
        assert!(send(1));
        let tables = compile(&policy(), &mut dataplane.registry().unwrap()).unwrap();
        drop(dataplane);
        for lost in ["RECORDS", "GENERATIONS", "ACTIVE"] {
            std::fs::remove_file(maps(root).join(lost)).unwrap();
            let mut dataplane = Dataplane::open(root).unwrap();
            // What it has is not what these tables are, though their digest was there.
            assert_ne!(dataplane.observed().unwrap().digest, Some(tables.digest), "{lost}");
            let before = count(&dataplane, out);
            assert!(send(2), "{lost}: programs and maps of before decide");
            dataplane.load(&tables).unwrap();
            dataplane.attach_ethernet("lk-a", "tunnel0").unwrap();
            dataplane.succeed().unwrap();
            assert_eq!(dataplane.observed().unwrap().digest, Some(tables.digest));
            assert!(send(3), "{lost}");
            assert_eq!(count(&dataplane, out) - before, 5, "{lost}");
        }
        // Without its names no counter says whose it is.
        for folder in ["kept", "spare"] {
            std::fs::remove_file(root.join("lanekeeper").join(folder).join("NAMES")).unwrap();
        }
        let mut dataplane = Dataplane::open(root).unwrap();
        let tables = compile(&policy(), &mut dataplane.registry().unwrap()).unwrap();
        dataplane.load(&tables).unwrap();
        dataplane.set_up(&lane(), true).unwrap();
        dataplane.attach_ethernet("lk-a", "tunnel0").unwrap();
        dataplane.succeed().unwrap();
        assert_eq!(count(&dataplane, out), 0);
        assert!(send(3));
        assert_eq!(count(&dataplane, out), 3);
    });
}

#[test]
fn fault_devices_that_are_gone_leave_no_names_and_no_pins() {
    alone(|root| {
        let mut dataplane = loaded(root);
        let links = || std::fs::read_dir(root.join("lanekeeper/links")).unwrap().count();
        let left = |dataplane: &Dataplane| {
            let folder = maps(root);
            let known = aya::maps::MapData::from_pin(folder.join("DEVICES")).unwrap();
            let known = aya::maps::HashMap::<_, u32, Device>::try_from(aya::maps::Map::HashMap(known)).unwrap();
            (dataplane.registry().unwrap().iter().count(), links(), known.keys().count())
        };
        let before = left(&dataplane);
        for _ in 0..5 {
            ip("link del lk-a");
            ip("link add lk-a type veth peer name lk-b");
            dataplane.attach_ethernet("lk-a", "tunnel0").unwrap();
        }
        assert_eq!(left(&dataplane), before);
        ip("link del lk-a");
        dataplane.detach("lk-a").unwrap();
        assert_eq!(left(&dataplane).2, 0);
        assert_eq!(links(), 0);
    });
}
