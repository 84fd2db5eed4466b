//! What must hold all the while, decided from samples alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::sample::{ByClass, End, Footprint, Out, Sample};
use crate::lab::Side;
use crate::lab::metrics::{Metrics, Series};
use crate::lab::scenario::TUNNEL;

/// Begins the names of rules that come and go: their series come and go with them.
pub const PASSING: &str = "soak";

/// A packet may be on its way between the counters that are read one after the other; by flow.
const UNDER_WAY: u64 = 3;

/// The gateways' own multicast takes the class of all that no rule matches.
const DEFAULT: &str = "default";

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No cleartext on the WAN.
    Cleartext,
    /// No packet in a lane of another class.
    Lane,
    /// While nothing happens, every packet of a class in its own lanes, and counted so by the agent.
    OwnLane,
    /// No counter falls.
    Monotonic,
    /// No series is born or lost.
    Series,
    /// All is right again within the bound of what happened.
    Converged,
    /// What loses no packet by itself has lost none.
    Delivery,
    /// Memory, descriptors, map entries, pins and series stay as they were.
    Flat,
    /// No key is told to anybody.
    Secret,
    /// Commands end as they should.
    Answer,
    /// The demo's claims hold in the end.
    Claims,
}

impl Invariant {
    /// Each of them.
    pub const ALL: [Self; 11] = [
        Self::Cleartext,
        Self::Lane,
        Self::OwnLane,
        Self::Monotonic,
        Self::Series,
        Self::Converged,
        Self::Delivery,
        Self::Flat,
        Self::Secret,
        Self::Answer,
        Self::Claims,
    ];

    /// As the report spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cleartext => "no cleartext on the WAN",
            Self::Lane => "no packet in another class's lane",
            Self::OwnLane => "at rest, all in their own lanes",
            Self::Monotonic => "no counter falls",
            Self::Series => "no series born or lost",
            Self::Converged => "right again within the bound",
            Self::Delivery => "no packet lost that need not be",
            Self::Flat => "memory and counts flat",
            Self::Secret => "no key told",
            Self::Answer => "commands end as they should",
            Self::Claims => "the demo's claims in the end",
        }
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.what)
    }
}

/// Holds each sample against those before it.
#[derive(Debug, Default)]
pub struct Judge {
    last: Option<Sample>,
    rest: Option<Sample>,
    scraped: [Option<Metrics>; 2],
    footprints: [Option<Footprint>; 2],
    checks: BTreeMap<Invariant, u64>,
    broken: BTreeMap<Invariant, u64>,
}

impl Judge {
    /// How often each was looked at, and how often it did not hold.
    pub fn counts(&self, invariant: Invariant) -> (u64, u64) {
        let of = |counts: &BTreeMap<Invariant, u64>| counts.get(&invariant).copied().unwrap_or_default();
        (of(&self.checks), of(&self.broken))
    }

    /// Takes what was found of one invariant.
    pub fn found(&mut self, invariant: Invariant, wrong: Vec<String>) -> Vec<Broken> {
        *self.checks.entry(invariant).or_default() += 1;
        *self.broken.entry(invariant).or_default() += u64::from(!wrong.is_empty());
        wrong.into_iter().map(|what| Broken { invariant, what }).collect()
    }

    /// What must hold at any time, since the last sample and since the last rest.
    pub fn observe(&mut self, now: &Sample, flows: &ByClass) -> Vec<Broken> {
        let before = self.last.as_ref().map_or(0, |last| last.clear);
        let clear = (now.clear > before).then(|| format!("{} packets, the first {:?}", now.clear, now.first_clear));
        let mut broken = self.found(Invariant::Cleartext, clear.into_iter().collect());
        let earlier: Vec<Sample> = [&self.last, &self.rest].into_iter().flatten().cloned().collect();
        for earlier in earlier {
            let wrong = sides(|side| strays(side, &earlier.ends[side as usize], &now.ends[side as usize], flows));
            broken.extend(self.found(Invariant::Lane, wrong));
        }
        for side in [Side::A, Side::B] {
            let Some(metrics) = &now.ends[side as usize].metrics else { continue };
            if let Some(before) = self.scraped[side as usize].replace(metrics.clone()) {
                let fallen = fallen(&before, metrics);
                broken.extend(
                    self.found(Invariant::Monotonic, fallen.iter().map(|it| format!("{side:?}: {it}")).collect()),
                );
                let moved = moved(&before, metrics);
                broken
                    .extend(self.found(Invariant::Series, moved.iter().map(|it| format!("{side:?}: {it}")).collect()));
            }
        }
        self.last = Some(now.clone());
        broken
    }

