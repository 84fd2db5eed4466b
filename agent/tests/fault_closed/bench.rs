//! Two gateways under traffic of every class, a watch on the WAN, and a table of what was done to them.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::capture::Capture;
use xtask::lab::failpoints::Failpoints;
use xtask::lab::gateways::Gateways;
use xtask::lab::process::tail;
use xtask::lab::scenario::Scenario;
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Lab, Side};

/// Until all is right again: charon may first have to find the peer's SAs gone, by its retransmissions.
const BOUND: Duration = Duration::from_secs(60);

/// For how long a flow may be silent: a guest whose CPU does everything stalls now and then.
const SILENT: Duration = Duration::from_secs(2);

/// Packets a second of each flow: twenty of them are what an emulated CPU has time for beside everything else.
const RATE: u32 = 5;

/// Each class's port, and its DSCP.
const CLASSES: [(&str, u8, u16); 4] =
    [("voice", 46, 5060), ("video", 0, 5004), ("bulk", 0, 9000), ("default", 0, 7000)];

pub struct Bench {
    name: &'static str,
    pub gateways: Gateways,
    pub failpoints: Failpoints,
    capture: Capture,
    traffic: Option<Traffic>,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    clear: u64,
    right: Option<Duration>,
    wrong: Option<String>,
}

/// What a command has said, and its exit status.
pub fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned())
}

impl Bench {
    /// charon on both ends, the agent of B, and nothing of ours on A.
    pub fn new(name: &'static str, scenario: Scenario) -> Self {
        let mut gateways = Gateways::idle(name, scenario, Path::new(env!("CARGO_BIN_EXE_lanekeeper"))).unwrap();
        for side in [Side::A, Side::B] {
            // Whoever waits for packets at an address of the tunnel waits while it is away.
            let away = "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind; echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind";
            gateways.lab().gateway(side).sh(away).unwrap();
        }
        gateways.agent(Side::B).start().unwrap();
        let failpoints = gateways.agent(Side::A).set_failpoints().unwrap();
        let capture = Capture::start(&gateways.lab().wan()).unwrap();
        Self { name, gateways, failpoints, capture, traffic: None, rows: Vec::new() }
    }

    /// Runs a command of A's agent to its end, whatever that is.
    pub fn call(&self, arguments: &[&str]) -> (Option<i32>, String) {
        said(&self.gateways.agent_of(Side::A).call(arguments).unwrap())
    }

    pub fn config(&self) -> String {
        self.gateways.agent_of(Side::A).config().display().to_string()
    }

    /// From now on packets of every class and family are on their way, in both directions.
    pub fn send(&mut self) {
        if self.traffic.is_none() {
            self.traffic = Some(Traffic::start(&flows(self.gateways.lab())).unwrap());
        }
    }

    pub fn send_no_more(&mut self) {
        if let Some(traffic) = self.traffic.take() {
            let tallies = traffic.stop().unwrap();
            let sum = tallies.iter().fold((0, 0), |(sent, got), it| (sent + it.sent, got + it.received));
            println!("{} packets sent, {} received", sum.0, sum.1);
        }
    }

    /// Notes what the WAN has seen in clear while that was done, and how long it then took to be right again.
    pub fn row<T>(&mut self, what: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.capture.clear().0;
        let began = Instant::now();
        let done = act(self);
        let (clear, first) = self.capture.clear();
        println!("{what}: {} in clear {first:?}, {:.1} s", clear - before, began.elapsed().as_secs_f64());
        self.rows.push(Row { what: what.to_owned(), clear: clear - before, right: None, wrong: None });
        done
    }

    /// As [`Bench::row`], and then waits until all is right.
    pub fn fault<T>(&mut self, what: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let done = self.row(what, act);
        let before = self.capture.clear().0;
        let began = Instant::now();
        let wrong = self.right().err();
        let row = self.rows.last_mut().unwrap();
        row.wrong = wrong;
        row.clear += self.capture.clear().0 - before;
        row.right = Some(began.elapsed());
        println!("{what}: right after {:.1} s", began.elapsed().as_secs_f64());
        done
    }

    /// Waits until lanes are up on both ends, A's plan is empty and every flow arrives.
    fn right(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while let Some(wrong) = self.wrong() {
            if began.elapsed() > BOUND {
                println!("not within {BOUND:?}: {wrong}\n{}", tail(&self.gateways.agent_of(Side::A).log()));
                return Err(wrong);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn wrong(&self) -> Option<String> {
        let lanes = self.gateways.scenario().lanes().count() as u64;
        for side in [Side::A, Side::B] {
            let agent = self.gateways.agent_of(side);
            if agent.is_started() {
                let up = agent.metrics().map(|metrics| metrics.count("lanekeeper_lane_up", &[]));
                if !up.as_ref().is_ok_and(|up| *up == lanes) {
                    return Some(format!("{side:?}: {up:?} of {lanes} lanes are up"));
                }
            }
        }
        if let Some(traffic) = &self.traffic {
            let (before, began) = (traffic.tallies(), Instant::now());
            let silent = || {
                let now = traffic.tallies();
                before.iter().zip(&now).position(|(before, now)| now.received <= before.received)
            };
            while let Some(at) = silent() {
                if began.elapsed() > SILENT {
                    return Some(format!("nothing arrives of {}", flows(self.gateways.lab())[at].name));
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        match self.call(&["plan", &self.config()]) {
            (Some(0), _) => None,
            (code, text) => Some(format!("plan exits with {code:?}: {text}")),
        }
    }

    /// Prints the table; nothing of it was in clear.
    pub fn finish(mut self) {
        self.send_no_more();
        let seen = self.capture.stop().unwrap();
        let mut table = format!("{:<60} {:>8} {:>9}\n", "what was done", "in clear", "right");
        for row in &self.rows {
            let right = row.right.map_or("-".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()));
            let _ = writeln!(table, "{:<60} {:>8} {:>9}", row.what, row.clear, right);
        }
        let _ = writeln!(
            table,
            "{} ESP, {} IKE, {} in clear {:?}",
            seen.esp_total(),
            seen.ike,
            seen.clear,
            seen.first_clear
        );
        println!("{table}");
        // Of a test that passes nothing else is kept.
        if let Some(out) = std::env::var_os("LANEKEEPER_OUT") {
            fs::write(Path::new(&out).join(format!("{}.txt", self.name)), &table).unwrap();
        }
        assert!(seen.esp_total() > 0);
        assert_eq!(seen.clear, 0, "{:?}", seen.first_clear);
        for row in self.rows {
            assert_eq!(row.wrong, None, "{}", row.what);
        }
    }
}

/// Hosts behind the gateways, and the far gateway itself by its address in the tunnel.
fn flows(lab: &Lab) -> Vec<Flow> {
    let mut flows = Vec::new();
    for from in [Side::A, Side::B] {
        for family in [Family::V4, Family::V6] {
            for (class, dscp, port) in CLASSES {
                let name = format!("{class} from {from:?} by {family:?}");
                flows.push(Flow { dscp, rate: RATE, ..lab.flow(&name, from, family, port) });
            }
            let mut inner = lab.flow(&format!("inner from {from:?} by {family:?}"), from, family, 7001);
            let address = from.other().tunnel_address(family).split('/').next().unwrap().parse().unwrap();
            inner.destination.set_ip(address);
            flows.push(Flow { to: lab.gateway(from.other()), rate: RATE, ..inner });
        }
    }
    flows
}
