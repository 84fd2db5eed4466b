//! What each counter has moved by in a second, from one sample to the next.

use std::collections::HashMap;
use std::hash::Hash;

use super::Rate;
use crate::top::sample::{Count, Sample};

/// All of a sample, as rates. `None` is what the sample before does not have.
pub struct Moved<'a> {
    /// Seconds between the samples; `None` where there is but one, or no time has passed.
    pub seconds: Option<f64>,
    /// As in the sample.
    pub classes: Vec<ClassMoved<'a>>,
    /// As in the sample.
    pub lanes: Vec<LaneMoved<'a>>,
    /// As in the sample.
    pub fallbacks: Vec<FallbackMoved<'a>>,
    /// As in the sample.
    pub rules: Vec<RuleMoved<'a>>,
    /// Packets blocked for lack of tables.
    pub without_tables: Option<f64>,
}

/// A class of a tenant.
pub struct ClassMoved<'a> {
    pub tenant: &'a str,
    pub class: &'a str,
    pub out: Option<Rate>,
    pub into: Option<Rate>,
    pub blocked: Option<f64>,
}

/// A lane.
pub struct LaneMoved<'a> {
    pub tunnel: &'a str,
    pub class: &'a str,
    pub lane: u8,
    pub out: Option<Rate>,
    pub into: Option<Rate>,
    /// Replayed, or not authentic.
    pub errors: Option<f64>,
}

/// What took another class's lane.
pub struct FallbackMoved<'a> {
    pub tunnel: &'a str,
    pub class: &'a str,
    pub packets: Option<f64>,
}

/// What a rule decided.
pub struct RuleMoved<'a> {
    pub tenant: &'a str,
    pub rule: &'a str,
    pub class: &'a str,
    pub rate: Option<Rate>,
}

impl<'a> Moved<'a> {
    /// From `before` to `after`.
    pub fn between(before: Option<&'a Sample>, after: &'a Sample) -> Self {
        let span = before.and_then(|before| after.at.checked_sub(before.at)).filter(|span| *span > 0);
        let seconds = span.map(|span| span as f64 / 1e6);
        let before = before.filter(|_| seconds.is_some());
        let clock = Clock(seconds.unwrap_or(1.0));
        let mut lanes = index(before, |b| &b.lanes, |lane| (lane.tunnel.as_str(), lane.class.as_str(), lane.lane));
        let mut classes = index(before, |b| &b.classes, |class| (class.tenant.as_str(), class.class.as_str()));
        let mut fallbacks =
            index(before, |b| &b.fallbacks, |one| (one.tunnel.as_str(), one.class.as_str(), one.to.as_str()));
        let mut rules = index(before, |b| &b.rules, |rule| (rule.tenant.as_str(), rule.rule.as_str()));
        Self {
            seconds,
            classes: after
                .classes
                .iter()
                .map(|now| {
                    let then = classes.remove(&(now.tenant.as_str(), now.class.as_str()));
                    ClassMoved {
                        tenant: &now.tenant,
                        class: &now.class,
                        out: then.map(|then| clock.rate(then.out, now.out)),
                        into: then.map(|then| clock.rate(then.into, now.into)),
                        blocked: then.map(|then| clock.per_second(then.blocked, now.blocked)),
                    }
                })
                .collect(),
            lanes: after
                .lanes
                .iter()
                .map(|now| {
                    let then = lanes.remove(&(now.tunnel.as_str(), now.class.as_str(), now.lane));
                    LaneMoved {
                        tunnel: &now.tunnel,
                        class: &now.class,
                        lane: now.lane,
                        out: then.map(|then| clock.rate(then.out, now.out)),
                        into: then.map(|then| clock.rate(then.into, now.into)),
                        errors: then.map(|then| {
                            clock.per_second(then.replay_errors, now.replay_errors)
                                + clock.per_second(then.integrity_errors, now.integrity_errors)
                        }),
                    }
                })
                .collect(),
            fallbacks: after
                .fallbacks
                .iter()
                .map(|now| {
                    let then = fallbacks.remove(&(now.tunnel.as_str(), now.class.as_str(), now.to.as_str()));
                    let packets = then.map(|then| clock.per_second(then.count.packets, now.count.packets));
                    FallbackMoved { tunnel: &now.tunnel, class: &now.class, packets }
                })
                .collect(),
            rules: after
                .rules
                .iter()
                .map(|now| {
                    let then = rules.remove(&(now.tenant.as_str(), now.rule.as_str()));
                    let rate = then.map(|then| clock.rate(then.count, now.count));
                    RuleMoved { tenant: &now.tenant, rule: &now.rule, class: &now.class, rate }
                })
                .collect(),
            without_tables: before.map(|then| clock.per_second(then.without_tables, after.without_tables)),
        }
    }
}

fn index<'a, T, K: Eq + Hash>(
    sample: Option<&'a Sample>,
    list: impl Fn(&'a Sample) -> &'a Vec<T>,
    key: impl Fn(&'a T) -> K,
) -> HashMap<K, &'a T> {
    sample.into_iter().flat_map(list).map(|one| (key(one), one)).collect()
}

/// Seconds that have passed.
struct Clock(f64);

impl Clock {
    /// A counter that has fallen began again at zero: what it has is what it moved by, at least.
    fn per_second(&self, then: u64, now: u64) -> f64 {
        now.checked_sub(then).unwrap_or(now) as f64 / self.0
    }

    fn rate(&self, then: Count, now: Count) -> Rate {
        // Both numbers of one counter begin again together.
        let then = if now.packets < then.packets || now.bytes < then.bytes { Count::default() } else { then };
        Rate { packets: self.per_second(then.packets, now.packets), bits: self.per_second(then.bytes, now.bytes) * 8.0 }
    }
}