    /// What must hold between two samples while nothing happens: each class in its lanes alone, and counted so.
    pub fn at_rest(&mut self, from: &Sample, to: &Sample, flows: &ByClass) -> Vec<Broken> {
        self.rest = Some(to.clone());
        // A rekey of charon's own between the two has taken counters away.
        let same = |side: usize| from.ends[side].out_before.keys().eq(to.ends[side].out.keys());
        if !same(0) || !same(1) {
            return Vec::new();
        }
        let wrong = sides(|side| astray(side, &from.ends[side as usize], &to.ends[side as usize], flows));
        self.found(Invariant::OwnLane, wrong)
    }

    /// Holds what an agent takes against the first that was noted for it.
    pub fn flat(&mut self, side: Side, now: Footprint) -> Vec<Broken> {
        match &mut self.footprints[side as usize] {
            None => {
                self.footprints[side as usize] = Some(now);
                Vec::new()
            }
            Some(first) => {
                let wrong: Vec<String> = grown(first, &now).into_iter().map(|it| format!("{side:?}: {it}")).collect();
                if !wrong.is_empty() {
                    // Said once, and again where it grows on.
                    *first = now;
                }
                self.found(Invariant::Flat, wrong)
            }
        }
    }
}

fn sides(wrong: impl Fn(Side) -> Vec<String>) -> Vec<String> {
    [Side::A, Side::B].into_iter().flat_map(wrong).collect()
}

/// Packets that went out by the lanes of each class from one reading to another.
fn through(before: &Out, now: &Out) -> ByClass {
    let mut packets = ByClass::new();
    for (spi, (class, count)) in now {
        let earlier = before.get(spi).map_or(0, |(_, count)| *count);
        *packets.entry(*class).or_default() += count.saturating_sub(earlier);
    }
    packets
}

/// Classes whose lanes took more than was sent of them.
fn strays(side: Side, before: &End, now: &End, flows: &ByClass) -> Vec<String> {
    let wrong = through(&before.out, &now.out).into_iter().filter_map(|(class, packets)| {
        let most = now.sent_after.get(class)?.saturating_sub(*before.sent_before.get(class)?);
        let slack = UNDER_WAY * flows.get(class)?;
        (class != DEFAULT && packets > most + slack)
            .then(|| format!("{side:?}: {packets} packets through {class}, of which {most} were sent"))
    });
    wrong.collect()
}

/// Classes that are not in their lanes, and lanes that the agent counts otherwise.
fn astray(side: Side, from: &End, to: &End, flows: &ByClass) -> Vec<String> {
    let mut wrong = Vec::new();
    // The agent was asked between the readings of the SAs.
    let (fewest, most) = (through(&from.out, &to.out_before), through(&from.out_before, &to.out));
    for (class, flows) in flows {
        let (Some(first), Some(last)) = (from.sent_after.get(class), to.sent_before.get(class)) else { continue };
        let of = |packets: &ByClass| packets.get(class).copied().unwrap_or_default();
        let (sent, fewest, most, slack) = (last.saturating_sub(*first), of(&fewest), of(&most), UNDER_WAY * flows);
        if most + slack < sent {
            wrong.push(format!("{side:?}: {most} packets through {class}, of which {sent} were sent"));
        }
        let (Some(before), Some(after)) = (&from.metrics, &to.metrics) else { continue };
        let counted = |metrics: &Metrics| {
            let labels = [("tunnel", TUNNEL), ("class", class), ("direction", "out")];
            metrics.count("lanekeeper_lane_packets_total", &labels)
        };
        let metric = counted(after).saturating_sub(counted(before));
        if metric + slack < fewest || metric > most + slack {
            wrong.push(format!("{side:?}: {fewest} to {most} packets through {class}, {metric} in the metrics"));
        }
    }
    wrong
}

