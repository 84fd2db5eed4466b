//! What a verdict costs, ours and that of the engines a gateway would use instead, in nanoseconds a packet.
//!
//! `cargo xtask bench classify [--json FILE]`. Twelve families of lists, 10 to 100,000 rules. Rounds go through all
//! engines and sizes of a family in turn, so that whatever the machine does meanwhile falls on all alike.
//!
//! *Against the others.* Packets are made by an XDP program and go up the stack of a network namespace from there; the
//! kernel counts the nanoseconds from XDP to the drop in nftables' prerouting, a step behind where netfilter's engines mark.
//! The same way with the engine's hook empty (a tc program that returns at once, a chain without rules, an empty mangle
//! table) is subtracted. Ours is the whole egress program at tc ingress of the device, which is before prerouting: it
//! parses, searches, chooses among lanes and counts, where the others search and mark. All get the same packets and the same
//! rules, each with a destination network of its own: an interval map takes no others. What ours makes of the family's own
//! list, with its overlaps, is measured beside it (*overlapping*). ipset takes neither sources nor ranges; it gets what is
//! left of the rules without them, and so does ours beside it (*exact*).
//!
//! *Ours alone.* BPF_PROG_TEST_RUN over 4,096 packets one after the other, each by a system call of its own, over the
//! family's own list; an empty program's is subtracted.
//!
//! *Ports.* What a port's ways to classify cost, on a way of their own; see `port`. `--only port` measures nothing else.
//!
//! *Tenants.* The same rules as those of 10,000 tenants and of one; see `tenants`. `--only tenants` measures nothing else.
//!
//! The goals that come of it are information: what is missed is said to be missed, and the exit status is 0 when all was
//! measured.

#[path = "../../tests/witness/mod.rs"]
mod witness;

mod alone;
mod bpf;
mod footprint;
mod frame;
mod goals;
mod gro;
mod lanes;
mod lists;
mod live;
mod page;
mod peer;
mod port;
mod report;
mod round;
mod stage;
mod stats;
mod tenants;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use xtask::bench::Part;

use crate::goals::{Goal, Measured, goals};
use crate::port::Wire;
use crate::report::{Footprint, Report};
use crate::round::{Bench, Taken};
use crate::stats::median;
use crate::witness::list::{FAMILIES, Family};

#[derive(Parser)]
struct Arguments {
    /// Write the figures there too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only these families
    #[arg(long, value_name = "NAME")]
    family: Vec<String>,
    /// Measure only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Load the family's longest list, say what that took, and end
    #[arg(long, value_name = "NAME", hide = true)]
    footprint: Option<String>,
}

fn family(name: &str) -> Result<&'static Family> {
    let known = || FAMILIES.map(|family| family.name).join(", ");
    FAMILIES.iter().find(|family| family.name == name).with_context(|| format!("no family {name:?}: {}", known()))
}

/// Ours keeps flows by CPU: a round must find what the one before left.
fn stay_on_this_cpu() -> Result<()> {
    let mut one = CpuSet::new();
    one.set(nix::sched::sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &one).context("staying on one CPU")
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.footprint {
        println!("{}", serde_json::to_string(&footprint::here(family(name)?)?)?);
        return Ok(());
    }
    let families: Vec<&Family> = match (&arguments.family[..], arguments.only) {
        ([], None | Some(Part::Tenants)) => FAMILIES.iter().collect(),
        ([], Some(Part::Port)) => FAMILIES.iter().filter(|family| port::FAMILIES.contains(&family.name)).collect(),
        _ => arguments.family.iter().map(|name| family(name)).collect::<Result<_>>()?,
    };
    stay_on_this_cpu()?;
    let start = Instant::now();
    let mut bench = match arguments.only {
        None | Some(Part::Tenants) => Some(Bench::new()?),
        Some(Part::Port) => None,
    };
    let mut wire = match arguments.only {
        None | Some(Part::Port) => Some(Wire::new()?),
        Some(Part::Tenants) => None,
    };
    let mut taken = Taken::default();
    let mut footprints = Vec::new();
    for family in families {
        let of_family = || format!("family {}", family.name);
        if let Some(bench) = &mut bench {
            if arguments.only.is_none() {
                footprints.push(footprint::of(family)?);
                bench.measure(family, &mut taken).with_context(of_family)?;
            } else {
                bench.measure_tenants(family, &mut taken).with_context(of_family)?;
            }
        }
        if let Some(wire) = &mut wire
            && (arguments.only == Some(Part::Port) || port::FAMILIES.contains(&family.name))
        {
            wire.measure(family, &mut taken).with_context(of_family)?;
        }
        eprintln!("{} ({:.0} s)", family.name, start.elapsed().as_secs_f64());
    }
    let goals = if arguments.only.is_none() { judge(&taken, &footprints)? } else { Vec::new() };
    let baseline = |ns: &[f64]| (!ns.is_empty()).then(|| median(ns));
    let report = Report {
        baseline_ns: baseline(&taken.baselines),
        test_run_baseline_ns: baseline(&taken.empties),
        port_baseline_ns: baseline(&taken.port_baselines),
        rows: taken.rows,
        loads: taken.loads,
        changes: taken.changes,
        footprints,
        void: taken.void,
        goals,
    };
    print!("{}{}", report.markdown(), page::markdown(&report));
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if !report.void.is_empty() {
        bail!("{} runs are void", report.void.len());
    }
    Ok(())
}

fn judge(taken: &Taken, footprints: &[Footprint]) -> Result<Vec<Goal>> {
    Ok(goals(&Measured {
        rows: &taken.rows,
        footprints,
        empty_ns: median(&taken.empties_repeated),
        changes: &taken.changes,
        verdicts: taken.verdicts,
        lanes: lanes::spread()?,
    }))
}
