//! What the numbers in the tables stand for.

use std::collections::BTreeMap;

use super::live::{active, digest, rule_numbers};
use super::{Dataplane, Error};
use crate::compile::{self, Tables};
use crate::policy::Policy;

/// Tables that packets go by, for whoever has a number out of them.
#[derive(Debug)]
pub struct Naming {
    /// The tables.
    pub tables: Tables,
    /// Places of the rules by their numbers, where those are not the tables'.
    rules: Option<BTreeMap<u32, usize>>,
}

impl Naming {
    /// Of tables as they were compiled.
    pub fn of(tables: Tables) -> Self {
        Self { tables, rules: None }
    }

    /// The rule's place in the policy; `None` for no rule.
    pub fn rule(&self, number: u32) -> Option<usize> {
        match &self.rules {
            Some(rules) => rules.get(&number).copied(),
            None => self.tables.rules.place(number),
        }
    }
}

impl Dataplane {
    /// What the tables that packets go by now say, where they are this policy's.
    pub fn naming(&self, policy: &Policy) -> Result<Option<Naming>, Error> {
        if let Some(tables) = &self.tables {
            let named = || {
                let mut tables = tables.clone();
                tables.registry = self.registry.clone();
                Naming::of(tables)
            };
            return Ok((tables.rules.len() == policy.rules.len()).then(named));
        }
        // An agent before this one has loaded them. Compiled anew the rules may have other numbers.
        let tables = compile::compile(policy, &mut self.registry.clone())?;
        let stamp = active(&self.object)?;
        if tables.digest != digest(&self.object, stamp)? {
            return Ok(None);
        }
        let numbers = rule_numbers(&self.object, stamp)?;
        let rules: BTreeMap<u32, usize> = numbers.iter().copied().zip(tables.rules.matching()).collect();
        let whole = rules.len() == numbers.len() && rules.len() == tables.rules.matching().count();
        Ok(whole.then_some(Naming { tables, rules: Some(rules) }))
    }
}
