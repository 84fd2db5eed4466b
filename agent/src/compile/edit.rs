//! One rule more or less, in the tables that packets are reading. Pure: what is decided here is a row of [`Store`]s, which
//! the host's copy takes and then the kernel's, in this order.
//!
//! *Numbers.* Records carry numbers of rules with gaps between them, so that a new rule finds one between its neighbours.
//!
//! *What a packet sees.* A record that no chain leads to is written whole, then one aligned word links it; a rule that goes
//! is unlinked by one word, and the record stays as it is for packets that stand on it. Before a record is linked, its tuple
//! has been added to the candidates of every value that it accepts, and the tuples' bounds have been lowered. So nothing
//! that was found before an edit is ever hidden by it: what is superfluous in candidates and bounds costs time, not
//! verdicts, and is left behind until the next whole generation.
//!
//! *Old list or new.* The verdict is the lowest number among the records that match. During one edit a packet sees all
//! records of all other rules, and each record of the edited rule or not; all of that rule say the same. Whichever it saw,
//! the lowest is that of the list with the rule or of the list without it: a rule of several records needs no moment at
//! which all of them appear. A rule that is moved or changed is first put in its new place and then taken from its old one.
//! Between the two it stands twice: moved, the earlier one decides, as it would in one of the two lists; changed, what the
//! new one does not match falls to the old one, and other packets to the new. Two edits that both end while one packet is
//! searched for may show it the second and not the first: the number in `ACTIVE` is raised after each, and a
//! packet that finds another than it came with looks again.
//!
//! *Reuse.* Records of deleted rules are used again when no other is left, and then behind a [`Store::Grace`]: no packet
//! stands on them any more.
//!
//! *Cost.* In lists of 100,000 rules an edit takes 0.17 ms, most of it for the digest of the list, and 0.2 to 0.4 ms at
//! the 99th percentile, the kernel's side included: of rules for any address and port thousands share a chain, which is
//! walked on the host. One during which others get the processor takes their time slice more, 4 ms where that was seen. A
//! rule that is the first of its tuple takes 0.5 to 0.9 ms, for the sets of all values that it leaves open. A whole compile
//! takes 50 to 70 ms there and its load 105 to 110 ms.
//!
//! *What does not fit.* No number between the neighbours, no record or no tuple: the edit is refused as [`Full`], nothing
//! is changed, and a whole generation does what it would have done. So is a rule that looks at a field which tells no flows
//! apart yet: a packet that has taken its flow for another's could keep the new rule's verdict for both. So is one that names a
//! cgroup which has no place yet: the places of others would move.

mod chain;
mod difference;
mod store;

use std::sync::Arc;

use lanekeeper_common::abi::{ANY_PROTOCOL, Generation, MAX_RECORDS, NO_RULE, Record, Tenant, Tuple, TupleSet};

pub use super::expand::names;
use super::expand::{self, Expanded};
use super::shape::{Shape, tuple_of};
use super::tuples::{self, Filed, Filing, Numbered, accepts};
use super::{Error, Registry, Tables};
use crate::policy::{Policy, Rule};
pub use store::Store;

/// One rule more or less.
#[derive(Debug, Clone)]
pub enum Edit {
    /// A rule comes to that place of the list; those from there on move back by one.
    Insert {
        /// 0 to the length of the list.
        place: usize,
        /// Where others are likely to follow.
        beside: Beside,
        /// All of it.
        records: Vec<Expanded>,
    },
    /// The rule of that place goes.
    Remove {
        /// Below the length of the list.
        place: usize,
    },
}

impl Edit {
    /// A rule comes to that place.
    pub fn insert(
        policy: &Policy,
        rule: &Rule,
        place: usize,
        beside: Beside,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let mut records = Vec::new();
        expand::one(policy, rule, 0, registry, &mut records)?;
        Ok(Edit::Insert { place, beside, records })
    }
}

/// The neighbour to which a new rule leaves more room: rules that are put before one and the same come one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// The rule in front of it.
    Previous,
    /// The rule behind it.
    Next,
}

/// Why an edit is not done in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Of numbers.
    #[error("no number is left between the rules beside it")]
    Numbers,
    /// Of records.
    #[error("no records are left")]
    Records,
    /// Of tuples.
    #[error("no tuple is left, and none that there is takes it")]
    Tuples,
    /// Of the fields by which flows are told apart.
    #[error("it looks at a field that no rule has looked at before")]
    Fields,
    /// Of the cgroups that have places.
    #[error("it names a cgroup that no rule has named before")]
    Cgroups,
}

