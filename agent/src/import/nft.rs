//! What `nft -j list ruleset` writes (libnftables-json(5)): tables, sets, maps, chains, rules.
//!
//! A rule is a list of expressions. Each condition ends it where it does not hold; setting the mark goes on.

mod key;
mod set;
mod statement;
mod value;

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::condition::Version;
use super::file;
use super::program::{Base, Chain, Line, Program};
use super::{Error, Imported, Origin, Traffic};
use set::Sets;

/// Reads a dump; `name` is what messages call it.
pub fn import(name: &str, text: &str, traffic: Traffic) -> Result<Imported, Error> {
    let json: Value =
        serde_json::from_str(text).map_err(|error| Error::Json { file: name.to_owned(), reason: error.to_string() })?;
    let objects = json.get("nftables").and_then(Value::as_array).ok_or_else(|| Error::Shape {
        file: name.to_owned(),
        place: "the whole".to_owned(),
        wanted: "\"nftables\"",
    })?;
    let mut dump = Dump {
        name,
        program: Program::default(),
        sets: Sets::default(),
        dormant: BTreeSet::new(),
        translates: BTreeSet::new(),
    };
    for (number, object) in objects.iter().enumerate() {
        let of = |kind| object.get(kind).and_then(Value::as_object).map(|object| Object { name, number, object });
        if let Some(table) = of("table") {
            // A word, or several.
            if table.object.get("flags").is_some_and(|flags| flags.to_string().contains("\"dormant\"")) {
                dump.dormant.insert(format!("{} {}", table.text("family")?, table.text("name")?));
            }
        } else if let Some(set) = of("set").or_else(|| of("map")) {
            dump.sets.add(set.table()?, set.text("name")?, set.object);
        } else if let Some(chain) = of("chain") {
            dump.chain(&chain)?;
        }
    }
    let mut rules = 0;
    for (number, object) in objects.iter().enumerate() {
        if let Some(object) = object.get("rule").and_then(Value::as_object) {
            dump.rule(&Object { name, number, object })?;
            rules += 1;
        }
    }
    if rules == 0 {
        let (what, cure) = ("rule", "give it what `nft -j list ruleset` writes, as root where the rules are");
        return Err(Error::Nothing { file: name.to_owned(), what, cure });
    }
    let mut left_out = Vec::new();
    let rulings = dump.program.decide(traffic, &mut left_out)?.rulings;
    file::some_mark(name, &rulings, &left_out)?;
    let head = file::head(name, "nft", traffic);
    let classes = file::classes_of_marks(&rulings);
    Ok(Imported { file: file::write(&head, &classes, &file::rules(rulings)), left_out })
}

/// One of the dump's objects.
struct Object<'a> {
    name: &'a str,
    number: usize,
    object: &'a Map<String, Value>,
}

impl Object<'_> {
    fn text(&self, key: &'static str) -> Result<&str, Error> {
        let missing =
            || Error::Shape { file: self.name.to_owned(), place: format!("object {}", self.number + 1), wanted: key };
        self.object.get(key).and_then(Value::as_str).ok_or_else(missing)
    }

    /// `FAMILY TABLE`.
    fn table(&self) -> Result<String, Error> {
        Ok(format!("{} {}", self.text("family")?, self.text("table")?))
    }
}

struct Dump<'a> {
    name: &'a str,
    program: Program,
    sets: Sets,
    /// Tables that are switched off.
    dormant: BTreeSet<String>,
    /// Tables of which it is said already that they translate addresses.
    translates: BTreeSet<String>,
}

impl Dump<'_> {
    fn chain(&mut self, chain: &Object<'_>) -> Result<(), Error> {
        let name = format!("{} {}", chain.table()?, chain.text("name")?);
        let base = match chain.object.get("hook").and_then(Value::as_str) {
            // No packet comes to a table that sleeps.
            _ if self.dormant.contains(&chain.table()?) => None,
            None => None,
            Some(hook) => Some(Base {
                // Hooks of bridges and ARP have the names of IP's.
                hook: match chain.text("family")? {
                    "ip" | "ip6" | "inet" => hook.to_owned(),
                    other => format!("{other} {hook}"),
                },
                priority: chain.object.get("prio").and_then(Value::as_i64).unwrap_or_default(),
                family: chain.text("family")?.to_owned(),
                is_nat: chain.object.get("type").and_then(Value::as_str) == Some("nat"),
                place: format!("{}: {name}", self.name),
            }),
        };
        self.program.chains.insert(name, Chain { base, lines: Vec::new() });
        Ok(())
    }

    fn rule(&mut self, rule: &Object<'_>) -> Result<(), Error> {
        let (family, table) = (rule.text("family")?, rule.table()?);
        let chain = format!("{table} {}", rule.text("chain")?);
        let none = Vec::new();
        let expressions = rule.object.get("expr").and_then(Value::as_array).unwrap_or(&none);
        let version = match family {
            "ip" => Some(Version::V4),
            "ip6" => Some(Version::V6),
            _ => None,
        };
        let mut read = statement::read(expressions, version, &table, &self.sets);
        if read.translates && !self.translates.insert(table) {
            read.rewrites = None;
        }
        let handle = rule.object.get("handle").and_then(Value::as_u64).unwrap_or_default();
        let comment = rule.object.get("comment").and_then(Value::as_str).map(str::to_owned);
        let place = format!("{}: {chain} handle {handle}", self.name);
        let text = expressions.iter().map(Value::to_string).collect::<Vec<_>>().join(" ");
        let origin = Rc::new(Origin { place, text, name: comment });
        let line = Line { origin, steps: read.steps, missing: read.missing, rewrites: read.rewrites };
        self.program.chains.entry(chain).or_default().lines.push(line);
        Ok(())
    }
}
