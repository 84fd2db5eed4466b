//! `dashboards`: makes Grafana's dashboards and Prometheus's rules of the agent's list of metrics.
//!
//! A package of its own does it: what it is made of is the agent's, and xtask is built without the agent.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::ebpf;
use crate::workspace::Workspace;

/// Arguments of `dashboards`.
#[derive(Args, Debug)]
pub struct Dashboards {
    /// Write nothing; fail if a file is not what its source makes
    #[arg(long)]
    check: bool,
}

impl Dashboards {
    /// Writes what has changed, or says what has.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let mut cargo = ebpf::cargo(workspace);
        cargo.args(["run", "--quiet", "--package", "lanekeeper-dashboards", "--"]);
        cargo.args(self.check.then_some("--check"));
        let status = cargo.status().context("cannot run cargo")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
