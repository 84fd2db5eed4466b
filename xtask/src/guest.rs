//! `guest`: a Debian kernel under QEMU's software emulation, over this machine's own files.
//!
//! The guest's root is the host's, read-only over 9p, below an overlay that is gone after the boot; `/out` is
//! `target/guest/out/NAME` of the host, the one place where a guest's files stay.

pub mod boot;
pub mod kernel;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use self::boot::{Boot, Outcome, PROCESSORS};
use self::kernel::Label;
use crate::setup::{self, Need};
use crate::shell;
use crate::workspace::Workspace;

/// Arguments of `guest`.
#[derive(Args, Debug)]
pub struct Guest {
    /// The kernel to boot
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Label,
    /// Seconds until the guest is given up
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Its processors; each is a thread of this machine that is busy
    #[arg(long, default_value_t = PROCESSORS, value_parser = clap::value_parser!(u8).range(1..=i64::from(PROCESSORS)))]
    processors: u8,
    /// The folder of target/guest/out that the guest sees as /out; it is emptied first
    #[arg(long)]
    name: Option<String>,
    /// What to run in the guest as root, in the folder of this workspace
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Guest {
    /// Boots, runs the command, and exits as it did.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        setup::ensure(workspace, &[Need::GuestPackages])?;
        let command: Vec<String> = self.command.iter().map(|argument| shell::quote(argument)).collect();
        let boot = Boot {
            kernel: self.kernel,
            name: self.name.clone().unwrap_or_else(|| self.kernel.to_string()),
            processors: self.processors,
            prefix: String::new(),
            script: command.join(" "),
            heap: None,
            limit: Duration::from_secs(self.timeout),
        };
        match boot.run(workspace)? {
            Outcome::Exited(status) => Ok(ExitCode::from(status)),
            failure => bail!("guest {}: {failure}; its console is in {}", self.kernel, boot.out(workspace).display()),
        }
    }
}
