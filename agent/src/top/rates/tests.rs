use std::collections::BTreeMap;

use super::*;
use crate::compile::series::{Direction, LaneEvent, Reading, Series};
use crate::lane::{Condition, LaneId};
use crate::policy::{ClassIndex, Policy, Rule, Tenant, TenantIndex};
use crate::status::Standing;
use crate::status::tests::policy;
use lanekeeper_common::verdict::BlockReason;

/// A tenant and two named rules more.
fn full() -> Policy {
    let mut policy = policy();
    policy.tenants.push(Tenant { name: "acme".into(), ..Tenant::default() });
    let sip = Rule { name: Some("sip".into()), ..Rule::default() };
    let backup =
        Rule { name: Some("backup".into()), class: ClassIndex(1), tenant: Some(TenantIndex(0)), ..Rule::default() };
    policy.rules = vec![sip, backup];
    policy
}

/// At that second, with these lanes up.
fn sample(policy: &Policy, second: u64, up: &[&str], readings: &[Reading]) -> Sample {
    let is_up = |id: &LaneId| up.contains(&format!("{}.{}", id.class, id.index).as_str());
    let condition = |id: &LaneId| if is_up(id) { Condition::Up } else { Condition::Down };
    let status = Status::of(policy, |id| Standing { condition: condition(id), since: 0 });
    Sample::of(policy, status, readings, &BTreeMap::new(), second * 1_000_000, second)
}

fn read(series: Series, packets: u64) -> Reading {
    Reading { series, packets, bytes: packets * 125 }
}

fn out(tenant: &str, class: &str) -> Series {
    Series::ClassOut { tenant: tenant.into(), class: class.into() }
}

fn lane(class: &str, direction: Direction) -> Series {
    Series::Lane { tunnel: "branch-7".into(), class: class.into(), index: 0, direction }
}

fn event(class: &str, event: LaneEvent) -> Series {
    Series::Event { tunnel: "branch-7".into(), class: class.into(), index: 0, event }
}

const ALL_UP: [&str; 4] = ["voice.0", "bulk.0", "bulk.1", "default.0"];

fn row<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} in {rows:?}"))
}

fn rate(packets: f64) -> Option<Rate> {
    Some(Rate { packets, bits: packets * 1000.0 })
}

#[test]
fn see_rates_are_what_moved_in_a_second_and_add_up() {
    let policy = full();
    let blocked = |n| {
        let (tenant, class) = ("acme".into(), "bulk".into());
        read(Series::Blocked { tenant, class, reason: BlockReason::NoLane }, n)
    };
    let readings = |n: u64| {
        [
            read(out("", "voice"), 100 + 20 * n),
            read(out("acme", "voice"), 40 * n),
            read(Series::ClassIn { tenant: "acme".into(), class: "bulk".into() }, 140 * n),
            blocked(2 * n),
            read(lane("voice", Direction::Out), 60 * n),
            read(lane("bulk", Direction::In), 140 * n),
            read(event("bulk", LaneEvent::ReplayError), 6 * n),
            read(event("bulk", LaneEvent::IntegrityError), 4 * n),
            read(event("bulk", LaneEvent::Rekey), 50 * n),
            read(Series::Fallback { tunnel: "branch-7".into(), class: "voice".into(), to: "default".into() }, 8 * n),
            read(Series::Rule { tenant: String::new(), rule: "sip".into() }, 30 * n),
            read(Series::Rule { tenant: "acme".into(), rule: "backup".into() }, 10 * n),
        ]
    };
    let before = sample(&policy, 10, &ALL_UP, &readings(1));
    let rates = Rates::of(Some(&before), &sample(&policy, 12, &ALL_UP, &readings(3)));
    assert_eq!((rates.seconds, rates.now), (Some(2.0), 12));

    let voice = row(&rates.classes, "voice");
    assert_eq!((voice.out, voice.into, voice.fallback), (rate(60.0), rate(0.0), Some(8.0)));
    assert_eq!((voice.share, voice.errors), (Some(0.3), Some(0.0)));
    let bulk = row(&rates.classes, "bulk");
    assert_eq!((bulk.into, bulk.share, bulk.errors), (rate(140.0), Some(0.7), Some(12.0)));

    assert_eq!(row(&rates.lanes, "branch-7/voice.0").out, rate(60.0));
    assert_eq!(row(&rates.lanes, "branch-7/bulk.0").errors, Some(10.0));
    assert_eq!(row(&rates.lanes, "branch-7/bulk.0").fallback, None);
    let tunnel = row(&rates.tunnels, "branch-7");
    assert_eq!((tunnel.out, tunnel.into, tunnel.share), (rate(60.0), rate(140.0), Some(1.0)));
    assert_eq!((tunnel.fallback, tunnel.errors), (Some(8.0), Some(10.0)));
    let (nobody, acme) = (row(&rates.tenants, "-"), row(&rates.tenants, "acme"));
    assert_eq!((nobody.out, acme.out, acme.into, acme.errors), (rate(20.0), rate(40.0), rate(140.0), Some(2.0)));
    assert_eq!(row(&rates.rules, "sip").share, Some(0.75));
    assert_eq!(row(&rates.rules, "acme/backup").out, rate(10.0));
    assert_eq!((rates.total.out, rates.total.into), (rate(60.0), rate(140.0)));
    assert_eq!((rates.total.fallback, rates.total.errors), (Some(8.0), Some(12.0)));
}

