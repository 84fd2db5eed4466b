//! `bench`: what the data path costs, as ratios in one run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::alone::alone;
use crate::setup::{self, Need};
use crate::shell::{self, say};
use crate::workspace::Workspace;
use crate::{artifact, ebpf};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Verdicts over lists of 10 to 100,000 rules, ours and those of nftables, iptables and ipset
    Classify,
    /// A scrape of 1,000 tunnels of four classes: its time, and the memory of who serves it
    Metrics,
}

/// A part of it that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What XDP gains over tc at a port
    Port,
    /// What 10,000 tenants of 10 rules cost beside one of 100,000
    Tenants,
}

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// What to measure
    #[arg(value_enum)]
    subject: Subject,
    /// Write the figures there too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only these families of lists
    #[arg(long, value_name = "NAME")]
    family: Vec<String>,
    /// Measure only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
}

impl Bench {
    /// Builds and measures, on this machine's kernel.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let (name, needs): (_, &[Need]) = match self.subject {
            Subject::Classify => ("classify", &[Need::BenchPackages]),
            Subject::Metrics if self.family.is_empty() && self.only.is_none() => ("metrics", &[]),
            Subject::Metrics => bail!("--family and --only are of `bench classify`"),
        };
        let program = build(workspace, name, needs)?;
        let mut measure = alone();
        measure.arg(program);
        if let Some(file) = &self.json {
            measure.arg("--json").arg(std::path::absolute(file)?);
        }
        for family in &self.family {
            measure.arg("--family").arg(family);
        }
        if let Some(part) = self.only.and_then(|part| part.to_possible_value()) {
            measure.args(["--only", part.get_name()]);
        }
        let status = measure.status().context("cannot run the measurement")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Builds a bench target of the agent with the programs that it loads; its executable.
pub(crate) fn build(workspace: &Workspace, name: &str, needs: &[Need]) -> Result<PathBuf> {
    if !shell::is_root() {
        bail!("it needs root: it loads programs");
    }
    setup::ensure(workspace, &[Need::BuildPackages, Need::Linker, Need::Compiler])?;
    setup::ensure(workspace, needs)?;
    ebpf::build(workspace)?;
    say(format!("building {name}"));
    let mut cargo = ebpf::cargo(workspace);
    cargo.args(["bench", "--no-run", "--package", "lanekeeper", "--features", "privileged,guest"]);
    let artifacts = artifact::build(cargo.args(["--bench", name]))?;
    Ok(artifact::find(&artifacts, "bench", name)?.file.clone())
}
