//! Text to [`Loaded`]: TOML, then the file's shape, then what refers to what.

use std::ops::Range;
use std::sync::Arc;

use toml::de::DeTable;

use super::document::{self, Document};
use super::findings::{Findings, Found, Spot};
use super::problem::Problem;
use super::source::Source;
use super::{Errors, Facts, Loaded, resolve};
use crate::policy::{Policy, Rule};

/// A config on its way: its documents, one after the other, and what was found in them.
#[derive(Debug, Default)]
pub struct Reading {
    document: Document,
    /// Some of it is not TOML, so that names may be missing from it.
    broken: bool,
    found: Found,
}

impl Reading {
    /// Reads the last of these sources; the ones before it have been read. Its rules, where it is included and they are all
    /// that it has and nothing is wrong with them by themselves.
    pub fn read(&mut self, sources: &[Source]) -> Option<Vec<Arc<document::Rule>>> {
        let index = sources.len().checked_sub(1)?;
        let before = self.found.len();
        let mut findings = Findings::new(sources, std::mem::take(&mut self.found));
        let document = read(index, &sources[index], &mut self.broken, &mut findings);
        let rules = document.only_rules().then(|| document.rules.clone());
        match index {
            0 => self.document = document,
            _ => self.document.append(document, &sources[0].name, &mut findings),
        }
        self.found = findings.into_found();
        rules.filter(|_| index != 0 && self.found.len() == before)
    }

    /// Adds the rules of a file that was read before, as those of the source of that index.
    pub fn add(&mut self, rules: &mut [Arc<document::Rule>], source: usize) {
        for rule in rules.iter_mut().filter(|rule| rule.spot.source != source) {
            Arc::make_mut(rule).move_to(source);
        }
        self.document.rules.extend_from_slice(rules);
    }

    /// What has been read so far.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// An error of whoever fetches the sources.
    pub fn problem(&mut self, spot: Spot, problem: Problem) {
        let mut findings = Findings::new(&[], std::mem::take(&mut self.found));
        findings.problem(spot, problem);
        self.found = findings.into_found();
    }

    /// Everything that can be told from text and facts.
    pub fn judge(self, sources: &[Source], facts: &Facts) -> Result<Loaded, Errors> {
        let mut findings = Findings::new(sources, self.found);
        let policy = (!self.broken).then(|| resolve::resolve(&self.document, sources, facts, &mut findings));
        let failed = findings.any_problem();
        let (errors, warnings) = findings.into_parts();
        match policy {
            Some(policy) if !failed => Ok(Loaded { policy, warnings, sources: sources.to_vec() }),
            _ => Err(errors),
        }
    }

    /// Everything that can be told of rules for that policy, as far as they are wanted: by tenant and name.
    pub fn judge_rules(
        mut self,
        sources: &[Source],
        policy: &Policy,
        wanted: impl Fn(Option<&str>, &str) -> bool,
    ) -> Result<Vec<Rule>, Errors> {
        // One without a name is judged for that.
        self.document.rules.retain(|rule| {
            let tenant = rule.tenant.as_ref().map(|tenant| tenant.value.as_str());
            rule.name.as_ref().is_none_or(|name| wanted(tenant, &name.value))
        });
        let mut findings = Findings::new(sources, self.found);
        let rules = (!self.broken).then(|| resolve::added(&self.document, policy, &mut findings));
        let failed = findings.any_problem();
        match rules {
            Some(rules) if !failed => Ok(rules),
            _ => Err(findings.into_parts().0),
        }
    }
}

/// One source's document.
fn read(index: usize, source: &Source, broken: &mut bool, findings: &mut Findings<'_>) -> Document {
    let mut stretches = Vec::new();
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let spot = Spot::new(index, &span);
        let line = source.line(span.start);
        let head = source.text[line.clone()].trim_start().starts_with('[');
        let written = source.text.get(span).unwrap_or_default().to_owned();
        let problem = match (error.message(), head) {
            ("duplicate key", true) => Problem::DuplicateTable { name: written },
            ("duplicate key", false) => {
                findings.problem(spot, Problem::DuplicateKey { key: written });
                continue;
            }
            (reason, _) => {
                let first = !std::mem::replace(broken, true);
                Problem::Syntax { reason: reason.to_owned(), first }
            }
        };
        // The parser may have more to say about a line that it has given up.
        if !stretches.iter().any(|(at, range): &(usize, Range<usize>)| *at == index && range.contains(&spot.start)) {
            findings.problem(spot, problem);
        }
        // Behind a broken head the keys are of a table that is not known.
        let end = if head { next_head(&source.text, line.end) } else { line.end };
        stretches.push((index, line.start..end.max(spot.start) + 1));
    }
    let document = Document::read(index, table.get_ref(), findings);
    findings.forget(&stretches);
    document
}

/// Where the next table begins.
fn next_head(text: &str, from: usize) -> usize {
    text[from..].find("\n[").map_or(text.len(), |at| from + at)
}
