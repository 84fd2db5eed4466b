//! Chains as the kernel walks them, and the list that they come to.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::condition::Condition;
use super::decision::{List, Resolved, Rewrite};
use super::left_out::{Effect, LeftOut, Reason};
use super::{Error, Origin, Traffic};

/// Longest list that is made of chains.
const MOST_ENTRIES: usize = 200_000;
/// The kernel's own bound for jumps (NFT_JUMP_STACK_SIZE).
const MOST_JUMPS: usize = 16;
/// Entries of lists that all jumps together may come to: a chain is put in order anew for each jump to it, and chains that jump
/// to each other k times at each of n levels are entered k^n times.
const MOST_WORK: usize = 100_000_000;
/// What a jump costs beside the list that follows it, in entries.
const JUMP: usize = 1_000;

/// Everything that a dump has of chains. Names are whole: table and chain.
#[derive(Debug, Default)]
pub struct Program {
    /// By name.
    pub chains: BTreeMap<String, Chain>,
}

/// A chain.
#[derive(Debug, Default)]
pub struct Chain {
    /// Where packets enter it; `None` where only jumps lead.
    pub base: Option<Base>,
    /// In order.
    pub lines: Vec<Line>,
}

/// Where and when packets enter a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// `prerouting` and so on.
    pub hook: String,
    /// Lower ones come first.
    pub priority: i64,
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// Only first packets of connections come.
    pub is_nat: bool,
    /// Place in the file, among all chains.
    pub place: String,
}

/// A rule.
#[derive(Debug)]
pub struct Line {
    /// Where it stood.
    pub origin: Rc<Origin>,
    /// What it does, one after the other.
    pub steps: Vec<Step>,
    /// Why it cannot be carried over; its steps are for what that means.
    pub missing: Option<Reason>,
    /// What it changes of a packet but the mark.
    pub rewrites: Option<Reason>,
}

/// Part of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Goes on where the packet is like one of these, or where it is like none.
    If {
        /// These.
        any: Vec<Condition>,
        /// The former.
        holds: bool,
    },
    /// Changes the mark and goes on.
    Mark(Rewrite),
    /// Does what stands beside the condition that holds, and goes on if that lets it; where none holds the rule ends.
    Choose(Vec<(Condition, Act)>),
    /// Ends the rule.
    End(Verdict),
}

/// What a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Changes the mark.
    Mark(Rewrite),
    /// Ends the rule.
    End(Verdict),
}

/// How a rule ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next chain of another hook or priority.
    Accept,
    /// No packet is left.
    Drop,
    /// Back to where the chain was jumped to from.
    Return,
    /// The next rule.
    Continue,
    /// A chain, then the next rule.
    Jump(String),
    /// A chain, and then where this one would return to.
    Goto(String),
}

impl Line {
    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.steps.iter().flat_map(|step| match step {
            Step::End(verdict) => vec![verdict],
            Step::Choose(arms) => arms
                .iter()
                .filter_map(|(_, act)| match act {
                    Act::End(verdict) => Some(verdict),
                    Act::Mark(_) => None,
                })
                .collect(),
            Step::If { .. } | Step::Mark(_) => Vec::new(),
        })
    }

    fn targets(&self) -> impl Iterator<Item = &str> {
        self.verdicts().filter_map(|verdict| match verdict {
            Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain.as_str()),
            Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Continue => None,
        })
    }

    fn marks(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Mark(_) => true,
            Step::Choose(arms) => arms.iter().any(|(_, act)| matches!(act, Act::Mark(_))),
            Step::If { .. } | Step::End(_) => false,
        })
    }

    /// What changes without it; `None` where no mark depends on it. A packet that it would have dropped is none to decide on.
    fn effect(&self) -> Option<Effect> {
        if self.marks() {
            return Some(Effect::Unmarked);
        }
        if let Some(chain) = self.targets().next() {
            return Some(Effect::Unvisited { chain: chain.to_owned() });
        }
        self.verdicts().any(|verdict| matches!(verdict, Verdict::Accept | Verdict::Return)).then_some(Effect::Unstopped)
    }

    fn left_out(&self, reason: Reason, effect: Effect) -> LeftOut {
        LeftOut { place: self.origin.place.clone(), rule: self.origin.text.clone(), reason, effect }
    }
}

impl Program {
    /// What the chains that this traffic goes through come to, for packets without a mark.
    pub fn decide(&self, traffic: Traffic, left_out: &mut Vec<LeftOut>) -> Result<Resolved, Error> {
        let way = self.way(traffic, left_out);
        let mut told = HashSet::new();
        let mut list = List::end();
        let work = Cell::new(0);
        for name in way.iter().rev() {
            self.tell(name, &mut told, left_out);
            if self.marks(name) {
                let accept = list.clone();
                list = Walk { program: self, accept, work: &work }.chain(name, &list, 0)?;
            }
        }
        let resolved = list.resolve(0);
        left_out.extend(resolved.unmet.iter().map(|origin| LeftOut {
            place: origin.place.clone(),
            rule: origin.text.clone(),
            reason: Reason::ForeignMark,
            effect: Effect::Unmarked,
        }));
        Ok(resolved)
    }

