//! `demo`: two gateways, four classes, and why one SA is not enough.
//!
//! Runs in namespaces on this machine where its kernel has ESP and XFRM interfaces, else in a guest.

pub mod board;
pub mod claims;
pub mod load;
pub mod stage;

use std::env;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::claims::Claim;
use self::stage::Show;
use crate::alone::alone;
use crate::guest::boot::{Boot, Outcome, PROCESSORS};
use crate::guest::kernel::Label;
use crate::setup::{self, Need};
use crate::shell::{self, say};
use crate::workspace::Workspace;
use crate::{artifact, ebpf, lab};

/// A guest boots, two pairs of charons come up and half a minute of traffic runs, all of it emulated.
const LIMIT: Duration = Duration::from_secs(1200);

/// Where none is asked for.
pub const KERNEL: Label = Label::V6_12;

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// Say pass or fail for every claim, and exit accordingly
    #[arg(long)]
    check: bool,
    /// Boot this kernel, even where this machine's own would do
    #[arg(long, value_enum)]
    kernel: Option<Label>,
    /// Play it on this kernel with that agent
    #[arg(long, hide = true, value_name = "LANEKEEPER")]
    inside: Option<PathBuf>,
    /// Draw the table over itself
    #[arg(long, hide = true)]
    live: bool,
}

impl Demo {
    /// Sets up, builds, plays.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        if let Some(binary) = &self.inside {
            return self.play(binary, self.live);
        }
        let here = || self.kernel.is_none() && shell::is_root() && lab::kernel_is_able();
        let guest = self.kernel.unwrap_or(KERNEL);
        let needs = vec![Need::BuildPackages, Need::LabPackages, Need::Linker, Need::Compiler];
        let with_guest = [needs.as_slice(), &[Need::GuestPackages, Need::Kernel(guest)]].concat();
        setup::check(workspace, if here() { &needs } else { &with_guest })?;
        // What has just been installed may be what the kernel is tried with.
        setup::ensure(workspace, &needs)?;
        ebpf::build(workspace)?;
        say("building the agent");
        let built = artifact::build(ebpf::cargo(workspace).args(["build", "--quiet", "--package", "lanekeeper"]))?;
        let binary = &artifact::find(&built, "bin", "lanekeeper")?.file;
        let live = stdout().is_terminal();
        if here() { self.play_alone(binary, live) } else { self.play_in_guest(workspace, guest, binary, live) }
    }

    fn play_in_guest(&self, workspace: &Workspace, kernel: Label, binary: &Path, live: bool) -> Result<ExitCode> {
        setup::ensure(workspace, &[Need::GuestPackages, Need::Kernel(kernel)])?;
        say(format!(
            "this machine's kernel lacks ESP or XFRM interfaces, or another was asked for: a guest with {kernel}"
        ));
        let script = script(binary, &self.flags(live))?;
        let boot = Boot {
            kernel,
            name: format!("demo-{kernel}"),
            processors: PROCESSORS,
            prefix: String::new(),
            script,
            heap: None,
            limit: LIMIT,
        };
        match boot.run(workspace)? {
            Outcome::Exited(status) => Ok(ExitCode::from(status)),
            failure => bail!("guest {kernel}: {failure}; its console is in {}", boot.out(workspace).display()),
        }
    }

    /// On this machine's kernel, and gone from it whatever ends the demo: Ctrl-C is the usual way.
    fn play_alone(&self, binary: &Path, live: bool) -> Result<ExitCode> {
        let status = alone().args(inside(binary, &self.flags(live))?).status().context("cannot run setpriv")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn flags(&self, live: bool) -> Vec<&'static str> {
        let flags = [self.check.then_some("--check"), live.then_some("--live")];
        flags.into_iter().flatten().collect()
    }

    fn play(&self, binary: &Path, live: bool) -> Result<ExitCode> {
        let claims = stage::play(binary, Show { live })?;
        let failed = claims.iter().filter(|claim| !claim.holds).count();
        if self.check {
            println!();
            claims.iter().for_each(|claim| println!("{claim}"));
            println!("\n{} claims hold, {failed} do not", claims.len() - failed);
        } else {
            summary(&claims);
        }
        // Without --check it is a show: what did not hold is said, and is no error.
        Ok(if self.check && failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// A shell's command that plays it with the agent of `binary`.
pub fn script(binary: &Path, flags: &[&str]) -> Result<String> {
    let words: Vec<String> = inside(binary, flags)?.iter().map(|word| shell::quote(word)).collect();
    Ok(words.join(" "))
}

/// This program, playing it on the kernel that it finds itself on.
fn inside(binary: &Path, flags: &[&str]) -> Result<Vec<String>> {
    let xtask = env::current_exe().context("where is this program?")?;
    let words = [xtask.to_string_lossy(), "demo".into(), "--inside".into(), binary.to_string_lossy()];
    Ok(words.iter().map(|word| word.as_ref()).chain(flags.iter().copied()).map(str::to_string).collect())
}

/// What a person wants to know at the end.
fn summary(claims: &[Claim]) {
    let failed: Vec<&Claim> = claims.iter().filter(|claim| !claim.holds).collect();
    if failed.is_empty() {
        println!("\nEvery packet went through the SA of its class, in both directions. `--check` shows the proof.");
    }
    failed.iter().for_each(|claim| println!("{claim}"));
}
