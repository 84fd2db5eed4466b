//! From TOML text to a [`Policy`], or to everything that is wrong with it.
//!
//! [`load`] and [`inspect`] read files and ask for the metadata of key files; all that decides is in [`parse`], which is
//! pure: text and facts in, policy or findings out.

mod caution;
mod document;
mod facts;
mod findings;
mod load;
pub mod nearest;
mod parse;
mod problem;
mod report;
mod resolve;
mod schema;
mod shelf;
mod source;
mod table;
pub mod value;

use std::path::Path;

pub use caution::Caution;
pub use facts::{Facts, FileFact};
pub use problem::Problem;
pub use report::{Errors, Finding, Warnings};
pub use schema::schema;
pub use shelf::Shelf;
pub use source::{Place, Source};

use crate::policy::{Policy, Rule};

/// A file that holds together.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub policy: Policy,
    /// What is odd about it.
    pub warnings: Warnings,
    /// What it was read from: the file that was asked for, then what it includes.
    pub sources: Vec<Source>,
}

/// Reads a file, what it includes and the metadata of its key files, for use on this machine: a missing key file is an
/// error.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    load_again(path, &mut Shelf::default())
}

/// Like [`load`], for a file that is read again and again: what is on the shelf and has not changed is not parsed again.
pub fn load_again(path: &Path, shelf: &mut Shelf) -> Result<Loaded, Errors> {
    load::load(path, true, shelf)
}

/// Like [`load`], for looking only (`check`, `explain`): a missing key file is a warning.
pub fn inspect(path: &Path) -> Result<Loaded, Errors> {
    load::load(path, false, &mut Shelf::default())
}

/// The pure part: the first source is the main file, the others what it includes.
pub fn parse(sources: &[Source], facts: &Facts) -> Result<Loaded, Errors> {
    let mut reading = parse::Reading::default();
    for read in 1..=sources.len() {
        reading.read(&sources[..read]);
    }
    reading.judge(sources, facts)
}

/// The rules of a text that has nothing but rules, to be added to a policy that stands. Each has a name that no other of its
/// tenant has.
pub fn parse_rules(source: &Source, policy: &Policy) -> Result<Vec<Rule>, Errors> {
    parse_some_rules(source, policy, |_, _| true)
}

/// The same for those whose tenant and name are wanted; the others are not judged.
pub fn parse_some_rules(
    source: &Source,
    policy: &Policy,
    wanted: impl Fn(Option<&str>, &str) -> bool,
) -> Result<Vec<Rule>, Errors> {
    let sources = std::slice::from_ref(source);
    let mut reading = parse::Reading::default();
    reading.read(sources);
    reading.judge_rules(sources, policy, wanted)
}

/// One file's text without any look at the disk, for tests and for the demo.
pub fn parse_text(name: &str, text: &str) -> Result<Loaded, Errors> {
    parse(&[Source::new(name, text)], &Facts::default())
}
