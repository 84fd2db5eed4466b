//! `apply` twice, `down` once: nothing to do, nothing left.

use std::path::Path;

use xtask::lab::agent::Agent;
use xtask::lab::dump;
use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::{Lab, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

fn dump_of(lab: &Lab, agent: &Agent, side: Side) -> String {
    dump::machine(&lab.gateway(side), &agent.bpffs()).unwrap()
}

/// `plan FILE`: its exit status and what it printed.
fn plan(agent: &Agent) -> (Option<i32>, String) {
    let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// With a port on the LAN side, `seen` of which is then in the machine's dump.
fn assert_applied_once_and_undone(name: &str, keying: Keying, classify: &str, seen: &str) {
    let scenario = Scenario::four_classes(keying);
    let port = format!("[[port]]\nname = \"lan0\"\nclassify = \"{classify}\"\n\n");
    let scenario = Scenario { rules: port + &scenario.rules, ..scenario };
    let gateways = Gateways::idle(name, scenario, Path::new(BINARY)).unwrap();
    let agent = gateways.agent_of(Side::A);
    let found = dump_of(gateways.lab(), agent, Side::A);

    let (status, text) = plan(agent);
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(dump_of(gateways.lab(), agent, Side::A), found, "plan changed something");

    agent.must(&["apply", &agent.config().to_string_lossy()]).unwrap();
    let applied = dump_of(gateways.lab(), agent, Side::A);
    assert!(applied.contains(seen) && !found.contains(seen), "{applied}");
    let (status, text) = plan(agent);
    assert_eq!(status, Some(0), "the second plan is not empty:\n{text}");
    agent.must(&["apply", &agent.config().to_string_lossy()]).unwrap();
    assert_eq!(dump::difference(&applied, &dump_of(gateways.lab(), agent, Side::A)), [] as [&str; 0]);

    agent.must(&["down"]).unwrap();
    let left = dump::difference(&found, &dump_of(gateways.lab(), agent, Side::A));
    assert!(left.is_empty(), "down left the machine different:\n{}", left.join("\n"));
    // Once more there is nothing to do, and that is no error.
    agent.must(&["down"]).unwrap();
}

#[test]
fn lanes_are_applied_once_and_undone_with_static_keys() {
    assert_applied_once_and_undone("undo", Keying::Static, "xdp", "lanekeeper_xdp");
}

#[test]
fn lanes_are_applied_once_and_undone_with_charon() {
    assert_applied_once_and_undone("undoike", Keying::Psk, "tc", "lanekeeper_port");
}

#[test]
fn lanes_of_a_daemon_need_no_plan_and_go_with_down() {
    let scenario = Scenario::four_classes(Keying::Psk);
    let port = "[[port]]\nname = \"raw0\"\nclassify = \"xdp\"\n\n".to_owned();
    let scenario = Scenario { rules: port + &scenario.rules, ..scenario };
    let mut gateways = Gateways::idle("undorun", scenario, Path::new(BINARY)).unwrap();
    // B has a device of that name, without Ethernet: a port that cannot be had keeps no tunnel from its work.
    gateways.lab().gateway(Side::B).sh("ip link add raw0 type xfrm dev lo if_id 99").unwrap();
    let found = [Side::A, Side::B].map(|side| dump_of(gateways.lab(), gateways.agent_of(side), side));
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(xtask::lab::gateways::LANES_UP).unwrap();
    for side in [Side::A, Side::B] {
        let (status, text) = plan(gateways.agent_of(side));
        let ports = text.lines().filter(|line| line.contains("port raw0")).count();
        match side {
            Side::A => assert_eq!(status, Some(0), "gateway {side:?}:\n{text}"),
            Side::B => assert!((status, ports, text.lines().count()) == (Some(1), 1, 1), "gateway {side:?}:\n{text}"),
        }
    }
    let refused = gateways.agent_of(Side::A).call(&["down"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("held by another lanekeeper (pid "), "{refused:?}");
    for side in [Side::A, Side::B] {
        gateways.agent(side).stop().unwrap();
        gateways.agent_of(side).must(&["down"]).unwrap();
    }
    for side in [Side::A, Side::B] {
        let now = dump_of(gateways.lab(), gateways.agent_of(side), side);
        let left = dump::difference(&found[side as usize], &now);
        assert!(left.is_empty(), "gateway {side:?} differs:\n{}", left.join("\n"));
    }
}

#[test]
fn lanes_undo_the_program_on_the_wan_when_no_class_asks_for_it() {
    let mut gateways = Gateways::idle("undowan", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let apply = |gateways: &Gateways| {
        let agent = gateways.agent_of(Side::A);
        agent.must(&["apply", &agent.config().to_string_lossy()]).unwrap();
        // From the qdiscs on: filters and pins. What comes before counts packets.
        let dump = dump_of(gateways.lab(), agent, Side::A);
        without_ids(&dump[dump.find("# qdiscs").unwrap()..])
    };
    let without = apply(&gateways);
    let mut marked = Scenario::four_classes(Keying::Static);
    marked.classes[0] = marked.classes[0].outer_dscp("ef");
    gateways.rewrite(marked).unwrap();
    let with = dump::difference(&without, &apply(&gateways));
    assert!(with.iter().any(|line| line.contains("lanekeeper_wan")), "nothing on the WAN:\n{}", with.join("\n"));
    gateways.rewrite(Scenario::four_classes(Keying::Static)).unwrap();
    let left = dump::difference(&without, &apply(&gateways));
    assert!(left.is_empty(), "the WAN is not as it was:\n{}", left.join("\n"));
}

/// Each process puts its own programs into the filters, whose numbers differ.
fn without_ids(dump: &str) -> String {
    let line = |line: &str| match line.split_once(" id ") {
        Some((head, tail)) => format!("{head} {}\n", tail.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => format!("{line}\n"),
    };
    dump.lines().map(line).collect()
}
