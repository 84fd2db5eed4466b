//! Ours under BPF_PROG_TEST_RUN, over the family's own list.

use std::time::{Duration, Instant};

use anyhow::Result;
use lanekeeper::compile::edit::Beside;
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::model::Probe;

use crate::bpf::Program;
use crate::goals::Verdicts;
use crate::lists::{self, List};
use crate::report::{ALONE, Change, Load, OURS, Row, SIZES, mode};
use crate::stats::{mean, median, percentile};
use crate::witness::list::{self, Family};
use crate::witness::oracle::Oracle;
use crate::witness::packet::Packet;
use crate::witness::random::Random;

/// Packets of each long list that the oracle, which reads rule by rule, is asked about.
const JUDGED: usize = 100;
/// Packets that are repeated, and how often.
const REPEATED: usize = 64;
const REPEAT: u32 = 1_000;

/// Rules that come to the longest list, and as many that go from it, one after the other.
const CHANGED: usize = 500;

/// Flows that are few enough not to drive each other from the cache.
pub const CACHED: usize = 256;

/// The loaded program, and what it took so far.
pub struct Alone {
    /// The program with the list.
    pub trial: Trial,
    rules: usize,
    load_ms: f64,
    uncached: Vec<f64>,
    cached: Vec<f64>,
    repeated: Vec<f64>,
    adversarial: Vec<Packet>,
    /// By packet.
    tail: Vec<Vec<f64>>,
}

/// Nanoseconds of an empty program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Empty {
    /// A packet after the other.
    pub once: f64,
    /// One packet a thousand times.
    pub repeated: f64,
}

impl Alone {
    /// Loads the list. The longest ones are measured with adversarial traffic too.
    pub fn new(family: &'static Family, rules: usize, list: &List, loads: &mut Vec<Load>) -> Result<Self> {
        let mut trial = Trial::new()?;
        let load_ms = list.load(&mut trial)?.as_secs_f64() * 1e3;
        loads.push(Load { engine: OURS, family: family.name, rules, ms: load_ms });
        let longest = SIZES.last() == Some(&rules);
        let adversarial = if longest { lists::adversarial(family, &list.policy) } else { Vec::new() };
        let tail = vec![Vec::new(); adversarial.len()];
        Ok(Self {
            trial,
            rules,
            load_ms,
            uncached: Vec::new(),
            cached: Vec::new(),
            repeated: Vec::new(),
            adversarial,
            tail,
        })
    }

    /// Asks the program and the oracle.
    pub fn judge(&mut self, list: &List, verdicts: &mut Verdicts) -> Result<()> {
        if self.rules < 1_000 { Ok(()) } else { judge(&mut self.trial, list, verdicts) }
    }

    /// A round; what the empty program took.
    pub fn round(&mut self, list: &List, empty: &Program, counts: bool) -> Result<Empty> {
        let trial = &mut self.trial;
        // No packet is a flow's second one.
        trial.forget_flows()?;
        let mut time = |packet: &Packet, repeat| Ok(nanos(trial.time(&probe(packet), repeat)?));
        let nothing = |packet: &Packet, repeat| Ok(nanos(empty.time(&packet.frame, repeat)?));
        let few = &list.packets[..REPEATED];
        let once = average(list.packets.iter().map(|packet| nothing(packet, 1)))?;
        let many = average(few.iter().map(|packet| nothing(packet, REPEAT)))?;
        let uncached = average(list.packets.iter().map(|packet| time(packet, 1)))? - once;
        let known = &list.packets[..CACHED];
        average(known.iter().map(|packet| time(packet, 1)))?;
        let cached = average(known.iter().map(|packet| time(packet, 1)))? - once;
        let repeated = average(few.iter().map(|packet| time(packet, REPEAT)))? - many;
        if counts {
            self.uncached.push(uncached);
            self.cached.push(cached);
            self.repeated.push(repeated);
        }
        trial.forget_flows()?;
        for (packet, ns) in self.adversarial.iter().zip(&mut self.tail) {
            ns.push(nanos(trial.time(&probe(packet), 1)?) - once);
        }
        Ok(Empty { once, repeated: many })
    }

    /// Puts rules into the longest list and takes others out, each at any place.
    pub fn change(&mut self, family: &'static Family, list: &List, changes: &mut Vec<Change>) -> Result<()> {
        if SIZES.last() != Some(&self.rules) {
            return Ok(());
        }
        let mut random = Random::new(19);
        let strangers = list::policy(family, CHANGED).rules;
        let mut ms = Vec::new();
        for rule in &strangers {
            for comes in [true, false] {
                let place = random.below(self.rules);
                let start = Instant::now();
                let edited = match comes {
                    true => self.trial.insert(&list.policy, rule, place, Beside::Previous)?,
                    false => self.trial.remove(place)?,
                };
                // Without room for an edit the whole list is loaded.
                ms.push(if edited { start.elapsed().as_secs_f64() * 1e3 } else { self.load_ms });
            }
        }
        let (ms_median, ms_p99) = (median(&ms), percentile(&ms, 99));
        changes.push(Change { engine: OURS, family: family.name, rules: self.rules, ms_median, ms_p99 });
        Ok(())
    }

    /// Puts down the rows.
    pub fn rows(&self, family: &'static Family, rules: usize, rows: &mut Vec<Row>) {
        rows.push(Row::new(ALONE, family.name, rules, mode::UNCACHED, &self.uncached));
        rows.push(Row::new(ALONE, family.name, rules, mode::CACHED, &self.cached));
        rows.push(Row::new(ALONE, family.name, rules, mode::REPEATED, &self.repeated));
        if !self.tail.is_empty() {
            // A packet's median over the rounds leaves out what else the machine did.
            let packets: Vec<f64> = self.tail.iter().map(|ns| median(ns)).collect();
            let row = Row::new(ALONE, family.name, rules, mode::ADVERSARIAL, &packets);
            rows.push(Row { ns_p99: Some(percentile(&packets, 99)), ..row });
        }
    }
}

/// Asks a program with the list and the oracle about some of its packets.
pub fn judge(trial: &mut Trial, list: &List, verdicts: &mut Verdicts) -> Result<()> {
    let mut oracle = Oracle::default();
    for packet in &list.packets[..JUDGED] {
        let verdict = trial.run(&probe(packet))?;
        let (judgement, _) = oracle.judge(&list.policy, packet);
        verdicts.all += 1;
        verdicts.wrong += usize::from((verdict.tenant, verdict.rule, verdict.class) != judgement);
    }
    Ok(())
}

/// Nanoseconds of a packet whose flow a program with the list has not met, above the empty program's.
pub fn uncached(trial: &mut Trial, list: &List, empty: &Program) -> Result<f64> {
    trial.forget_flows()?;
    let once = average(list.packets.iter().map(|packet| Ok(nanos(empty.time(&packet.frame, 1)?))))?;
    Ok(average(list.packets.iter().map(|packet| Ok(nanos(trial.time(&probe(packet), 1)?))))? - once)
}

fn probe(packet: &Packet) -> Probe<'_> {
    Probe { frame: &packet.frame, mark: 0, ingress: None, stripped: None, cgroup: None }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

fn average(times: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    Ok(mean(times.collect::<Result<Vec<f64>>>()?.into_iter()))
}
