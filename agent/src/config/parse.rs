//! Text to [`Loaded`]: TOML, then the file's shape, then what refers to what.

use std::ops::Range;

use toml::de::DeTable;

use super::document::Document;
use super::findings::{Findings, Spot};
use super::problem::Problem;
use super::source::Source;
use super::{Errors, Facts, Loaded, resolve};

/// Everything that can be told from text and facts. `findings` may have some already.
pub fn parse_into(sources: &[Source], facts: &Facts, mut findings: Findings<'_>) -> Result<Loaded, Errors> {
    let (document, broken) = documents(sources, &mut findings);
    let policy = (!broken).then(|| resolve::resolve(&document, sources, facts, &mut findings));
    let failed = findings.any_problem();
    let (errors, warnings) = findings.into_parts();
    match policy {
        Some(policy) if !failed => {
            let files = sources.iter().map(|source| source.name.clone().into()).collect();
            Ok(Loaded { policy, warnings, files })
        }
        _ => Err(errors),
    }
}

/// All sources as one document, and whether some of it is not TOML, so that names may be missing from it.
pub fn documents(sources: &[Source], findings: &mut Findings<'_>) -> (Document, bool) {
    let mut all = Document::default();
    let mut broken = Vec::new();
    let mut is_toml = true;
    for (index, source) in sources.iter().enumerate() {
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
                    let first = std::mem::replace(&mut is_toml, false);
                    Problem::Syntax { reason: reason.to_owned(), first }
                }
            };
            // The parser may have more to say about a line that it has given up.
            if !broken.iter().any(|(at, range): &(usize, Range<usize>)| *at == index && range.contains(&spot.start)) {
                findings.problem(spot, problem);
            }
            // Behind a broken head the keys are of a table that is not known.
            let end = if head { next_head(&source.text, line.end) } else { line.end };
            broken.push((index, line.start..end.max(spot.start) + 1));
        }
        let document = Document::read(index, table.get_ref(), findings);
        match index {
            0 => all = document,
            _ => all.append(document, &sources[0].name, findings),
        }
    }
    findings.forget(&broken);
    (all, !is_toml)
}

/// Where the next table begins.
fn next_head(text: &str, from: usize) -> usize {
    text[from..].find("\n[").map_or(text.len(), |at| from + at)
}
