//! `setup`: finds or installs what building, guests and tests need, and says what it does.
//!
//! Whatever is not a Debian package goes below `target/tools` and `target/guest`. Each step leaves its mark only when it is
//! through, so that an interrupted one is done again.

pub mod cargo;
pub mod compiler;
pub mod foreign;
pub mod grafana;
pub mod lack;
pub mod packages;
pub mod prometheus;
pub mod sources;
pub mod strongswan;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use self::lack::Machine;
use crate::guest::kernel::{self, Label};
use crate::shell::{say, took};
use crate::workspace::Workspace;

/// One thing that a build, a guest or a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// What compiles bpf-linker.
    BuildPackages,
    /// QEMU, busybox and what unpacks a kernel.
    GuestPackages,
    /// strongSwan and the programs that drive traffic.
    LabPackages,
    /// A browser, and what drives it.
    BrowserPackages,
    /// The engines that `bench` measures beside ours.
    BenchPackages,
    /// What compiles libFuzzer.
    FuzzPackages,
    /// bpf-linker.
    Linker,
    /// A compiler for BPF with its library's source.
    Compiler,
    /// cargo-deny.
    Deny,
    /// What lists a release's materials.
    Materials,
    /// Debian's Prometheus with its promtool, 2.x and 3.x, unpacked.
    Prometheus,
    /// Grafana's components, bundled.
    Grafana,
    /// Rule sets of others.
    ForeignRules,
    /// strongSwan of other suites, unpacked.
    ForeignStrongswan,
    /// An unpacked guest kernel.
    Kernel(Label),
}

/// All of them.
pub const EVERYTHING: &[Need] = &[
    Need::BuildPackages,
    Need::GuestPackages,
    Need::LabPackages,
    Need::BrowserPackages,
    Need::BenchPackages,
    Need::FuzzPackages,
    Need::Linker,
    Need::Compiler,
    Need::Deny,
    Need::Materials,
    Need::Prometheus,
    Need::Grafana,
    Need::ForeignRules,
    Need::ForeignStrongswan,
    Need::Kernel(Label::V6_1),
    Need::Kernel(Label::V6_12),
    Need::Kernel(Label::V7_2),
];

/// Arguments of `setup`.
#[derive(Args, Debug)]
pub struct Setup {}

impl Setup {
    /// Brings everything about and says so.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let start = Instant::now();
        ensure(workspace, EVERYTHING)?;
        say(format!("all set up ({})", took(start)));
        Ok(ExitCode::SUCCESS)
    }
}

/// An error that names all that is missing of `needs`, where set-up may not bring it about.
pub fn check(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let machine = Machine::this();
    if machine != (Machine { debian: true, root: true })
        && let Some(refusal) = lack::refusal(&lack::lacks(workspace, needs, machine)?, machine)
    {
        bail!(refusal);
    }
    Ok(())
}

/// Brings about what is missing of `needs`; silent and quick where nothing is.
pub fn ensure(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    check(workspace, needs)?;
    packages::ensure(workspace, needs)?;
    for need in needs {
        match need {
            Need::BuildPackages
            | Need::GuestPackages
            | Need::LabPackages
            | Need::BrowserPackages
            | Need::BenchPackages
            | Need::FuzzPackages => {}
            Need::Linker => cargo::linker(workspace)?,
            Need::Compiler => drop(compiler::ensure(workspace, compiler::asked()?)?),
            Need::Deny => cargo::deny(workspace)?,
            Need::Materials => cargo::materials(workspace)?,
            Need::Prometheus => prometheus::ensure(workspace)?,
            Need::Grafana => grafana::ensure(workspace)?,
            Need::ForeignRules => foreign::ensure(workspace)?,
            Need::ForeignStrongswan => strongswan::ensure(workspace)?,
            Need::Kernel(label) => drop(kernel::ensure(workspace, *label)?),
        }
    }
    Ok(())
}
