//! The loaded programs on this kernel, attached to nothing of the host's: BPF_PROG_TEST_RUN over maps of their own.

mod witness;

use lanekeeper::compile::series::{Direction, Series};
use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::model::{Model, Probe, Verdict};
use lanekeeper::policy::ClassIndex;
use lanekeeper_common::verdict::{BlockReason, ParseReason};
use witness::oracle::{Oracle, reaches};
use witness::packet::{Packets, Part};
use witness::random::Random;

/// Packets of each policy.
const PACKETS: u64 = 1_000;

/// A million packets on this machine; in a guest, whose CPU is emulated and takes twenty times as long, one in fifty.
fn policies() -> u64 {
    if std::env::var_os("LANEKEEPER_GUEST").is_some() { 20 } else { 1_000 }
}

/// Newer kernels (seen: 6.18.44) refuse test runs of IP packets that are shorter than IP's header; `None` for those alone.
fn run(trial: &mut Trial, probe: &Probe<'_>) -> Option<Verdict> {
    let short = match probe.frame[12..14] {
        [0x08, 0x00] => probe.frame.len() < 14 + 20,
        [0x86, 0xdd] => probe.frame.len() < 14 + 40,
        _ => false,
    };
    match trial.run(probe) {
        Ok(verdict) => Some(verdict),
        Err(_) if short => None,
        Err(error) => panic!("{error}: {probe:?}"),
    }
}

/// Oracle, host and kernel; every policy is loaded over the one before, so this switches tables as often.
#[test]
fn three_witnesses_agree_on_every_packet() {
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    let mut registry = Registry::default();
    // Kept over policies: what a first fragment got from the tables before says nothing in these.
    let mut packets = Packets::default();
    let (mut broken, mut followed, mut alone, mut by_rule, mut blocked, mut turned_away) = (0, 0, 0, 0, 0_u64, 0);
    for seed in 0..policies() {
        let mut random = Random::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let policy = witness::policy::policy(&mut random);
        let tables = compile(&policy, &mut registry).unwrap();
        trial.load(&tables).unwrap();
        let (mut oracle, mut model) = (Oracle::default(), Model::new(&tables));
        let all_up = random.one_in(2);
        for lane in tables.lanes.keys() {
            let up = all_up || random.one_in(2);
            model.set_up(lane, up);
            trial.set_up(lane, up).unwrap();
        }
        trial.set_tunnel("tunnel0").unwrap();
        for place in 0..PACKETS {
            let packet = packets.next(&mut random, &policy);
            let probe = packet.probe();
            let host = model.evaluate("tunnel0", &probe);
            let kernel = match run(&mut trial, &probe) {
                Some(verdict) => verdict,
                None => host.clone(),
            };
            let (judgement, unseen) = oracle.judge(&policy, &packet);
            let context = || format!("seed {seed}, packet {place}: {packet:?}");
            assert_eq!(host, kernel, "host and kernel; {}", context());
            if let Some(again) = run(&mut trial, &probe) {
                assert_eq!(host, again, "host and kernel once its flow is known; {}", context());
            }
            assert_eq!((kernel.tenant, kernel.rule, kernel.class), judgement, "oracle; {}", context());
            assert_eq!(kernel.parse == Some(ParseReason::FragmentUnseen), unseen, "oracle; {}", context());
            let barred = kernel.blocked == Some(BlockReason::Tenant);
            assert_eq!(barred, !reaches(&policy, kernel.tenant, 0), "oracle; {}", context());
            turned_away += u64::from(barred);
            broken += u64::from(packet.broken);
            by_rule += u64::from(kernel.rule.is_some());
            blocked += u64::from(kernel.blocked.is_some());
        }
        followed += oracle.followed;
        alone += oracle.unseen;
    }
    let all = policies() * PACKETS;
    println!(
        "{all} packets, {broken} broken, {followed} after their first fragment, {alone} without it, {by_rule} by a rule, {blocked} blocked, of those {turned_away} at another's tunnel"
    );
    // A generator that stopped making the interesting ones would agree with everything.
    assert!(broken > all / 100 && followed > all / 100 && alone > all / 100);
    assert!(by_rule > all / 5 && blocked > all / 100 && turned_away > all / 50);
}

