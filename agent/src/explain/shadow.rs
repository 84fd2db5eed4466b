//! Rules that can never match, because earlier ones of their tenant take all that they would.
//!
//! A rule is followed by packets of its own: as long as an earlier rule has one, what that rule matches is taken off, and
//! the next packet is of the rest. A packet that no earlier rule has shows that the rule is reached; where nothing is left it
//! is not. The classifier finds the earlier rule, so that the length of the list does not count; what is taken off follows
//! from the policy alone, so that no rule is said to be shadowed unless its fields prove it.
//!
//! Not found are rules of which earlier ones leave more than about a thousand pieces on the way to nothing, in a list with
//! very many such rules more than a few, and those that only the bounds of their tenant keep packets from. A list whose
//! rules the classifier itself has to search one by one, like 100,000 port ranges without addresses, is not looked at to its
//! end.

mod region;
mod set;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use lanekeeper_common::abi;
use lanekeeper_common::rules::{self, Circumstances};
use lanekeeper_common::stamp::Stamp;
use serde::Serialize;

use self::region::{Point, Region};
use super::line::rule_name;
use crate::compile::Tables;
use crate::compile::registry::Key;
use crate::config::Caution;
use crate::model::Model;
use crate::policy::Policy;

/// Packets that are tried before the exact way: most rules that are reached have one among the first of these, and most of
/// those that are not are shadowed by one rule that these find.
const TRIES: u64 = 8;
/// Pieces that are looked at for one rule, and for those that come when half of the work is done.
const PIECES: usize = 1_000;
const FEW_PIECES: usize = 8;
/// All the work, in steps of the classifier of 5 to 10 ns: some seconds at most. An access list of 100,000 rules takes a
/// fiftieth of it.
const WORK: u64 = 400_000_000;
/// What a piece and its packet are worth beside the classifier's steps.
const PIECE_WORK: u64 = 64;
/// Among more rules than these none is looked for that could be done without.
const FEW_RULES: usize = 16;

/// A rule that is never reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// Its place in the policy.
    pub rule: usize,
    /// The rules that take all of it together, in their order.
    pub by: Vec<usize>,
}

impl Shadowed {
    /// As a warning says it.
    pub fn caution(&self, policy: &Policy) -> Caution {
        let object = policy.rules[self.rule].label();
        let before = self.by.iter().map(|rule| policy.rules[*rule].label_at());
        Caution::RuleCovered { object, before: before.collect() }
    }

    /// A line without its newline: the place, then the warning.
    pub fn text(&self, policy: &Policy) -> String {
        format!("{}: {}", policy.rules[self.rule].place, self.caution(policy))
    }

    /// One JSON object, without its newline.
    pub fn json(&self, policy: &Policy) -> String {
        let named = |rule: &usize| {
            let rule = &policy.rules[*rule];
            Named { rule: rule_name(rule), place: &rule.place }
        };
        let line = Json { shadowed: named(&self.rule), by: self.by.iter().map(named).collect() };
        serde_json::to_string(&line).expect("our own types serialise")
    }
}

/// A rule by its name, or by its place where it has none.
#[derive(Serialize)]
struct Named<'a> {
    rule: String,
    place: &'a str,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    shadowed: Named<'a>,
    /// The rules that take all of it, in their order.
    by: Vec<Named<'a>>,
}

/// What there is of them in a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadows {
    /// Every rule that is never reached, in the order of the policy.
    pub rules: Vec<Shadowed>,
    /// The first rule that was not looked at, since those before it took too long.
    pub unseen: Option<usize>,
}

/// Looks for them. The tables are the policy's own.
pub fn shadows(policy: &Policy, tables: &Tables) -> Shadows {
    let mut search = Search { policy, tables, model: Model::new(tables), regions: HashMap::new(), left: WORK };
    let mut found = Shadows::default();
    for rule in 0..policy.rules.len() {
        if search.left == 0 {
            found.unseen = Some(rule);
            break;
        }
        let by = search.covers(rule);
        found.rules.extend(by.map(|by| Shadowed { rule, by: by.into_iter().collect() }));
    }
    found
}

struct Search<'a> {
    policy: &'a Policy,
    tables: &'a Tables,
    model: Model<'a>,
    /// Of rules that shadow others, for IPv4 and for IPv6.
    regions: HashMap<(usize, bool), Option<Rc<Region>>>,
    /// Of [`WORK`].
    left: u64,
}

