//! Chains: records that lead from one to the next by their rules' numbers, of a tuple or of a tenant that has few.

use lanekeeper_common::abi::{Record, TupleSet};

use super::super::expand::Expanded;
use super::super::tuples::{FEW, Filing, chain_of};
use super::{Editing, Store};

/// Where one begins.
#[derive(Debug, Clone, Copy)]
enum Chain {
    /// By its number.
    OfTuple(u32),
    /// The tenant's own.
    OfTenant(u16),
}

impl Editing<'_> {
    /// Writes the record and leads to it; its number.
    pub(super) fn link(&mut self, tuple: Option<u8>, record: Record) -> u32 {
        let number = self.take_number();
        let chain = self.chain(tuple, &record);
        let before = self.before(chain, |_, rule| rule > record.rule);
        let next = match before {
            0 => self.first(chain),
            before => self.filed.links[before as usize].next,
        };
        self.put(Store::Record { number, record: Record { next, ..record } });
        self.lead(chain, before, number);
        number
    }

    /// Leads past a record, which stays as it is.
    pub(super) fn unlink(&mut self, number: u32) {
        let Filing { tuple, .. } = self.filed.filing[number as usize];
        let record = self.filed.records[number as usize];
        let chain = self.chain(tuple, &record);
        let before = self.before(chain, |next, _| next == number);
        self.lead(chain, before, record.next);
    }

    /// Whether all of these find room in the chain of their tenant.
    pub(super) fn is_few(&self, records: &[Expanded]) -> bool {
        let Some(one) = records.first() else { return false };
        let of = &self.tenants[usize::from(one.record.tenant)];
        let next = |number: &u32| Some(self.filed.links[*number as usize].next).filter(|next| *next != 0);
        let known = std::iter::successors(Some(of.first).filter(|first| *first != 0), next).count();
        (known > 0 || of.tuples == TupleSet::default()) && known + records.len() <= FEW
    }

    fn chain(&self, tuple: Option<u8>, record: &Record) -> Chain {
        match tuple {
            Some(tuple) => Chain::OfTuple(chain_of(tuple.into(), &self.generation.tuples[usize::from(tuple)], record)),
            None => Chain::OfTenant(record.tenant),
        }
    }

    fn first(&self, chain: Chain) -> u32 {
        match chain {
            Chain::OfTuple(chain) => self.filed.heads[chain as usize],
            Chain::OfTenant(tenant) => self.tenants[usize::from(tenant)].first,
        }
    }

    /// The last record of a chain before one of whose number and rule that is true; 0 for its head.
    fn before(&self, chain: Chain, is: impl Fn(u32, u32) -> bool) -> u32 {
        let (mut before, mut next) = (0, self.first(chain));
        while next != 0 {
            let link = self.filed.links[next as usize];
            if is(next, link.rule) {
                break;
            }
            (before, next) = (next, link.next);
        }
        before
    }

    fn lead(&mut self, chain: Chain, before: u32, to: u32) {
        self.put(match (before, chain) {
            (0, Chain::OfTuple(chain)) => Store::Head { chain, record: to },
            (0, Chain::OfTenant(tenant)) => Store::First { tenant, record: to },
            (record, _) => Store::Next { record, next: to },
        });
    }
}
