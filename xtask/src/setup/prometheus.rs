//! Debian's Prometheus and promtool, unpacked below `target/tools`: installed, its service would start at the next boot.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::apt::{self, Apt};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

const PACKAGE: &str = "prometheus";

/// Its two programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Scrapes, keeps and answers.
    pub prometheus: PathBuf,
    /// Checks metrics and rules.
    pub promtool: PathBuf,
}

/// Those that set-up unpacked; elsewhere than on a Debian also those in PATH.
pub fn find(workspace: &Workspace) -> Option<Programs> {
    let folder = folder(workspace).join("usr/bin");
    let unpacked = Programs { prometheus: folder.join("prometheus"), promtool: folder.join("promtool") };
    if unpacked.prometheus.is_file() && unpacked.promtool.is_file() {
        return Some(unpacked);
    }
    if apt::codename().is_some() {
        return None;
    }
    Some(Programs { prometheus: shell::which("prometheus")?, promtool: shell::which("promtool")? })
}

/// Finds them, or unpacks them. They need nothing of their package's dependencies but libc: the rest are pages.
pub fn ensure(workspace: &Workspace) -> Result<Programs> {
    if let Some(programs) = find(workspace) {
        return Ok(programs);
    }
    let start = Instant::now();
    say("fetching Prometheus from Debian into target/tools");
    let apt = Apt::open(workspace)?;
    let version = apt.candidate(PACKAGE).context("this Debian has no prometheus")?;
    let (downloads, folder) = (workspace.tools().join("prometheus.debs"), folder(workspace));
    let aside = folder.with_extension("part");
    shell::remove_folder(&aside)?;
    for package in apt.download(&[format!("{PACKAGE}={version}")], &downloads)? {
        shell::run(Command::new("dpkg").arg("-x").arg(package).arg(&aside))?;
    }
    shell::remove_folder(&folder)?;
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    shell::remove_folder(&downloads)?;
    say(format!("Prometheus {version} unpacked ({})", took(start)));
    find(workspace).context("Debian's package prometheus has no prometheus or no promtool")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("prometheus")
}
