//! From TOML text to a [`Policy`], or to everything that is wrong with it.
//!
//! [`load`] and [`inspect`] read files and ask for the metadata of key files; all that decides is in [`parse`], which is
//! pure: text and facts in, policy or findings out.

mod facts;
mod report;
mod source;

use std::path::{Path, PathBuf};

pub use facts::{Facts, FileFact};
pub use report::{Errors, Finding, Warnings};
pub use source::{Place, Source};

use crate::policy::Policy;

/// A file that holds together.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub policy: Policy,
    /// What is odd about it.
    pub warnings: Warnings,
    /// The files it was read from: the one that was asked for, then what it includes.
    pub files: Vec<PathBuf>,
}

/// Reads a file, what it includes and the metadata of its key files, for use on this machine: a missing key file is an
/// error.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    let _ = path;
    todo!("lands next")
}

/// Like [`load`], for looking only (`check`, `explain`): a missing key file is a warning.
pub fn inspect(path: &Path) -> Result<Loaded, Errors> {
    let _ = path;
    todo!("lands next")
}

/// The pure part: the first source is the main file, the others what it includes.
pub fn parse(sources: &[Source], facts: &Facts) -> Result<Loaded, Errors> {
    let _ = (sources, facts);
    todo!("lands next")
}

/// One file's text without any look at the disk, for tests and for the demo.
pub fn parse_text(name: &str, text: &str) -> Result<Loaded, Errors> {
    parse(&[Source::new(name, text)], &Facts::default())
}
