//! `test`: every check of the project in four tiers, closing with `N passed, N failed`.
//!
//! What cannot run has failed: nothing is skipped. A step that is not a test of libtest (formatting, a build, a boot)
//! counts as one test of its own.

pub mod guest;
pub mod host;
pub mod libtest;
pub mod tally;
pub mod targets;
pub mod unit;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::tally::Tally;
use crate::guest::kernel::Label;
use crate::setup::{self, Need};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// Where a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// As any user: formatting, lints, documentation, dependencies, `cargo test`
    Unit,
    /// Programs in this machine's kernel (test targets `prog*`)
    Prog,
    /// Namespaces on this machine's kernel (test targets `netns*`)
    Netns,
    /// Guest kernels: the test targets of the feature `guest`, and `prog*` again
    Guest,
}

/// Arguments of `test`.
#[derive(Args, Debug, Default)]
pub struct Test {
    /// The tiers to run; all without one
    #[arg(value_enum)]
    tiers: Vec<Tier>,
    /// Guest kernels to run on; all without one
    #[arg(long, value_enum, value_delimiter = ',')]
    kernel: Vec<Label>,
    /// Only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
}

impl Test {
    /// Runs the tiers and prints the sum; fails if any test did.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let start = Instant::now();
        let mut sum = Tally::default();
        for tier in Tier::value_variants() {
            if self.tiers.is_empty() || self.tiers.contains(tier) {
                sum.add(self.tier(workspace, *tier));
            }
        }
        if sum.is_empty() {
            sum.fail("any test", "none ran: is there a test of that name?");
        }
        say(format!("all of it took {}", took(start)));
        for failure in sum.failures() {
            println!("FAILED {failure}");
        }
        println!("{sum}");
        Ok(if sum.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn tier(&self, workspace: &Workspace, tier: Tier) -> Tally {
        let start = Instant::now();
        let filter = self.filter.as_deref();
        let mut tally = Tally::default();
        let kernels = if self.kernel.is_empty() { Label::ALL.to_vec() } else { self.kernel.clone() };
        let ran = prepare(workspace, tier).and_then(|()| match tier {
            Tier::Unit => unit::run(workspace, filter, &mut tally),
            Tier::Prog => host::run(workspace, "prog", filter, &mut tally),
            Tier::Netns => host::run(workspace, "netns", filter, &mut tally),
            Tier::Guest => guest::run(workspace, &kernels, filter, &mut tally),
        });
        let name = tier.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default();
        if let Err(error) = ran {
            tally.fail(&format!("{name} tier"), &format!("{error:#}"));
        } else if tally.is_empty() && filter.is_none() {
            tally.fail(&format!("{name} tier"), "it has no test");
        }
        say(format!("tier {name}: {tally} ({})", took(start)));
        tally.within(&name)
    }
}

/// Sets up what the tier needs, but for guest kernels: each is fetched when its turn comes, and fails alone.
fn prepare(workspace: &Workspace, tier: Tier) -> Result<()> {
    let needs: &[Need] = match tier {
        Tier::Unit => &[Need::Deny],
        Tier::Prog => &[Need::BuildPackages, Need::Linker, Need::Compiler],
        Tier::Netns => &[Need::BuildPackages, Need::LabPackages, Need::Linker, Need::Compiler],
        Tier::Guest => &[Need::BuildPackages, Need::GuestPackages, Need::LabPackages, Need::Linker, Need::Compiler],
    };
    if tier != Tier::Unit && !shell::is_root() {
        anyhow::bail!("it needs root: programs, namespaces and the host's files in a guest");
    }
    setup::ensure(workspace, needs)
}