    /// The chains that set marks, in the order in which packets meet them.
    fn way(&self, traffic: Traffic, left_out: &mut Vec<LeftOut>) -> Vec<String> {
        let hooks: &[&str] = match traffic {
            Traffic::Forwarded => &["prerouting", "forward", "postrouting"],
            Traffic::Host => &["output", "postrouting"],
        };
        let mut way: Vec<((usize, i64), &str, &Base)> = Vec::new();
        for (name, chain) in &self.chains {
            let Some(base) = &chain.base else { continue };
            let stage = hooks.iter().position(|hook| *hook == base.hook);
            let reason = match stage {
                _ if !self.marks(name) => {
                    if let Some(stage) = stage {
                        way.push(((stage, base.priority), name, base));
                    }
                    continue;
                }
                None => {
                    let cure = match (traffic, base.hook.as_str()) {
                        (Traffic::Forwarded, "output") => Some("for the host's own packets there is `--traffic host`"),
                        (Traffic::Host, "prerouting" | "forward") => {
                            Some("for forwarded packets there is `--traffic forwarded`")
                        }
                        _ => None,
                    };
                    Reason::OtherWay { hook: base.hook.clone(), cure }
                }
                Some(_) if base.is_nat => Reason::Nat,
                Some(stage) => {
                    let key = (stage, base.priority);
                    let twin = way
                        .iter()
                        .find(|(other, twin, at)| *other == key && meet(&at.family, &base.family) && self.marks(twin));
                    match twin {
                        Some((_, twin, _)) => Reason::SamePlace { other: (*twin).to_owned() },
                        None => {
                            way.push((key, name, base));
                            continue;
                        }
                    }
                }
            };
            let effect = Effect::Chain { rules: chain.lines.len() };
            left_out.push(LeftOut { place: base.place.clone(), rule: format!("chain {name}"), reason, effect });
        }
        way.sort_by_key(|(key, _, _)| *key);
        way.into_iter().map(|(_, name, _)| name.to_owned()).collect()
    }

    /// Whether any rule of the chain, or of those that it leads to, sets a mark.
    fn marks(&self, name: &str) -> bool {
        self.reached(name).iter().any(|chain| chain.lines.iter().any(Line::marks))
    }

    fn reached(&self, name: &str) -> Vec<&Chain> {
        let (mut names, mut seen) = (vec![name], HashSet::from([name]));
        let mut chains = Vec::new();
        while let Some(chain) = names.pop().and_then(|name| self.chains.get(name)) {
            names.extend(
                chain
                    .lines
                    .iter()
                    .flat_map(Line::targets)
                    .filter(|name| self.chains.contains_key(*name))
                    .filter(|name| seen.insert(name)),
            );
            chains.push(chain);
        }
        chains
    }

    /// Lists what is missing in the chain and in those that it leads to, each once.
    fn tell<'a>(&'a self, name: &str, told: &mut HashSet<&'a Origin>, left_out: &mut Vec<LeftOut>) {
        let marks = self.marks(name);
        for line in self.reached(name).into_iter().flat_map(|chain| &chain.lines) {
            let lost = match (&line.missing, line.effect()) {
                (Some(reason), Some(effect)) if marks => Some((reason, effect)),
                _ => line.rewrites.as_ref().map(|reason| (reason, Effect::Changed)),
            };
            if let Some((reason, effect)) = lost
                && told.insert(&line.origin)
            {
                left_out.push(line.left_out(reason.clone(), effect));
            }
            let nowhere = line.targets().find(|target| !self.chains.contains_key(*target));
            if let Some(target) = nowhere.filter(|_| marks && line.missing.is_none())
                && told.insert(&line.origin)
            {
                let reason = Reason::NoChain { name: target.to_owned() };
                left_out.push(line.left_out(reason, Effect::Unvisited { chain: target.to_owned() }));
            }
        }
    }
}

fn meet(a: &str, b: &str) -> bool {
    a == b || a == "inet" || b == "inet"
}

/// One base chain's chains, from their ends.
struct Walk<'a> {
    program: &'a Program,
    /// What follows the base chain.
    accept: List,
    /// Entries that jumps have come to so far.
    work: &'a Cell<usize>,
}

