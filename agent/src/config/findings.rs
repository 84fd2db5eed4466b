//! Collects what is found while a config is read and checked, so that nothing stops at the first error.

use std::ops::Range;

use super::caution::Caution;
use super::problem::Problem;
use super::report::{Errors, Finding, Warnings};
use super::source::{Place, Source};

/// A place in one of the sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Index of the source.
    pub source: usize,
    /// Byte offset in it.
    pub start: usize,
}

impl Spot {
    /// The start of a span.
    pub fn new(source: usize, span: &Range<usize>) -> Self {
        Self { source, start: span.start }
    }
}

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub spot: Spot,
}

/// What was found, without the sources that it was found in.
#[derive(Debug, Default)]
pub struct Found {
    problems: Vec<(Spot, Problem)>,
    cautions: Vec<(Spot, Caution)>,
    /// In files of another format, which this one names.
    errors_elsewhere: Vec<Finding>,
    warnings_elsewhere: Vec<Finding>,
}

impl Found {
    /// How many things.
    pub fn len(&self) -> usize {
        self.problems.len() + self.cautions.len()
    }
}

/// Everything found so far.
#[derive(Debug)]
pub struct Findings<'a> {
    sources: &'a [Source],
    found: Found,
}

impl<'a> Findings<'a> {
    /// Goes on with what was found in these sources, or in the first of them.
    pub fn new(sources: &'a [Source], found: Found) -> Self {
        Self { sources, found }
    }

    /// Lets go of the sources, to add another.
    pub fn into_found(self) -> Found {
        self.found
    }

    /// An error.
    pub fn problem(&mut self, spot: Spot, problem: Problem) {
        self.found.problems.push((spot, problem));
    }

    /// A warning.
    pub fn caution(&mut self, spot: Spot, caution: Caution) {
        self.found.cautions.push((spot, caution));
    }

    /// What was found in a file of another format.
    pub fn elsewhere(&mut self, errors: &[Finding], warnings: &[Finding]) {
        self.found.errors_elsewhere.extend_from_slice(errors);
        self.found.warnings_elsewhere.extend_from_slice(warnings);
    }

    /// The source of this index.
    pub fn source(&self, index: usize) -> &'a Source {
        &self.sources[index]
    }

    /// The place as a message says it.
    pub fn place(&self, spot: Spot) -> Place {
        self.source(spot.source).place(&(spot.start..spot.start))
    }

    /// Whether there are errors.
    pub fn any_problem(&self) -> bool {
        !self.found.problems.is_empty() || !self.found.errors_elsewhere.is_empty()
    }

    /// Drops the errors of these stretches: what a parser makes of a broken line is not the operator's.
    pub fn forget(&mut self, broken: &[(usize, Range<usize>)]) {
        self.found.problems.retain(|(spot, problem)| match problem {
            Problem::Syntax { .. } | Problem::DuplicateTable { .. } => true,
            _ => !broken.iter().any(|(source, range)| *source == spot.source && range.contains(&spot.start)),
        });
    }

    /// All of it, in the order of the files.
    pub fn into_parts(mut self) -> (Errors, Warnings) {
        // Stable: two findings of one place stay in the order of the checks.
        self.found.problems.sort_by_key(|&(spot, _)| spot);
        self.found.cautions.sort_by_key(|&(spot, _)| spot);
        let place = |spot: Spot| self.sources[spot.source].place(&(spot.start..spot.start));
        let finding = |spot, message: String, help| Finding { place: place(spot), message, help };
        let mut errors: Vec<Finding> =
            self.found.problems.iter().map(|(spot, p)| finding(*spot, p.to_string(), p.cure())).collect();
        errors.dedup();
        errors.append(&mut self.found.errors_elsewhere);
        let mut warnings: Vec<Finding> =
            self.found.cautions.iter().map(|(spot, c)| finding(*spot, c.to_string(), c.cure())).collect();
        warnings.dedup();
        warnings.append(&mut self.found.warnings_elsewhere);
        (Errors(errors), Warnings(warnings))
    }
}
