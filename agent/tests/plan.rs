//! The plan leads where it should, in an order in which nothing leaks: over random pairs of policies and machines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use lanekeeper::keyfile::{self, Algorithm, Keys};
use lanekeeper::plan::{
    Address, Conflict, Desired, DeviceInUse, Direction, Error, LaneTraces, Link, Observed, Op, PolicyDirection, REQIDS,
    Route, RouteVia, State, UNREACHABLE_METRIC, XfrmPolicy, diff,
};
use lanekeeper::policy::{
    Auth, Class, ClassIndex, Device, DeviceKind, Fallback, Ike, Keying, Lane, Policy, Start, Static, Tunnel,
};
use proptest::prelude::*;

/// What a policy of these tests is made of; small ranges, so that two of them have much in common.
#[derive(Debug, Clone)]
struct Sketch {
    tunnels: Vec<TunnelSketch>,
    tables: Option<u64>,
    mask: u32,
}

#[derive(Debug, Clone)]
struct TunnelSketch {
    name: usize,
    if_id: u32,
    mtu: u32,
    lanes: u8,
    addresses: usize,
    routes: usize,
    keyed: bool,
    seed: u32,
    digest: u64,
}

fn tunnel_sketch() -> impl Strategy<Value = TunnelSketch> {
    (0..4usize, 1..5u32, 1280..1283u32, 1..4u8, 0..3usize, 0..4usize, any::<bool>(), 0..2u32, 0..2u64).prop_map(
        |(name, if_id, mtu, lanes, addresses, routes, keyed, seed, digest)| TunnelSketch {
            name,
            if_id,
            mtu,
            lanes,
            addresses,
            routes,
            keyed,
            seed,
            digest,
        },
    )
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let mask = prop_oneof![Just(0xf_u32), Just(0xff)];
    (prop::collection::vec(tunnel_sketch(), 0..4), prop::option::of(0..3u64), mask).prop_map(
        |(mut tunnels, tables, mask)| {
            let mut seen = Vec::new();
            tunnels.retain(|tunnel| {
                let fresh = !seen.iter().any(|(name, if_id)| *name == tunnel.name || *if_id == tunnel.if_id);
                seen.push((tunnel.name, tunnel.if_id));
                fresh
            });
            Sketch { tunnels, tables, mask }
        },
    )
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

impl TunnelSketch {
    fn tunnel(&self) -> Tunnel {
        let lanes = (0..self.lanes)
            .map(|index| Lane {
                class: ClassIndex(0),
                index,
                mark: u32::from(index) + 1,
                reqid: REQIDS.start() + self.name as u32 * 16 + u32::from(index),
                label: format!("voice.{index}"),
            })
            .collect();
        Tunnel {
            name: format!("t{}", self.name),
            local: "192.0.2.1".parse().unwrap(),
            remote: format!("192.0.2.{}", 2 + self.name).parse().unwrap(),
            classes: vec![ClassIndex(0)],
            lanes,
            device: Device {
                kind: DeviceKind::Xfrm { if_id: self.if_id },
                name: format!("lk-t{}", self.name),
                mtu: self.mtu,
                addresses: ["10.255.0.1/30", "2001:db8:ff::1/64"][..self.addresses]
                    .iter()
                    .map(|text| net(text))
                    .collect(),
            },
            // The first is another in each tunnel, the others move between tunnels.
            routes: [&format!("10.{}.0.0/16", self.name), "10.99.0.0/16", "2001:db8:99::/48"][..self.routes]
                .iter()
                .map(|text| net(text))
                .collect(),
            keying: if self.keyed {
                Keying::Ike(Ike {
                    local_id: "moon".into(),
                    remote_id: "sun".into(),
                    auth: Auth::Psk { file: "psk".into() },
                    start: Start::Start,
                    proposals: Vec::new(),
                    esp_proposals: Vec::new(),
                    rekey_time: None,
                })
            } else {
                Keying::Static(Static { key_file: PathBuf::from("t.keys"), consent: true })
            },
            replay_window: 64,
            local_ts: vec![net("0.0.0.0/0"), net("::/0")],
            remote_ts: vec![net("0.0.0.0/0"), net("::/0")],
        }
    }

    fn keys(&self) -> Keys {
        let labels: Vec<String> = (0..self.lanes).map(|index| format!("voice.{index}")).collect();
        let mut next = self.seed * 7919 + self.name as u32 + 1;
        let files = keyfile::generate(labels.iter().map(String::as_str), Algorithm::Aes128Gcm16, |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (next >> 24) as u8;
            }
        });
        keyfile::parse("t.keys", &files.here).unwrap()
    }
}

