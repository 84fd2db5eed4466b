//! Expressions -> steps.

use serde_json::{Value, json};

use super::key::{Key, mark_of};
use super::set::Sets;
use crate::import::condition::{Condition, Version};
use crate::import::decision::Rewrite;
use crate::import::left_out::Reason;
use crate::import::program::{Act, Step, Verdict};

/// A rule's expressions, read.
#[derive(Debug, Default)]
pub struct Read {
    /// What it does.
    pub steps: Vec<Step>,
    /// The first thing that has no counterpart.
    pub missing: Option<Reason>,
    /// What it changes of a packet but the mark.
    pub rewrites: Option<Reason>,
    /// It changes addresses.
    pub translates: bool,
}

/// Reads a rule of `table`; `version` is that of the table's family.
pub fn read(expressions: &[Value], version: Option<Version>, table: &str, sets: &Sets) -> Read {
    let known = Condition { family: version, ..Condition::default() };
    let mut reader = Reader { read: Read::default(), known: known.clone(), table, sets };
    if version.is_some() {
        reader.read.steps.push(Step::If { any: vec![known], holds: true });
    }
    for expression in expressions {
        if let Err(reason) = reader.expression(expression) {
            reader.read.missing.get_or_insert(reason);
        }
    }
    reader.read
}

struct Reader<'a> {
    read: Read,
    /// All that holds where the rule has come so far.
    known: Condition,
    table: &'a str,
    sets: &'a Sets,
}

/// Statements that change nothing which rules ask for.
const HARMLESS: [&str; 12] = [
    "counter",
    "log",
    "notrack",
    "comment",
    "ct helper",
    "ct timeout",
    "ct expectation",
    "secmark",
    "flow",
    "dup",
    "last",
    "quota name",
];

