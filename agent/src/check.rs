//! `lanekeeper check FILE`: what it prints and how it exits.

use std::path::Path;

use serde::Serialize;

use crate::compile::{Registry, compile};
use crate::config::{self, Errors, Finding, Loaded, Place, Warnings};

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

/// What [`config::inspect`] says, and whether the data path has room for it. Names of earlier configs, which take room too,
/// are known only to the machine that has them.
fn inspect(path: &Path) -> Result<Loaded, Errors> {
    let loaded = config::inspect(path)?;
    match compile(&loaded.policy, &mut Registry::default()) {
        Ok(_) => Ok(loaded),
        Err(error) => {
            let place = Place::whole(&path.display().to_string());
            Err(Errors(vec![Finding { place, message: error.to_string(), help: None }]))
        }
    }
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

fn plural(count: usize, word: &str) -> String {
    plural_of(count, word, &format!("{word}s"))
}

fn plural_of(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
