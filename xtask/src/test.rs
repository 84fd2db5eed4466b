//! `test`: every check of the project in four tiers, closing with `N passed, N failed`.
//!
//! What cannot run has failed: nothing is skipped. A step that is not a test of libtest (formatting, a build, a boot)
//! counts as one test of its own.

pub mod deadline;
pub mod guest;
pub mod host;
pub mod libtest;
pub mod plain;
mod side_by_side;
pub mod tally;
pub mod targets;
pub mod unit;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};

use self::deadline::Deadline;
use self::guest::Daemons;
use self::tally::Tally;
use crate::guest::kernel::Label;
use crate::setup::lack::{self, Machine};
use crate::setup::{self, Need};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// Past the deadline guests and targets are stopped and counted; what then still hangs does not keep the sum.
const GRACE: Duration = Duration::from_secs(120);

/// Where a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// As any user: formatting, lints, documentation, dependencies, what `cargo test` runs
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
    /// In guests, each daemon is the packaged unit's, under a real systemd
    #[arg(long)]
    unit: bool,
    /// Be done by then, in seconds of the epoch: what has not run has failed
    #[arg(long, env = "LANEKEEPER_TEST_END", value_name = "SECONDS")]
    until: Option<u64>,
}

impl Test {
    /// Runs the tiers and prints the sum; fails if any test did.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let start = Instant::now();
        let deadline = Deadline::at(self.until, (SystemTime::now(), start));
        let sum = Arc::new(Mutex::new(Tally::default()));
        if let Some(left) = deadline.left(start) {
            let sum = Arc::clone(&sum);
            thread::spawn(move || {
                thread::sleep(left + GRACE);
                let mut sum = lock(&sum);
                sum.fail("the rest", "it was not done in time");
                report(&sum, start);
                std::process::exit(1);
            });
        }
        for tier in Tier::value_variants() {
            if self.tiers.is_empty() || self.tiers.contains(tier) {
                let tally = self.tier(workspace, *tier, deadline);
                lock(&sum).add(tally);
            }
        }
        let mut sum = lock(&sum);
        if sum.is_empty() {
            sum.fail("any test", "none ran: is there a test of that name?");
        }
        report(&sum, start);
        Ok(if sum.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn daemons(&self) -> Daemons {
        if self.unit { Daemons::Units } else { Daemons::Plain }
    }

    /// Whether another tier follows the first.
    fn others(&self) -> bool {
        self.tiers.is_empty() || self.tiers.iter().any(|tier| *tier != Tier::Unit)
    }

    fn tier(&self, workspace: &Workspace, tier: Tier, deadline: Deadline) -> Tally {
        let start = Instant::now();
        let filter = self.filter.as_deref();
        let mut tally = Tally::default();
        let kernels = if self.kernel.is_empty() { Label::ALL.to_vec() } else { self.kernel.clone() };
        let in_time = if deadline.has_passed(start) { Err(anyhow!("no time was left for it")) } else { Ok(()) };
        let ran = in_time.and_then(|()| prepare(workspace, tier, &kernels)).and_then(|()| match tier {
            Tier::Unit => unit::run(workspace, filter, self.others() && shell::is_root(), deadline, &mut tally),
            Tier::Prog => host::prog(workspace, filter, deadline, &mut tally),
            Tier::Netns => host::netns(workspace, filter, deadline, &mut tally),
            Tier::Guest => guest::run(workspace, &kernels, filter, self.daemons(), deadline, &mut tally),
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

fn lock(sum: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    sum.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long each part took, what failed, and as the last line the sum.
fn report(sum: &Tally, start: Instant) {
    for (name, time) in sum.times() {
        println!("{:>6.0} s  {name}", time.as_secs_f64());
    }
    say(format!("all of it took {}", took(start)));
    for failure in sum.failures() {
        println!("FAILED {failure}");
    }
    println!("{sum}");
}

/// Sets up what the tier needs, but for guest kernels: each is fetched when its turn comes, and fails alone.
fn prepare(workspace: &Workspace, tier: Tier, kernels: &[Label]) -> Result<()> {
    let needs: &[Need] = match tier {
        Tier::Unit => &[Need::Deny],
        Tier::Prog => &[Need::BuildPackages, Need::Linker, Need::Compiler],
        Tier::Netns => &[
            Need::BuildPackages,
            Need::LabPackages,
            Need::BrowserPackages,
            Need::Linker,
            Need::Compiler,
            Need::Prometheus,
            Need::Grafana,
            Need::ForeignRules,
        ],
        Tier::Guest => &[
            Need::BuildPackages,
            Need::GuestPackages,
            Need::LabPackages,
            Need::Linker,
            Need::Compiler,
            Need::Prometheus,
            Need::ForeignStrongswan,
        ],
    };
    if tier != Tier::Unit && !shell::is_root() {
        let guests = kernels.iter().filter(|_| tier == Tier::Guest).map(|label| Need::Kernel(*label));
        let all: Vec<Need> = needs.iter().copied().chain(guests).collect();
        bail!(lack::rootless(&lack::lacks(workspace, &all, Machine::this())?, Machine::this()));
    }
    setup::ensure(workspace, needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_whose_turn_comes_too_late_has_failed() {
        let workspace = Workspace::find().unwrap();
        let deadline = Deadline::at(Some(0), (SystemTime::now(), Instant::now()));
        let tally = Test::default().tier(&workspace, Tier::Guest, deadline);
        assert_eq!(tally.failures(), ["guest: guest tier: no time was left for it"]);
    }
}
