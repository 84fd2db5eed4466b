//! `verifier`: how many instructions each kernel's verifier walks for each program, against a budget.
//!
//! The verifier refuses a program above 1,000,000 of them, and kernels count differently: `ebpf/verifier-budget.txt` holds
//! what each program may cost on each kernel, so that a change that doubles one is seen before a kernel refuses it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::programs::Program;
use aya::{EbpfLoader, VerifierLogLevel};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::alone::alone;
use crate::ebpf;
use crate::guest::boot::{Boot, Outcome, PROCESSORS};
use crate::guest::kernel::Label;
use crate::setup::{self, Need};
use crate::shell::{self, quote, say};
use crate::workspace::Workspace;

const HEADER: &str = "# Instructions that the verifier may walk: PROGRAM KERNEL LIMIT. Measured, and a quarter above it:\n\
                      # `cargo xtask verifier --write` measures anew. `host` is the kernel of the machine that builds, of these figures 6.18.\n";

/// A kernel that programs are loaded into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// A guest's.
    Guest(Label),
    /// This machine's own, whatever it is.
    Host,
}

impl ValueEnum for Kernel {
    fn value_variants<'a>() -> &'a [Self] {
        const { &[Self::Guest(Label::ALL[0]), Self::Guest(Label::ALL[1]), Self::Guest(Label::ALL[2]), Self::Host] }
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Guest(label) => label.to_possible_value(),
            Self::Host => Some(PossibleValue::new("host").help("This machine's own")),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(label) => label.fmt(f),
            Self::Host => f.write_str("host"),
        }
    }
}

/// Arguments of `verifier`.
#[derive(Args, Debug)]
pub struct Verifier {
    /// Kernels to measure on; all without one
    #[arg(long, value_enum, value_delimiter = ',')]
    kernel: Vec<Kernel>,
    /// Write their budget anew instead of comparing with it
    #[arg(long)]
    write: bool,
    /// Measure on the running kernel, which is of this label, and boot nothing
    #[arg(long, hide = true)]
    here: bool,
}

/// Limit or count by program and kernel.
type Counts = BTreeMap<(String, String), u32>;

impl Verifier {
    /// Measures, prints a line for each program, and fails if one is above its budget or has none.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        if self.here {
            let counts = here(&workspace.bpf_objects())?;
            print!("{}", lines(&counts, *self.kernel.first().context("--here takes a --kernel")?));
            return Ok(ExitCode::SUCCESS);
        }
        let kernels = if self.kernel.is_empty() { Kernel::value_variants() } else { &self.kernel };
        setup::ensure(workspace, &[Need::BuildPackages, Need::Linker])?;
        if kernels.iter().any(|kernel| *kernel != Kernel::Host) {
            setup::ensure(workspace, &[Need::GuestPackages])?;
        }
        ebpf::build(workspace)?;
        let mut measured = Counts::new();
        for kernel in kernels {
            measured.extend(match kernel {
                Kernel::Guest(label) => in_guest(workspace, *label)?,
                Kernel::Host => on_host(workspace)?,
            });
        }
        if self.write {
            write(&file(workspace), &renewed(budget(workspace)?, &measured, kernels))?;
            return Ok(ExitCode::SUCCESS);
        }
        let over = judge(&measured, &budget(workspace)?);
        for ((program, kernel), count) in &measured {
            println!("{program} {kernel} {count}");
        }
        for line in &over {
            println!("OVER {line}");
        }
        Ok(if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What is wrong with the counts that `verifier --here` printed into a file; empty where all is within the budget.
pub fn over(workspace: &Workspace, counts: &Path) -> Result<Vec<String>> {
    let measured = parse(&fs::read_to_string(counts).with_context(|| format!("cannot read {}", counts.display()))?)?;
    if measured.is_empty() {
        bail!("the kernel loaded no program");
    }
    Ok(judge(&measured, &budget(workspace)?))
}

/// The same on this machine's kernel, for the object that is built.
pub fn over_on_host(workspace: &Workspace) -> Result<Vec<String>> {
    Ok(judge(&on_host(workspace)?, &budget(workspace)?))
}

/// The command that measures in a guest and prints the counts.
pub fn command(workspace: &Workspace, kernel: Label) -> Result<String> {
    let this = std::env::current_exe().context("this program has no path")?;
    let manifest = quote(&workspace.root().join("xtask").to_string_lossy());
    let this = quote(&this.to_string_lossy());
    Ok(format!("CARGO_MANIFEST_DIR={manifest} {this} verifier --here --kernel {kernel}"))
}

fn file(workspace: &Workspace) -> PathBuf {
    workspace.root().join("ebpf/verifier-budget.txt")
}

fn budget(workspace: &Workspace) -> Result<Counts> {
    let file = file(workspace);
    parse(&fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?)
}

/// Loads every program of the objects into the running kernel and lets it go again.
fn here(objects: &[PathBuf]) -> Result<Vec<(String, u32)>> {
    let pins = PathBuf::from(format!("/sys/fs/bpf/lanekeeper-verifier-{}", std::process::id()));
    fs::create_dir_all(&pins).context("no bpffs at /sys/fs/bpf")?;
    let counts: Result<Vec<_>> = objects.iter().map(|object| load(object, &pins)).collect();
    shell::remove_folder(&pins)?;
    Ok(counts?.concat())
}

fn load(object: &Path, pins: &Path) -> Result<Vec<(String, u32)>> {
    let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let mut loader = EbpfLoader::new();
    // A refused program would be walked again for its log, for minutes under software emulation: its counts are enough.
    loader.default_map_pin_directory(pins).verifier_log_level(VerifierLogLevel::STATS);
    let mut ebpf = loader.load(&bytes).context("cannot load the maps")?;
    let mut counts = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let info = match program {
            Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
            Program::Xdp(program) => program.load().and_then(|()| program.info()),
            Program::CgroupSock(program) => program.load().and_then(|()| program.info()),
            Program::CgroupSockAddr(program) => program.load().and_then(|()| program.info()),
            Program::RawTracePoint(program) => program.load().and_then(|()| program.info()),
            other => bail!("the program {name:?} is of a kind not measured yet: {:?}", other.prog_type()),
        };
        let info = info.with_context(|| format!("the kernel refuses the program {name:?}"))?;
        let count = info.verified_instruction_count().context("this kernel does not tell (5.16 and later do)")?;
        counts.push((name.to_string(), count));
    }
    Ok(counts)
}

