//! Debian's Prometheus and promtool in two releases, unpacked below `target/tools`: installed, its service would start at the
//! next boot.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::apt::{self, Apt};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// Of both releases: 3.x has promtool in a package of its own.
const PACKAGE: &str = "prometheus";
const TOOL: &str = "promtool";

/// Which of those that Debian has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// 2.x.
    Two,
    /// 3.x.
    Three,
}

impl Release {
    /// All.
    pub const ALL: [Self; 2] = [Self::Two, Self::Three];

    fn major(self) -> &'static str {
        match self {
            Self::Two => "2.",
            Self::Three => "3.",
        }
    }

    fn folder(self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join(format!("prometheus-{}", self.major().trim_end_matches('.')))
    }
}

/// Its two programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Scrapes, keeps and answers.
    pub prometheus: PathBuf,
    /// Checks metrics and rules.
    pub promtool: PathBuf,
}

/// Those that set-up unpacked; elsewhere than on a Debian those in PATH, if they are of that release.
pub fn find(workspace: &Workspace, release: Release) -> Option<Programs> {
    let folder = release.folder(workspace).join("usr/bin");
    let unpacked = Programs { prometheus: folder.join("prometheus"), promtool: folder.join("promtool") };
    if unpacked.prometheus.is_file() && unpacked.promtool.is_file() {
        return Some(unpacked);
    }
    if apt::codename().is_some() {
        return None;
    }
    let installed = Programs { prometheus: shell::which("prometheus")?, promtool: shell::which("promtool")? };
    let said = shell::read(Command::new(&installed.prometheus).arg("--version")).ok()?;
    said.contains(&format!("version {}", release.major())).then_some(installed)
}

/// Finds all, or unpacks them. They need nothing of their packages' dependencies but libc: the rest are pages.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    for release in Release::ALL.into_iter().filter(|release| find(workspace, *release).is_none()) {
        unpack(workspace, release)?;
    }
    Ok(())
}

fn unpack(workspace: &Workspace, release: Release) -> Result<()> {
    let start = Instant::now();
    say(format!("fetching Prometheus {}x from Debian into target/tools", release.major()));
    let apt = Apt::open(workspace)?;
    let of = |package: &str| -> Result<Option<String>> {
        let versions = apt.versions(package)?;
        Ok(versions.into_iter().find(|version| version.starts_with(release.major())))
    };
    let version = of(PACKAGE)?.with_context(|| format!("no suite has a prometheus {}x", release.major()))?;
    let mut packages = vec![format!("{PACKAGE}={version}")];
    packages.extend(of(TOOL)?.map(|version| format!("{TOOL}={version}")));
    let folder = release.folder(workspace);
    let (downloads, aside) = (folder.with_extension("debs"), folder.with_extension("part"));
    shell::remove_folder(&aside)?;
    for package in apt.download(&packages, &downloads)? {
        shell::run(Command::new("dpkg").arg("-x").arg(package).arg(&aside))?;
    }
    shell::remove_folder(&folder)?;
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    shell::remove_folder(&downloads)?;
    say(format!("Prometheus {version} unpacked ({})", took(start)));
    find(workspace, release).map(drop).context("Debian's package prometheus has no prometheus or no promtool")
}
