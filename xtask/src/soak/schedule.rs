//! Which events come when: all of it follows from the seed.

use std::time::Duration;

use super::event::{Actor, Event, Kind};
use crate::lab::Side;

/// Events that come close upon each other; then all is to be right again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happens, each so long after the one before.
    pub events: Vec<(Duration, Event)>,
    /// How long what was ended stays away.
    pub away: Duration,
}

impl Step {
    /// Until all is right again.
    pub fn bound(&self) -> Duration {
        self.events.iter().map(|(_, event)| event.kind.bound()).max().unwrap_or_default()
    }

    /// Whether no packet may be lost over it.
    pub fn is_lossless(&self) -> bool {
        self.events.iter().all(|(_, event)| event.kind.is_lossless())
    }
}

/// The endless list of steps. Every kind comes before any comes again, but for those that do not fit where they would come.
#[derive(Debug, Clone)]
pub struct Schedule {
    random: Random,
    kinds: Vec<Kind>,
    deck: Vec<Kind>,
}

impl Schedule {
    /// That of a seed, of these kinds.
    pub fn new(seed: u64, kinds: &[Kind]) -> Self {
        Self { random: Random(seed), kinds: kinds.to_vec(), deck: Vec::new() }
    }

    /// The first kind of the deck that fits behind `events`, with where and which.
    fn draw(&mut self, events: &[(Duration, Event)]) -> Option<Event> {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            for at in (1..self.deck.len()).rev() {
                let other = self.random.below(at as u32 + 1) as usize;
                self.deck.swap(at, other);
            }
        }
        let side = if self.random.below(2) == 0 { Side::A } else { Side::B };
        let pick = self.random.below(1 << 16);
        let at = self.deck.iter().position(|&kind| fits(events, Event { kind, side, pick }))?;
        Some(Event { kind: self.deck.remove(at), side, pick })
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let count = [1, 1, 1, 2, 2, 3][self.random.below(6) as usize];
        let mut events = Vec::new();
        for _ in 0..count {
            // One event at a time says most clearly what it does; together they meet in what each leaves half done.
            let after = Duration::from_millis(u64::from(self.random.below(1500)));
            if let Some(event) = self.draw(&events) {
                events.push((after, event));
            }
        }
        Some(Step { events, away: Duration::from_millis(u64::from(self.random.below(4000))) })
    }
}

/// Whether `next` may come behind these in one step.
fn fits(events: &[(Duration, Event)], next: Event) -> bool {
    events.iter().all(|(_, event)| {
        let two_drifts = event.kind.is_drift() && next.kind.is_drift();
        let gone = (event.kind.ends_its_actor() && event.side == next.side).then(|| event.kind.actor());
        // A file is refused whole while charon is away.
        let is_gone = match (next.kind.actor(), gone) {
            (Actor::Nobody, _) | (_, None) => false,
            (Actor::Charon, Some(gone)) => gone == Actor::Charon,
            (Actor::Agent, Some(_)) => !(next.kind.ends_its_actor() && gone == Some(Actor::Charon)),
        };
        !two_drifts && !is_gone
    })
}

/// SplitMix64: the same everywhere and for ever.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn kinds(steps: &[Step]) -> Vec<Kind> {
        steps.iter().flat_map(|step| step.events.iter().map(|(_, event)| event.kind)).collect()
    }

    #[test]
    fn one_seed_is_one_schedule() {
        let steps = |seed| Schedule::new(seed, &Kind::ALL).take(200).collect::<Vec<_>>();
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn every_kind_comes_about_as_often_as_any_other() {
        for seed in 0..50 {
            let steps: Vec<Step> = Schedule::new(seed, &Kind::ALL).take(300).collect();
            let mut counts: BTreeMap<Kind, usize> = Kind::ALL.map(|kind| (kind, 0)).into();
            kinds(&steps).into_iter().for_each(|kind| *counts.entry(kind).or_default() += 1);
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "seed {seed}: {counts:?}");
        }
    }

    #[test]
    fn a_step_has_one_drift_at_most_and_asks_nobody_who_is_gone() {
        let mut together = 0;
        for step in Schedule::new(3, &Kind::ALL).take(2000) {
            let events: Vec<Event> = step.events.iter().map(|(_, event)| *event).collect();
            assert!((1..=3).contains(&events.len()));
            together += usize::from(events.len() > 1);
            assert!(events.iter().filter(|event| event.kind.is_drift()).count() <= 1, "{events:?}");
            for (at, event) in events.iter().enumerate().filter(|(_, event)| event.kind.ends_its_actor()) {
                let asked = |later: &&Event| later.side == event.side && later.kind.actor() == event.kind.actor();
                let refused = |later: &&Event| {
                    later.side == event.side && later.kind.actor() == Actor::Agent && !later.kind.ends_its_actor()
                };
                assert_eq!(events[at + 1..].iter().find(refused), None, "{events:?}");
                assert_eq!(events[at + 1..].iter().find(asked), None, "{events:?}");
            }
        }
        assert!(together > 500, "{together}");
    }

    #[test]
    fn a_step_is_lossless_where_each_event_is_and_takes_as_long_as_the_slowest() {
        let event = |kind| (Duration::ZERO, Event { kind, side: Side::A, pick: 0 });
        let step =
            |kinds: &[Kind]| Step { events: kinds.iter().map(|kind| event(*kind)).collect(), away: Duration::ZERO };
        let both = step(&[Kind::RekeyChild, Kind::KillCharon]);
        assert_eq!((both.is_lossless(), both.bound()), (false, Kind::KillCharon.bound()));
        assert!(step(&[Kind::RekeyChild, Kind::KillAgent]).is_lossless());
    }
}
