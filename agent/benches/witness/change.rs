//! What becomes of a list: rules that come, go and move, in steps that all witnesses take.

use lanekeeper::policy::{ClassIndex, Policy, Rule};

use crate::witness::random::Random;

/// So far from each other two places have no neighbour in common: the number that a rule gets in one of them is the same
/// each time, whatever was done in the other.
const APART: usize = 3;
/// Fewer rules have no room for that.
pub const LEAST: usize = 10;

/// One rule more or less.
#[derive(Debug, Clone)]
pub enum Step {
    /// A rule comes to that place.
    Insert(usize, Box<Rule>),
    /// The rule of that place goes.
    Remove(usize),
}

/// A change, and what takes it back.
#[derive(Debug, Clone)]
pub struct Change {
    /// From the list before to the one after.
    pub there: Vec<Step>,
    /// From the list after to the one before.
    pub back: Vec<Step>,
    /// The rule that it is about.
    pub rule: Rule,
    /// Its place before, for one that was there.
    pub from: Option<usize>,
    /// Its place after, for one that stays.
    pub to: Option<usize>,
}

impl Change {
    /// A rule that was not there comes to any place.
    pub fn come(random: &mut Random, policy: &Policy, strangers: &[Rule]) -> Self {
        // Not in the default's class: where it decides cannot be taken for where none does.
        let class = ClassIndex(1 + random.below(policy.classes.len() - 1));
        let rule = Rule { class, ..random.pick(strangers) };
        let to = random.below(policy.rules.len() + 1);
        let (there, back) = (vec![Step::Insert(to, Box::new(rule.clone()))], vec![Step::Remove(to)]);
        Self { there, back, rule, from: None, to: Some(to) }
    }

    /// Any rule goes.
    pub fn go(random: &mut Random, policy: &Policy) -> Self {
        let from = random.below(policy.rules.len());
        let rule = policy.rules[from].clone();
        let (there, back) = (vec![Step::Remove(from)], vec![Step::Insert(from, Box::new(rule.clone()))]);
        Self { there, back, rule, from: Some(from), to: None }
    }

    /// Any rule moves, by [`APART`] places or more: it is put there, then taken from where it was.
    pub fn step_aside(random: &mut Random, policy: &Policy) -> Self {
        let rules = policy.rules.len();
        let from = random.below(rules);
        let rule = policy.rules[from].clone();
        let insert = (from + APART + random.below(rules + 1 - 2 * APART)) % (rules + 1);
        // Where it stands twice, the old one is there.
        let old = if insert <= from { from + 1 } else { from };
        let to = if insert <= from { insert } else { insert - 1 };
        let own = || Box::new(rule.clone());
        let there = vec![Step::Insert(insert, own()), Step::Remove(old)];
        let back = vec![Step::Insert(old, own()), Step::Remove(insert)];
        Self { there, back, rule, from: Some(from), to: Some(to) }
    }

    /// Any of them.
    pub fn any(random: &mut Random, policy: &Policy, strangers: &[Rule]) -> Self {
        match random.below(3) {
            0 => Self::come(random, policy, strangers),
            1 => Self::go(random, policy),
            _ => Self::step_aside(random, policy),
        }
    }

    /// Where a rule of the list after was in the list before; none for the one that changed, which may have another number.
    pub fn place_before(&self, after: usize) -> Option<usize> {
        if self.to == Some(after) {
            return None;
        }
        let without = after - usize::from(self.to.is_some_and(|to| to < after));
        Some(without + usize::from(self.from.is_some_and(|from| from <= without)))
    }
}