/// Flows that are remembered, and tables that change under them: by a switch, and in place.
#[test]
fn classify_takes_no_verdict_from_tables_that_were() {
    let mut random = Random::new(3);
    let mut first = witness::policy::policy(&mut random);
    while first.tunnels.len() < 2 || first.classes.len() < 2 || first.rules.len() < 20 {
        first = witness::policy::policy(&mut random);
    }
    let mut second = first.clone();
    second.rules.reverse();
    second.rules.iter_mut().for_each(|rule| rule.class = ClassIndex((rule.class.0 + 1) % first.classes.len()));
    let mut registry = Registry::default();
    let tables = [&first, &second].map(|policy| compile(policy, &mut registry).unwrap());
    let packets: Vec<_> = (0..500).map(|_| witness::packet::packet(&mut random, &first)).collect();
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    let (mut verdicts, mut differ) = (vec![None; packets.len()], 0);
    for round in 0..6 {
        let tables = &tables[round % 2];
        trial.load(tables).unwrap();
        trial.set_all_up().unwrap();
        let model = Model::all_up(tables);
        // The device's tunnel changes with nothing switched.
        for tunnel in ["tunnel0", "tunnel1", "tunnel0"] {
            trial.set_tunnel(tunnel).unwrap();
            for (place, packet) in packets.iter().enumerate() {
                if packet.part != Part::Whole {
                    continue;
                }
                let probe = Probe { mark: 0, ..packet.probe() };
                let Some(verdict) = run(&mut trial, &probe) else { continue };
                assert_eq!(verdict, model.evaluate(tunnel, &probe), "round {round}, {tunnel}: {packet:?}");
                let before = verdicts[place].replace(verdict.clone());
                differ += u32::from(before.is_some_and(|before| before != verdict));
            }
        }
    }
    assert!(differ > 5_000, "{differ} verdicts differed from the one before");
}

/// Each packet is counted once in its rule, and in class and lane where it leaves, with its bytes from the IP header on;
/// else among the blocked ones.
#[test]
fn counters_add_up_to_the_packets() {
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    let mut random = Random::new(7);
    let policy = witness::policy::policy(&mut random);
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    trial.load(&tables).unwrap();
    trial.set_all_up().unwrap();
    trial.set_tunnel("tunnel0").unwrap();
    let (mut packets, mut taken, mut named, mut bytes) = (0, 0, 0, 0);
    for place in 0..5_000 {
        if place == 3_000 {
            // Whatever follows is blocked.
            tables.lanes.keys().for_each(|lane| trial.set_up(lane, false).unwrap());
        }
        let packet = witness::packet::packet(&mut random, &policy);
        let probe = Probe { mark: 0, ..packet.probe() };
        let Some(verdict) = run(&mut trial, &probe) else { continue };
        packets += 1;
        taken += u64::from(verdict.lane.is_some());
        named += u64::from(verdict.rule.is_some_and(|rule| policy.rules[rule].name.is_some()));
        if verdict.lane.is_some() && !packet.broken && packet.frame[12..14] == [0x08, 0x00] {
            bytes += packet.frame.len() as u64 - 14;
        }
    }
    let counters = trial.counters().unwrap();
    let sum = |of: fn(&Series) -> bool| -> u64 { counters.iter().filter(|r| of(&r.series)).map(|r| r.packets).sum() };
    assert_eq!(sum(|series| matches!(series, Series::ClassOut { .. })), taken);
    assert_eq!(sum(|series| matches!(series, Series::Lane { direction: Direction::Out, .. })), taken);
    assert_eq!(sum(|series| matches!(series, Series::Rule { .. })), named);
    assert_eq!(sum(|series| matches!(series, Series::Blocked { .. })), packets - taken);
    assert!(taken > 500 && packets - taken > 1_000, "{taken} of {packets} got through");
    assert_eq!(sum(|series| matches!(series, Series::Lane { direction: Direction::In, .. })), 0);
    let counted: u64 = counters
        .iter()
        .filter(|reading| matches!(reading.series, Series::ClassOut { .. }))
        .map(|reading| reading.bytes)
        .sum();
    assert!(counted > bytes, "{counted} bytes counted, {bytes} in plain IPv4 alone");
}

/// Whoever builds them elsewhere gets the same bytes: `cargo xtask release` does, and compares.
#[test]
fn the_programs_do_not_say_where_they_were_built() {
    let workspace = xtask::workspace::Workspace::find().unwrap();
    let here = workspace.root().to_string_lossy().into_owned();
    for object in workspace.bpf_objects() {
        let bytes = std::fs::read(&object).unwrap();
        let says = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(says("/lanekeeper/") || says("/lanekeeper\0"), "{}: no debug info", object.display());
        for folder in [here.as_str(), "/registry/src/"] {
            assert!(!says(folder), "{} names {folder}", object.display());
        }
    }
}
