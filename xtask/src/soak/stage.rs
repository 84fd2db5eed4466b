//! The soak itself, on a kernel that has ESP and XFRM interfaces: acts, looks, and has the judge decide.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::actor::Actor;
use super::event::Kind;
use super::footprint;
use super::gateways::{LANES, set_up};
use super::judge::{Broken, Invariant, Judge};
use super::report::{Report, clock};
use super::sample::{ByClass, End, Out, Sample};
use super::schedule::{Schedule, Step};
use super::secrets::Secrets;
use crate::demo::load::Classed;
use crate::demo::stage::{Show, four_classes, warm_up};
use crate::lab::capture::Capture;
use crate::lab::gateways::{Gateways, LANES_UP};
use crate::lab::metrics::Metrics;
use crate::lab::process::tail;
use crate::lab::scenario::IF_ID;
use crate::lab::traffic::{Flow, Traffic};
use crate::lab::{Family, Lab, Side, sa};

/// Steps before an agent's footprint is noted: by then an allocator has what it keeps.
const WARM_UP: u64 = 10;

/// Steps between two bug reports, which take an emulated CPU for seconds.
const SYSDUMP: u64 = 8;

/// Of a packet, where fifty threads share an emulated CPU that others want too.
const LONGEST_WAY: Duration = Duration::from_secs(5);

/// Between two looks that are held against each other at rest.
const REST: Duration = Duration::from_millis(1200);

/// What to do, and for how long.
#[derive(Debug, Clone)]
pub struct Order {
    /// All of it follows from this, and from the kinds.
    pub seed: u64,
    /// What may come.
    pub kinds: Vec<Kind>,
    /// How long events come.
    pub time: Duration,
}

/// Plays it with the agent of `binary`.
pub fn soak(binary: &Path, order: Order) -> Result<Report> {
    println!("seed {}", order.seed);
    let mut stage = Stage::set_up(binary, &order)?;
    let mut schedule = Schedule::new(order.seed, &order.kinds);
    while stage.began.elapsed() < order.time {
        let step = schedule.next().context("the schedule has no end")?;
        if !stage.step(&step)? {
            return Ok(stage.give_up());
        }
    }
    stage.finish()
}

struct Stage {
    traffic: Traffic,
    capture: Capture,
    flows: Vec<Classed>,
    gateways: Gateways,
    actor: Actor,
    secrets: Secrets,
    judge: Judge,
    report: Report,
    began: Instant,
    time: Duration,
    /// How much of each log was searched.
    searched: [u64; 2],
    steps: u64,
    /// What was counted of drops before the step.
    drops: [BTreeMap<String, f64>; 2],
}

impl Stage {
    fn set_up(binary: &Path, order: &Order) -> Result<Self> {
        let mut secrets = Secrets::default();
        let mut gateways = set_up(binary, &mut secrets)?;
        for side in [Side::B, Side::A] {
            gateways.agent(side).start()?;
        }
        let began = Instant::now();
        while let Some(what) = lanes_down(&gateways) {
            anyhow::ensure!(began.elapsed() < LANES_UP, "{what}\n{}", gateways.agent_of(Side::A).log());
            thread::sleep(Duration::from_millis(100));
        }
        warm_up(gateways.lab())?;
        let flows: Vec<Classed> = [Side::A, Side::B].into_iter().flat_map(|from| flows(gateways.lab(), from)).collect();
        let capture = Capture::start(&gateways.lab().wan())?;
        let traffic = Traffic::start(&flows.iter().map(|classed| classed.flow.clone()).collect::<Vec<_>>())?;
        let actor = Actor::new(&gateways)?;
        Ok(Self {
            traffic,
            capture,
            flows,
            gateways,
            actor,
            secrets,
            judge: Judge::default(),
            report: Report::new(order.seed),
            began: Instant::now(),
            time: order.time,
            searched: [0; 2],
            steps: 0,
            drops: [BTreeMap::new(), BTreeMap::new()],
        })
    }