#[test]
fn see_a_counter_that_begins_again_has_no_negative_rate() {
    let policy = full();
    let readings = |n| [read(out("", "voice"), n), read(lane("voice", Direction::In), n)];
    let before = sample(&policy, 10, &ALL_UP, &readings(1_000_000));
    let rates = Rates::of(Some(&before), &sample(&policy, 12, &ALL_UP, &readings(30)));
    assert_eq!(row(&rates.classes, "voice").out, rate(15.0));
    assert_eq!(row(&rates.lanes, "branch-7/voice.0").into, rate(15.0));
    // Its bytes begin again with its packets, even if they are more already.
    let mut later = readings(30);
    later[0].bytes = 2_000_000 * 125;
    let rates = Rates::of(Some(&before), &sample(&policy, 12, &ALL_UP, &later));
    assert_eq!(row(&rates.classes, "voice").out, Some(Rate { packets: 15.0, bits: 1e9 }));
}

#[test]
fn see_what_was_not_there_before_has_no_rate_yet() {
    let policy = full();
    let after = sample(&policy, 12, &ALL_UP, &[read(out("acme", "voice"), 7_000_000)]);
    let rates = Rates::of(None, &after);
    assert_eq!((rates.seconds, row(&rates.classes, "voice").out, rates.total.out), (None, None, None));
    assert_eq!(row(&rates.classes, "voice").state, "up");
    // A tenant that a reload has brought, with what it counted the last time.
    let mut smaller = policy.clone();
    (smaller.tenants, smaller.rules) = (vec![], vec![]);
    let before = sample(&smaller, 10, &ALL_UP, &[]);
    let rates = Rates::of(Some(&before), &after);
    assert_eq!((row(&rates.tenants, "acme").out, row(&rates.tenants, "-").out), (None, rate(0.0)));
    assert_eq!(row(&rates.classes, "voice").out, rate(0.0));
    // No time has passed, or the clock is another one's.
    for at in [12, 13] {
        assert_eq!(Rates::of(Some(&sample(&policy, at, &ALL_UP, &[])), &after).seconds, None);
    }
}

#[test]
fn see_states_say_where_classes_go() {
    let mut policy = full();
    let states = |policy: &Policy, up: &[&str]| {
        let rates = Rates::of(None, &sample(policy, 1, up, &[]));
        let of = |rows: &[Row]| rows.iter().map(|row| (row.state.clone(), row.health)).collect::<Vec<_>>();
        (of(&rates.classes), of(&rates.lanes), of(&rates.tunnels), of(&rates.rules))
    };
    let said = |text: &str, health| (text.to_owned(), health);
    let (good, odd, bad) = (Health::Good, Health::Odd, Health::Bad);
    let (classes, lanes, tunnels, rules) = states(&policy, &ALL_UP);
    assert_eq!(classes, [said("up", good), said("up", good), said("up", good)]);
    assert_eq!((lanes[0].clone(), tunnels[0].clone()), (said("up", good), said("4/4 up", good)));
    assert_eq!(rules, [said("voice", good), said("bulk", good)]);

    let (classes, lanes, tunnels, rules) = states(&policy, &["bulk.1", "default.0"]);
    assert_eq!(classes, [said("to default", odd), said("up", good), said("up", good)]);
    assert_eq!((lanes[0].clone(), tunnels[0].clone()), (said("DOWN", bad), said("2/4 up", odd)));
    assert_eq!(rules[0], said("voice to default", odd));

    let (classes, _, tunnels, _) = states(&policy, &[]);
    assert_eq!(classes, [said("BLOCKED", bad), said("BLOCKED", bad), said("BLOCKED", bad)]);
    assert_eq!(tunnels, [said("DOWN", bad)]);

    // A second tunnel carries voice and default alone: bulk never had a lane there.
    let mut second = policy.tunnels[0].clone();
    second.name = "a-branch".into();
    second.classes.remove(1);
    second.lanes.retain(|lane| lane.class != ClassIndex(1));
    policy.tunnels.push(second);
    let condition = |id: &LaneId| if id.tunnel == "branch-7" { Condition::Up } else { Condition::Down };
    let status = |id: &LaneId| Standing { condition: condition(id), since: 0 };
    let after = Sample::of(&policy, Status::of(&policy, status), &[], &BTreeMap::new(), 1, 1);
    let of: Vec<String> = Rates::of(None, &after).classes.into_iter().map(|row| row.state).collect();
    assert_eq!(of, ["1 of 2 off", "up", "1 of 2 off"]);
    policy.classes[2].fallback = crate::policy::Fallback::Clear;
    let after = sample(&policy, 1, &[], &[]);
    assert_eq!(Rates::of(None, &after).classes[0].state, "IN CLEAR");
}

#[test]
fn see_rates_in_json_say_null_where_nothing_is_known() {
    let policy = full();
    let before = sample(&policy, 10, &ALL_UP, &[]);
    let rates = Rates::of(Some(&before), &sample(&policy, 12, &ALL_UP, &[read(out("", "voice"), 10)]));
    let json = serde_json::to_value(&rates).unwrap();
    assert_eq!(
        json["classes"][0],
        serde_json::json!({
            "name": "voice", "out": { "packets": 5.0, "bits": 5000.0 }, "in": { "packets": 0.0, "bits": 0.0 },
            "share": 1.0, "fallback": 0.0, "errors": 0.0, "latency": null, "state": "up",
        })
    );
    assert_eq!((&json["seconds"], &json["rules"][0]["in"]), (&2.0.into(), &serde_json::Value::Null));
}
