//! `doctor`: what on this box will break it.

use std::path::{Path, PathBuf};

use super::{Outcome, Places, print, wait_for};
use crate::doctor::{Scope, examine};
use crate::policy::DEFAULT_VICI;
use crate::{checkup, config};

/// Findings and their cures; with a file also what only matters to its tunnels. Root sees more.
pub fn doctor(places: &Places, file: Option<&Path>, json: bool) -> anyhow::Result<Outcome> {
    let (mut scope, vici) = match file {
        Some(file) => {
            let policy = config::inspect(file)?.policy;
            (Scope::of(&policy), policy.vici)
        }
        None => (Scope::default(), PathBuf::from(DEFAULT_VICI)),
    };
    let machine = wait_for(async { Ok(checkup::gather(&mut scope, &vici, &places.bpffs).await?) })?;
    let report = examine(&machine, &scope);
    print(&if json { serde_json::to_string(&report)? + "\n" } else { report.text() })?;
    Ok(if report.findings.is_empty() { Outcome::Fine } else { Outcome::Finding })
}
