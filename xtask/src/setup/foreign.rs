//! Rule sets that others wrote, out of the sources of Debian's packages: unpacked below `target/foreign`, in no repository
//! of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// A package whose source holds rule sets, and which of its files they are, as tar's patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The source package.
    pub package: &'static str,
    files: &'static [&'static str],
}

/// All of them.
pub const ORIGINS: &[Origin] = &[
    // What the firewall builder makes of a hundred firewalls for iptables, some with marks, and dumps that it reads.
    Origin { package: "fwbuilder", files: &["*/test/ipt/*.fw.orig", "*/ImporterTest/test_data/ipt.test"] },
    // What iptables-save says of the firewalls of its tests.
    Origin { package: "firehol", files: &["*/tests/firehol/*.aud4", "*/tests/firehol/*.aud6"] },
    // Dumps of whole machines.
    Origin { package: "iptables", files: &["*/iptables/tests/shell/testcases/*/dumps/*"] },
    // nft tables of hosts and routers, some with marks.
    Origin { package: "foomuuri", files: &["*/test/*/golden.txt"] },
    // Filter sets in the manner of ClassBench, and packets with the filter that each is to match.
    Origin { package: "dpdk", files: &["*/app/test-acl/input/*"] },
    // Dumps of nft, of a load balancer that marks.
    Origin { package: "nftlb", files: &["*/tests/*/output.nft"] },
];

/// Its folder.
fn folder(workspace: &Workspace, origin: &Origin) -> PathBuf {
    workspace.target("foreign").join(origin.package)
}

/// Those that are not unpacked.
pub fn missing(workspace: &Workspace) -> Vec<&'static Origin> {
    ORIGINS.iter().filter(|origin| !is_whole(&folder(workspace, origin), origin)).collect()
}

/// Its last mark is written when all else is there, and tells a folder of other files from one of these.
fn is_whole(folder: &Path, origin: &Origin) -> bool {
    fs::read_to_string(folder.join("recipe")).is_ok_and(|recipe| recipe == origin.files.join("\n"))
}

/// Fetches and unpacks those that are missing.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    let missing = missing(workspace);
    if missing.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    let apt = Apt::open_sources(workspace)?;
    for origin in missing {
        fetch(workspace, &apt, origin).with_context(|| format!("no rule sets of {}", origin.package))?;
    }
    say(format!("rule sets of others unpacked into target/foreign ({})", took(start)));
    Ok(())
}

fn fetch(workspace: &Workspace, apt: &Apt, origin: &Origin) -> Result<()> {
    let folder = folder(workspace, origin);
    let (downloads, part) = (shell::beside(&folder, "download"), shell::beside(&folder, "part"));
    let (version, file) = apt.download_source(origin.package, &downloads)?;
    say(format!("unpacking the rule sets of {} {version}", origin.package));
    shell::remove_folder(&part)?;
    fs::create_dir_all(&part)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(&file).arg("--directory").arg(&part);
    shell::run(tar.args(["--strip-components=1", "--no-same-owner", "--wildcards"]).args(origin.files))?;
    fs::write(part.join("version"), &version)?;
    fs::write(part.join("recipe"), origin.files.join("\n"))?;
    shell::remove_folder(&folder)?;
    fs::rename(&part, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    shell::remove_folder(&downloads)
}