impl Tables {
    /// Edits the list; what the kernel's tables have to take in order to be like these again.
    pub fn edit(&mut self, edit: &Edit) -> Result<Vec<Store>, Full> {
        let filed = Arc::make_mut(&mut self.rules);
        let (generation, tenants) = (&mut self.generation, &mut self.tenants);
        let mut editing = Editing { generation, tenants, filed, stores: Vec::new() };
        match edit {
            Edit::Insert { place, beside, records } => editing.insert(*place, *beside, records)?,
            Edit::Remove { place } => editing.remove(*place),
        }
        let stores = editing.stores;
        self.digest = tuples::mix(self.frame, self.rules.digest());
        Ok(stores)
    }

    /// Whether the list is long enough for the edit.
    pub fn has(&self, edit: &Edit) -> bool {
        match edit {
            Edit::Insert { place, .. } => *place <= self.rules.rules.len(),
            Edit::Remove { place } => *place < self.rules.rules.len(),
        }
    }

    /// Takes one store, and knows nothing of the list that it leads to.
    pub fn store(&mut self, store: &Store) {
        store.take(&mut self.generation, &mut self.tenants, Arc::make_mut(&mut self.rules));
    }
}

impl Filed {
    /// The numbers of a rule's records, the last one first.
    fn numbers_of(&self, first: u32) -> Vec<u32> {
        let next = |number: &u32| Some(self.filing[*number as usize].sibling).filter(|sibling| *sibling != 0);
        std::iter::successors(Some(first).filter(|first| *first != 0), next).collect()
    }

    /// A number between those of the rules beside that place.
    fn number_at(&self, place: usize, beside: Beside) -> Option<u32> {
        let number = |place: usize| self.rules.get(place).map(|rule| rule.number);
        let number = match (place.checked_sub(1).and_then(number), number(place)) {
            (None, None) => NO_RULE / 2,
            (None, Some(next)) => next.checked_sub(END)?,
            (Some(previous), None) => previous.checked_add(END)?,
            (Some(previous), Some(next)) => {
                let gap = next - previous;
                let step = (gap / UNEVEN).max(1);
                if gap < 2 {
                    return None;
                }
                match beside {
                    Beside::Next => previous + step,
                    Beside::Previous => next - step,
                }
            }
        };
        (number < NO_RULE).then_some(number)
    }
}

/// Numbers that a rule at an end of the list leaves to the next one: 65,536 of them find room there.
const END: u32 = 1 << 14;

/// A gap is divided by this: at 100,000 rules, 20,000 numbers apart, some 130 find room beside one and the same rule.
const UNEVEN: u32 = 16;

/// The host's copy while it is edited.
struct Editing<'a> {
    generation: &'a mut Generation,
    tenants: &'a mut [Tenant],
    filed: &'a mut Filed,
    stores: Vec<Store>,
}