    /// One step and what must follow. False where it never was right again: nothing that follows would say anything.
    fn step(&mut self, step: &Step) -> Result<bool> {
        self.steps += 1;
        // Some time after the step before: what that one still costs is not this one's.
        let lost = step.is_lossless().then(|| self.lost(None));
        self.drops();
        for (after, event) in &step.events {
            thread::sleep(*after);
            self.report.happened(self.began.elapsed(), event.to_string());
            println!("{} {event}", clock(self.began.elapsed()));
            let done = self.actor.act(&mut self.gateways, *event);
            let wrong = done.as_ref().err().map(|error| format!("{event}: {error:#}"));
            self.take(Invariant::Answer, wrong.into_iter().collect());
            self.search("what a command printed", &done.unwrap_or_default());
            self.look()?;
        }
        thread::sleep(step.away);
        let restored = self.actor.restore(&mut self.gateways);
        let wrong = restored.err().map(|error| format!("it does not start again: {error:#}"));
        self.take(Invariant::Answer, wrong.into_iter().collect());
        let since = Instant::now();
        let marks = |traffic: &Traffic| traffic.tallies().iter().map(|tally| tally.received).collect::<Vec<_>>();
        let mut arrived = marks(&self.traffic);
        loop {
            self.look()?;
            let wrong = self.wrong(&arrived)?;
            let Some(wrong) = wrong else { break };
            if since.elapsed() > step.bound() {
                let events: Vec<String> = step.events.iter().map(|(_, event)| event.to_string()).collect();
                let what = format!("not within {:?} of {}: {wrong}", step.bound(), events.join(", "));
                self.take(Invariant::Converged, vec![what]);
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(200));
            if since.elapsed() > Duration::from_secs(1) {
                arrived = marks(&self.traffic);
                thread::sleep(Duration::from_millis(400));
            }
        }
        let took = since.elapsed();
        self.take(Invariant::Converged, Vec::new());
        self.report.right(step.events.iter().map(|(_, event)| event.kind), took);
        println!("{} right after {:.1} s", clock(self.began.elapsed()), took.as_secs_f64());
        if let Some(before) = lost {
            self.hold_losses(&before);
        }
        self.rest()?;
        Ok(true)
    }

    /// What is not right yet.
    fn wrong(&mut self, arrived: &[u64]) -> Result<Option<String>> {
        if let Some(down) = lanes_down(&self.gateways) {
            return Ok(Some(down));
        }
        for ((flow, tally), before) in self.flows.iter().zip(self.traffic.tallies()).zip(arrived) {
            if tally.received <= *before {
                let (source, destination) = (flow.flow.source, flow.flow.destination);
                return Ok(Some(format!("nothing arrives of {} {source} > {destination}", flow.class)));
            }
        }
        for side in [Side::A, Side::B] {
            let agent = self.gateways.agent_of(side);
            let output = agent.call(&["plan", &agent.config().to_string_lossy()])?;
            let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            self.search("plan", &told);
            // `plan` knows of the file alone.
            let of_added = |line: &str| self.actor.has_added(side) && line.starts_with("~ tables ");
            let right =
                output.status.code() == Some(0) || (output.status.code() == Some(1) && told.lines().all(of_added));
            if !right {
                return Ok(Some(format!("plan of {side:?} exits with {:?}: {told}", output.status.code())));
            }
        }
        self.held()
    }

    /// A lane that only its agent still holds, for a charon that has begun anew: what it costs to begin the lane is to come, and no
    /// later event's.
    fn held(&self) -> Result<Option<String>> {
        for side in [Side::A, Side::B] {
            let sas = self.gateways.charon(side)?.swanctl("--list-sas")?;
            let has = |lane: &str| {
                sas.lines().any(|line| line.trim_start().starts_with(lane) && line.contains(", INSTALLED, "))
            };
            let mut lanes = self.gateways.scenario().lanes().map(|(class, index)| format!("{class}.{index}: "));
            if let Some(lane) = lanes.find(|lane| !has(lane)) {
                return Ok(Some(format!("charon of {side:?} has no {}", lane.trim_end_matches(": "))));
            }
        }
        Ok(None)
    }

