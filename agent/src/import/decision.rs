//! A list whose first match has the last word on a packet's mark.
//!
//! It is built from its end: what a rule does is a choice between two such lists, that of the packets which it takes and that
//! of all others, and of two lists with a choice between them one list can be made. What both begin or end with is there once,
//! so that rules which set whole marks and go on, of which the last one counts, give one entry each, in reverse.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use super::Origin;
use super::condition::{Condition, MarkTest};

/// What becomes of a mark: `mark & keep ^ flip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// The bits that stay.
    pub keep: u32,
    /// Those that are turned over then.
    pub flip: u32,
}

impl Rewrite {
    /// Nothing.
    pub const NONE: Self = Self { keep: u32::MAX, flip: 0 };

    /// A whole mark.
    pub const fn set(mark: u32) -> Self {
        Self { keep: 0, flip: mark }
    }

    /// Of a mark.
    pub fn of(self, mark: u32) -> u32 {
        mark & self.keep ^ self.flip
    }

    /// This and then `next`.
    pub fn then(self, next: Self) -> Self {
        Self { keep: self.keep & next.keep, flip: next.of(self.flip) }
    }
}

/// Packets, and what becomes of their marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub when: Condition,
    /// What becomes of the mark that they come with.
    pub rewrite: Rewrite,
    /// The rule that had the last word; `None` where none had.
    pub origin: Option<Rc<Origin>>,
}

impl Entry {
    /// Whatever mark a packet comes with.
    fn is_fixed(&self) -> bool {
        self.rewrite.keep == 0 && self.when.marks.is_empty()
    }
}

/// Its last entry takes every packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    entries: VecDeque<Rc<Entry>>,
    /// So many at the front are fixed.
    fixed: usize,
}

impl List {
    /// Every mark stays as it is.
    pub fn end() -> Self {
        let entry = Entry { when: Condition::any(), rewrite: Rewrite::NONE, origin: None };
        Self { entries: [Rc::new(entry)].into(), fixed: 0 }
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: the last entry is always there.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// This list for packets whose mark was changed before.
    pub fn after(&self, rewrite: Rewrite, origin: &Rc<Origin>) -> Self {
        let mut list = self.entries.range(..self.fixed).cloned().collect::<VecDeque<_>>();
        list.extend(self.entries.range(self.fixed..).filter_map(|entry| after(entry, rewrite, origin)));
        Self::of(list)
    }

    /// `yes` for packets that are so, this one for others.
    pub fn unless(self, when: &Condition, yes: &Self) -> Self {
        let same = |(a, b): &(&Rc<Entry>, &Rc<Entry>)| Rc::ptr_eq(a, b) || a == b;
        let front = self.entries.iter().zip(&yes.entries).take_while(same).count();
        let tail = self.len() - front;
        let ends_alike = yes.len() - front >= tail
            && self.entries.range(front..).zip(yes.entries.range(yes.len() - tail..)).all(|pair| same(&pair));
        let own = front..if ends_alike { yes.len() - tail } else { yes.len() };
        self.insert(front, when, yes.entries.range(own))
    }

    /// The mark of packets that are so is changed before they come to this list.
    pub fn changed(self, when: &Condition, rewrite: Rewrite, origin: &Rc<Origin>) -> Self {
        // Only what is not fixed is another list for them.
        let tail: Vec<_> = self.entries.range(self.fixed..).filter_map(|entry| after(entry, rewrite, origin)).collect();
        let at = self.fixed;
        self.insert(at, when, tail.iter())
    }

    /// What stands at `at` then is taken by whom `yes` does not take.
    fn insert<'a>(mut self, at: usize, when: &Condition, yes: impl Iterator<Item = &'a Rc<Entry>>) -> Self {
        let (mut run, mut takes_all) = (Vec::new(), false);
        for entry in yes {
            let Some(both) = when.and(&entry.when) else { continue };
            takes_all = both == *when;
            run.push(Rc::new(Entry { when: both, rewrite: entry.rewrite, origin: entry.origin.clone() }));
            if takes_all {
                break;
            }
        }
        let end = at + run.len();
        if at <= self.fixed {
            let fixed = run.iter().take_while(|entry| entry.is_fixed()).count();
            self.fixed = if fixed == run.len() { self.fixed + fixed } else { at + fixed };
        }
        self.splice(at, run);
        if takes_all {
            self.bury(end, when);
        }
        self
    }

