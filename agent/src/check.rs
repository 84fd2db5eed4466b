//! `lanekeeper check FILE`: what it prints and how it exits.

use std::collections::BTreeSet;
use std::path::Path;

use lanekeeper_common::abi::MAX_HINTS;
use serde::Serialize;

use crate::compile::sockets::{From, Why, unmarked};
use crate::compile::{Registry, compile};
use crate::config::{self, Caution, Errors, Finding, Loaded, Place, Warnings};
use crate::explain::near::Field;
use crate::explain::shadow;
use crate::policy::Policy;

/// What the command prints, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// For standard output, with its last newline.
    pub out: String,
    /// For standard error, with its last newline.
    pub err: String,
    /// 0 where the file can be used, else 2.
    pub code: u8,
}

/// With `--json`.
#[derive(Serialize)]
struct Json<'a> {
    file: String,
    ok: bool,
    errors: &'a Errors,
    warnings: &'a Warnings,
}

/// Reads the file and says everything about it. A key file that is not on this machine is a warning.
pub fn check(path: &Path, json: bool) -> Checked {
    let result = inspect(path);
    let (none, code) = (Warnings::default(), if result.is_ok() { 0 } else { 2 });
    if json {
        let (file, ok) = (path.display().to_string(), result.is_ok());
        let (errors, warnings) = match &result {
            Ok(loaded) => (&Errors::default(), &loaded.warnings),
            Err(errors) => (errors, &none),
        };
        let report = Json { file, ok, errors, warnings };
        // Strings, numbers and lists of them always have a JSON form.
        let out = serde_json::to_string_pretty(&report).unwrap_or_default() + "\n";
        return Checked { out, err: String::new(), code };
    }
    match result {
        Ok(loaded) => {
            let warnings = &loaded.warnings;
            let err = if warnings.0.is_empty() { String::new() } else { format!("{warnings}\n") };
            Checked { out: fine(path, &loaded), err, code }
        }
        Err(errors) => {
            let count = errors.0.len();
            let err = format!("{errors}\n{}: {}\n", path.display(), plural(count, "error"));
            Checked { out: String::new(), err, code }
        }
    }
}

/// What [`config::inspect`] says, and whether the data path has room for it, and which rules are never reached. Names of
/// earlier configs, which take room too, are known only to the machine that has them.
fn inspect(path: &Path) -> Result<Loaded, Errors> {
    let mut loaded = config::inspect(path)?;
    match compile(&loaded.policy, &mut Registry::default()) {
        Ok(tables) => {
            let shadows = shadow::shadows(&loaded.policy, &tables);
            let cautions = cautions(&loaded.policy, &shadows.rules);
            warn(&mut loaded, cautions);
            Ok(loaded)
        }
        Err(error) => {
            let place = Place::whole(&path.display().to_string());
            Err(Errors(vec![Finding { place, message: error.to_string(), help: None }]))
        }
    }
}

/// What the config itself does not warn of, by the place of the rule.
fn cautions(policy: &Policy, shadowed: &[shadow::Shadowed]) -> Vec<(usize, Caution)> {
    let after_all = after_all(policy);
    let is_shadowed = |rule: &usize| after_all[*rule] || shadowed.iter().any(|one| one.rule == *rule);
    let covered = shadowed.iter().filter(|one| !after_all[one.rule]).map(|one| (one.rule, one.caution(policy)));
    let unmarked = unmarked(policy).into_iter().filter(|(rule, _)| !is_shadowed(rule));
    covered.chain(unmarked.map(|(rule, why)| (rule, no_mark(policy, rule, &why)))).collect()
}

/// As a warning says why a rule marks no socket.
fn no_mark(policy: &Policy, rule: usize, why: &Why) -> Caution {
    let object = policy.rules[rule].label();
    match why {
        Why::Unseen(fields) => Caution::SocketUnseen { object, fields: fields.join(", ") },
        Why::Open(From::Rule(before)) => Caution::SocketOpen { object, before: policy.rules[*before].label_at() },
        Why::Open(From::Tenant(tenant)) => {
            Caution::SocketOpen { object, before: format!("tenant \"{}\"", policy.tenants[*tenant].name) }
        }
        Why::Room => Caution::SocketRoom { object, most: MAX_HINTS },
    }
}

/// Adds a warning for each, and keeps all in the order of the files.
fn warn(loaded: &mut Loaded, cautions: Vec<(usize, Caution)>) {
    let Loaded { policy, warnings, sources } = loaded;
    for (rule, caution) in cautions {
        let place = Place::read(&policy.rules[rule].place);
        warnings.0.push(Finding { place, message: caution.to_string(), help: caution.cure() });
    }
    let source = |place: &Place| sources.iter().position(|source| source.name == place.file);
    warnings.0.sort_by_key(|finding| (source(&finding.place), finding.place.line, finding.place.column));
}

/// For each rule whether one before it takes everything of its tenant.
fn after_all(policy: &Policy) -> Vec<bool> {
    let mut taken = BTreeSet::new();
    let mut after = Vec::with_capacity(policy.rules.len());
    for rule in &policy.rules {
        after.push(taken.contains(&rule.tenant));
        if !Field::ALL.iter().any(|field| field.asks(rule)) {
            taken.insert(rule.tenant);
        }
    }
    after
}

fn fine(path: &Path, loaded: &Loaded) -> String {
    let policy = &loaded.policy;
    let lanes = policy.tunnels.iter().map(|tunnel| tunnel.lanes.len()).sum();
    let mut line = format!(
        "{}: fine: {}, {} with {}, {}",
        path.display(),
        plural_of(policy.classes.len(), "class", "classes"),
        plural(policy.tunnels.len(), "tunnel"),
        plural(lanes, "lane"),
        plural(policy.rules.len(), "rule"),
    );
    if !policy.tenants.is_empty() {
        line += &format!(", {}", plural(policy.tenants.len(), "tenant"));
    }
    if !loaded.warnings.0.is_empty() {
        line += &format!("; {}", plural(loaded.warnings.0.len(), "warning"));
    }
    line + "\n"
}

/// `1 rule`, `2 rules`.
pub fn plural(count: usize, word: &str) -> String {
    plural_of(count, word, &format!("{word}s"))
}

fn plural_of(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