    /// No flow has lost more than it had.
    fn hold_losses(&mut self, before: &[u64]) {
        let lost = self.lost(Some(before));
        let differ = self.flows.iter().zip(before.iter().zip(&lost)).filter(|(_, (before, now))| now > before);
        let what: Vec<String> = differ
            .map(|(flow, (before, now))| {
                format!("{} of {} {} > {}", now - before, flow.class, flow.flow.source, flow.flow.destination)
            })
            .collect();
        let wrong = (!what.is_empty()).then(|| format!("{}; counted since: {}", what.join(", "), self.drops()));
        self.take(Invariant::Delivery, wrong.into_iter().collect());
    }

    /// What must hold at rest, after a step.
    fn rest(&mut self) -> Result<()> {
        let flows = self.count_flows();
        let from = self.look()?;
        thread::sleep(REST);
        let to = self.look()?;
        let broken = self.judge.at_rest(&from, &to, &flows);
        self.tell(broken);
        self.search_all()?;
        if self.steps >= WARM_UP || self.began.elapsed() > self.time / 3 {
            for side in [Side::A, Side::B] {
                let print = footprint::read(self.gateways.agent_of(side))?;
                if self.steps.is_multiple_of(10) {
                    println!("{} {side:?} takes {} KiB, {:?}", clock(self.began.elapsed()), print.rss, print.counts);
                }
                let broken = self.judge.flat(side, print);
                self.tell(broken);
            }
        }
        Ok(())
    }

    /// Looks once at everything that must hold at any time.
    fn look(&mut self) -> Result<Sample> {
        let at = self.began.elapsed();
        let mut ends = [End::default(), End::default()];
        for side in [Side::A, Side::B] {
            let sent_before = self.sent(side);
            let out_before = self.out(side)?;
            let agent = self.gateways.agent_of(side);
            let text = if agent.is_started() { Metrics::text(agent.ns()).ok() } else { None };
            let out = self.out(side)?;
            let sent_after = self.sent(side);
            self.search("metrics", text.as_deref().unwrap_or_default());
            let metrics = text.map(|text| Metrics::parse(&text)).transpose()?;
            ends[side as usize] = End { sent_before, sent_after, out_before, metrics, out };
        }
        let (clear, first_clear) = self.capture.clear();
        let sample = Sample { at, clear, first_clear, ends };
        let flows = self.count_flows();
        let broken = self.judge.observe(&sample, &flows);
        self.tell(broken);
        self.search("command lines", &command_lines());
        Ok(sample)
    }

    /// Packets of each outbound SA of the demo's tunnel, with the class of its mark.
    fn out(&self, side: Side) -> Result<Out> {
        let scenario = self.gateways.scenario();
        let lanes: Vec<_> = scenario.lanes().collect();
        let ours = side.outer(scenario.outer);
        let states = sa::list(&self.gateways.lab().gateway(side))?;
        let out = states.iter().filter(|state| state.if_id == IF_ID && state.source == ours);
        Ok(out
            .filter_map(|state| {
                let position = (state.mark.0 >> scenario.mask.trailing_zeros()).checked_sub(1)?;
                Some((state.spi, (lanes.get(position as usize)?.0, state.packets)))
            })
            .collect())
    }

    fn sent(&self, side: Side) -> ByClass {
        let mut sent = ByClass::new();
        for (flow, tally) in self.flows.iter().zip(self.traffic.tallies()).filter(|(flow, _)| flow.from == side) {
            *sent.entry(flow.class).or_default() += tally.sent;
        }
        sent
    }

