//! What `iptables-save` and `ip6tables-save` write: tables, chains, rules.
//!
//! MARK goes on to the next rule, so the last one that matches counts, unless a verdict or a condition on the mark says else.

mod save;
mod target;
mod test;

use std::rc::Rc;

use super::condition::Version;
use super::file;
use super::left_out::Reason;
use super::program::{Base, Chain, Line, Program, Step, Verdict};
use super::{Error, Imported, Origin, Traffic};
use save::{Rule, Section};
use target::Target;

/// Reads a dump; `name` is what messages call it.
pub fn import(name: &str, text: &str, traffic: Traffic) -> Result<Imported, Error> {
    let sections = save::parse(name, text)?;
    if sections.is_empty() {
        let (what, cure) = ("table", "give it what `iptables-save` writes, with a line *mangle in it");
        return Err(Error::Nothing { file: name.to_owned(), what, cure });
    }
    let mut program = Program::default();
    for section in &sections {
        add(&mut program, section);
    }
    let mut left_out = Vec::new();
    let rulings = program.decide(traffic, &mut left_out)?.rulings;
    file::some_mark(name, &rulings, &left_out)?;
    let versions: Vec<_> = sections.iter().map(|section| tool(section.version)).collect();
    let tool =
        if versions.iter().all(|tool| *tool == versions[0]) { versions[0] } else { "iptables-save and ip6tables-save" };
    let head = file::head(name, tool, traffic);
    let classes = file::classes_of_marks(&rulings);
    Ok(Imported { file: file::write(&head, &classes, &file::rules(rulings)), left_out })
}

fn tool(version: Version) -> &'static str {
    match version {
        Version::V4 => "iptables-save",
        Version::V6 => "ip6tables-save",
    }
}

/// Adds a table's chains under names that no other table's have.
fn add(program: &mut Program, section: &Section) {
    let family = match section.version {
        Version::V4 => "ip",
        Version::V6 => "ip6",
    };
    let whole = |chain: &str| format!("{family} {} {chain}", section.table);
    for chain in &section.chains {
        let base = hook(&chain.name).filter(|_| chain.is_base).map(|hook| Base {
            hook: hook.to_owned(),
            priority: priority(&section.table),
            family: family.to_owned(),
            is_nat: section.table == "nat",
            place: chain.place.clone(),
        });
        program.chains.insert(whole(&chain.name), Chain { base, lines: Vec::new() });
    }
    let mut translates = false;
    for rule in &section.rules {
        let mut line = line(rule, section.version, &whole);
        // Once for a table: each such rule says the same.
        if section.table == "nat" && line.rewrites.is_some() && std::mem::replace(&mut translates, true) {
            line.rewrites = None;
        }
        // A built-in chain is there without a line of its own as well.
        let base = || {
            let hook = hook(&rule.chain)?.to_owned();
            let (priority, is_nat) = (priority(&section.table), section.table == "nat");
            Some(Base { hook, priority, family: family.to_owned(), is_nat, place: rule.place.clone() })
        };
        let chain = program.chains.entry(whole(&rule.chain));
        chain.or_insert_with(|| Chain { base: base(), lines: Vec::new() }).lines.push(line);
    }
}

fn hook(chain: &str) -> Option<&'static str> {
    ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
        .iter()
        .position(|name| *name == chain)
        .map(|place| ["prerouting", "input", "forward", "output", "postrouting"][place])
}

/// The kernel's (enum nf_ip_hook_priorities).
fn priority(table: &str) -> i64 {
    match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    }
}

fn line(rule: &Rule, version: Version, whole: &dyn Fn(&str) -> String) -> Line {
    let read = test::read(&rule.words, version);
    let (mut steps, mut missing) = (read.steps, read.missing);
    let mut rewrites = None;
    match target::read(&read.target) {
        Target::None => {}
        Target::Mark(rewrite) => steps.push(Step::Mark(rewrite)),
        Target::End(verdict) => steps.push(Step::End(verdict)),
        Target::Chain { name, goes } => {
            let name = whole(&name);
            steps.push(Step::End(if goes { Verdict::Goto(name) } else { Verdict::Jump(name) }));
        }
        Target::Harmless => steps.push(Step::End(Verdict::Continue)),
        Target::Rewrites { what } => {
            rewrites = Some(Reason::Rewrites { what });
            steps.push(Step::End(Verdict::Continue));
        }
        Target::Missing { reason, marks, ends } => {
            missing = missing.or(Some(reason));
            if marks {
                steps.push(Step::Mark(super::decision::Rewrite::NONE));
            }
            if ends {
                steps.push(Step::End(Verdict::Accept));
            }
        }
    }
    let origin = Origin { place: rule.place.clone(), text: rule.text.clone(), name: read.comment };
    Line { origin: Rc::new(origin), steps, missing, rewrites }
}
