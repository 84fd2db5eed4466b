//! The guest tier: all targets in one boot per kernel, their output and status left in the guest's `/out`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::deadline::Deadline;
use super::libtest;
use super::tally::Tally;
use super::targets::{self, Executable};
use crate::demo;
use crate::ebpf;
use crate::guest::boot::{Boot, Outcome};
use crate::guest::kernel::Label;
use crate::shell::{quote, say, took};
use crate::verifier;
use crate::workspace::Workspace;

/// What runs a step and leaves how it ended.
const STEP: &str = include_str!("step.sh");
/// Until a step is stopped, so that those after it still run.
const STEP_LIMIT: Duration = Duration::from_secs(600);
/// Until the boot is given up: all of it takes 15 to 18 minutes on a machine of two cores.
const BOOT_LIMIT: Duration = Duration::from_secs(25 * 60);

/// The target that tries the lab itself, without an agent: one kernel says as much of it as three.
const LAB: &str = "lab";

/// What runs in a boot.
struct Plan<'a> {
    verifier: bool,
    targets: Vec<(Executable, Vec<String>)>,
    filter: Option<&'a str>,
    /// The agent that `demo --check` plays with, where that is wanted.
    demo: Option<PathBuf>,
}

/// Runs all on each kernel, one kernel after the other: the machine has few cores.
pub fn run(
    workspace: &Workspace,
    kernels: &[Label],
    filter: Option<&str>,
    deadline: Deadline,
    tally: &mut Tally,
) -> Result<()> {
    ebpf::build(workspace)?;
    let targets = targets::list(workspace)?;
    let names: Vec<&str> =
        targets.iter().filter(|target| target.is_guest()).map(|target| target.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let built = targets::build(workspace, &names)?;
    let is_wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let demo = is_wanted("demo").then_some(built.agent);
    let mut plan = Plan { verifier: is_wanted("verifier"), targets: Vec::new(), filter, demo };
    for executable in built.tests {
        let tests = executable.tests(filter)?;
        if !tests.is_empty() {
            plan.targets.push((executable, tests));
        }
    }
    for (done, kernel) in kernels.iter().enumerate() {
        if done == 1 {
            plan.targets.retain(|(executable, _)| executable.name != LAB);
        }
        if plan.targets.is_empty() && !plan.verifier && plan.demo.is_none() {
            break;
        }
        let start = Instant::now();
        let limit = deadline.share(start, kernels.len() - done, BOOT_LIMIT);
        let result = on(workspace, *kernel, &plan, limit).unwrap_or_else(|error| {
            // A kernel that cannot be had or booted says nothing about the others.
            let mut tally = Tally::default();
            tally.fail("boot", &format!("{error:#}"));
            tally
        });
        say(format!("guest {kernel}: {result} ({})", took(start)));
        tally.add(result.within(&kernel.to_string()));
    }
    Ok(())
}

fn on(workspace: &Workspace, kernel: Label, plan: &Plan<'_>, limit: Duration) -> Result<Tally> {
    // The claims are tests on every kernel: here it is the program that a user starts, on the kernel that it takes.
    let demo = plan.demo.as_ref().filter(|_| kernel == demo::KERNEL);
    let mut script = STEP.to_string();
    if plan.verifier {
        let command = verifier::command(workspace, kernel)?;
        script.push_str(&format!("step verifier {} env {command}\n", STEP_LIMIT.as_secs()));
    }
    script.push_str(&targets_script(workspace, plan));
    if let Some(agent) = demo {
        script.push_str(&format!("step demo {} {}\n", STEP_LIMIT.as_secs(), demo::script(agent, &["--check"])?));
    }
    let boot = Boot { kernel, name: format!("test-{kernel}"), script, limit };
    let outcome = boot.run(workspace)?;
    let out = boot.out(workspace);
    let mut tally = Tally::default();
    if outcome != Outcome::Exited(0) {
        tally.fail("boot", &format!("{outcome}; see {}", out.join("console").display()));
    }
    let read = |file: String| fs::read_to_string(out.join(file)).unwrap_or_default();
    let ended = |name: &str| status(&read(format!("{name}.status")));
    if plan.verifier {
        if let Some((_, time)) = ended("verifier") {
            tally.took("verifier", time);
        }
        match verifier::over(workspace, &out.join("verifier.log")) {
            Ok(over) if over.is_empty() => tally.pass(),
            Ok(over) => tally.fail("verifier", &over.join("; ")),
            Err(error) => {
                tally.fail("verifier", &format!("{error:#}"));
                show_stderr(&out, "verifier");
            }
        }
    }
    for (executable, expected) in &plan.targets {
        let ended = ended(&executable.name);
        let log = read(format!("{}.log", executable.name));
        let counted = libtest::count(&log, Some(expected), ended.map(|(exit, _)| exit));
        if let Some((_, time)) = ended {
            tally.took(&executable.name, time);
        }
        if counted.failed() > 0 {
            show_stderr(&out, &executable.name);
        }
        tally.add(counted.within(&executable.name));
    }
    if demo.is_some() {
        match ended("demo") {
            Some((0, _)) => tally.pass(),
            Some((exit, _)) => tally.fail("demo --check", &format!("it exited with {exit}; see demo.log")),
            None => tally.fail("demo --check", "it was not ended"),
        }
        if let Some((_, time)) = ended("demo") {
            tally.took("demo --check", time);
        }
    }
    Ok(tally)
}

fn targets_script(workspace: &Workspace, plan: &Plan<'_>) -> String {
    let package = quote(&workspace.root().join("agent").to_string_lossy());
    let filter = plan.filter.map(quote).unwrap_or_default();
    let mut script = format!("cd {package}\nexport CARGO_MANIFEST_DIR={package} LANEKEEPER_OUT=/out\n");
    for (executable, _) in &plan.targets {
        let (name, file, limit) = (&executable.name, quote(&executable.file.to_string_lossy()), STEP_LIMIT.as_secs());
        script.push_str(&format!("step {name} {limit} {file} --test-threads=1 {filter}\n"));
    }
    script
}

/// A step's exit status, and how long it took; nothing where it was not ended.
fn status(text: &str) -> Option<(i32, Duration)> {
    let (exit, seconds) = text.trim().split_once(' ')?;
    Some((exit.parse().ok()?, Duration::from_secs(seconds.parse().ok()?)))
}

/// The console has shown stdout as it came; what a failing target said on stderr follows here.
fn show_stderr(out: &Path, name: &str) {
    let said = fs::read_to_string(out.join(format!("{name}.stderr"))).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    say(format!("the end of {name}'s stderr; all of it and the lab's logs are in {}", out.display()));
    for line in &lines[lines.len().saturating_sub(60)..] {
        eprintln!("    {line}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_step_leaves_its_output_and_how_it_ended() {
        let out = std::env::temp_dir().join(format!("lanekeeper-step-{}", std::process::id()));
        fs::create_dir_all(&out).unwrap();
        let step = STEP.replace("/out/", &format!("{}/", out.display()));
        let script =
            format!("{step}\nstep fails 5 sh -c 'echo said; exit 101'\nstep hangs 1 sleep 9\nstep fine 5 true\n");
        let run = Command::new("bash").args(["-c", &script]).output().unwrap();
        let read = |file: &str| fs::read_to_string(out.join(file)).unwrap();
        let exit = |name: &str| status(&read(&format!("{name}.status"))).unwrap().0;
        assert_eq!((exit("fails"), exit("hangs"), exit("fine")), (101, 124, 0));
        assert_eq!(read("fails.log"), "said\n");
        assert!(run.status.success(), "{run:?}");
        fs::remove_dir_all(&out).unwrap();
    }

    #[test]
    fn a_step_that_never_ended_has_no_status() {
        assert_eq!(status("101 34\n"), Some((101, Duration::from_secs(34))));
        assert_eq!(status(""), None);
    }
}