impl Search<'_> {
    /// The rules that take all of it; `None` where some of it is left, where there is nothing of it, or where it takes too
    /// long to tell.
    fn covers(&mut self, rule: usize) -> Option<BTreeSet<usize>> {
        let mut by = BTreeSet::new();
        for v4 in [true, false] {
            let parts = self.region_of(rule, v4).map(|region| region.parts()).unwrap_or_default();
            if !parts.is_empty() {
                by.extend(self.covers_of(rule, v4, parts)?);
            }
        }
        (!by.is_empty()).then_some(by)
    }

    fn covers_of(&mut self, rule: usize, v4: bool, parts: Vec<Region>) -> Option<BTreeSet<usize>> {
        let mut seen = BTreeSet::new();
        for seed in 0..TRIES {
            let part = &parts[seed as usize % parts.len()];
            let first = self.before(rule, v4, &part.point(seed))?;
            let cover = self.region(first, v4)?;
            if seen.insert(first) && parts.iter().all(|part| cover.holds(part)) {
                return Some(BTreeSet::from([first]));
            }
        }
        let mut by = BTreeSet::new();
        let mut rest = parts.clone();
        let mut pieces = if self.left < WORK / 2 { FEW_PIECES } else { PIECES };
        while let Some(piece) = rest.pop() {
            pieces = pieces.checked_sub(1)?;
            let point = piece.point(pieces as u64);
            let first = self.before(rule, v4, &point)?;
            // It must be said by the policy too, or else nothing is.
            let cover = self.region(first, v4).filter(|cover| cover.contains(&point))?;
            by.insert(first);
            rest.extend(piece.minus(&cover));
        }
        Some(self.fewest(v4, &parts, by))
    }

    /// The first rule that has the packet, if it comes before `rule` and is of the same tenant.
    fn before(&mut self, rule: usize, v4: bool, point: &Point) -> Option<usize> {
        let policy = self.policy;
        let tenant_of = |rule: usize| policy.rules[rule].tenant;
        let tenant = tenant_of(rule).map_or(0, |tenant| tenant.0 as u16 + 1);
        let of = Circumstances { stamp: Stamp(1), tenant, interface: point.interface(), mark: point.mark };
        let parsed = point.parsed(v4);
        let mut search = abi::Search::default();
        rules::begin(&mut search, &of);
        let mut work = PIECE_WORK;
        while rules::step(&self.model, &parsed, &mut search) {
            work += 1;
        }
        self.left = self.left.saturating_sub(work);
        let first = if search.found == 0 { None } else { self.tables.rules.place(search.rule) };
        first.filter(|first| *first < rule && tenant_of(*first) == tenant_of(rule))
    }

    /// Without those that the others do not need.
    fn fewest(&mut self, v4: bool, parts: &[Region], by: BTreeSet<usize>) -> BTreeSet<usize> {
        let regions = by.iter().filter_map(|rule| Some((*rule, self.region(*rule, v4)?)));
        let mut all: Vec<(usize, Rc<Region>)> = regions.collect();
        if let Some((alone, _)) = all.iter().find(|(_, cover)| parts.iter().all(|part| cover.holds(part))) {
            return BTreeSet::from([*alone]);
        }
        if all.len() > FEW_RULES {
            return by;
        }
        // From the last on, so that those that come first stay.
        for at in (0..all.len()).rev() {
            let others = all.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, (_, cover))| cover);
            if are_covered(parts, others) {
                all.remove(at);
            }
        }
        all.into_iter().map(|(rule, _)| rule).collect()
    }

    fn region(&mut self, rule: usize, v4: bool) -> Option<Rc<Region>> {
        if let Some(known) = self.regions.get(&(rule, v4)) {
            return known.clone();
        }
        let region = self.region_of(rule, v4).map(Rc::new);
        self.regions.insert((rule, v4), region.clone());
        region
    }

    fn region_of(&self, rule: usize, v4: bool) -> Option<Region> {
        let number =
            |name: &str| self.tables.registry.get(&Key::Interface(name.to_owned())).map(|number| number as u16);
        let places = |path: &str| {
            let number = self.tables.registry.get(&Key::Cgroup(path.to_owned()))?;
            let [first, last] = self.tables.generation.cgroups[number as usize];
            Some((first, last))
        };
        Region::of(&self.policy.rules[rule], v4, number, places)
    }
}

/// Whether they hold all of it; false where it takes too long to tell.
fn are_covered<'r>(parts: &[Region], covers: impl Iterator<Item = &'r Rc<Region>>) -> bool {
    let mut rest = parts.to_vec();
    for cover in covers {
        rest = rest.iter().flat_map(|piece| piece.minus(cover)).collect();
        if rest.len() > PIECES {
            return false;
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests;
