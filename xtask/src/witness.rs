//! `witness`: oracle, host and kernel over as many packets as the tests have no time for.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::bench;
use crate::workspace::Workspace;

/// Arguments of `witness`.
#[derive(Args, Debug)]
pub struct Witness {
    /// Packets over each list
    #[arg(long, value_name = "N", default_value = "1000000")]
    packets: usize,
    /// How long the lists are
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["1000", "10000", "100000"])]
    rules: Vec<usize>,
    /// Only these families of lists
    #[arg(long, value_name = "NAME")]
    family: Vec<String>,
}

impl Witness {
    /// Builds and runs, on this machine's kernel; fails where a verdict is wrong or something was not tried.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let mut witness = Command::new(bench::build(workspace, "witness", &[])?);
        witness.arg("--packets").arg(self.packets.to_string());
        for rules in &self.rules {
            witness.arg("--rules").arg(rules.to_string());
        }
        for family in &self.family {
            witness.arg("--family").arg(family);
        }
        let status = witness.status().context("cannot run the witnesses")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
