//! `soak`: all that can happen to two gateways, at random under traffic, and every promise held against what is seen.
//!
//! Runs in a guest; all of it follows from a seed. What decides is pure: [`schedule`], [`judge`], [`secrets`], [`report`].

pub mod actor;
pub mod event;
pub mod footprint;
pub mod gateways;
pub mod judge;
pub mod report;
pub mod sample;
pub mod schedule;
pub mod secrets;
pub mod stage;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use self::event::Kind;
use self::stage::Order;
use crate::guest::boot::{Boot, Outcome, PROCESSORS};
use crate::guest::kernel::Label;
use crate::setup::{self, Need};
use crate::shell::{self, say};
use crate::workspace::Workspace;
use crate::{artifact, ebpf};

/// Beside the minutes that were asked for: the boot, the last step's bound, the demo's claims in the end.
const AROUND: Duration = Duration::from_secs(900);

/// Arguments of `soak`.
#[derive(Args, Debug)]
pub struct Soak {
    /// How long events come
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The kernel to boot
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Label,
    /// What comes when; drawn and printed where it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Only these kinds of events
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    only: Vec<Kind>,
    /// Play it on this kernel with that agent
    #[arg(long, hide = true, value_name = "LANEKEEPER")]
    inside: Option<PathBuf>,
}

impl Soak {
    /// Builds, boots, soaks; fails where an invariant did not hold.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let time = Duration::from_secs(60 * self.minutes);
        let seed = self.seed.unwrap_or_else(draw);
        if let Some(binary) = &self.inside {
            let kinds = if self.only.is_empty() { Kind::ALL.to_vec() } else { self.only.clone() };
            let mut report = stage::soak(binary, Order { seed, kinds, time })?;
            report.only = self.only();
            println!("{report}");
            return Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        setup::ensure(workspace, &[Need::BuildPackages, Need::LabPackages, Need::Linker, Need::Compiler])?;
        setup::ensure(workspace, &[Need::GuestPackages, Need::Kernel(self.kernel)])?;
        ebpf::build(workspace)?;
        say("building the agent");
        let built = artifact::build(ebpf::cargo(workspace).args(["build", "--quiet", "--package", "lanekeeper"]))?;
        let boot = Boot {
            kernel: self.kernel,
            name: format!("soak-{}", self.kernel),
            processors: PROCESSORS,
            prefix: String::new(),
            script: self.script(&artifact::find(&built, "bin", "lanekeeper")?.file, seed)?,
            heap: None,
            limit: time + AROUND,
        };
        match boot.run(workspace)? {
            Outcome::Exited(status) => Ok(ExitCode::from(status)),
            failure => bail!("guest {}: {failure}; seed {seed}; see {}", self.kernel, boot.out(workspace).display()),
        }
    }

    /// The option that has it again.
    fn only(&self) -> String {
        let kinds = self.only.iter().filter_map(ValueEnum::to_possible_value);
        kinds.map(|kind| format!(" --only {}", kind.get_name())).collect()
    }

    /// This program, soaking the agent of `binary` on the kernel that it finds itself on.
    fn script(&self, binary: &Path, seed: u64) -> Result<String> {
        let xtask = shell::quote(&env::current_exe().context("where is this program?")?.to_string_lossy());
        let binary = shell::quote(&binary.to_string_lossy());
        // The guest sees this machine's files as they are at each moment: a build meanwhile is not to be what starts again.
        let copy = "/tmp/soaked-lanekeeper";
        let (minutes, only) = (self.minutes, self.only());
        Ok(format!("cp {binary} {copy} && {xtask} soak --minutes {minutes} --seed {seed}{only} --inside {copy}"))
    }
}

fn draw() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    u64::from(now.subsec_nanos())
}
