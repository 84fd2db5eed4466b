//! `cargo xtask`: Lanekeeper's set-up, builds, guests, tests and demo.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::bench::Bench;
use xtask::dashboards::Dashboards;
use xtask::demo::Demo;
use xtask::ebpf::Build;
use xtask::fuzz::Fuzz;
use xtask::guest::Guest;
use xtask::release::Release;
use xtask::setup::Setup;
use xtask::soak::Soak;
use xtask::test::Test;
use xtask::verifier::Verifier;
use xtask::witness::Witness;
use xtask::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Lanekeeper's set-up, builds, guests, tests and demo")]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install all that building, guests and tests need
    Setup(Setup),
    /// Build the kernel's programs into target/bpf/
    BuildEbpf(Build),
    /// Boot a guest kernel over this machine's files and run a command in it
    Guest(Guest),
    /// Two gateways, four classes, live; and why one SA is not enough
    Demo(Demo),
    /// Run the tests: unit, prog, netns, guest
    Test(Test),
    /// Measure what the data path costs
    Bench(Bench),
    /// Let libFuzzer look for what the tests do not find
    Fuzz(Fuzz),
    /// Let all that can happen to two gateways happen at random, and see that every promise is kept
    Soak(Soak),
    /// Hold a million packets' verdicts against the oracle's, over each of 36 lists
    Witness(Witness),
    /// Make Grafana's dashboards and Prometheus's rules of the agent's metrics
    Dashboards(Dashboards),
    /// Make what is handed out: the agent, its unit, dashboards and manual, with a bill of materials
    Release(Release),
    /// Run what CI runs: all tests on all kernels
    Ci,
    /// Count what each kernel's verifier walks, against ebpf/verifier-budget.txt
    Verifier(Verifier),
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match Command::parse().verb {
        Verb::Setup(setup) => setup.run(&workspace),
        Verb::BuildEbpf(build) => build.run(&workspace),
        Verb::Guest(guest) => guest.run(&workspace),
        Verb::Bench(bench) => bench.run(&workspace),
        Verb::Fuzz(fuzz) => fuzz.run(&workspace),
        Verb::Soak(soak) => soak.run(&workspace),
        Verb::Witness(witness) => witness.run(&workspace),
        Verb::Dashboards(dashboards) => dashboards.run(&workspace),
        Verb::Demo(demo) => demo.run(&workspace),
        Verb::Test(test) => test.run(&workspace),
        Verb::Release(release) => release.run(&workspace),
        Verb::Verifier(verifier) => verifier.run(&workspace),
        Verb::Ci => Test::default().run(&workspace),
    }
}