/// No two tunnels share a route in a real policy.
fn policy(sketch: &Sketch) -> Policy {
    let mut taken = Vec::new();
    let tunnels = sketch
        .tunnels
        .iter()
        .map(|sketch| {
            let mut tunnel = sketch.tunnel();
            tunnel.routes.retain(|route| !taken.contains(route));
            taken.extend(tunnel.routes.clone());
            tunnel
        })
        .collect();
    Policy {
        mark_mask: sketch.mask,
        metrics_listen: None,
        vici: "/run/charon.vici".into(),
        classes: vec![Class { name: "voice".into(), lanes: 1, fallback: Fallback::Block, outer_dscp: None }],
        tunnels,
        rules: Vec::new(),
        default_class: ClassIndex(0),
        tenants: Vec::new(),
    }
}

fn desired(sketch: &Sketch) -> Desired {
    let keys = sketch.tunnels.iter().map(|tunnel| (format!("t{}", tunnel.name), tunnel.keys())).collect();
    let mut desired = Desired::new(&policy(sketch), &keys).unwrap();
    desired.tables = sketch.tables;
    desired.connections = sketch
        .tunnels
        .iter()
        .filter(|tunnel| tunnel.keyed)
        .map(|tunnel| (format!("lk-t{}", tunnel.name), tunnel.digest))
        .collect();
    desired
}

/// The kernel and charon as a model: what each operation does, and what the kernel does by itself. Panics where the kernel
/// would refuse.
fn carry_out(machine: &mut Observed, op: &Op) {
    match op.clone() {
        Op::AddRoute(route) => {
            let place = |other: &Route| other.destination == route.destination && other.metric == route.metric;
            assert!(!machine.routes.iter().any(place), "EEXIST: {op}");
            if let RouteVia::Device(device) = &route.via {
                assert!(machine.links.get(device).is_some_and(|link| link.up), "ENETDOWN: {op}");
            }
            machine.routes.insert(route);
        }
        Op::AddLink(link) => {
            let taken = |other: &Link| other.name == link.name || other.if_id == link.if_id;
            assert!(!machine.links.values().any(taken), "EEXIST: {op}");
            assert!(!machine.attached.contains(&link.name), "a stale pin: {op}");
            machine.links.insert(link.name.clone(), Link { up: false, ..link });
        }
        Op::SetMtu { name, to, .. } => machine.links.get_mut(&name).unwrap().mtu = to,
        Op::LinkUp { name } => machine.links.get_mut(&name).unwrap().up = true,
        Op::AddAddress(address) => {
            assert!(machine.links.contains_key(&address.device), "ENODEV: {op}");
            assert!(machine.addresses.insert(address), "EEXIST: {op}");
        }
        Op::AddState(state) => {
            // As __xfrm_state_lookup compares: by the new one's value under the mask of the one that is there.
            let value = state.id.mark.map_or(0, |mark| mark.value);
            let taken = |other: &State| {
                let (v, m) = other.id.mark.map_or((0, 0), |mark| (mark.value, mark.mask));
                (other.id.destination, other.id.spi) == (state.id.destination, state.id.spi) && value & m == v
            };
            assert!(!machine.states.iter().any(taken), "EEXIST: {op}");
            machine.states.push(state);
        }
        Op::AddPolicy(policy) => {
            assert!(machine.policies.iter().all(|other| other.id != policy.id), "EEXIST: {op}");
            assert!(!machine.charon.contains_key(&(policy.reqid, policy.id.if_id)), "charon's is there: {op}");
            machine.policies.push(policy);
        }
        Op::UpdatePolicy(policy) => {
            let place = machine.policies.iter().position(|other| other.id == policy.id).expect("ENOENT");
            machine.policies[place] = policy;
        }
        Op::LoadTables { digest } => machine.tables = Some(digest),
        Op::Attach { device } => {
            assert!(machine.links.contains_key(&device) && machine.tables.is_some(), "no place: {op}");
            assert!(machine.attached.insert(device), "twice: {op}");
        }
        Op::LoadConnection { name, digest, changed } => {
            assert_eq!(machine.connections.insert(name, digest).is_some(), changed, "{op}");
        }
        Op::UnloadConnection { name } => assert!(machine.connections.remove(&name).is_some(), "{op}"),
        Op::FlushLane { reqid, if_id } => assert!(machine.charon.remove(&(reqid, if_id)).is_some(), "{op}"),
        Op::Detach { device } => assert!(machine.attached.remove(&device), "{op}"),
        Op::RemoveAddress(address) => {
            assert!(machine.addresses.remove(&address), "{op}");
            let is_ipv4 = |other: &Address| other.device == address.device && other.address.addr().is_ipv4();
            if is_ipv4(&address) && !machine.addresses.iter().chain(&machine.other_addresses).any(is_ipv4) {
                let via = RouteVia::Device(address.device.clone());
                machine.routes.retain(|route| route.via != via || !route.destination.addr().is_ipv4());
            }
        }
        Op::RemovePolicy(id) => machine.policies.retain(|policy| policy.id != id),
        Op::RemoveState(id) => machine.states.retain(|state| state.id != id),
        Op::RemoveLink { name } => {
            assert!(machine.links.remove(&name).is_some(), "ENODEV: {op}");
            assert!(!machine.attached.contains(&name), "a pinned link would stay: {op}");
            machine.addresses.retain(|address| address.device != name);
            machine.routes.retain(|route| route.via != RouteVia::Device(name.clone()));
        }
        Op::RemoveRoute(route) => assert!(machine.routes.remove(&route), "ESRCH: {op}"),
        Op::RemoveDataplane => machine.tables = None,
    }
}

