//! strongSwan of other suites than the machine's: charon and swanctl with the libraries that they were built against, unpacked
//! below `target/foreign` and run from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// What both programs and the lab's plugins load, libc and its loader among them.
const PACKAGES: &[&str] = &[
    "strongswan-charon",
    "strongswan-libcharon",
    "strongswan-swanctl",
    "libstrongswan",
    "libstrongswan-standard-plugins",
    "libstrongswan-extra-plugins",
    "libc6",
    "libcap2",
    "libgmp10",
    "libssl3t64",
    "libsystemd0",
    "libzstd1",
    "zlib1g",
];

/// Which strongSwan a gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The machine's own, installed.
    Machine,
    /// 6.0, of trixie.
    V6_0,
    /// 6.1, of sid.
    V6_1,
}

/// One that is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// `6.0`.
    pub release: &'static str,
    /// Whose package it is.
    suite: &'static str,
}

/// All that are unpacked.
pub const ORIGINS: [Origin; 2] = [Origin { release: "6.0", suite: "trixie" }, Origin { release: "6.1", suite: "sid" }];

impl Version {
    /// Where it is unpacked; nothing of the machine's own, which is installed.
    pub fn folder(self, workspace: &Workspace) -> Option<PathBuf> {
        match self {
            Self::Machine => None,
            Self::V6_0 => Some(ORIGINS[0].folder(workspace)),
            Self::V6_1 => Some(ORIGINS[1].folder(workspace)),
        }
    }
}

impl Origin {
    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.target("foreign").join(format!("strongswan-{}", self.release))
    }
}

/// Those that are not unpacked.
pub fn missing(workspace: &Workspace) -> Vec<&'static Origin> {
    ORIGINS.iter().filter(|origin| !is_whole(&origin.folder(workspace))).collect()
}

/// Its last mark is written when all else is there, and tells a folder of other packages from one of these.
fn is_whole(folder: &Path) -> bool {
    fs::read_to_string(folder.join("recipe")).is_ok_and(|recipe| recipe == PACKAGES.join("\n"))
}

/// Fetches and unpacks those that are missing.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    for origin in missing(workspace) {
        fetch(workspace, origin).with_context(|| format!("no strongSwan {} of {}", origin.release, origin.suite))?;
    }
    Ok(())
}

fn fetch(workspace: &Workspace, origin: &Origin) -> Result<()> {
    let start = Instant::now();
    let apt = Apt::open_suite(workspace, origin.suite)?;
    let version = apt.candidate(PACKAGES[0]).with_context(|| format!("the suite has no {}", PACKAGES[0]))?;
    if !version.starts_with(&format!("{}.", origin.release)) {
        // A later one is as good to try, and its tests say by its log which it was.
        say(format!("{} has strongSwan {version} by now, no {} any more", origin.suite, origin.release));
    }
    let mut packages = Vec::new();
    for package in PACKAGES {
        let version = apt.candidate(package).with_context(|| format!("the suite has no {package}"))?;
        packages.push(format!("{package}={version}"));
    }
    let folder = origin.folder(workspace);
    let (downloads, part) = (shell::beside(&folder, "download"), shell::beside(&folder, "part"));
    shell::remove_folder(&part)?;
    let mut bytes = 0;
    for package in apt.download(&packages, &downloads)? {
        bytes += fs::metadata(&package)?.len();
        shell::run(Command::new("dpkg").arg("-x").arg(package).arg(&part))?;
    }
    fs::write(part.join("recipe"), PACKAGES.join("\n"))?;
    shell::remove_folder(&folder)?;
    fs::rename(&part, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    shell::remove_folder(&downloads)?;
    let size = bytes / 1_000_000;
    say(format!("strongSwan {version} unpacked into target/foreign, {size} MB of packages ({})", took(start)));
    Ok(())
}
