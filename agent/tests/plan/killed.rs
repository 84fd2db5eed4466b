//! Whoever carries a plan out may be killed between any two of its operations. What then stands lets out nothing that was kept
//! in, and the next plan leads from there to where it should: on, back, or away.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lanekeeper::plan::{
    Desired, LinkKind, Observed, Op, Route, RouteVia, Selector, Treatment, UNREACHABLE_METRIC, XfrmPolicy, diff,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::machine::{bare, carry_out, drift, lookup, machine};
use crate::only_waits;
use crate::sketch::{desired, policy, sketch};

/// Hosts within prefixes that sketches route, and one that only a default route leads to.
const HOSTS: [&str; 8] =
    ["10.0.0.9", "10.1.0.9", "10.2.0.9", "10.99.0.9", "192.0.2.5", "192.0.2.9", "203.0.113.9", "2001:db8:99::9"];

/// Those of them whose packets our routes keep from leaving by any other.
fn kept_in(machine: &Observed, peers: &[IpAddr]) -> BTreeSet<IpAddr> {
    let hosts = HOSTS.iter().map(|host| host.parse().unwrap()).filter(|host| !peers.contains(host));
    hosts.filter(|host| lookup(machine, *host).is_some()).collect()
}

/// What lets packets out in clear, whichever plan is under way.
fn leak(machine: &Observed) -> Option<String> {
    for route in machine.routes.iter().filter(|route| route.via.device().is_some()) {
        let behind = |other: &Route| {
            (other.table, other.destination) == (route.table, route.destination) && other.metric == UNREACHABLE_METRIC
        };
        if !machine.routes.iter().any(behind) {
            return Some(format!("nothing blocks behind {route}"));
        }
    }
    unblocked_gre(machine)
}

/// A GRE device that is up, and between whose addresses GRE would go in clear.
pub fn unblocked_gre(machine: &Observed) -> Option<String> {
    for link in machine.links.values().filter(|link| link.up) {
        let LinkKind::Gre { local, remote, .. } = link.kind else { continue };
        for (source, destination) in [(local, remote), (remote, local)] {
            let selector =
                Selector { source: source.into(), destination: destination.into(), protocol: 47, icmp: None };
            let blocks = |policy: &XfrmPolicy| {
                policy.treatment == Treatment::Block && policy.id.selector == selector && policy.id.mark.is_none()
            };
            if !machine.policies.iter().any(blocks) {
                return Some(format!("nothing blocks {source} > {destination} below {link}"));
            }
        }
    }
    None
}

/// Carries operations out, and looks after each: all that is `kept` stays in.
fn walk(machine: &mut Observed, ops: &[Op], kept: &BTreeSet<IpAddr>) -> Result<(), TestCaseError> {
    for op in ops {
        carry_out(machine, op);
        prop_assert_eq!(leak(machine), None, "after {}", op);
        for host in kept {
            prop_assert!(lookup(machine, *host).is_some(), "{host} leaves in clear after {op}");
        }
    }
    Ok(())
}

fn plan(wanted: &Desired, machine: &Observed) -> Vec<Op> {
    diff(wanted, machine).unwrap().ops
}

fn end(mut machine: Observed, ops: &[Op]) -> Observed {
    ops.iter().for_each(|op| carry_out(&mut machine, op));
    machine
}

/// In whichever order things came; and charon's lanes come up again by themselves.
fn sorted(mut machine: Observed) -> Observed {
    machine.charon.clear();
    machine.states.sort_by_key(|state| state.id);
    machine.policies.sort_by_key(|policy| policy.id);
    machine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn killed_at_any_step_the_next_plan_goes_on_back_or_away_and_nothing_leaks(
        from in sketch(),
        to in sketch(),
        then in sketch(),
        killed in any::<(Index, Index)>(),
    ) {
        let (before, after, other) = (desired(&from), desired(&to), desired(&then));
        let sketches = [&from, &to, &then];
        let peers: Vec<IpAddr> =
            sketches.into_iter().flat_map(|sketch| policy(sketch).tunnels).map(|tunnel| tunnel.remote).collect();
        let start = machine(&before);
        let first = plan(&after, &start);
        let first = &first[..killed.0.index(first.len() + 1)];
        for next in [&after, &before, &other] {
            // Whichever way it goes in the end, what all of them keep in never leaves.
            let stands = end(start.clone(), first);
            let ops = plan(next, &stands);
            let there = end(stands.clone(), &ops);
            let both = |a: BTreeSet<IpAddr>, b: &Observed| &a & &kept_in(b, &peers);
            let kept = both(both(kept_in(&start, &peers), &end(start.clone(), &plan(&after, &start))), &there);
            let mut machine = start.clone();
            walk(&mut machine, first, &kept)?;
            // Killed a second time, on the way from there.
            let (once, _) = ops.split_at(killed.1.index(ops.len() + 1));
            walk(&mut machine, once, &kept)?;
            let again = plan(next, &machine);
            walk(&mut machine, &again, &kept)?;
            let left = diff(next, &machine).unwrap();
            prop_assert!(only_waits(&left), "{left}");
        }
    }

    #[test]
    fn going_back_from_any_step_is_as_if_nothing_had_been(from in sketch(), to in sketch(), at in any::<Index>()) {
        let before = desired(&from);
        let start = machine(&before);
        let ops = plan(&desired(&to), &start);
        let mut machine = end(start.clone(), &ops[..at.index(ops.len() + 1)]);
        let back = plan(&before, &machine);
        back.iter().for_each(|op| carry_out(&mut machine, op));
        prop_assert_eq!(sorted(machine), sorted(start));
    }

    #[test]
    fn killed_on_the_way_down_the_next_down_leaves_nothing_and_the_next_start_all(
        from in sketch(),
        drifted in 0..10usize,
        at in any::<Index>(),
    ) {
        let before = desired(&from);
        let mut start = machine(&before);
        drift(&mut start, drifted);
        let ops = plan(&Desired::default(), &start);
        let stands = end(start.clone(), &ops[..at.index(ops.len() + 1)]);
        let down = plan(&Desired::default(), &stands);
        prop_assert_eq!(end(stands.clone(), &down), bare());
        let up = plan(&before, &stands);
        let left = diff(&before, &end(stands, &up)).unwrap();
        prop_assert!(only_waits(&left), "{left}");
    }

    #[test]
    fn on_the_way_down_nothing_leaves_before_all_that_leads_in_is_gone(from in sketch()) {
        let mut machine = machine(&desired(&from));
        for op in plan(&Desired::default(), &machine) {
            carry_out(&mut machine, &op);
            prop_assert_eq!(leak(&machine), None, "after {}", op);
            if matches!(&op, Op::RemoveRoute(route) if route.via == RouteVia::Unreachable) {
                prop_assert!(machine.links.is_empty() && machine.attached.is_empty(), "{op} before all devices are gone");
            }
        }
    }
}