/// A machine on which `desired` was applied, with charon's lanes up.
fn machine(desired: &Desired) -> Observed {
    let mut machine = Observed::default();
    for op in diff(desired, &machine).unwrap().ops {
        carry_out(&mut machine, &op);
    }
    for lane in &desired.charon_lanes {
        machine.charon.insert(*lane, LaneTraces { states: 2, policies: 6 });
    }
    machine
}

/// Something of ours gone or changed behind our back.
fn drift(machine: &mut Observed, which: usize) {
    let device = machine.links.keys().next().cloned();
    match (which, device) {
        (1, Some(device)) => {
            machine.links.remove(&device);
            machine.addresses.retain(|address| address.device != device);
            machine.routes.retain(|route| route.via != RouteVia::Device(device.clone()));
        }
        (2, Some(device)) => {
            machine.links.get_mut(&device).unwrap().up = false;
            machine.routes.retain(|route| route.via != RouteVia::Device(device.clone()));
        }
        (3, _) => machine.states.truncate(1),
        (4, _) => {
            machine.policies.pop();
        }
        (5, _) => machine.routes.clear(),
        (6, _) => machine.policies.iter_mut().for_each(|policy| policy.priority += 1),
        (7, _) => machine.tables = None,
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_apply_nothing_remains_to_do(from in sketch(), to in sketch(), drifted in 0..9usize) {
        let mut machine = machine(&desired(&from));
        drift(&mut machine, drifted);
        let wanted = desired(&to);
        for op in diff(&wanted, &machine).unwrap().ops {
            carry_out(&mut machine, &op);
        }
        let again = diff(&wanted, &machine).unwrap();
        prop_assert!(again.is_empty(), "{again}");
    }

    #[test]
    fn down_leaves_nothing(from in sketch(), drifted in 0..9usize) {
        let mut machine = machine(&desired(&from));
        drift(&mut machine, drifted);
        for op in diff(&Desired::default(), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
        }
        prop_assert_eq!(machine, Observed::default());
    }

    #[test]
    fn a_prefix_that_stays_is_never_without_a_route(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        let wanted = desired(&to);
        let stays: Vec<IpNet> = wanted.routes.iter().map(|route| route.destination)
            .filter(|destination| machine.routes.iter().any(|route| route.destination == *destination)).collect();
        for op in diff(&wanted, &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            for destination in &stays {
                let covered = machine.routes.iter().any(|route| route.destination == *destination);
                prop_assert!(covered, "{destination} after {op}");
            }
        }
    }

    #[test]
    fn a_route_steers_only_where_a_block_is_behind_it(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        for op in diff(&desired(&to), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            for route in machine.routes.iter().filter(|route| matches!(route.via, RouteVia::Device(_))) {
                let blocked = machine.routes.iter().any(|other| {
                    other.destination == route.destination && other.metric == UNREACHABLE_METRIC
                });
                prop_assert!(blocked, "{route} after {op}");
            }
        }
    }

    #[test]
    fn a_new_device_gets_traffic_only_with_programs_on_it(to in sketch()) {
        let wanted = desired(&to);
        prop_assume!(wanted.tables.is_some());
        let mut machine = Observed::default();
        for op in diff(&wanted, &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            for (name, link) in &machine.links {
                prop_assert!(!link.up || machine.attached.contains(name), "{name} after {op}");
            }
        }
    }

    #[test]
    fn receiving_comes_before_sending_and_leaves_after_it(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        let wanted = desired(&to);
        let there = diff(&wanted, &machine).unwrap().ops;
        // A policy on its way out because its if_id changes has no device any more: only those that stay are looked at; and
        // on the way down, all.
        let ops = there.iter().map(|op| (op, true)).collect::<Vec<_>>();
        let mut after = machine.clone();
        ops.iter().for_each(|(op, _)| carry_out(&mut after, op));
        let down = diff(&Desired::default(), &after).unwrap().ops;
        for (op, applying) in ops.into_iter().chain(down.iter().map(|op| (op, false))) {
            carry_out(&mut machine, op);
            let looked_at = |policy: &&XfrmPolicy| {
                policy.id.direction == PolicyDirection::Out && (!applying || wanted.policies.contains(policy))
            };
            for policy in machine.policies.iter().filter(looked_at) {
                let of_lane = |state: &&State| (state.reqid, state.if_id) == (policy.reqid, policy.id.if_id);
                let (out, inbound): (Vec<_>, Vec<_>) =
                    machine.states.iter().filter(of_lane).partition(|state| state.id.mark.is_some());
                prop_assert!(!inbound.is_empty(), "{policy} sends and nothing receives after {op}");
                // While a key changes under its SPI the state is away between two operations.
                let away = matches!(&op, Op::RemoveState(id) if id.mark == policy.id.mark);
                prop_assert!(away || !out.is_empty(), "{policy} has no state after {op}");
            }
        }
    }

    #[test]
    fn charon_finds_no_static_policy_in_its_place(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        let wanted = desired(&to);
        for op in diff(&wanted, &machine).unwrap().ops {
            if matches!(op, Op::LoadConnection { .. }) {
                let taken = |policy: &XfrmPolicy| wanted.charon_lanes.contains(&(policy.reqid, policy.id.if_id));
                prop_assert!(!machine.policies.iter().any(taken), "{op}");
            }
            carry_out(&mut machine, &op);
        }
    }

    #[test]
    fn live_lanes_of_charon_are_left_alone(sketch in sketch()) {
        let wanted = desired(&sketch);
        let mut machine = machine(&wanted);
        machine.charon.values_mut().for_each(|traces| traces.states += 2);
        let plan = diff(&wanted, &machine).unwrap();
        prop_assert!(plan.is_empty(), "{plan}");
    }

    #[test]
    fn what_others_put_on_our_devices_is_left_alone(sketch in sketch()) {
        let wanted = desired(&sketch);
        let mut machine = machine(&wanted);
        for device in machine.links.keys() {
            machine.other_addresses.insert(Address { device: device.clone(), address: net("10.77.0.1/24") });
        }
        let plan = diff(&wanted, &machine).unwrap();
        prop_assert!(plan.is_empty(), "{plan}");
    }
}

fn one(keyed: bool) -> Sketch {
    let tunnel =
        TunnelSketch { name: 0, if_id: 42, mtu: 1400, lanes: 1, addresses: 1, routes: 1, keyed, seed: 0, digest: 7 };
    Sketch { tunnels: vec![tunnel], tables: Some(1), mask: 0xff }
}

/// Without what differs from key file to key file.
fn lines(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

#[test]
fn the_diff_of_a_first_apply_reads_in_order() {
    let plan = diff(&desired(&one(true)), &Observed::default()).unwrap();
    assert_eq!(
        lines(&plan.ops),
        [
            "+ route unreachable 10.0.0.0/16 metric 4294967294",
            "+ link lk-t0 xfrm if_id 42 mtu 1400",
            "~ tables 0000000000000001",
            "+ programs dev lk-t0",
            "~ link lk-t0 up",
            "+ address 10.255.0.1/30 dev lk-t0",
            "+ route 10.0.0.0/16 dev lk-t0 metric 0",
            "+ connection lk-t0",
        ]
    );
}

#[test]
fn the_diff_of_down_is_the_reverse() {
    let plan = diff(&Desired::default(), &machine(&desired(&one(true)))).unwrap();
    assert_eq!(
        lines(&plan.ops),
        [
            "- route 10.0.0.0/16 dev lk-t0 metric 0",
            "- connection lk-t0",
            "- states and policies of charon, reqid 0x4c4b0000 if_id 42",
            "- programs dev lk-t0",
            "- link lk-t0",
            "- route unreachable 10.0.0.0/16 metric 4294967294",
            "- tables, programs and pins",
        ]
    );
}

#[test]
fn static_lanes_read_whole_and_without_their_keys() {
    let desired = desired(&one(false));
    let plan = diff(&desired, &Observed::default()).unwrap();
    let text = plan.to_string();
    let inbound = desired.states.iter().find(|state| state.id.mark.is_none()).unwrap();
    assert!(
        text.contains(&format!(
            "+ state spi {:#010x} dst 192.0.2.1 src 192.0.2.2 reqid 0x4c4b0000 if_id 42 set-mark 0x1/0xff replay-window 64 \
             aes128gcm16\n",
            inbound.id.spi
        )),
        "{text}"
    );
    assert!(
        text.contains(
            "+ policy dir out src ::/0 dst ::/0 mark 0x1/0xff if_id 42 reqid 0x4c4b0000 192.0.2.1 > 192.0.2.2\n"
        ),
        "{text}"
    );
    let json = serde_json::to_string(&plan).unwrap();
    assert!(json.contains(&format!("\"spi\":\"{:#x}\"", inbound.id.spi)), "{json}");
    let key: String = inbound.key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    let decimals = format!("{:?}", inbound.key.expose());
    for shown in [text, json, format!("{plan:?}"), format!("{desired:?}")] {
        assert!(!shown.contains(&key[..12]) && !shown.contains(&decimals[1..12]), "{shown}");
    }
}

#[test]
fn a_new_key_with_the_same_spi_replaces_the_state() {
    let wanted = desired(&one(false));
    let mut machine = machine(&wanted);
    let id = machine.states[0].id;
    machine.states[0].key = keyfile::Key::new(vec![1; 20]);
    let ops = diff(&wanted, &machine).unwrap().ops;
    assert_eq!(ops[0], Op::RemoveState(id));
    assert!(matches!(&ops[1], Op::AddState(state) if state.id == id));
    assert_eq!(ops.len(), 2);
}

#[test]
fn a_resized_mask_replaces_the_state_that_has_the_spi() {
    let mut machine = machine(&desired(&one(false)));
    let wanted = desired(&Sketch { mask: 0xf, ..one(false) });
    let sends = machine.states.iter().find(|state| state.id.mark.is_some()).unwrap().id;
    let ops = diff(&wanted, &machine).unwrap().ops;
    let removed = ops.iter().position(|op| *op == Op::RemoveState(sends)).unwrap();
    assert!(matches!(&ops[removed + 1], Op::AddState(state) if state.id.spi == sends.spi), "{:#?}", lines(&ops));
    ops.iter().for_each(|op| carry_out(&mut machine, op));
    assert!(diff(&wanted, &machine).unwrap().is_empty());
}

#[test]
fn keys_that_a_locked_down_kernel_hides_are_no_difference() {
    let wanted = desired(&one(false));
    let mut machine = machine(&wanted);
    for state in &mut machine.states {
        state.key = keyfile::Key::new(vec![0; 20]);
    }
    assert!(diff(&wanted, &machine).unwrap().is_empty());
}

#[test]
fn charons_leftovers_of_another_lane_are_flushed() {
    let wanted = desired(&one(true));
    let mut machine = machine(&wanted);
    let stray = (REQIDS.start() + 9, 42);
    machine.charon.insert(stray, LaneTraces { states: 1, policies: 0 });
    assert_eq!(diff(&wanted, &machine).unwrap().ops, [Op::FlushLane { reqid: stray.0, if_id: stray.1 }]);
}

#[test]
fn a_foreign_device_of_our_name_is_an_error_that_names_the_cure() {
    let mut machine = Observed::default();
    let dummy = DeviceInUse { kind: "dummy".into(), if_id: None };
    machine.others.insert("lk-t0".into(), dummy);
    machine.others.insert("vpn0".into(), DeviceInUse { kind: "xfrm".into(), if_id: Some(42) });
    let conflicts = diff(&desired(&one(true)), &machine).unwrap_err();
    assert!(matches!(conflicts.0[..], [Conflict::DeviceTaken { .. }, Conflict::IfIdTaken { .. }]));
    assert_eq!(
        conflicts.to_string(),
        "device lk-t0 exists and is not ours (dummy, without our alias \"lanekeeper\"): give the tunnel another device name, or \
         remove it with `ip link del lk-t0`\n\
         device lk-t0 needs if_id 42, which the XFRM interface vpn0 has and which is not ours: give the tunnel another if-id, \
         or remove it with `ip link del vpn0`"
    );
}

#[test]
fn keys_must_fit_the_lanes() {
    let sketch = one(false);
    let mut policy = policy(&sketch);
    let said = |policy: &Policy, keys: &BTreeMap<String, Keys>| Desired::new(policy, keys).unwrap_err().to_string();
    let mut keys = BTreeMap::new();
    assert_eq!(said(&policy, &keys), "tunnel \"t0\": its key file t.keys was not read");
    keys.insert("t0".to_owned(), Keys::default());
    assert_eq!(
        said(&policy, &keys),
        "tunnel \"t0\": t.keys has no sa with lane \"voice.0\" and direction \"in\"; add one"
    );
    keys.insert("t0".to_owned(), sketch.tunnels[0].keys());
    policy.tunnels[0].keying = Keying::Static(Static { key_file: "t.keys".into(), consent: false });
    assert!(matches!(Desired::new(&policy, &keys), Err(Error::NoConsent { .. })));
    assert_eq!(
        said(&policy, &keys),
        "tunnel \"t0\": aes128gcm16 in t.keys repeats its nonces when the machine restarts with the same key; if you can \
         live with that write i-know = \"static keys repeat nonces after a reboot\" in [tunnel.static], else use aes128-sha256"
    );
    policy.tunnels[0].keying = Keying::Static(Static { key_file: "t.keys".into(), consent: true });
    assert!(Desired::new(&policy, &keys).is_ok());
    policy.tunnels[0].lanes[0].label = "bulk.0".into();
    assert_eq!(
        said(&policy, &keys),
        "tunnel \"t0\": t.keys has an sa for lane \"voice.0\", which the tunnel does not have; remove it"
    );
    policy.tunnels[0].lanes[0].label = "voice.0".into();
    let twin = Tunnel { name: "t1".into(), ..policy.tunnels[0].clone() };
    policy.tunnels.push(twin);
    keys.insert("t1".to_owned(), sketch.tunnels[0].keys());
    let spi = keys["t1"].find("voice.0", Direction::In).unwrap().spi;
    assert_eq!(
        said(&policy, &keys),
        format!(
            "tunnel \"t1\": t.keys gives lane \"voice.0\" the spi {spi:#x} at 192.0.2.1, which another static tunnel has too; \
             choose another on both ends"
        )
    );
    let missing = Error::MissingSa {
        tunnel: "t0".into(),
        file: "t.keys".into(),
        lane: "voice.0".into(),
        direction: Direction::Out,
    };
    assert!(missing.to_string().ends_with("direction \"out\"; add one"));
}
