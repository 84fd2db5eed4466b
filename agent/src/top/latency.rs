//! How long packets took to the wire: what 99 of 100 of those that were timed in the last minute took at most.

use std::collections::{HashMap, VecDeque};

use lanekeeper_common::latency::{BOUNDS, BUCKETS};
use serde::Serialize;

use super::number::{duration, full};
use super::rates::{Rates, lane_name};
use super::sample::Sample;

/// Microseconds that packets are looked back at for, as on the page of metrics.
const SPAN: u64 = 60_000_000;
/// From one beginning of such a span to the next.
const APART: u64 = 10_000_000;

/// Of the packets of one row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many were timed.
    pub timed: u64,
    /// Seconds that 99 of 100 were not above: one of the histogram's bounds. `None` where they were above the last, and where
    /// none was timed.
    pub p99: Option<f64>,
}

impl Latency {
    /// As it stands in the table.
    pub fn cell(&self) -> String {
        match self.p99 {
            Some(seconds) => duration(seconds),
            None if self.timed > 0 => format!(">{}", duration(last_bound())),
            None => "-".to_owned(),
        }
    }

    /// The same in words.
    pub fn text(&self) -> String {
        let (timed, last) = (full(self.timed), duration(last_bound()));
        match self.p99 {
            Some(seconds) => {
                format!("to the wire: 99 of 100 took {} at most, of {timed} timed in a minute", duration(seconds))
            }
            None if self.timed > 0 => {
                format!("to the wire: more than 1 of 100 took over {last}, of {timed} timed in a minute")
            }
            None => "to the wire: no packet timed in a minute".to_owned(),
        }
    }

    fn of(buckets: &[u64; BUCKETS]) -> Self {
        let timed = buckets.iter().sum();
        let mut within = 0;
        let place = buckets.iter().position(|n| {
            within += n;
            100 * within >= 99 * timed
        });
        let bound = place.and_then(|place| BOUNDS.get(place)).filter(|_| timed > 0);
        Self { timed, p99: bound.map(|nanoseconds| *nanoseconds as f64 / 1e9) }
    }
}

/// Samples of the last minute, as far as they say what was timed.
#[derive(Debug, Default)]
pub struct Minute {
    /// The newest is the last.
    marks: VecDeque<Mark>,
}

#[derive(Debug)]
struct Mark {
    /// As in the sample.
    at: u64,
    /// By the lane's name.
    lanes: HashMap<String, [u64; BUCKETS]>,
}

impl Minute {
    /// Puts what was timed since the oldest of these samples into the rows; where looks are further apart than that, since the last.
    pub fn fill(&self, sample: &Sample, rates: &mut Rates) {
        let is_within = |mark: &&Mark| sample.at.checked_sub(mark.at).is_some_and(|age| age <= SPAN);
        let before = self.marks.iter().find(is_within).or(self.marks.back());
        let mut classes: HashMap<&str, [u64; BUCKETS]> = HashMap::new();
        let mut lanes: HashMap<String, [u64; BUCKETS]> = HashMap::new();
        for lane in &sample.lanes {
            let Some(now) = lane.delays else { continue };
            let name = lane_name(&lane.tunnel, &lane.class, lane.lane);
            let then = before.and_then(|mark| mark.lanes.get(&name));
            // What was counted before the first look is of no known time.
            let grown = then.map_or([0; BUCKETS], |then| grown(then, &now));
            let of_class = classes.entry(&lane.class).or_default();
            of_class.iter_mut().zip(grown).for_each(|(all, n)| *all += n);
            lanes.insert(name, grown);
        }
        for row in &mut rates.classes {
            row.latency = classes.get(row.name.as_str()).map(Latency::of);
        }
        for row in &mut rates.lanes {
            row.latency = lanes.get(&row.name).map(Latency::of);
        }
    }

    /// Keeps a sample for those that come.
    pub fn remember(&mut self, sample: &Sample) {
        let age = |mark: &Mark| sample.at.checked_sub(mark.at);
        if self.marks.back().and_then(age).is_some_and(|age| age < APART) {
            return;
        }
        let lanes = sample.lanes.iter();
        let lanes = lanes.filter_map(|lane| Some((lane_name(&lane.tunnel, &lane.class, lane.lane), lane.delays?)));
        let new = Mark { at: sample.at, lanes: lanes.collect() };
        // One of another clock is of no use.
        self.marks.retain(|mark| age(mark).is_some_and(|age| age <= SPAN));
        self.marks.push_back(new);
    }
}

/// Counters that have fallen began again at zero, all of a lane's together.
fn grown(then: &[u64; BUCKETS], now: &[u64; BUCKETS]) -> [u64; BUCKETS] {
    let anew = now.iter().zip(then).any(|(now, then)| now < then);
    std::array::from_fn(|place| if anew { now[place] } else { now[place] - then[place] })
}

