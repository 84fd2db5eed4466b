//! `check` and `schema`: what can be said of a file without this machine.

use std::path::Path;

use super::{Outcome, print};
use crate::{check, config};

/// Everything that is wrong with the file, and what is odd about it.
pub fn check(file: &Path, json: bool) -> anyhow::Result<Outcome> {
    let checked = check::check(file, json);
    eprint!("{}", checked.err);
    print(&checked.out)?;
    match checked.code {
        0 => Ok(Outcome::Fine),
        _ => Ok(Outcome::Wrong),
    }
}

/// The JSON Schema.
pub fn schema() -> anyhow::Result<Outcome> {
    print(&format!("{:#}\n", config::schema()))?;
    Ok(Outcome::Fine)
}