impl Walk<'_> {
    /// The chain, with what follows it.
    fn chain(&self, name: &str, after: &List, jumps: usize) -> Result<List, Error> {
        let mut list = after.clone();
        let lines = self.program.chains.get(name).map(|chain| chain.lines.as_slice()).unwrap_or_default();
        for line in lines.iter().rev().filter(|line| line.missing.is_none()) {
            list = bounded(line, self.line(line, list, after, jumps)?)?;
        }
        Ok(list)
    }

    fn line(&self, line: &Line, no: List, after: &List, jumps: usize) -> Result<List, Error> {
        let Some(steps) = joined(&line.steps) else { return Ok(no) };
        // The common kind of rule needs no second list.
        match steps.as_slice() {
            [Step::If { any, holds: true }, Step::Mark(rewrite)] if any.len() == 1 => {
                return Ok(no.changed(&any[0], *rewrite, &line.origin));
            }
            [Step::Mark(rewrite)] => return Ok(no.changed(&Condition::any(), *rewrite, &line.origin)),
            _ => {}
        }
        let Some((first, rest)) = steps.split_first() else { return Ok(no) };
        // An end makes its own.
        let ends = matches!(steps.last(), Some(Step::End(_)));
        let mut yes = if ends { List::end() } else { no.clone() };
        for step in rest.iter().rev() {
            yes = match step {
                // They do not look at what follows where the rule ends.
                Step::Mark(rewrite) => yes.after(*rewrite, &line.origin),
                Step::End(verdict) => self.verdict(verdict, line, &no, after, jumps)?,
                Step::If { .. } | Step::Choose(_) => self.step(step, yes, no.clone(), line, after, jumps)?,
            };
        }
        // Lists are long: the last step takes this one instead of a copy.
        self.step(first, yes, no, line, after, jumps)
    }

    /// `yes` follows where the rule goes on, `no` where it ends.
    fn step(&self, step: &Step, yes: List, no: List, line: &Line, after: &List, jumps: usize) -> Result<List, Error> {
        Ok(match step {
            Step::If { any, holds } => {
                let (met, unmet) = if *holds { (yes, no) } else { (no, yes) };
                any.iter().rev().try_fold(unmet, |list, condition| bounded(line, list.unless(condition, &met)))?
            }
            Step::Mark(rewrite) => yes.after(*rewrite, &line.origin),
            Step::End(verdict) => self.verdict(verdict, line, &no, after, jumps)?,
            Step::Choose(arms) => {
                let mut list = no.clone();
                for (condition, act) in arms.iter().rev() {
                    let then = match act {
                        Act::Mark(rewrite) => yes.after(*rewrite, &line.origin),
                        Act::End(verdict) => self.verdict(verdict, line, &no, after, jumps)?,
                    };
                    list = bounded(line, list.unless(condition, &then))?;
                }
                list
            }
        })
    }

    fn verdict(&self, verdict: &Verdict, line: &Line, no: &List, after: &List, jumps: usize) -> Result<List, Error> {
        let (chain, after) = match verdict {
            Verdict::Accept => return Ok(self.accept.clone()),
            Verdict::Return => return Ok(after.clone()),
            // No packet is left to be decided on, so what other packets meet is as good as anything, and shortest.
            Verdict::Drop | Verdict::Continue => return Ok(no.clone()),
            Verdict::Jump(chain) => (chain, no),
            Verdict::Goto(chain) => (chain, after),
        };
        if jumps == MOST_JUMPS {
            let place = line.origin.place.clone();
            return Err(Error::Deep { place, chain: chain.clone(), most: MOST_JUMPS });
        }
        if !self.program.chains.contains_key(chain) {
            return Ok(no.clone());
        }
        self.work.set(self.work.get() + JUMP + after.len());
        if self.work.get() > MOST_WORK {
            return Err(Error::Again { place: line.origin.place.clone(), chain: chain.clone(), most: MOST_WORK });
        }
        self.chain(chain, after, jumps + 1)
    }
}

/// A list that has not grown too long by this rule.
fn bounded(line: &Line, list: List) -> Result<List, Error> {
    if list.len() > MOST_ENTRIES {
        return Err(Error::Long { place: line.origin.place.clone(), most: MOST_ENTRIES });
    }
    Ok(list)
}

/// Steps with neighbouring conditions joined into one; `None` where they exclude each other before anything is done.
fn joined(steps: &[Step]) -> Option<Vec<Step>> {
    let mut all: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        match (all.last_mut(), step) {
            (Some(Step::If { any: own, holds: true }), Step::If { any, holds: true })
                if own.len() == 1 && any.len() == 1 =>
            {
                match own[0].and(&any[0]) {
                    Some(both) => own[0] = both,
                    None if all.len() == 1 => return None,
                    None => all.push(step.clone()),
                }
            }
            _ => all.push(step.clone()),
        }
    }
    Some(all)
}
