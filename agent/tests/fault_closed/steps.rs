//! The agent is killed, or has an error, at each step of what it changes.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use xtask::lab::Side;
use xtask::lab::gateways::LANES_UP;
use xtask::lab::scenario::{Keying, Scenario};

use crate::bench::{Bench, said};

/// Runs the command, which is killed at that step; false where it ended without coming to it.
fn killed(bench: &Bench, step: &str, arguments: &[&str]) -> bool {
    bench.failpoints.order("kill", step).unwrap();
    let output = bench.gateways.agent_of(Side::A).call(arguments).unwrap();
    bench.failpoints.clear().unwrap();
    let (code, text) = said(&output);
    assert!(output.status.signal() == Some(9) || code == Some(0), "{step}: {code:?} {text}");
    code.is_none()
}

/// One of each kind: a route of IPv6 comes like one of IPv4, and another pass like the first.
fn each(steps: Vec<String>) -> Vec<String> {
    let kind = |step: &str| -> String {
        let words: Vec<&str> = step.split(' ').collect();
        match words[..] {
            ["op", how, what, "unreachable", ..] => format!("{how} {what} unreachable"),
            ["op", how, what, ..] => format!("{how} {what}"),
            ["program", ..] => "program".to_owned(),
            _ => step.to_owned(),
        }
    };
    let mut kinds = BTreeSet::new();
    steps.into_iter().filter(|step| kinds.insert(kind(step))).collect()
}

/// Kills `verb` at each of its steps, of several of a kind at the first. The next run, which goes on from what stands, is killed
/// one step later; what is over when the process is killed, and so does not come again, is begun from the start.
fn killed_at_each(bench: &mut Bench, what: &str, verb: &[&str], undo: &[&str], guarded: impl Fn(&str) -> bool) {
    bench.send_no_more();
    bench.failpoints.passed().unwrap();
    let (code, text) = bench.call(verb);
    assert_eq!(code, Some(0), "{text}");
    let all = bench.failpoints.passed().unwrap();
    let (count, steps) = (all.len(), each(all));
    println!("{what}: {} of {count} steps", steps.len());
    let (code, text) = bench.call(undo);
    assert_eq!(code, Some(0), "{text}");
    for step in steps {
        // Before its first routes, and after its last, nothing is the tunnel's.
        let guarded = guarded(&step);
        if !guarded {
            bench.send_no_more();
        }
        bench.row(&format!("{what}, killed at {step}"), |bench| {
            if !killed(bench, &step, verb) {
                bench.send_no_more();
                let (code, text) = bench.call(undo);
                assert_eq!(code, Some(0), "{text}");
                assert!(killed(bench, &step, verb), "{verb:?} never comes to {step}");
            }
            if guarded {
                bench.send();
                thread::sleep(Duration::from_millis(300));
            }
        });
    }
}

#[test]
fn fault_closed_while_the_agent_is_killed_at_each_step() {
    let mut bench = Bench::new("closedk", Scenario::four_classes(Keying::Psk));
    let config = bench.config();
    let apply = ["apply", &config];
    let blocked = Cell::new(false);
    killed_at_each(&mut bench, "apply", &apply, &["down"], |step| {
        blocked.set(blocked.get() || step.starts_with("op + link"));
        blocked.get()
    });
    bench.fault("apply", |bench| assert_eq!(bench.call(&apply).0, Some(0)));

    let old = fs::read_to_string(&config).unwrap();
    let new = changed(&old);
    bench.gateways.agent(Side::A).start().unwrap();
    let files = [&new, &old].into_iter().cycle();
    for (step, file) in ["tables filled", "charon has loaded"].iter().zip(files) {
        bench.fault(&format!("reload, killed at {step}"), |bench| {
            fs::write(&config, file).unwrap();
            bench.failpoints.order("kill", step).unwrap();
            let (code, text) = bench.call(&["reload"]);
            assert_eq!(code, Some(2), "{text}");
            let agent = bench.gateways.agent(Side::A);
            assert_eq!(agent.bury(LANES_UP).unwrap().signal(), Some(9));
            bench.failpoints.clear().unwrap();
            bench.gateways.agent(Side::A).start().unwrap();
        });
    }
    let step = "generation switched";
    bench.fault(&format!("reload, an error at {step}"), |bench| {
        fs::write(&config, &new).unwrap();
        bench.failpoints.order("fail", step).unwrap();
        let (code, text) = bench.call(&["reload"]);
        assert!(code == Some(2) && text.contains("stopped at"), "{step}: {text}");
        assert!(!text.contains("could not be put back"), "{text}");
        fs::write(&config, &old).unwrap();
    });
    bench.fault("apply --confirm, killed while it waits", |bench| {
        fs::write(&config, &new).unwrap();
        let (code, text) = bench.call(&["apply", &config, "--confirm", "15s"]);
        assert_eq!(code, Some(0), "{text}");
        bench.gateways.agent(Side::A).kill().unwrap();
        bench.gateways.agent(Side::A).start().unwrap();
        fs::write(&config, &old).unwrap();
    });
    bench.gateways.agent(Side::A).stop().unwrap();
    bench.fault("apply, an error at generation switched", |bench| {
        fs::write(&config, &new).unwrap();
        bench.failpoints.order("fail", "generation switched").unwrap();
        let (code, text) = bench.call(&apply);
        assert!(code == Some(2) && text.contains("stopped at"), "{text}");
        assert!(!text.contains("could not be put back"), "{text}");
        fs::write(&config, &old).unwrap();
    });
    let blocked = Cell::new(true);
    killed_at_each(&mut bench, "down", &["down"], &apply, |step| {
        if step.starts_with("op - route unreachable") {
            blocked.set(false);
        }
        blocked.get()
    });
    bench.finish();
}

/// A file that moves a bit of everything: device, routes, rules, tables, connection.
fn changed(old: &str) -> String {
    let new = old
        .replace("mtu = 1400", "mtu = 1300")
        .replace("start = \"start\"", "start = \"start\"\nrekey-time = 3000")
        .replacen("fallback = \"default\"", "fallback = \"block\"", 1)
        .replace("routes = [", "routes = [\"10.77.0.0/16\", ")
        .replacen(
            "[[rule]]",
            "[[rule]]\nname = \"more\"\nclass = \"video\"\ndestination = [\"10.77.0.0/16\"]\n\n[[rule]]",
            1,
        );
    assert_ne!(new, old);
    new
}
