//! Verdicts in volume: the three witnesses over lists of twelve families, a million packets each.
//!
//! `cargo xtask witness [--packets N] [--rules N,N] [--family NAME]`. The tests hold the same against each other over fewer
//! packets. Here every packet is judged by the naive oracle, by `classify` over the host's tables and by the loaded program
//! under BPF_PROG_TEST_RUN; tenant, rule, class and mark are compared. One data path takes list after list, on a bpffs and
//! in a network namespace that nobody else sees and that vanish with this process. How a list is gone through, `course`
//! says.
//!
//! Exit status 1, and a line for each list and fault, where a verdict is wrong, or where a list saw no packets, no edits
//! between them or none while they ran.

#[path = "../../tests/witness/mod.rs"]
mod witness;

mod change;
mod course;
mod subject;
mod tally;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::change::LEAST;
use crate::course::Course;
use crate::subject::Kernel;
use crate::tally::Tally;
use crate::witness::list::{FAMILIES, Family};

#[derive(Parser)]
struct Arguments {
    /// Packets for each list
    #[arg(long, value_name = "N")]
    packets: usize,
    /// How long the lists are
    #[arg(long, value_name = "N", value_delimiter = ',')]
    rules: Vec<usize>,
    /// Only these families
    #[arg(long, value_name = "NAME")]
    family: Vec<String>,
}

/// A bpffs, in a mount namespace of this process's own.
const PINS: &str = "/sys/fs/bpf";

fn family(name: &str) -> Result<&'static Family> {
    let known = || FAMILIES.map(|family| family.name).join(", ");
    FAMILIES.iter().find(|family| family.name == name).with_context(|| format!("no family {name:?}: {}", known()))
}

/// Nothing that this process makes is seen by others, nor outlives it.
fn be_alone() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("namespaces of its own")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("keeping mounts to itself")?;
    mount(Some("bpf"), PINS, Some("bpf"), MsFlags::empty(), None::<&str>).context("a bpffs of its own")
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let families: Vec<&Family> = match arguments.family[..] {
        [] => FAMILIES.iter().collect(),
        _ => arguments.family.iter().map(|name| family(name)).collect::<Result<_>>()?,
    };
    if arguments.rules.iter().any(|rules| *rules < LEAST) {
        bail!("a list that changes has {LEAST} rules or more");
    }
    be_alone()?;
    let start = Instant::now();
    let mut kernel = Kernel::new(Path::new(PINS))?;
    let (mut sum, mut lists, mut faults) = (Tally::default(), 0, Vec::new());
    println!("{}", tally::HEAD);
    for rules in &arguments.rules {
        for family in &families {
            let start = Instant::now();
            let taken = Course::new(family, *rules, &mut kernel)
                .and_then(|course| course.run(arguments.packets))
                .with_context(|| format!("{} of {rules}", family.name))?;
            println!("{}", taken.row(family.name, &rules.to_string(), start.elapsed()));
            faults.extend(taken.faults().into_iter().map(|fault| format!("{} of {rules}: {fault}", family.name)));
            sum.add(&taken);
            lists += 1;
        }
    }
    println!("{}", sum.row("all", &format!("{lists} lists"), start.elapsed()));
    if lists == 0 {
        faults.push("no list was gone through".to_owned());
    }
    for fault in &faults {
        println!("FAILED {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
