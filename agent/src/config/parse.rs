//! Text to [`Loaded`]: TOML, then the file's shape, then what refers to what.

use toml::de::DeTable;

use super::document::Document;
use super::findings::{Findings, Spot};
use super::problem::Problem;
use super::source::{Place, Source};
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
    for (index, source) in sources.iter().enumerate() {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let spot = Spot::new(index, &span);
            if error.message() == "duplicate key" {
                let key = source.text.get(span).unwrap_or("a key").to_owned();
                findings.problem(spot, Problem::DuplicateKey { key });
            } else {
                let place: Place = findings.place(spot);
                if !broken.contains(&place) {
                    findings.problem(spot, Problem::Syntax { reason: error.message().to_owned() });
                    broken.push(place);
                }
            }
        }
        let document = Document::read(index, table.get_ref(), findings);
        match index {
            0 => all = document,
            _ => all.append(document, &sources[0].name, findings),
        }
    }
    findings.forget_lines(&broken);
    (all, !broken.is_empty())
}
