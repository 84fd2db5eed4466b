//! Findings as they are shown: all of a config's errors, or all of its warnings, in the order of the file.

use std::fmt;

use serde::Serialize;

use super::source::Place;

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// Which object, and what about it.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    fn show(&self, f: &mut fmt::Formatter<'_>, severity: &str) -> fmt::Result {
        write!(f, "{}: {severity}: {}", self.place, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n    {help}"),
            None => Ok(()),
        }
    }
}

/// Flat, for `--json`.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    help: Option<&'a str>,
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Place { file, line, column } = &self.place;
        Line { file, line: *line, column: *column, message: &self.message, help: self.help.as_deref() }.serialize(to)
    }
}

/// Everything that is wrong with a config; never empty where it is returned as an error. Its text is one error a line,
/// each followed by its cure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Errors(pub Vec<Finding>);

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.0, "error")
    }
}

/// Everything that is odd about a config that works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Warnings(pub Vec<Finding>);

impl fmt::Display for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.0, "warning")
    }
}

fn show(f: &mut fmt::Formatter<'_>, findings: &[Finding], severity: &str) -> fmt::Result {
    for (at, finding) in findings.iter().enumerate() {
        if at > 0 {
            writeln!(f)?;
        }
        finding.show(f, severity)?;
    }
    Ok(())
}