fn last_bound() -> f64 {
    BOUNDS[BOUNDS.len() - 1] as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::latency::bucket;

    use super::super::rates::Row;
    use super::super::sample::LaneCount;
    use super::*;

    /// So many packets of these microseconds.
    fn buckets(timed: &[(u64, u64)]) -> [u64; BUCKETS] {
        let mut buckets = [0; BUCKETS];
        timed.iter().for_each(|&(n, microseconds)| buckets[bucket(microseconds * 1000)] += n);
        buckets
    }

    /// At that second, with two lanes of bulk, the second of which has what stands behind.
    fn sample(second: u64, first: &[(u64, u64)], second_lane: &[(u64, u64)]) -> Sample {
        let lane = |lane, timed| LaneCount {
            tunnel: "b".into(),
            class: "bulk".into(),
            lane,
            delays: Some(buckets(timed)),
            ..LaneCount::default()
        };
        let lanes = vec![lane(0, first), lane(1, second_lane)];
        Sample { at: second * 1_000_000, lanes, ..Sample::default() }
    }

    /// Of the class, of its first lane, of its second.
    fn filled(minute: &Minute, sample: &Sample) -> [Option<Latency>; 3] {
        let row = |name: &str| Row { name: name.to_owned(), ..Row::default() };
        let mut rates = Rates {
            classes: vec![row("bulk")],
            lanes: vec![row("b/bulk.0"), row("b/bulk.1")],
            tunnels: vec![row("b")],
            ..Rates::default()
        };
        minute.fill(sample, &mut rates);
        assert_eq!(rates.tunnels[0].latency, None);
        [rates.classes[0].latency, rates.lanes[0].latency, rates.lanes[1].latency]
    }

    fn latency(timed: u64, p99: Option<f64>) -> Option<Latency> {
        Some(Latency { timed, p99 })
    }

    #[test]
    fn see_one_of_a_hundred_may_be_slower() {
        let of = |timed: &[(u64, u64)]| Latency::of(&buckets(timed));
        for (latency, timed, p99) in [
            (of(&[(99, 150), (1, 40_000)]), 100, Some(0.0002)),
            (of(&[(99, 8), (2, 103_000)]), 101, Some(0.2)),
            (of(&[(1, 10)]), 1, Some(0.00001)),
            (of(&[(3, 2_000_000)]), 3, None),
            (of(&[]), 0, None),
        ] {
            assert_eq!(latency, Latency { timed, p99 });
        }
    }

    #[test]
    fn see_a_latency_in_a_cell_and_in_words() {
        let said = |timed, p99| {
            let latency = Latency { timed, p99 };
            (latency.cell(), latency.text())
        };
        let words = |cell: &str, text: &str| (cell.to_owned(), format!("to the wire: {text}"));
        let good = words("200us", "99 of 100 took 200us at most, of 1,024 timed in a minute");
        assert_eq!(said(1024, Some(0.0002)), good);
        assert_eq!(said(3, None), words(">1s", "more than 1 of 100 took over 1s, of 3 timed in a minute"));
        assert_eq!(said(0, None), words("-", "no packet timed in a minute"));
    }

    #[test]
    fn see_latencies_are_of_the_last_minute_and_a_class_has_those_of_its_lanes() {
        let mut minute = Minute::default();
        let mut look = |second, first: &[(u64, u64)], other: &[(u64, u64)]| {
            let sample = sample(second, first, other);
            let filled = filled(&minute, &sample);
            minute.remember(&sample);
            filled
        };
        // What was counted before anybody looked is of no known time.
        assert_eq!(look(100, &[(500, 5)], &[]), [latency(0, None); 3]);
        let both = [latency(12, Some(0.005)), latency(10, Some(0.0001)), latency(2, Some(0.005))];
        assert_eq!(look(102, &[(500, 5), (10, 80)], &[(2, 3000)]), both);
        assert_eq!(look(159, &[(500, 5), (10, 80)], &[(2, 3000)]), both);
        // They are a minute old and more.
        assert_eq!(look(163, &[(500, 5), (11, 80)], &[(2, 3000)])[0], latency(1, Some(0.0001)));
    }

    #[test]
    fn see_looks_further_apart_than_a_minute_look_back_to_the_last() {
        let mut minute = Minute::default();
        for (second, n, timed) in [(0, 1, 0), (300, 4, 3), (600, 8, 4)] {
            let sample = sample(second, &[(n, 80)], &[]);
            assert_eq!(filled(&minute, &sample)[1].map(|latency| latency.timed), Some(timed), "{second}");
            minute.remember(&sample);
        }
    }

    #[test]
    fn see_counters_that_began_anew_count_from_zero_and_who_does_not_ask_has_none() {
        let mut minute = Minute::default();
        minute.remember(&sample(100, &[(50, 80)], &[(7, 80)]));
        let anew = sample(101, &[(4, 900)], &[(8, 80)]);
        assert_eq!(filled(&minute, &anew)[1..], [latency(4, Some(0.001)), latency(1, Some(0.0001))]);
        // A clock that is another one's.
        let mut other = sample(1, &[(5, 900)], &[]);
        assert_eq!(filled(&minute, &other)[1], latency(5, Some(0.001)));
        minute.remember(&other);
        assert_eq!((minute.marks.len(), minute.marks[0].at), (1, 1_000_000));
        other.lanes.iter_mut().for_each(|lane| lane.delays = None);
        assert_eq!(filled(&minute, &other), [None; 3]);
    }
}