impl Editing<'_> {
    fn put(&mut self, store: Store) {
        store.take(self.generation, self.tenants, self.filed);
        self.stores.push(store);
    }

    fn insert(&mut self, place: usize, beside: Beside, records: &[Expanded]) -> Result<(), Full> {
        // All that may be refused, before anything is changed.
        let number = self.filed.number_at(place, beside).ok_or(Full::Numbers)?;
        let unused = &self.filed.unused;
        let left = MAX_RECORDS - self.filed.records.len() + unused.free.len() + unused.retired.len();
        if records.len() > left {
            return Err(Full::Records);
        }
        let mut asked = self.generation.head.asked;
        records.iter().for_each(|one| asked.add(&one.record));
        if asked != self.generation.head.asked {
            return Err(Full::Fields);
        }
        let places = &self.generation.cgroups;
        if records.iter().any(|one| one.record.cgroup != 0 && places[usize::from(one.record.cgroup)] == [0; 2]) {
            return Err(Full::Cgroups);
        }
        let mut shapes = self.filed.shapes.clone();
        let tuple = |one| tuple_of(&mut shapes, Shape::of(one)).map(Some).ok_or(Full::Tuples);
        let tuples: Vec<Option<u8>> = if self.is_few(records) {
            vec![None; records.len()]
        } else {
            records.iter().map(tuple).collect::<Result<_, _>>()?
        };

        for (tuple, shape) in shapes.iter().enumerate().skip(self.filed.shapes.len()) {
            self.put(Store::Tuple { number: tuple as u8, tuple: Tuple { first_rule: number, ..shape.tuple() } });
        }
        self.filed.shapes = shapes;
        if let Some(last) = tuples.iter().flatten().max().copied()
            && self.generation.tuples[..=usize::from(last)].iter().any(|tuple| tuple.first_rule > number)
        {
            self.put(Store::FirstRules { last, rule: number });
        }
        for (tuple, one) in tuples.iter().zip(records) {
            tuple.iter().for_each(|tuple| self.make_candidate(*tuple, one));
        }
        let mut rule = Numbered { number, first: 0, digest: tuples::NOTHING };
        for (tuple, one) in tuples.into_iter().zip(records) {
            let record = self.link(tuple, Record { rule: number, ..one.record });
            let filing = Filing { tuple, sibling: rule.first };
            match self.filed.filing.get_mut(record as usize) {
                Some(place) => *place = filing,
                None => self.filed.filing.push(filing),
            }
            rule.first = record;
            rule.digest = tuples::mix(rule.digest, tuples::content(&one.record));
        }
        self.filed.rules.insert(place, rule);
        Ok(())
    }

    fn remove(&mut self, place: usize) {
        let rule = self.filed.rules.remove(place);
        for number in self.filed.numbers_of(rule.first) {
            self.unlink(number);
            self.filed.unused.retired.push(number);
        }
    }

    fn take_number(&mut self) -> u32 {
        if let Some(number) = self.filed.unused.free.pop() {
            return number;
        }
        if self.filed.records.len() < MAX_RECORDS {
            return self.filed.records.len() as u32;
        }
        self.put(Store::Grace);
        let unused = &mut self.filed.unused;
        unused.free.append(&mut unused.retired);
        unused.free.pop().expect("as many as are needed have been seen to be left")
    }

    /// Adds the tuple to the candidates of all that the record accepts.
    fn make_candidate(&mut self, tuple: u8, one: &Expanded) {
        let lacks = |set: &TupleSet| !tuples::has(set, tuple.into());
        let record = &one.record;
        if record.ports == 0 && lacks(&self.generation.head.portless) {
            self.put(Store::Portless { tuple });
        }
        if lacks(&self.tenants[usize::from(record.tenant)].tuples) {
            self.put(Store::Tenant { tenant: record.tenant, tuple });
        }
        let (first, last) = match record.protocol {
            ANY_PROTOCOL => (0, u8::MAX),
            protocol => (protocol as u8, protocol as u8),
        };
        if self.generation.protocol_tuples[usize::from(first)..=usize::from(last)].iter().any(lacks) {
            self.put(Store::Protocols { first, last, tuple });
        }
        let mut ranges = Vec::new();
        accepts(one, |field, range| ranges.push((field, range)));
        for (field, (first, last)) in ranges {
            if !lacks(&self.filed.whole[field as usize]) {
                continue;
            }
            let sets = &self.filed.candidates[field as usize][usize::from(first)..=usize::from(last)];
            let (from, to) = (sets.iter().position(lacks), sets.iter().rposition(lacks));
            if let (Some(from), Some(to)) = (from, to) {
                self.put(Store::Candidates { field, first: first + from as u16, last: first + to as u16, tuple });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::super::tuples::FEW;
    use super::*;
    use crate::status::tests::policy;

    fn rule(destination: &str) -> Rule {
        Rule { destination: vec![destination.parse().unwrap()], ..Rule::default() }
    }

    fn insert(tables: &mut Tables, place: usize, rule: &Rule) -> Result<Vec<Store>, Full> {
        let edit = Edit::insert(&policy(), rule, place, Beside::Next, &mut tables.registry).unwrap();
        tables.edit(&edit)
    }

    #[test]
    fn records_are_used_again_only_when_none_is_left_and_behind_a_grace() {
        let mut tables = compile(&policy(), &mut Registry::default()).unwrap();
        insert(&mut tables, 0, &rule("10.1.0.0/16")).unwrap();
        let first = tables.rules.rules[0].first;
        tables.edit(&Edit::Remove { place: 0 }).unwrap();
        let stores = insert(&mut tables, 0, &rule("10.1.0.0/16")).unwrap();
        assert_ne!(tables.rules.rules[0].first, first);
        assert!(!stores.contains(&Store::Grace));

        let filed = Arc::make_mut(&mut tables.rules);
        filed.records.resize(MAX_RECORDS, Record::default());
        filed.links.resize(MAX_RECORDS, tuples::Link::default());
        filed.filing.resize(MAX_RECORDS, Filing::default());
        let stores = insert(&mut tables, 0, &rule("10.2.0.0/16")).unwrap();
        let grace = stores.iter().position(|store| *store == Store::Grace).unwrap();
        let written = stores.iter().position(|store| matches!(store, Store::Record { .. })).unwrap();
        assert!(grace < written);
        assert_eq!(tables.rules.rules[0].first, first);
        let of_records: Vec<tuples::Link> = tables.rules.records.iter().map(tuples::Link::of).collect();
        assert!(tables.rules.links == of_records);
        let digest = tables.digest;
        assert_eq!(insert(&mut tables, 0, &rule("10.3.0.0/16")), Err(Full::Records));
        assert_eq!(tables.digest, digest);
    }

    #[test]
    fn a_rule_that_tells_flows_apart_as_none_did_takes_a_whole_generation() {
        let urgent = Rule { dscp: vec![46], ..rule("10.1.0.0/16") };
        let mut tables = compile(&policy(), &mut Registry::default()).unwrap();
        assert_eq!(insert(&mut tables, 0, &urgent), Err(Full::Fields));
        let with_one = Policy { rules: vec![urgent.clone()], ..policy() };
        let mut tables = compile(&with_one, &mut Registry::default()).unwrap();
        assert!(insert(&mut tables, 0, &urgent).is_ok());
    }

    #[test]
    fn a_rule_of_a_cgroup_that_has_no_place_takes_a_whole_generation() {
        let of = |path: &str| Rule { cgroup: vec![path.into()], ..rule("10.1.0.0/16") };
        let mut tables = compile(&policy(), &mut Registry::default()).unwrap();
        assert_eq!(insert(&mut tables, 0, &of("/a")), Err(Full::Fields));
        let with_one = Policy { rules: vec![of("/a")], ..policy() };
        let mut tables = compile(&with_one, &mut Registry::default()).unwrap();
        assert_eq!(insert(&mut tables, 0, &of("/a/b")), Err(Full::Cgroups));
        assert!(insert(&mut tables, 0, &of("/a")).is_ok());
        // Nor is the digest another for what edits have left of places.
        tables.edit(&Edit::Remove { place: 0 }).unwrap();
        tables.edit(&Edit::Remove { place: 0 }).unwrap();
        assert_eq!(tables.digest, compile(&policy(), &mut Registry::default()).unwrap().digest);
    }

    fn of_rules(rules: usize) -> Tables {
        let policy = Policy { rules: vec![rule("10.1.0.0/16"); rules], ..policy() };
        compile(&policy, &mut Registry::default()).unwrap()
    }

    #[test]
    fn an_edit_of_a_common_rule_is_a_few_stores() {
        let stores = insert(&mut of_rules(FEW + 1), 1, &rule("10.2.0.0/16")).unwrap();
        assert!(
            matches!(stores[..], [Store::Candidates { .. }, Store::Record { .. }, Store::Head { .. }]),
            "{stores:?}"
        );
        let stores = insert(&mut of_rules(FEW - 1), 1, &rule("10.2.0.0/16")).unwrap();
        assert!(matches!(stores[..], [Store::Record { .. }, Store::Next { .. }]), "{stores:?}");
    }

    #[test]
    fn the_chain_of_a_tenant_takes_a_few_rules_and_tuples_all_others() {
        let mut tables = of_rules(0);
        for place in 0..FEW {
            insert(&mut tables, place, &rule("10.1.0.0/16")).unwrap();
        }
        let (first, none) = (tables.rules.rules[0].first, TupleSet::default());
        assert_eq!((tables.tenants[0].first, tables.tenants[0].tuples), (first, none));
        let stores = insert(&mut tables, FEW, &rule("10.1.0.0/16")).unwrap();
        assert!(matches!(stores[..], [Store::Tuple { .. }, .., Store::Head { .. }]), "{stores:?}");
        assert_ne!(tables.tenants[0].tuples, none);
        // What goes makes room there.
        tables.edit(&Edit::Remove { place: 0 }).unwrap();
        assert_eq!(tables.tenants[0].first, tables.rules.rules[0].first);
        insert(&mut tables, 0, &rule("10.1.0.0/16")).unwrap();
        assert_eq!(tables.tenants[0].first, tables.rules.rules[0].first);
        // Compiled anew, so many are in no chain of the tenant's.
        assert_eq!(of_rules(FEW + 1).tenants[0].first, 0);
        assert_eq!(of_rules(FEW + 1).digest, tables.digest);
    }
}
