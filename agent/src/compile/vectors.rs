//! Sets of rules, each stored once.

use std::collections::HashMap;

use lanekeeper_common::abi::{MAX_VECTORS, Vector, WORDS};

use super::Error;

/// A set of rules by their place in the policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(pub [u64; WORDS]);

impl Set {
    /// Adds a rule.
    pub fn insert(&mut self, rule: usize) {
        self.0[rule / 64] |= 1 << (rule % 64);
    }

    /// Takes a rule out.
    pub fn remove(&mut self, rule: usize) {
        self.0[rule / 64] &= !(1 << (rule % 64));
    }
}

/// All sets that occur.
#[derive(Debug, Default)]
pub struct Vectors {
    numbers: HashMap<Set, u16>,
    sets: Vec<Vector>,
}

impl Vectors {
    /// The set's number.
    pub fn number(&mut self, set: &Set) -> Result<u16, Error> {
        if let Some(number) = self.numbers.get(set) {
            return Ok(*number);
        }
        if self.sets.len() == MAX_VECTORS {
            return Err(Error::TooMany {
                what: "distinct sets of rules",
                got: self.sets.len() + 1,
                limit: MAX_VECTORS,
            });
        }
        let number = self.sets.len() as u16;
        let summary = (0..WORDS).filter(|word| set.0[*word] != 0).fold(0, |summary, word| summary | 1 << word);
        self.sets.push(Vector { summary, _pad: 0, words: set.0 });
        self.numbers.insert(*set, number);
        Ok(number)
    }

    /// The sets by number.
    pub fn into_sets(self) -> Vec<Vector> {
        self.sets
    }
}
