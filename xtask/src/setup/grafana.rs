//! Grafana's own components, bundled with `dashboards/panels.jsx` into one script and one style sheet below `target/tools`: by
//! npm, from the lock file beside it, with no script of any package run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// What the bundle is made of, in `dashboards`.
const SOURCES: [&str; 3] = ["package.json", "package-lock.json", "panels.jsx"];

/// The bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Draws a dashboard.
    pub script: PathBuf,
    /// How it looks.
    pub style: PathBuf,
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("grafana")
}

/// The one that was made of these sources.
pub fn find(workspace: &Workspace) -> Option<Bundle> {
    let (folder, sources) = (folder(workspace), workspace.root().join("dashboards"));
    let bundle = Bundle { script: folder.join("panels.js"), style: folder.join("panels.css") };
    // Copied when all was made.
    let same = |name: &&str| fs::read(folder.join("of").join(name)).ok() == fs::read(sources.join(name)).ok();
    (bundle.script.is_file() && bundle.style.is_file() && SOURCES.iter().all(same)).then_some(bundle)
}

/// Finds it, or makes it. The packages, some 400 MB, do not stay.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    if find(workspace).is_some() {
        return Ok(());
    }
    let start = Instant::now();
    say("fetching Grafana's components by npm into target/tools");
    let (folder, sources) = (folder(workspace), workspace.root().join("dashboards"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("of"))?;
    for name in SOURCES {
        fs::copy(sources.join(name), folder.join(name)).with_context(|| format!("copy {name}"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    shell::read(npm.current_dir(&folder)).context("npm could not bring Grafana's components")?;
    // npm brings the program of this machine's kind alone.
    let kinds = fs::read_dir(folder.join("node_modules/@esbuild"))?.collect::<Result<Vec<_>, _>>()?;
    let kind = kinds.first().context("npm brought no esbuild")?;
    let mut esbuild = Command::new(kind.path().join("bin/esbuild"));
    esbuild.args(["panels.jsx", "--bundle", "--minify", "--outfile=panels.js", "--log-level=warning"]);
    // The fonts of a code editor, which no panel has.
    esbuild.args(["--loader:.ttf=empty", "--define:process.env.NODE_ENV=\"production\""]);
    shell::read(esbuild.current_dir(&folder)).context("the panels cannot be bundled")?;
    fs::remove_dir_all(folder.join("node_modules"))?;
    for name in SOURCES {
        fs::rename(folder.join(name), folder.join("of").join(name))?;
    }
    say(format!("Grafana's components are there ({})", took(start)));
    Ok(())
}
