//! The tier that needs no privilege: formatting, lints, documentation, dependencies and what `cargo test` runs.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::deadline::Deadline;
use super::plain::plain;
use super::side_by_side::side_by_side;
use super::tally::Tally;
use super::{host, libtest, targets};
use crate::ebpf;
use crate::setup::{self, Need};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

const CHECKS: &[(&str, &[&str])] = &[
    ("fmt", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &["clippy", "--quiet", "--workspace", "--all-targets", "--features", targets::FEATURES, "--", "-D", "warnings"],
    ),
    ("doc", &["doc", "--quiet", "--workspace", "--no-deps"]),
];

/// Runs all of it; the tests as somebody without privilege, if root may say so. Where `others` follow, what they run is built with
/// what this runs.
pub fn run(
    workspace: &Workspace,
    filter: Option<&str>,
    others: bool,
    deadline: Deadline,
    tally: &mut Tally,
) -> Result<()> {
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    for (name, arguments) in CHECKS {
        if wanted(name) {
            let mut cargo = ebpf::cargo(workspace);
            check(name, cargo.args(*arguments).env("RUSTDOCFLAGS", "-D warnings"), tally);
        }
    }
    if wanted("deny") {
        check("deny", deny(workspace).args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]), tally);
    }
    if wanted("advisories") {
        advisories(workspace, tally);
    }

    let start = Instant::now();
    say("building what cargo test --workspace runs");
    // Without the kernel's programs the others fail, and say why: this tier runs all the same.
    let others = others && with_programs(workspace).inspect_err(|error| say(format!("{error:#}"))).is_ok();
    let all = targets::build_plain(workspace, others)?;
    tally.took("build", start.elapsed());
    // Who is not root is somebody without privilege, but for the network.
    let by = || if shell::is_root() { plain(workspace.root()) } else { Command::new("env") };
    let done = side_by_side(all, |executable, _| host::run(executable, by(), &[], filter, deadline));
    done.into_iter().for_each(|done| tally.add(done));

    say("examples in the documentation");
    let mut cargo = targets::cargo(workspace, others);
    let (exit, output) = host::tee(cargo.args(["--doc", "--"]).args(filter), "")?;
    tally.add(libtest::count(&output, None, exit).within("examples in the documentation"));
    Ok(())
}

/// The agent with the kernel's programs in it is another than the one without.
fn with_programs(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, &[Need::BuildPackages, Need::Linker, Need::Compiler])?;
    ebpf::build(workspace)
}

fn check(name: &str, command: &mut Command, tally: &mut Tally) {
    let start = Instant::now();
    say(name);
    match shell::run(command) {
        Ok(()) => {
            tally.pass();
            say(format!("{name}: ok ({})", took(start)));
        }
        Err(error) => tally.fail(name, &format!("{error:#}")),
    }
    tally.took(name, start.elapsed());
}

/// Known vulnerabilities: checked where their database can be had; elsewhere it says that it was not.
fn advisories(workspace: &Workspace, tally: &mut Tally) {
    let mut fetch = Command::new("timeout");
    fetch.current_dir(workspace.root()).arg("60").arg(workspace.tools().join("bin/cargo-deny"));
    if shell::succeeds(fetch.args(["fetch", "db"])) {
        check("advisories", deny(workspace).args(["check", "--disable-fetch", "advisories"]), tally);
    } else {
        say(
            "NOT CHECKED: known vulnerabilities of the dependencies. Their database cannot be fetched from this network,",
        );
        say(
            "NOT CHECKED: and this is counted neither as passed nor as failed: run `cargo xtask test unit` where it can",
        );
    }
}

fn deny(workspace: &Workspace) -> Command {
    let mut deny = Command::new(workspace.tools().join("bin/cargo-deny"));
    deny.current_dir(workspace.root()).args(["--log-level", "error"]);
    deny
}