impl Reader<'_> {
    fn expression(&mut self, expression: &Value) -> Result<(), Reason> {
        let Some((kind, of)) = expression.as_object().and_then(|object| object.iter().next()) else {
            // "notrack" and the like, as older versions write them.
            let what = expression.as_str().unwrap_or_default().to_owned();
            return if HARMLESS.contains(&&*what) { Ok(()) } else { Err(Reason::Unknown { what }) };
        };
        match kind.as_str() {
            // They end the rule for packets without the fields that they name, and where they hold a limit.
            "set" | "map" => return Err(Reason::Memory { what: format!("the {kind} statement") }),
            "match" => self.condition(of)?,
            "mangle" => self.mangle(of)?,
            "vmap" => self.vmap(of)?,
            "reject" | "synproxy" => self.end(Verdict::Drop),
            "snat" | "dnat" | "masquerade" | "redirect" => {
                self.read.translates = true;
                self.read.rewrites = Some(Reason::Rewrites { what: kind.clone() });
                self.end(Verdict::Continue);
            }
            "limit" | "quota" | "meter" | "ct count" => {
                return Err(Reason::Memory { what: kind.clone() });
            }
            "queue" | "tproxy" | "fwd" => {
                self.end(Verdict::Accept);
                return Err(Reason::Unknown { what: kind.clone() });
            }
            // It may be anything.
            "xt" => {
                let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
                let what = format!("{} {}", text("type"), text("name")).trim().to_owned();
                self.read.steps.push(Step::Mark(Rewrite::NONE));
                return Err(Reason::Compat { what: if what.is_empty() { "xt".to_owned() } else { what } });
            }
            kind if HARMLESS.contains(&kind) => {}
            kind => match verdict(expression, self.table) {
                Some(verdict) => self.end(verdict),
                None => return Err(Reason::Unknown { what: kind.to_owned() }),
            },
        }
        Ok(())
    }

    fn end(&mut self, verdict: Verdict) {
        self.read.steps.push(Step::End(verdict));
    }

    fn condition(&mut self, of: &Value) -> Result<(), Reason> {
        let null = Value::Null;
        let part = |key: &str| of.get(key).unwrap_or(&null);
        let (left, right, op) = (part("left"), part("right"), part("op").as_str().unwrap_or("=="));
        let key = Key::read(left)?;
        let (any, holds) = match op {
            "==" => (self.any_of(&key, right)?, true),
            "!=" => (self.any_of(&key, right)?, false),
            // nft 1.0 writes `tcp flags syn` so.
            "in" => match self.sets.elements(self.table, right)? {
                Some(_) => (self.any_of(&key, right)?, true),
                None => (key.has_some(right)?, true),
            },
            // `tcp flags ! syn,ack`: none of them.
            "!" => (key.has_some(right)?, false),
            "<" | ">" | "<=" | ">=" => (self.compared(&key, op, right)?, true),
            _ => return Err(Reason::Unknown { what: format!("the comparison {op}") }),
        };
        if holds
            && any.len() == 1
            && let Some(both) = self.known.and(&any[0])
        {
            self.known = both;
        } else if holds && let Some(first) = any.first() {
            // Of several the protocols are what ports need.
            let all: Vec<u8> = any.iter().flat_map(|one| one.protocol.iter().copied()).collect();
            if !first.protocol.is_empty() && any.iter().all(|one| !one.protocol.is_empty()) {
                let one = Condition { protocol: all, ..Condition::default() };
                self.known = self.known.and(&one).unwrap_or_default();
            }
        }
        let needs = key.needs();
        if !holds && needs != Condition::any() {
            self.known = self.known.and(&needs).unwrap_or_default();
            self.read.steps.push(Step::If { any: vec![needs], holds: true });
        }
        self.read.steps.push(Step::If { any, holds });
        Ok(())
    }

    /// The condition that the key has this value, or one of a set of them.
    fn any_of(&self, key: &Key, value: &Value) -> Result<Vec<Condition>, Reason> {
        let mut all: Vec<Condition> = Vec::new();
        let elements = self.sets.elements(self.table, value)?;
        for element in elements.unwrap_or_else(|| vec![value]) {
            for condition in key.equals(element, &self.known)? {
                if !all.last_mut().is_some_and(|last| last.or(&condition)) {
                    all.push(condition);
                }
            }
        }
        Ok(all)
    }

    fn compared(&self, key: &Key, op: &str, value: &Value) -> Result<Vec<Condition>, Reason> {
        let number = key.number(value).filter(|_| !key.is_mark());
        let number = number.ok_or_else(|| Reason::Field { what: format!("{key} {op} {value}") })?;
        let most = u64::from(u32::MAX);
        let (low, high) = match op {
            "<" if number == 0 => return Ok(Vec::new()),
            "<" => (0, number - 1),
            "<=" => (0, number),
            ">" => (number + 1, most),
            _ => (number, most),
        };
        key.equals(&json!({ "range": [low, high] }), &self.known)
    }

    fn mangle(&mut self, of: &Value) -> Result<(), Reason> {
        let key = of.get("key").unwrap_or(&Value::Null);
        let value = of.get("value").unwrap_or(&Value::Null);
        let is_mark = key.get("meta").and_then(|meta| meta.get("key")) == Some(&json!("mark"));
        if !is_mark && value.get("map").is_some() {
            // It ends the rule for packets that the map does not have.
            return Err(Reason::Unknown { what: format!("{key} set by a map") });
        }
        if key.get("ct").is_some() {
            return Ok(());
        }
        match Key::read(key)? {
            key if key.is_mark() => match value.get("map") {
                Some(map) => {
                    let arms = self.arms(map, |value| mark_of(value).map(|mark| Act::Mark(Rewrite::set(mark))));
                    // Without it the rule still is one that marks.
                    if arms.is_err() {
                        self.read.steps.push(Step::Mark(Rewrite::NONE));
                    }
                    self.read.steps.push(Step::Choose(arms?));
                }
                None => match expression(value) {
                    Some(rewrite) => self.read.steps.push(Step::Mark(rewrite)),
                    None => {
                        self.read.steps.push(Step::Mark(Rewrite::NONE));
                        return Err(Reason::MarkFrom { what: value.to_string() });
                    }
                },
            },
            Key::Field(protocol, _) if protocol == "meta" => {}
            key => self.read.rewrites = Some(Reason::Rewrites { what: format!("{key} set") }),
        }
        Ok(())
    }

    fn vmap(&mut self, of: &Value) -> Result<(), Reason> {
        let table = self.table;
        let arms = self.arms(of, |value| verdict(value, table).map(Act::End));
        // Without it the rule still is one that ends.
        if arms.is_err() {
            self.end(Verdict::Accept);
        }
        self.read.steps.push(Step::Choose(arms?));
        Ok(())
    }

    /// A map's elements; those that lead to the same are one where they can be.
    fn arms(&self, map: &Value, act: impl Fn(&Value) -> Option<Act>) -> Result<Vec<(Condition, Act)>, Reason> {
        let key = Key::read(map.get("key").unwrap_or(&Value::Null))?;
        // What a packet needs to be looked up at all.
        let needs = key.needs();
        let mut arms: Vec<(Condition, Act)> = Vec::new();
        for (element, value) in self.sets.pairs(self.table, map.get("data").unwrap_or(&Value::Null))? {
            let wrong = || Reason::Value { what: "element".to_owned(), value: value.to_string() };
            let act = act(value).ok_or_else(wrong)?;
            // "*" is what the other elements do not have.
            let all =
                if element.as_str() == Some("*") { vec![needs.clone()] } else { key.equals(element, &self.known)? };
            for condition in all {
                let twin = arms
                    .iter_mut()
                    .filter(|(when, own)| *own == act && *when != needs)
                    .find_map(|(when, _)| when.or(&condition).then_some(()));
                if twin.is_none() {
                    arms.push((condition, act.clone()));
                }
            }
        }
        // The catch-all comes behind all others.
        arms.sort_by_key(|(when, _)| *when == needs);
        Ok(arms)
    }
}

/// `{"accept": null}`, `{"jump": {"target": "x"}}` and the like.
fn verdict(value: &Value, table: &str) -> Option<Verdict> {
    let chain = |of: &Value| Some(format!("{table} {}", of.get("target")?.as_str()?));
    let (kind, of) = value.as_object()?.iter().next()?;
    match kind.as_str() {
        "accept" => Some(Verdict::Accept),
        "drop" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "continue" => Some(Verdict::Continue),
        "jump" => Some(Verdict::Jump(chain(of)?)),
        "goto" => Some(Verdict::Goto(chain(of)?)),
        _ => None,
    }
}

/// What a calculation makes of the mark.
fn expression(value: &Value) -> Option<Rewrite> {
    if let Some(mark) = mark_of(value) {
        return Some(Rewrite::set(mark));
    }
    if Key::read(value).is_ok_and(|key| matches!(key, Key::Field(..)) && key.is_mark()) {
        return Some(Rewrite::NONE);
    }
    let (op, sides) = value.as_object()?.iter().next()?;
    let [left, right] = sides.as_array()?.as_slice() else { return None };
    let (left, right) = (expression(left)?, expression(right)?);
    // One of the two is a number.
    let (of, bits) = match (left.keep, right.keep) {
        (_, 0) => (left, right.flip),
        (0, _) => (right, left.flip),
        _ => return None,
    };
    Some(of.then(match op.as_str() {
        "|" => Rewrite { keep: !bits, flip: bits },
        "&" => Rewrite { keep: bits, flip: 0 },
        "^" => Rewrite { keep: u32::MAX, flip: bits },
        _ => return None,
    }))
}
