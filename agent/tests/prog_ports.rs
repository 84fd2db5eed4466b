//! Ports on a veth pair: the mark that is behind tc ingress, by tc alone and with XDP before it, native and generic.

mod witness;

use std::ffi::CString;
use std::io::{Error, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::maps::{Array, Map, MapData};
use lanekeeper::compile::compile;
use lanekeeper::compile::series::{By, Direction, Series};
use lanekeeper::kernel::dataplane::{self, Dataplane, Interface};
use lanekeeper::lane::LaneId;
use lanekeeper::policy::{Class, ClassIndex, Classify, DeviceKind, Fallback, Lane, Policy, Rule};
use lanekeeper_common::abi::{Handed, VERSION};
use lanekeeper_common::mark;
use lanekeeper_common::verdict::BlockReason;
use nix::mount::{MntFlags, MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, SockaddrLike, recvmsg, sendto};
use witness::oracle::Oracle;
use witness::packet::{Packets, Part};
use witness::random::Random;

const WAYS: [Classify; 3] = [Classify::Tc, Classify::Xdp, Classify::XdpGeneric];

/// Runs on a thread with namespaces of its own, where what leaves by far0 comes in by lan0.
fn alone(test: impl FnOnce(&Path) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        pair();
        test(folder.path());
        // Lazily: a process that another test starts may hold a file of it until it is another program.
        nix::mount::umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn pair() {
    // The kernel's own chatter would be counted, the reports of multicast groups that come without an address included.
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    ip("link add lan0 type veth peer name far0");
    for device in ["lan0", "far0"] {
        ip(&format!("link set {device} up"));
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

fn shown(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

fn interfaces() -> Vec<Interface> {
    vec![Interface {
        ifindex: ifindex("lan0"),
        name: "lan0".into(),
        vlan: None,
        vrf: None,
        ethernet: true,
        stacked: false,
    }]
}

/// Class 1 is udp to port 5060, class 2 what has VLAN id 12, class 0 the rest.
fn policy() -> Policy {
    let mut policy = witness::policy::policy(&mut Random::new(1));
    let class = |name: &str| Class {
        name: name.into(),
        lanes: 1,
        fallback: Fallback::Block,
        outer_dscp: None,
        on_demand: None,
    };
    let rule = |class| Rule { class: ClassIndex(class), ..Rule::default() };
    policy.mark_mask = 0x0000_ff00;
    policy.classes = vec![class("default"), class("voice"), class("bulk")];
    policy.rules = vec![
        Rule { vlan: vec![12], ..rule(2) },
        Rule { protocol: Some(17), destination_port: vec![(5060, 5060)], ..rule(1) },
    ];
    policy.tenants.clear();
    policy.default_class = ClassIndex(0);
    policy.tunnels.truncate(1);
    policy.tunnels[0].classes = vec![ClassIndex(0)];
    policy.tunnels[0].lanes = vec![Lane {
        class: ClassIndex(0),
        index: 0,
        mark: 0x100,
        reqid: 0x4c4b_0001,
        clients: Default::default(),
        label: "default.0".into(),
    }];
    policy
}

/// A data path with these tables and lan0 a port of it.
fn port(root: &Path, policy: &Policy, classify: Classify) -> Dataplane {
    let mut dataplane = Dataplane::open(root).unwrap_or_else(|error| panic!("{error}"));
    let tables = compile(policy, &mut dataplane.registry().unwrap()).unwrap();
    dataplane.load(&tables).unwrap();
    dataplane.attach_port("lan0", classify, &interfaces()).unwrap_or_else(|error| panic!("{error}"));
    dataplane
}

/// Packets of lan0 that XDP classified, and those that tc did.
fn counted(dataplane: &Dataplane) -> (u64, u64) {
    let of = |wanted: By| {
        let wanted = Series::Port { interface: "lan0".into(), by: wanted };
        dataplane.counters().unwrap().iter().filter(|reading| reading.series == wanted).map(|one| one.packets).sum()
    };
    (of(By::Xdp), of(By::Tc))
}

/// EtherTypes that the tests send. A socket for all of them would see packets before tc does.
const TYPES: [u16; 5] = [0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8];

/// Both ends of the pair.
struct Wire {
    send: OwnedFd,
    /// One for each of [`TYPES`], behind tc ingress of lan0.
    receive: Vec<OwnedFd>,
}

impl Wire {
    fn new() -> Self {
        let receive = TYPES.map(|ethertype| {
            let fd = packet_socket();
            set(&fd, libc::SO_RCVMARK, 1);
            nix::sys::socket::bind(fd.as_raw_fd(), &address("lan0", ethertype)).unwrap();
            fd
        });
        Self { send: packet_socket(), receive: receive.into() }
    }

    /// The mark that a frame has behind lan0; `None` where none comes in time.
    fn mark(&self, frame: &[u8], mark: u32, wait: i32) -> Option<u32> {
        set(&self.send, libc::SO_MARK, mark);
        sendto(self.send.as_raw_fd(), frame, &address("far0", 0), MsgFlags::empty()).ok()?;
        loop {
            let wanted = |fd: &OwnedFd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let mut ready: Vec<_> = self.receive.iter().map(wanted).collect();
            // SAFETY: the kernel writes to as many entries as `ready` has.
            unsafe { libc::poll(ready.as_mut_ptr(), ready.len() as u64, wait) };
            let came = ready.iter().position(|fd| fd.revents & libc::POLLIN != 0)?;
            let (bytes, mark) = receive(&self.receive[came]);
            // One that was not waited for may come late. Tags are taken off in front.
            if bytes.ends_with(&frame[frame.len().min(26)..]) {
                return Some(mark);
            }
        }
    }
}

/// The next packet's bytes and its mark.
fn receive(fd: &OwnedFd) -> (Vec<u8>, u32) {
    let (mut bytes, mut control) = ([0; 2048], nix::cmsg_space!([u8; 64]));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<LinkAddr>(fd.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT).unwrap();
    let mark = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::Unknown(own) if own.cmsg_header.cmsg_type == libc::SO_MARK => {
            Some(u32::from_ne_bytes(own.data_bytes[..4].try_into().unwrap()))
        }
        _ => None,
    });
    let length = message.bytes;
    (bytes[..length].to_vec(), mark.unwrap())
}

fn packet_socket() -> OwnedFd {
    // SAFETY: takes integers, and returns a descriptor that is nobody else's.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "{}", Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

fn set(fd: &OwnedFd, option: i32, value: u32) {
    // SAFETY: the kernel reads four bytes from `value`, which outlives the call.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), 4) };
    assert_eq!(done, 0, "{}", Error::last_os_error());
}

fn address(link: &str, protocol: u16) -> LinkAddr {
    let raw = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex(link) as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: it points to a whole sockaddr_ll, and the length says so.
    unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(size_of_val(&raw) as u32)) }.unwrap()
}

fn frame(tag: Option<u16>, ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if let Some(id) = tag {
        frame.extend([0x81, 0x00]);
        frame.extend(id.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(rest);
    frame
}

/// IPv4 and UDP to this port; `fragment` is the field of flags and offset.
fn udp4(port: u16, fragment: u16) -> Vec<u8> {
    let [high, low] = fragment.to_be_bytes();
    let mut bytes = vec![0x45, 0, 0, 32, 0, 7, high, low, 64, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 9, 0x30, 0x39];
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    bytes
}

/// The same in IPv6, perhaps behind a destination options header.
fn udp6(port: u16, options: bool) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, if options { 20 } else { 12 }, if options { 60 } else { 17 }, 64];
    bytes.extend([[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat());
    if options {
        bytes.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    }
    bytes.extend([0x30, 0x39]);
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    bytes
}

#[test]
fn classify_at_a_port_writes_the_mark_of_the_class_and_says_who_did() {
    for classify in WAYS {
        alone(move |root| {
            let dataplane = port(root, &policy(), classify);
            let wire = Wire::new();
            let xdp = classify != Classify::Tc;
            // What, the frame, the mark that it has, whether it gets a tag beside it, the mark behind, whether XDP's verdict is taken.
            let table = [
                ("IPv4", frame(None, 0x0800, &udp4(5060, 0)), 0, false, 0x200, xdp),
                ("IPv6", frame(None, 0x86dd, &udp6(5060, false)), 0, false, 0x200, xdp),
                ("another port", frame(None, 0x0800, &udp4(5061, 0)), 0, false, 0x100, xdp),
                ("a tag in the frame", frame(Some(12), 0x0800, &udp4(5060, 0)), 0, false, 0x300, xdp),
                ("another tag", frame(Some(13), 0x0800, &udp4(5060, 0)), 0, false, 0x200, xdp),
                ("a tag beside the frame", frame(None, 0x0800, &udp4(5060, 0)), 0, true, 0x300, false),
                ("our bits alone", frame(None, 0x0800, &udp4(5060, 0)), 0x4400, false, 0x200, xdp),
                ("foreign bits", frame(None, 0x0800, &udp4(5060, 0)), 0x70_4401, false, 0x70_0201, false),
                ("a first fragment", frame(None, 0x0800, &udp4(5060, 0x2000)), 0, false, 0x200, false),
                ("its later one", frame(None, 0x0800, &udp4(0, 4)), 0, false, 0x200, false),
                ("an extension header", frame(None, 0x86dd, &udp6(5060, true)), 0, false, 0x200, false),
                ("ARP", frame(None, 0x0806, &[0, 1, 8, 0, 6, 4, 0, 1, 0, 0, 0, 0]), 0, false, 0x100, false),
                ("a lying length", frame(None, 0x0800, &[0x45, 0, 0, 4]), 0, false, 0x100, false),
            ];
            let mut before = (0, 0);
            for (what, frame, mark, beside, wanted, handed) in table {
                let beside = beside.then(push_tag);
                let found = wire.mark(&frame, mark, 2_000);
                drop(beside);
                assert_eq!(
                    found.map(|mark| format!("{mark:#x}")),
                    Some(format!("{wanted:#x}")),
                    "{what}, {classify:?}"
                );
                let after = counted(&dataplane);
                let way = (after.0 - before.0, after.1 - before.1);
                assert_eq!(way, if handed { (1, 0) } else { (0, 1) }, "{what}, {classify:?}");
                before = after;
            }
        });
    }
}

/// XDP's verdict is a class, which is not enough: tc decides anew.
#[test]
fn classify_at_a_port_leads_to_a_tunnel_without_a_device() {
    for classify in WAYS {
        alone(move |root| {
            let mut policy = policy();
            policy.classes[1].fallback = Fallback::Class(ClassIndex(0));
            let tunnel = &mut policy.tunnels[0];
            tunnel.device.kind = DeviceKind::Bare;
            tunnel.remote_ts = vec!["10.2.0.0/24".parse().unwrap()];
            tunnel.classes.push(ClassIndex(1));
            tunnel.lanes.push(Lane {
                class: ClassIndex(1),
                index: 0,
                mark: 0x500,
                reqid: 0x4c4b_0002,
                label: "voice.0".into(),
                clients: Default::default(),
            });
            let tunnel = policy.tunnels[0].name.clone();
            let id = |class: &str| LaneId { tunnel: tunnel.clone(), class: class.into(), index: 0 };
            let (voice, default) = (id("voice"), id("default"));
            let mut dataplane = port(root, &policy, classify);
            let wire = Wire::new();
            let inside = frame(None, 0x0800, &udp4(5060, 0));
            let bulk = frame(Some(12), 0x0800, &udp4(5060, 0));
            let beside = frame(None, 0x86dd, &udp6(5060, false));
            let mark = |frame: &[u8]| wire.mark(frame, 0x70_0401, 2_000);
            // By lanes that are up: what is behind the tunnel, what it does not carry, and what is not behind it.
            for (up, wanted) in [(vec![], 0x70_0001), (vec![&default], 0x70_0101), (vec![&default, &voice], 0x70_0501)]
            {
                for lane in &up {
                    dataplane.set_up(lane, true).unwrap();
                }
                let found = [mark(&inside), mark(&bulk), mark(&beside)];
                assert_eq!(found, [Some(wanted), Some(0x70_0001), Some(0x70_0201)], "{up:?} {classify:?}");
            }
            assert_eq!(counted(&dataplane), (0, 9));
            let readings = dataplane.counters().unwrap();
            let of =
                |wanted: Series| readings.iter().filter(|one| one.series == wanted).map(|one| one.packets).sum::<u64>();
            let out = |class: &str| {
                of(Series::Lane { tunnel: tunnel.clone(), class: class.into(), index: 0, direction: Direction::Out })
            };
            assert_eq!((out("default"), out("voice")), (1, 1), "{classify:?}");
            let (class, to) = ("voice".to_owned(), "default".to_owned());
            assert_eq!(of(Series::Fallback { tunnel: tunnel.clone(), class, to }), 1, "{classify:?}");
            let blocked =
                |class: &str, reason| of(Series::Blocked { tenant: String::new(), class: class.into(), reason });
            let found = (blocked("bulk", BlockReason::NotCarried), blocked("voice", BlockReason::NoLane));
            assert_eq!(found, (3, 1), "{classify:?}");
        });
    }
}

/// Policies, packets over each and how many of them come at least; fewer in a guest, whose CPU is emulated.
fn sizes() -> (u64, u64, u64) {
    if std::env::var_os("LANEKEEPER_GUEST").is_some() { (1, 60, 30) } else { (3, 300, 150) }
}

#[test]
fn classify_at_a_port_agrees_with_the_oracle() {
    let (seeds, sent, most_of_them) = sizes();
    for classify in WAYS {
        alone(move |root| {
            let wire = Wire::new();
            for seed in 0..seeds {
                let mut random = Random::new(0x9021 + seed);
                let mut policy = witness::policy::policy(&mut random);
                while policy.rules.len() < 20 || policy.classes.len() < 3 {
                    policy = witness::policy::policy(&mut random);
                }
                let dataplane = port(root, &policy, classify);
                let before = counted(&dataplane);
                let (mut packets, mut oracle, mut came) = (Packets::default(), Oracle::default(), 0);
                for _ in 0..sent {
                    let mut packet = packets.next(&mut random, &policy);
                    // A veth strips nothing.
                    if packet.stripped.is_some() || matches!(packet.part, Part::Later(_)) {
                        continue;
                    }
                    packet.ingress = Some("lan0");
                    // Not all that is broken gets as far as the other end.
                    let wait = if packet.broken { 20 } else { 2_000 };
                    let found = wire.mark(&packet.frame, packet.mark, wait);
                    let (((_, _, class), _), mask) = (oracle.judge(&policy, &packet), policy.mark_mask);
                    let ours = mark::nth(mask, class.0 as u32 + 1).unwrap();
                    match found {
                        Some(found) => {
                            assert_eq!(found, packet.mark & !mask | ours, "{packet:x?} of {seed}, {classify:?}")
                        }
                        None => assert!(packet.broken, "{packet:x?} of {seed}, {classify:?}"),
                    }
                    came += u64::from(found.is_some());
                }
                let after = counted(&dataplane);
                let (xdp, tc) = (after.0 - before.0, after.1 - before.1);
                assert!(xdp + tc >= came && came > most_of_them, "{came} came, {xdp} and {tc} were counted");
                assert_eq!(xdp > 0, classify != Classify::Tc, "{xdp} and {tc}");
            }
        });
    }
}

/// The pin of one of lan0's links.
fn pin(root: &Path, name: &str) -> PathBuf {
    root.join(format!("lanekeeper/links/{}_{name}", ifindex("lan0")))
}

#[repr(C)]
struct Words([u64; 16]);

fn bpf(command: i32, words: &[u64]) -> i32 {
    let mut attributes = Words([0; 16]);
    attributes.0[..words.len()].copy_from_slice(words);
    // SAFETY: the kernel reads `attributes` and what it points to, which outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of::<Words>()) };
    assert!(result >= 0, "bpf {command}: {}", Error::last_os_error());
    result as i32
}

/// linux/bpf.h, enum bpf_cmd.
const BPF_PROG_LOAD: i32 = 5;
const BPF_OBJ_PIN: i32 = 6;
const BPF_OBJ_GET: i32 = 7;
const BPF_LINK_CREATE: i32 = 28;
const BPF_LINK_DETACH: i32 = 34;

/// What `bpftool link detach pinned` does: the link and its pin stay.
fn detach(pin: &Path) {
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let link = bpf(BPF_OBJ_GET, &[path.as_ptr() as u64, 0]);
    bpf(BPF_LINK_DETACH, &[link as u64]);
    // SAFETY: a descriptor of this function's own.
    unsafe { libc::close(link) };
}

/// linux/bpf.h, enum bpf_prog_type and enum bpf_attach_type.
const BPF_PROG_TYPE_SCHED_CLS: u64 = 3;
const BPF_PROG_TYPE_XDP: u64 = 6;
const BPF_XDP: u64 = 37;

/// One instruction: operation, destination, source, offset, number.
fn code(operation: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    u64::from(operation)
        | u64::from(from << 4 | to) << 8
        | u64::from(offset as u16) << 16
        | u64::from(number as u32) << 32
}

fn load(kind: u64, program: &[u64]) -> OwnedFd {
    let license = c"GPL";
    let length = program.len() as u64;
    let fd = bpf(BPF_PROG_LOAD, &[length << 32 | kind, program.as_ptr() as u64, license.as_ptr() as u64]);
    // SAFETY: a descriptor that is nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Another program's XDP on lan0; gone when it is dropped.
struct Foreign(OwnedFd);

impl Drop for Foreign {
    fn drop(&mut self) {
        // Closing it alone detaches when the last copy is closed, and a process that another test starts may have one.
        bpf(BPF_LINK_DETACH, &[self.0.as_raw_fd() as u64]);
    }
}

/// One that leaves these words in front of each packet.
fn foreign(words: &[u32]) -> Foreign {
    let size = words.len() as i32 * 4;
    let mut program = vec![
        code(0xbf, 6, 1, 0, 0),                  // r6 = r1
        code(0xb7, 2, 0, 0, -size),              // r2 = -size
        code(0x85, 0, 0, 0, 54),                 // bpf_xdp_adjust_meta(r1, r2)
        code(0x61, 2, 6, 8, 0),                  // r2 = data_meta
        code(0x61, 3, 6, 0, 0),                  // r3 = data
        code(0xbf, 4, 2, 0, 0),                  // r4 = r2
        code(0x07, 4, 0, 0, size),               // r4 += size
        code(0x2d, 4, 3, words.len() as i16, 0), // if r4 > r3 goto the end
    ];
    program.extend(words.iter().enumerate().map(|(at, word)| code(0x62, 2, 0, at as i16 * 4, *word as i32)));
    program.extend([code(0xb7, 0, 0, 0, 2), code(0x95, 0, 0, 0, 0)]);
    let program = load(BPF_PROG_TYPE_XDP, &program);
    let link = bpf(BPF_LINK_CREATE, &[u64::from(ifindex("lan0")) << 32 | program.as_raw_fd() as u64, BPF_XDP]);
    // SAFETY: a descriptor that is nobody else's.
    Foreign(unsafe { OwnedFd::from_raw_fd(link) })
}

/// What leaves by far0 gets VLAN id 12 beside its bytes, as from a VLAN device, which not every kernel has.
struct PushTag;

fn push_tag() -> PushTag {
    let program = load(
        BPF_PROG_TYPE_SCHED_CLS,
        &[
            code(0xb7, 2, 0, 0, 0x8100u16.to_be().into()), // r2 = its EtherType
            code(0xb7, 3, 0, 0, 12),                       // r3 = its id
            code(0x85, 0, 0, 0, 18),                       // bpf_skb_vlan_push(r1, r2, r3)
            code(0xb7, 0, 0, 0, 0),                        // TC_ACT_OK
            code(0x95, 0, 0, 0, 0),
        ],
    );
    let folder = std::env::temp_dir().join(format!("lk-push-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    mount(Some("bpf"), &folder, Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
    let pin = CString::new(folder.join("push").as_os_str().as_bytes()).unwrap();
    bpf(BPF_OBJ_PIN, &[pin.as_ptr() as u64, program.as_raw_fd() as u64]);
    shown("tc", "qdisc add dev far0 clsact");
    let words = format!("filter add dev far0 egress bpf da object-pinned {}", pin.to_str().unwrap());
    let done = Command::new("tc").args(words.split(' ')).status().unwrap();
    // Lazily: a process that another test starts may hold a file of it until it is another program.
    nix::mount::umount2(&folder, MntFlags::MNT_DETACH).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    assert!(done.success(), "tc {words}");
    PushTag
}

impl Drop for PushTag {
    fn drop(&mut self) {
        shown("tc", "qdisc del dev far0 clsact");
    }
}

#[test]
fn classify_by_tc_believes_only_a_verdict_of_the_same_tables_port_and_size() {
    alone(|root| {
        let dataplane = port(root, &policy(), Classify::Tc);
        let wire = Wire::new();
        let data = MapData::from_pin(root.join(format!("lanekeeper/v{VERSION}/ACTIVE"))).unwrap();
        let active = Array::<_, u64>::try_from(Map::Array(data)).unwrap().get(&0, 0).unwrap();
        let (stamp, port) = ([(active >> 32) as u32, active as u32], ifindex("lan0"));
        let good = [Handed::MAGIC, stamp[0], stamp[1], port, 4095, 2];
        let but = |at: usize, word: u32| {
            let mut words = good.to_vec();
            words[at] = word;
            words
        };
        let table = [
            ("as ours", good.to_vec(), 0x300, true),
            ("of somebody else", but(0, 7), 0x200, false),
            ("of older tables", but(1, stamp[0].wrapping_sub(1)), 0x200, false),
            ("of another generation", but(2, stamp[1] + 1), 0x200, false),
            ("of another port", but(3, port + 1), 0x200, false),
            ("of another VLAN", but(4, 12), 0x200, false),
            ("with more behind", [&good[..], &[0]].concat(), 0x200, false),
            ("with more before", [&[0], &good[..]].concat(), 0x200, false),
            ("with less", good[..5].to_vec(), 0x200, false),
        ];
        let mut before = counted(&dataplane);
        for (what, words, wanted, believed) in table {
            let other = foreign(&words);
            assert_eq!(wire.mark(&frame(None, 0x0800, &udp4(5060, 0)), 0, 2_000), Some(wanted), "{what}");
            let after = counted(&dataplane);
            assert_eq!((after.0 - before.0, after.1 - before.1), if believed { (1, 0) } else { (0, 1) }, "{what}");
            before = after;
            drop(other);
        }
    });
}

#[test]
fn classify_by_xdp_never_displaces_another_program() {
    alone(|root| {
        let mut dataplane = port(root, &policy(), Classify::Tc);
        let other = foreign(&[7]);
        let there = shown("ip", "-d link show dev lan0");
        for classify in [Classify::Xdp, Classify::XdpGeneric] {
            let error = dataplane.attach_port("lan0", classify, &interfaces()).unwrap_err();
            assert!(matches!(&error, dataplane::Error::XdpTaken { interface } if interface == "lan0"), "{error}");
            assert!(error.to_string().contains("classify = \"tc\""), "{error}");
            assert_eq!(shown("ip", "-d link show dev lan0"), there);
        }
        drop(other);
        dataplane.attach_port("lan0", Classify::Xdp, &interfaces()).unwrap();
        let mut tunnel = interfaces();
        tunnel[0].ethernet = false;
        let error = dataplane.attach_port("lan0", Classify::Xdp, &tunnel).unwrap_err();
        assert!(matches!(error, dataplane::Error::NoEthernet { .. }), "{error}");
    });
}

#[test]
fn classify_at_a_port_is_repaired_adopted_and_changed_in_place() {
    alone(|root| {
        let udp = frame(None, 0x0800, &udp4(5060, 0));
        let wire = Wire::new();
        let mut dataplane = port(root, &policy(), Classify::Xdp);
        let ports = |dataplane: &Dataplane| dataplane.observed().unwrap().ports;
        let seen = |classify| [("lan0".to_owned(), classify)].into();
        assert_eq!(ports(&dataplane), seen(Some(Classify::Xdp)));
        // Somebody detaches XDP: tc does it all, and it is missed.
        detach(&pin(root, "lanekeeper_xdp"));
        assert_eq!(wire.mark(&udp, 0, 2_000), Some(0x200));
        assert_eq!((counted(&dataplane), ports(&dataplane)), ((0, 1), seen(Some(Classify::Tc))));
        dataplane.attach_port("lan0", Classify::Xdp, &interfaces()).unwrap();
        assert_eq!(wire.mark(&udp, 0, 2_000), Some(0x200));
        assert_eq!((counted(&dataplane), ports(&dataplane)), ((1, 1), seen(Some(Classify::Xdp))));
        // The next agent takes over what is there, counters included.
        drop(dataplane);
        assert_eq!(wire.mark(&udp, 0, 2_000), Some(0x200));
        let mut dataplane = Dataplane::open(root).unwrap();
        assert_eq!(wire.mark(&udp, 0, 2_000), Some(0x200));
        assert_eq!((counted(&dataplane), ports(&dataplane)), ((3, 1), seen(Some(Classify::Xdp))));
        // Every way becomes every other.
        for classify in [Classify::XdpGeneric, Classify::Tc, Classify::Xdp, Classify::XdpGeneric] {
            dataplane.attach_port("lan0", classify, &interfaces()).unwrap();
            assert_eq!(ports(&dataplane), seen(Some(classify)));
            let mode = match classify {
                Classify::Tc => "",
                Classify::Xdp => "xdp",
                Classify::XdpGeneric => "xdpgeneric",
            };
            let link = shown("ip", "-d link show dev lan0");
            let word = link.split_whitespace().find(|word| word.starts_with("xdp")).unwrap_or("");
            assert_eq!(word.split('/').next(), Some(mode), "{link}");
        }
        // One that was made again is a port again, and the pins of the old one go.
        ip("link del lan0");
        assert_eq!(ports(&dataplane), [].into());
        pair();
        dataplane.attach_port("lan0", Classify::Xdp, &interfaces()).unwrap();
        let links = std::fs::read_dir(root.join("lanekeeper/links")).unwrap().count();
        assert!(links <= 2, "{links} links");
    });
}

#[test]
fn classify_at_a_port_leaves_nothing_behind() {
    for classify in WAYS {
        alone(move |root| {
            let state =
                || ["qdisc show dev lan0", "filter show dev lan0 ingress"].map(|words| shown("tc", words)).concat();
            let udp = frame(None, 0x0800, &udp4(5060, 0));
            let (wire, before) = (Wire::new(), (state(), shown("ip", "-d link show dev lan0")));
            let mut dataplane = port(root, &policy(), classify);
            dataplane.detach_port("lan0").unwrap();
            assert_eq!((state(), shown("ip", "-d link show dev lan0")), before);
            assert_eq!(
                (wire.mark(&udp, 0x4400, 2_000), dataplane.observed().unwrap().ports),
                (Some(0x4400), [].into())
            );
            drop(port(root, &policy(), classify));
            Dataplane::remove_all(root).unwrap();
            assert_eq!((state(), shown("ip", "-d link show dev lan0")), before);
            assert_eq!(wire.mark(&udp, 0x4400, 2_000), Some(0x4400));
        });
    }
}
