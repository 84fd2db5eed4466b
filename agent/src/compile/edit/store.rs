//! What an edit writes, a piece at a time.

use lanekeeper_common::abi::{Generation, Record, Tenant, Tuple};

use crate::compile::tuples::{self, Filed, Link};

/// A change that a packet sees whole or not at all. Of a range each member is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// Nothing, until no packet that is being searched for can have begun before this.
    Grace,
    /// A tuple that is no candidate for any packet.
    Tuple {
        /// Its number.
        number: u8,
        /// All of it.
        tuple: Tuple,
    },
    /// No tuple up to this one has a first rule behind that one.
    FirstRules {
        /// The last one.
        last: u8,
        /// The most that [`Tuple::first_rule`] may be.
        rule: u32,
    },
    /// The tuple is a candidate for packets without ports.
    Portless {
        /// Its number.
        tuple: u8,
    },
    /// For packets of that tenant.
    Tenant {
        /// The tenant's number.
        tenant: u16,
        /// The tuple's.
        tuple: u8,
    },
    /// For packets of these protocols.
    Protocols {
        /// The first.
        first: u8,
        /// The last.
        last: u8,
        /// The tuple's number.
        tuple: u8,
    },
    /// For packets with these values of a field.
    Candidates {
        /// Of `abi::field`.
        field: u32,
        /// The first.
        first: u16,
        /// The last.
        last: u16,
        /// The tuple's number.
        tuple: u8,
    },
    /// A record that no chain leads to, all of it.
    Record {
        /// Its number.
        number: u32,
        /// All of it.
        record: Record,
    },
    /// What comes behind a record.
    Next {
        /// Its number.
        record: u32,
        /// That one's, or 0.
        next: u32,
    },
    /// What a chain begins with.
    Head {
        /// The chain.
        chain: u32,
        /// The record's number, or 0.
        record: u32,
    },
    /// What a tenant's own chain begins with.
    First {
        /// The tenant's number.
        tenant: u16,
        /// The record's, or 0.
        record: u32,
    },
}

impl Store {
    /// Changes the host's copy.
    pub(in crate::compile) fn take(&self, generation: &mut Generation, tenants: &mut [Tenant], filed: &mut Filed) {
        match self {
            Store::Grace => {}
            Store::Tuple { number, tuple } => generation.tuples[usize::from(*number)] = *tuple,
            Store::FirstRules { last, rule } => {
                for tuple in &mut generation.tuples[..=usize::from(*last)] {
                    tuple.first_rule = tuple.first_rule.min(*rule);
                }
            }
            Store::Portless { tuple } => tuples::add(&mut generation.head.portless, (*tuple).into()),
            Store::Tenant { tenant, tuple } => {
                tuples::add(&mut tenants[usize::from(*tenant)].tuples, (*tuple).into());
            }
            Store::Protocols { first, last, tuple } => {
                for set in &mut generation.protocol_tuples[usize::from(*first)..=usize::from(*last)] {
                    tuples::add(set, (*tuple).into());
                }
            }
            Store::Candidates { field, first, last, tuple } => {
                for set in &mut filed.candidates[*field as usize][usize::from(*first)..=usize::from(*last)] {
                    tuples::add(set, (*tuple).into());
                }
                if (*first, *last) == (0, u16::MAX) {
                    tuples::add(&mut filed.whole[*field as usize], (*tuple).into());
                }
            }
            Store::Record { number, record } => match filed.records.get_mut(*number as usize) {
                Some(place) => {
                    *place = *record;
                    filed.links[*number as usize] = Link::of(record);
                }
                None => {
                    filed.records.push(*record);
                    filed.links.push(Link::of(record));
                }
            },
            Store::Next { record, next } => {
                filed.records[*record as usize].next = *next;
                filed.links[*record as usize].next = *next;
            }
            Store::Head { chain, record } => filed.heads[*chain as usize] = *record,
            Store::First { tenant, record } => tenants[usize::from(*tenant)].first = *record,
        }
    }
}