    /// All at once, and from the nearer end: lists are long.
    fn splice(&mut self, at: usize, run: Vec<Rc<Entry>>) {
        if at < self.len() / 2 {
            let front: Vec<_> = self.entries.drain(..at).collect();
            for entry in front.into_iter().chain(run).rev() {
                self.entries.push_front(entry);
            }
        } else {
            let behind = self.entries.split_off(at);
            self.entries.extend(run.into_iter().chain(behind));
        }
    }

    /// Takes out what stands behind an entry that takes all of its packets: a verdict behind a mark, as a rule.
    fn bury(&mut self, at: usize, when: &Condition) {
        // The last one takes every packet, and stays.
        let dead = self.entries.range(at..at.max(self.len() - 1)).take_while(|entry| when.covers(&entry.when)).count();
        self.entries.drain(at..at + dead);
        self.fixed -= dead.min(self.fixed.saturating_sub(at));
        while self.fixed < self.len() && self.entries[self.fixed].is_fixed() {
            self.fixed += 1;
        }
    }

    fn of(entries: VecDeque<Rc<Entry>>) -> Self {
        let fixed = entries.iter().take_while(|entry| entry.is_fixed()).count();
        Self { entries, fixed }
    }

    /// The entries for packets that come with this mark, and their marks then.
    pub fn resolve(&self, mark: u32) -> Resolved {
        let (mut rulings, mut unmet) = (Vec::new(), Vec::new());
        let (mut conditions, mut heard) = (HashSet::new(), HashSet::new());
        for entry in &self.entries {
            let (then, origin) = (entry.rewrite.of(mark), entry.origin.clone());
            if !entry.when.marks.iter().all(|test| test.holds(mark)) {
                unmet.extend(origin);
                continue;
            }
            heard.extend(origin.as_ref().map(Rc::as_ptr));
            let when = Condition { marks: Vec::new(), ..entry.when.clone() };
            // Behind an entry for the same packets there is nothing left to say about them.
            if conditions.insert(when.clone()) {
                rulings.push(Ruling { when, mark: then, origin });
            }
        }
        unmet.retain(|origin| heard.insert(Rc::as_ptr(origin)));
        Resolved { rulings, unmet }
    }
}

fn after(entry: &Rc<Entry>, rewrite: Rewrite, origin: &Rc<Origin>) -> Option<Rc<Entry>> {
    if entry.is_fixed() {
        return Some(Rc::clone(entry));
    }
    let mut when = Condition { marks: Vec::new(), ..entry.when.clone() };
    for test in &entry.when.marks {
        let Some(before) = before(*test, rewrite) else {
            // It can be said whatever the mark was before.
            if test.holds(rewrite.flip) {
                continue;
            }
            return None;
        };
        when.marks.push(before);
    }
    let is_silent = entry.rewrite == Rewrite::NONE;
    let origin = if is_silent { Some(Rc::clone(origin)) } else { entry.origin.clone() };
    Some(Rc::new(Entry { when, rewrite: rewrite.then(entry.rewrite), origin }))
}

/// The test of the mark before it was changed that says what this one says of the mark behind that; `None` where it does not
/// depend on it.
fn before(test: MarkTest, rewrite: Rewrite) -> Option<MarkTest> {
    let wanted = test.value ^ (rewrite.flip & test.mask);
    let mask = test.mask & rewrite.keep;
    (wanted & !rewrite.keep == 0 && mask != 0).then_some(MarkTest { value: wanted, mask, equal: test.equal })
}

/// A list for one mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// In order.
    pub rulings: Vec<Ruling>,
    /// Rules that have no ruling, since they ask for a mark that nothing sets.
    pub unmet: Vec<Rc<Origin>>,
}

/// Packets and their mark; the first one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// Which.
    pub when: Condition,
    /// The mark that they leave with.
    pub mark: u32,
    /// The rule that says so.
    pub origin: Option<Rc<Origin>>,
}