/// In a process of its own: of what it loads and pins nothing stays.
fn on_host(workspace: &Workspace) -> Result<Counts> {
    if !shell::is_root() {
        bail!("it needs root: it loads programs");
    }
    let this = std::env::current_exe().context("this program has no path")?;
    let host = Kernel::Host.to_string();
    let mut measure = alone();
    measure.arg(this).args(["verifier", "--here", "--kernel", &host]);
    measure.env("CARGO_MANIFEST_DIR", workspace.root().join("xtask"));
    let measured = parse(&shell::read(&mut measure)?)?;
    if measured.is_empty() {
        bail!("the kernel loaded no program");
    }
    Ok(measured)
}

fn in_guest(workspace: &Workspace, kernel: Label) -> Result<Counts> {
    let script = format!("{} > /out/counts", command(workspace, kernel)?);
    let boot = Boot {
        kernel,
        name: format!("verifier-{kernel}"),
        processors: PROCESSORS,
        prefix: String::new(),
        script,
        heap: None,
        limit: Duration::from_secs(180),
    };
    match boot.run(workspace)? {
        Outcome::Exited(0) => parse(&fs::read_to_string(boot.out(workspace).join("counts"))?),
        outcome => bail!("guest {kernel}: {outcome}; see {}", boot.out(workspace).join("console").display()),
    }
}

fn lines(counts: &[(String, u32)], kernel: Kernel) -> String {
    counts.iter().map(|(program, count)| format!("{program} {kernel} {count}\n")).collect()
}

/// Lines of `PROGRAM KERNEL NUMBER`; `#` begins a comment.
fn parse(text: &str) -> Result<Counts> {
    let meant = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let entry = (|| Some(((words.next()?.to_string(), words.next()?.to_string()), words.next()?.parse().ok()?)))();
        entry.with_context(|| format!("{line:?} is not PROGRAM KERNEL NUMBER"))
    };
    meant.map(parse).collect()
}

/// A line for each program that costs more than it may, or has no budget.
fn judge(measured: &Counts, budget: &Counts) -> Vec<String> {
    let judge = |((program, kernel), count): (&(String, String), &u32)| {
        let name = format!("{program} on {kernel}: {count} instructions");
        match budget.get(&(program.clone(), kernel.clone())) {
            Some(limit) if count <= limit => None,
            Some(limit) => Some(format!("{name}, its budget is {limit}")),
            None => Some(format!("{name}, and it has no budget")),
        }
    };
    measured.iter().filter_map(judge).collect()
}

/// The budget with new limits for those kernels; what others may cost stays.
fn renewed(budget: Counts, measured: &Counts, kernels: &[Kernel]) -> Counts {
    let is_measured = |name: &str| kernels.iter().any(|kernel| kernel.to_string() == name);
    let others = budget.into_iter().filter(|((_, kernel), _)| !is_measured(kernel));
    others.chain(measured.iter().map(|(of, count)| (of.clone(), count + count / 4))).collect()
}

fn write(file: &Path, budget: &Counts) -> Result<()> {
    let mut text = HEADER.to_string();
    for ((program, kernel), limit) in budget {
        let _ = writeln!(text, "{program} {kernel} {limit}");
    }
    shell::write_if_changed(file, text.as_bytes())?;
    say(format!("wrote {}", file.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_above_or_without_a_budget_are_named() {
        let measured = parse("out 6.1 100\nin 6.1 51\nnew 7.2 1\n").unwrap();
        let budget = parse("# comment\n\nout 6.1 100\nin 6.1 50\nnew 6.1 5\n").unwrap();
        let over = judge(&measured, &budget);
        let expected =
            ["in on 6.1: 51 instructions, its budget is 50", "new on 7.2: 1 instructions, and it has no budget"];
        assert_eq!(over, expected);
    }

    #[test]
    fn every_kernel_has_a_name_of_its_own_that_the_command_line_takes() {
        let names: Vec<String> = Kernel::value_variants().iter().map(Kernel::to_string).collect();
        let guests = Label::ALL.map(|label| label.to_string());
        assert_eq!(names, [&guests[..], &["host".to_owned()]].concat());
        let taken = names.iter().map(|name| Kernel::from_str(name, false).unwrap());
        assert_eq!(taken.collect::<Vec<_>>(), Kernel::value_variants());
    }

    #[test]
    fn a_new_budget_of_one_kernel_leaves_those_of_others() {
        let budget = parse("out 6.1 100\nout host 100\ngone host 7\n").unwrap();
        let measured = parse("out host 200\nin host 3\n").unwrap();
        let expected = parse("out 6.1 100\nout host 250\nin host 3\n").unwrap();
        assert_eq!(renewed(budget, &measured, &[Kernel::Host]), expected);
    }

    #[test]
    fn a_line_that_is_no_budget_is_named() {
        assert_eq!(parse("out 6.1 many").unwrap_err().to_string(), "\"out 6.1 many\" is not PROGRAM KERNEL NUMBER");
    }
}