    /// Flows of each class from one side.
    fn count_flows(&self) -> ByClass {
        let mut flows = ByClass::new();
        self.flows
            .iter()
            .filter(|flow| flow.from == Side::A)
            .for_each(|flow| *flows.entry(flow.class).or_default() += 1);
        flows
    }

    /// Packets that each flow has lost: what has not arrived at the moment when the fewest were on their way, which is sought
    /// until no flow has lost more than `before`, or for as long as no packet is on its way.
    fn lost(&self, before: Option<&[u64]>) -> Vec<u64> {
        let mut lost = vec![u64::MAX; self.flows.len()];
        let began = Instant::now();
        loop {
            for (least, tally) in lost.iter_mut().zip(self.traffic.tallies()) {
                *least = (*least).min(tally.lost());
            }
            let more = before.is_some_and(|before| lost.iter().zip(before).any(|(now, before)| now > before));
            if began.elapsed() > if more { LONGEST_WAY } else { REST / 2 } {
                return lost;
            }
            thread::sleep(Duration::from_millis(7));
        }
    }

    /// What agents and kernels count of drops, and how much more it is than when it was last asked.
    fn drops(&mut self) -> String {
        let counts = |metrics: &Metrics| -> BTreeMap<String, f64> {
            let drops = ["blocked", "xfrm_errors", "replay", "integrity", "fallback", "drift"];
            let of_drops = |name: &str| drops.iter().any(|drop| name.contains(drop));
            let lines = metrics.0.iter().filter(|(series, _)| of_drops(&series.name));
            lines.map(|(series, value)| (format!("{} {:?}", series.name, series.labels.values()), *value)).collect()
        };
        let mut more = Vec::new();
        for side in [Side::A, Side::B] {
            let Ok(metrics) = self.gateways.agent_of(side).metrics() else { continue };
            let now = counts(&metrics);
            let before = std::mem::replace(&mut self.drops[side as usize], now.clone());
            more.extend(now.into_iter().filter_map(|(name, value)| {
                let more = value - before.get(&name).copied().unwrap_or_default();
                (more > 0.0).then(|| format!("{side:?} {name} {more}"))
            }));
        }
        more.join(", ")
    }

    /// Looks for keys where they may have got to by and by.
    fn search_all(&mut self) -> Result<()> {
        for side in [Side::A, Side::B] {
            let agent = self.gateways.agent_of(side);
            let mut log = File::open(agent.log_file())?;
            log.seek(SeekFrom::Start(self.searched[side as usize]))?;
            let mut text = Vec::new();
            self.searched[side as usize] += log.read_to_end(&mut text)? as u64;
            let pins: Vec<String> =
                footprint::pins(&agent.bpffs())?.iter().map(|pin| pin.display().to_string()).collect();
            let call = |arguments: &[&str]| {
                let output = agent.call(arguments)?;
                anyhow::Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
            };
            let status = call(&["status", "--all", "--json"])? + &call(&["rules", "list", "--json"])?;
            let dump = if self.steps.is_multiple_of(SYSDUMP) {
                let file = agent.runtime().join("dump.txt");
                let told = call(&["sysdump", "--output", &file.to_string_lossy()])?;
                let text = fs::read_to_string(&file).with_context(|| told.clone())?;
                fs::remove_file(&file)?;
                told + &text
            } else {
                String::new()
            };
            self.search("the log", &String::from_utf8_lossy(&text));
            self.search("the names of pins", &pins.join("\n"));
            self.search("status and rules", &status);
            self.search("sysdump", &dump);
        }
        Ok(())
    }

    fn search(&mut self, place: &str, text: &str) {
        if !text.is_empty() {
            let told = self.secrets.told_in(text).map(|line| format!("{place}: {line}"));
            self.take(Invariant::Secret, told.into_iter().collect());
        }
    }

    fn take(&mut self, invariant: Invariant, wrong: Vec<String>) {
        let broken = self.judge.found(invariant, wrong);
        self.tell(broken);
    }

