//! `cargo build` and `cargo test` as somebody has them who only cloned: no privilege, no network, no compiler for the
//! kernel's programs.
//!
//! Where the other tests run as root, what needs a capability that it should not need would pass unseen.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::host::tee;
use super::libtest;
use super::tally::Tally;
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// Who owns no file (`nobody` of Linux).
const USER: &str = "65534";

/// Runs both, as root: it becomes that user. The packages that they need have been fetched by then.
pub fn run(workspace: &Workspace, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let start = Instant::now();
    say("cargo build and cargo test without privilege, network or the kernel's programs");
    let (exit, _) = tee(plain(workspace)?.args(["cargo", "build", "--workspace", "--locked"]), "")?;
    match exit {
        Some(0) => tally.pass(),
        exit => tally.fail("plain build", &format!("cargo build ended with {exit:?}")),
    }
    let mut cargo = plain(workspace)?;
    cargo.args(["cargo", "test", "--workspace", "--locked", "--no-fail-fast", "--"]).args(filter);
    let (exit, output) = tee(&mut cargo, "")?;
    let tests = libtest::count(&output, None, exit).within("plain");
    tally.took("plain", start.elapsed());
    say(format!("plain: {tests} ({})", took(start)));
    tally.add(tests);
    Ok(())
}

/// Runs the program that is added to it as arguments.
fn plain(workspace: &Workspace) -> Result<Command> {
    let sysroot = shell::read(Command::new("rustc").current_dir(workspace.root()).args(["--print", "sysroot"]))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "sh", "-c", include_str!("plain.sh"), "sh"]);
    command.arg(workspace.root()).arg(sysroot.trim()).arg(cargo_home()?).arg(workspace.target("plain")).arg(USER);
    // What this cargo gives its children would make another build of it.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    Ok(command)
}

fn cargo_home() -> Result<PathBuf> {
    Ok(match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME")?).join(".cargo"),
    })
}