fn fallen(before: &Metrics, now: &Metrics) -> Vec<String> {
    let stays = |series: &Series| now.0.contains_key(series);
    let fallen = now.fallen_since(before).into_iter().filter(stays);
    fallen.map(|series| format!("{} from {} to {}", label(&series), before.0[&series], now.0[&series])).collect()
}

fn moved(before: &Metrics, now: &Metrics) -> Vec<String> {
    let lasting = |metrics: &Metrics| -> BTreeSet<Series> {
        let passes = |series: &&Series| series.labels.get("rule").is_some_and(|rule| rule.starts_with(PASSING));
        metrics.0.keys().filter(|series| !passes(series)).cloned().collect()
    };
    let (before, now) = (lasting(before), lasting(now));
    let lost = before.difference(&now).map(|series| format!("lost {}", label(series)));
    lost.chain(now.difference(&before).map(|series| format!("new {}", label(series)))).collect()
}

fn label(series: &Series) -> String {
    let labels: Vec<String> = series.labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    format!("{}{{{}}}", series.name, labels.join(","))
}

/// Memory may be a quarter and 8 MiB more, for what an allocator keeps; descriptors eight, for requests that are under way; names
/// ten, for each kind of repair and each rule that passes gets one when it first comes; of all else there is as much as there was.
fn grown(first: &Footprint, now: &Footprint) -> Vec<String> {
    let mut grown = Vec::new();
    if now.rss > first.rss + first.rss / 4 + 8 * 1024 {
        grown.push(format!("resident memory from {} to {} KiB", first.rss, now.rss));
    }
    for (what, count) in &now.counts {
        let before = first.counts.get(what).copied().unwrap_or_default();
        let more = match what.as_str() {
            "descriptors" => 8,
            "entries of NAMES" => 10,
            _ => 0,
        };
        if *count > before + more {
            grown.push(format!("{what} from {before} to {count}"));
        }
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows() -> ByClass {
        [("voice", 1), ("default", 1)].into()
    }

    /// A's end: packets sent of each class, and out of each SA.
    fn sample(sent: u64, out: &[(u32, &'static str, u64)]) -> Sample {
        let sent: BTreeMap<_, _> = [("voice", sent), ("default", sent)].into();
        let out: BTreeMap<_, _> = out.iter().map(|(spi, class, packets)| (*spi, (*class, *packets))).collect();
        let a = End { sent_before: sent.clone(), sent_after: sent, out_before: out.clone(), metrics: None, out };
        Sample { ends: [a, End::default()], ..Sample::default() }
    }

    fn scraped(text: &str) -> Sample {
        let b = End { metrics: Some(Metrics::parse(text).unwrap()), ..End::default() };
        Sample { ends: [End::default(), b], ..Sample::default() }
    }

    fn observed(samples: &[Sample]) -> Vec<(Invariant, String)> {
        let mut judge = Judge::default();
        let broken = samples.iter().flat_map(|sample| judge.observe(sample, &flows())).collect::<Vec<_>>();
        broken.into_iter().map(|broken| (broken.invariant, broken.what)).collect()
    }

    #[test]
    fn packets_beyond_what_was_sent_are_of_another_class() {
        let start = sample(0, &[(1, "voice", 0), (2, "default", 0)]);
        // 100 of each: all as they should be; a new SA beside the old one; voice fallen back.
        let right = sample(100, &[(1, "voice", 100), (2, "default", 120)]);
        let rekeyed = sample(100, &[(1, "voice", 60), (3, "voice", 40), (2, "default", 100)]);
        let fallen_back = sample(100, &[(1, "voice", 5), (2, "default", 195)]);
        for fine in [right, rekeyed, fallen_back] {
            assert_eq!(observed(&[start.clone(), fine]), []);
        }
        let wrong = observed(&[start, sample(100, &[(1, "voice", 104), (2, "default", 96)])]);
        assert_eq!(wrong, [(Invariant::Lane, "A: 104 packets through voice, of which 100 were sent".to_owned())]);
    }

    #[test]
    fn strays_that_are_few_in_each_sample_are_seen_since_the_last_rest() {
        let at = |sent, voice| sample(sent, &[(1, "voice", voice), (2, "default", sent)]);
        let mut judge = Judge::default();
        assert_eq!(judge.at_rest(&at(0, 0), &at(10, 10), &flows()), []);
        assert_eq!(judge.observe(&at(20, 22), &flows()), []);
        let broken = judge.observe(&at(30, 34), &flows());
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert_eq!(judge.counts(Invariant::Lane), (3, 1));
    }

    #[test]
    fn at_rest_nothing_falls_back_and_the_agent_counts_as_the_kernel_does() {
        let rest =
            |to: Sample| Judge::default().at_rest(&sample(0, &[(1, "voice", 0), (2, "default", 0)]), &to, &flows());
        assert_eq!(rest(sample(20, &[(1, "voice", 20), (2, "default", 25)])), []);
        let fallen = rest(sample(20, &[(1, "voice", 10), (2, "default", 30)]));
        assert_eq!(fallen[0].what, "A: 10 packets through voice, of which 20 were sent");
        // Another SA: its counter says nothing.
        assert_eq!(rest(sample(20, &[(3, "voice", 1), (2, "default", 20)])), []);
        let counted = |packets| {
            let line = |class: &str, packets: u64| {
                let labels = format!("tunnel=\"branch\",class=\"{class}\",lane=\"0\",direction=\"out\"");
                format!("lanekeeper_lane_packets_total{{{labels}}} {packets}\n")
            };
            let text = line("voice", packets) + &line("default", packets);
            let mut sample = sample(packets, &[(1, "voice", 20 * u64::from(packets > 0)), (2, "default", packets)]);
            sample.ends[0].metrics = Some(Metrics::parse(&text).unwrap());
            sample
        };
        assert_eq!(Judge::default().at_rest(&counted(0), &counted(20), &flows()), []);
        let mut silent = counted(20);
        silent.ends[0].metrics = silent.ends[0].metrics.take().map(|metrics| {
            Metrics(metrics.0.into_iter().filter(|(series, _)| series.labels["class"] != "voice").collect())
        });
        let broken = Judge::default().at_rest(&counted(0), &silent, &flows());
        assert_eq!(broken[0].what, "A: 20 to 20 packets through voice, 0 in the metrics");
    }

    #[test]
    fn cleartext_is_told_once() {
        let clear = Sample { clear: 2, first_clear: Some("ICMP".to_owned()), ..Sample::default() };
        let told = observed(&[Sample::default(), clear.clone(), clear]);
        assert_eq!(told, [(Invariant::Cleartext, "2 packets, the first Some(\"ICMP\")".to_owned())]);
    }

    #[test]
    fn counters_and_series_outlive_an_agent() {
        let away = Sample::default();
        let lost = observed(&[scraped("a_total 3\nb 1\n"), away, scraped("a_total 2\nc{x=\"y\"} 1\n")]);
        let told: Vec<&str> = lost.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(told, ["B: a_total{} from 3 to 2", "B: lost b{}", "B: new c{x=\"y\"}"]);
        let passing = scraped("a_total 3\nrule_total{rule=\"soak-file\"} 1\n");
        assert_eq!(observed(&[scraped("a_total 3\n"), passing, scraped("a_total 3\n")]), []);
    }

    #[test]
    fn growth_is_held_against_the_first_footprint() {
        let print = |rss, descriptors, pins| Footprint {
            rss,
            counts: [("descriptors".to_owned(), descriptors), ("pins".to_owned(), pins)].into(),
        };
        let mut judge = Judge::default();
        assert_eq!(judge.flat(Side::A, print(20_000, 30, 22)), []);
        assert_eq!(judge.flat(Side::A, print(33_192, 38, 22)), []);
        let broken = judge.flat(Side::A, print(33_193, 39, 23));
        let told: Vec<&str> = broken.iter().map(|broken| broken.what.as_str()).collect();
        let rss = "A: resident memory from 20000 to 33193 KiB";
        assert_eq!(told, [rss, "A: descriptors from 30 to 39", "A: pins from 22 to 23"]);
        assert_eq!(judge.flat(Side::A, print(33_193, 39, 23)), []);
        assert_eq!(judge.flat(Side::B, print(99_000, 99, 99)), []);
    }

    #[test]
    fn every_invariant_is_listed_under_its_own_name() {
        let names: BTreeSet<&str> = Invariant::ALL.iter().map(|it| it.name()).collect();
        assert_eq!((names.len(), Invariant::Claims as usize + 1), (Invariant::ALL.len(), Invariant::ALL.len()));
    }
}