    fn tell(&mut self, broken: Vec<Broken>) {
        if !broken.is_empty() {
            keep_logs(&self.gateways);
        }
        for broken in broken {
            print!("{}", self.report.broke(self.began.elapsed(), broken));
        }
    }

    /// The traffic ends, and what the demo claims must hold to the packet.
    fn finish(mut self) -> Result<Report> {
        self.actor.undo(&mut self.gateways)?;
        self.steps = 0;
        self.search_all()?;
        let tallies = self.traffic.tallies();
        let (sent, lost) = tallies.iter().fold((0, 0), |(sent, lost), it| (sent + it.sent, lost + it.lost()));
        self.report.notes.push(format!("{sent} packets sent, {lost} lost to what takes lanes away"));
        let seen = self.capture.seen();
        let (esp, ike, clear) = (seen.esp_total(), seen.ike, seen.clear);
        self.report.notes.push(format!("the WAN saw {esp} ESP and {ike} IKE packets, and {clear} in cleartext"));
        let Self { traffic, capture, gateways, mut judge, mut report, began, .. } = self;
        traffic.stop()?;
        let claims = four_classes(&gateways, Show { live: false })?;
        let failed = claims.iter().filter(|claim| !claim.holds).map(|claim| claim.to_string()).collect();
        for broken in judge.found(Invariant::Claims, failed) {
            print!("{}", report.broke(began.elapsed(), broken));
        }
        drop(capture);
        close(&judge, &mut report, began);
        Ok(report)
    }

    /// Leaves what is needed to see why.
    fn give_up(mut self) -> Report {
        for side in [Side::A, Side::B] {
            let agent = self.gateways.agent_of(side);
            let status = agent.call(&["status", "--all"]).map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
            println!("---- {side:?}\n{}\n{}", status.unwrap_or_default(), tail(&agent.log()));
        }
        close(&self.judge, &mut self.report, self.began);
        self.report
    }
}

/// As they are now, outside of the guest.
fn keep_logs(gateways: &Gateways) {
    if std::env::var_os("LANEKEEPER_GUEST").is_none() {
        return;
    }
    for side in [Side::A, Side::B] {
        for log in ["lanekeeper.log", "charon.log"] {
            let _ = fs::copy(gateways.lab().files(side).join(log), format!("/out/soak-{side:?}-{log}"));
        }
    }
}

fn close(judge: &Judge, report: &mut Report, began: Instant) {
    report.took = began.elapsed();
    report.counts = Invariant::ALL.map(|invariant| (invariant, judge.counts(invariant))).into();
}

/// Every class both ways over both families, so slow that a look at the SAs is not all that the CPU does.
fn flows(lab: &Lab, from: Side) -> Vec<Classed> {
    let plan: [(&'static str, u8, u16); 10] = [
        ("voice", 46, 5060),
        ("voice", 46, 5061),
        ("video", 0, 5004),
        ("video", 0, 5005),
        ("bulk", 0, 9000),
        ("bulk", 0, 9001),
        ("bulk", 0, 9002),
        ("bulk", 0, 9003),
        ("default", 0, 7000),
        ("default", 0, 7001),
    ];
    plan.into_iter()
        .map(|(class, dscp, port)| {
            let family = if port % 2 == 0 { Family::V4 } else { Family::V6 };
            Classed { class, from, flow: Flow { dscp, rate: 10, ..lab.flow("soak", from, family, port) } }
        })
        .collect()
}

fn lanes_down(gateways: &Gateways) -> Option<String> {
    [Side::A, Side::B].into_iter().find_map(|side| match gateways.agent_of(side).metrics() {
        Ok(metrics) => {
            let up = metrics.count("lanekeeper_lane_up", &[]);
            (up != LANES).then(|| format!("{side:?}: {up} of {LANES} lanes are up"))
        }
        Err(error) => Some(format!("{side:?}: {error:#}")),
    })
}

/// Of every process of the machine.
fn command_lines() -> String {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ") + "\n").collect()
}
