//! What others do to the gateway.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use xtask::lab::Side;
use xtask::lab::charon::vici;
use xtask::lab::netns::run;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::soak::actor::Actor;
use xtask::soak::event::{Event, Kind};

use crate::bench::Bench;
use crate::liar::Liar;

/// While it is away, or another than it should be.
const WHILE: Duration = Duration::from_secs(2);

/// On the gateway of A.
fn event(kind: Kind) -> Event {
    Event { kind, side: Side::A, pick: 0 }
}

/// Sets the clock of the whole guest.
fn jump(seconds: i64) {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap();
    run(Command::new("date").args(["-s", &format!("@{}", now.tv_sec() + seconds)])).unwrap();
}

/// More pairs of source and destination than there is room for.
fn too_many() -> String {
    let networks = |from: u32| -> String {
        let all = (0..400).map(|at| format!("\"10.{}.{}.0/24\"", from + at / 200, at % 200));
        all.collect::<Vec<_>>().join(", ")
    };
    format!(
        "[[rule]]\nname = \"many\"\nclass = \"voice\"\nsource = [{}]\ndestination = [{}]\n",
        networks(20),
        networks(40)
    )
}

#[test]
fn fault_closed_whatever_is_taken_away() {
    let mut bench = Bench::new("closedf", Scenario::four_classes(Keying::Psk));
    bench.gateways.agent(Side::A).start().unwrap();
    bench.gateways.wait_for_lanes(xtask::lab::gateways::LANES_UP).unwrap();
    bench.send();
    let mut actor = Actor::new(&bench.gateways).unwrap();
    bench.fault("nothing", |_| ());
    for kind in [Kind::FlushStates, Kind::FlushPolicies, Kind::DeleteLink, Kind::DeleteRoute, Kind::ReloadBroken] {
        bench.fault(kind.name(), |bench| actor.act(&mut bench.gateways, event(kind)).unwrap());
    }
    bench.fault("kill -9 charon", |bench| {
        actor.act(&mut bench.gateways, event(Kind::KillCharon)).unwrap();
        thread::sleep(WHILE);
        actor.restore(&mut bench.gateways).unwrap();
    });
    bench.fault("kill -9 charon, and a liar on its socket", |bench| {
        actor.act(&mut bench.gateways, event(Kind::KillCharon)).unwrap();
        let liar = Liar::start(&vici(&bench.gateways.lab().files(Side::A)));
        thread::sleep(4 * WHILE);
        let told = liar.stop();
        assert!(told > 5, "{told} lies were asked for");
        actor.restore(&mut bench.gateways).unwrap();
    });
    bench.fault("stop charon", |bench| {
        let charon = bench.gateways.charon(Side::A).unwrap();
        charon.signal(Signal::SIGSTOP).unwrap();
        thread::sleep(WHILE);
        charon.signal(Signal::SIGCONT).unwrap();
    });
    bench.fault("unmount bpffs", |bench| {
        bench.gateways.agent(Side::A).without_bpffs(WHILE).unwrap();
    });
    bench.fault("add rules beyond what there is room for", |bench| {
        let file = bench.gateways.agent_of(Side::A).config().with_file_name("many.toml");
        fs::write(&file, too_many()).unwrap();
        let (code, text) = bench.call(&["rules", "add", &file.display().to_string()]);
        assert_eq!(code, Some(2), "{text}");
        println!("{text}");
    });
    for (what, seconds) in [("clock an hour back", -3600), ("clock an hour on", 3600)] {
        bench.fault(what, |_| jump(seconds));
    }
    bench.fault("no memory for the agent", |bench| {
        let agent = bench.gateways.agent(Side::A);
        let id = agent.id().unwrap().to_string();
        // Of address space, less than it has.
        run(Command::new("prlimit").args(["--pid", &id, "--as=16777216"])).unwrap();
        let (code, text) = bench.call(&["reload"]);
        println!("reload without memory: {code:?} {text}");
        let agent = bench.gateways.agent(Side::A);
        agent.kill().unwrap();
        agent.start().unwrap();
    });
    bench.finish();
}
