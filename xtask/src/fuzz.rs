//! `fuzz`: libFuzzer around the targets in agent/fuzz, led by the coverage of our own code and of all that it calls.
//!
//! libFuzzer comes with the crate libfuzzer-sys. What it is led by are LLVM's counters, which stable compilers put in as
//! well; a sanitizer would take a nightly one and has nothing to look for where unsafe code is forbidden.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::setup::{self, Need};
use crate::shell::{self, say};
use crate::workspace::Workspace;
use crate::{artifact, ebpf};

/// LLVM's SanitizerCoverage, as libFuzzer reads it (clang's documentation of both).
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// The packet parser, over any bytes
    Parse,
    /// The classifier against the naive oracle, over policies and packets that the bytes choose
    Classify,
    /// Whoever listens where charon should
    Vici,
    /// The file, and files of static keys
    Config,
    /// The control socket's two ends
    Control,
    /// Web-config files, and passwords of those who ask for metrics
    Web,
    /// What the kernel says of devices, routes, states and policies
    Netlink,
    /// nft's, iptables' and ClassBench's rules
    Import,
    /// Captures, and packets in words
    Capture,
}

/// Arguments of `fuzz`.
#[derive(Args, Debug)]
pub struct Fuzz {
    /// Which target
    #[arg(value_enum)]
    target: Target,
    /// How long
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run this one input instead, such as one that failed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "keep"])]
    input: Option<PathBuf>,
    /// Add inputs that reach further than those of the repository to them
    #[arg(long)]
    keep: bool,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Classify => "classify",
            Self::Vici => "vici",
            Self::Config => "config",
            Self::Control => "control",
            Self::Web => "web",
            Self::Netlink => "netlink",
            Self::Import => "import",
            Self::Capture => "capture",
        }
    }

    /// Bytes of the longest input: an IPv6 packet with all headers that are followed; a policy of 20 rules and its packets; a
    /// message of every kind, or a file with every key.
    fn longest(self) -> u32 {
        match self {
            Self::Parse => 256,
            Self::Classify => 4096,
            Self::Vici | Self::Config | Self::Control | Self::Web | Self::Netlink | Self::Import | Self::Capture => {
                8192
            }
        }
    }
}

impl Fuzz {
    /// Builds and runs; fails where libFuzzer finds something.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        setup::ensure(workspace, &[Need::BuildPackages, Need::FuzzPackages])?;
        let name = self.target.name();
        say(format!("building {name} with coverage"));
        let program = build(workspace, name)?;
        if let Some(input) = &self.input {
            return judge(Command::new(&program).arg(input));
        }
        let kept = workspace.root().join("agent/fuzz/corpus").join(name);
        let found = workspace.target("fuzz/corpus").join(name);
        for folder in [&kept, &found] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let artifacts = workspace.target("fuzz/found");
        fs::create_dir_all(&artifacts).with_context(|| format!("cannot make {}", artifacts.display()))?;
        let mut fuzzer = Command::new(&program);
        fuzzer
            .arg(format!("-max_total_time={}", self.seconds))
            .arg(format!("-max_len={}", self.target.longest()))
            .arg(format!("-artifact_prefix={}/{name}-", artifacts.display()))
            // Long inputs from the start: one that chooses a policy and its packets is not short.
            .arg("-len_control=0")
            .arg("-print_final_stats=1")
            .args([&found, &kept]);
        let code = judge(&mut fuzzer)?;
        if code == ExitCode::SUCCESS && self.keep {
            shell::run(Command::new(&program).arg("-set_cover_merge=1").args([&kept, &found]))?;
        }
        Ok(code)
    }
}

fn judge(fuzzer: &mut Command) -> Result<ExitCode> {
    let status = fuzzer.status().context("cannot run the fuzz target")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// In a folder of its own: with other flags everything is built anew.
fn build(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let example = format!("fuzz_{name}");
    let mut cargo = ebpf::cargo(workspace);
    // With a target named, flags are not for build scripts, which no libFuzzer is linked to.
    cargo
        .args(["build", "--package", "lanekeeper", "--features", "fuzz", "--example", &example])
        .args(["--target", &host()?, "--target-dir"])
        .arg(workspace.target("fuzz"))
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"))
        .env_remove("RUSTFLAGS")
        // Overflow checks and assertions of the dev profile stay.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    let artifacts = artifact::build(&mut cargo)?;
    Ok(artifact::find(&artifacts, "example", &example)?.file.clone())
}

/// The triple that this machine's compiler builds for.
fn host() -> Result<String> {
    let said = shell::read(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
