//! The guest tier: all targets in one boot per kernel, their output and status left in the guest's `/out`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::deadline::Deadline;
use super::libtest;
use super::tally::Tally;
use super::targets::{self, Executable};
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
/// Until the boot is given up: all of it takes 12 minutes on an idle machine of two cores.
const BOOT_LIMIT: Duration = Duration::from_secs(20 * 60);

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
    let mut planned = Vec::new();
    for executable in targets::build(workspace, &names)? {
        let tests = executable.tests(filter)?;
        if !tests.is_empty() {
            planned.push((executable, tests));
        }
    }
    let verifier = filter.is_none_or(|filter| "verifier".contains(filter));
    if planned.is_empty() && !verifier {
        return Ok(());
    }
    for (done, kernel) in kernels.iter().enumerate() {
        let start = Instant::now();
        let limit = deadline.share(start, kernels.len() - done, BOOT_LIMIT);
        let result = on(workspace, *kernel, &planned, filter, verifier, limit).unwrap_or_else(|error| {
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

fn on(
    workspace: &Workspace,
    kernel: Label,
    planned: &[(Executable, Vec<String>)],
    filter: Option<&str>,
    verifier: bool,
    limit: Duration,
) -> Result<Tally> {
    let mut script = STEP.to_string();
    if verifier {
        let command = verifier::command(workspace, kernel)?;
        script.push_str(&format!("step verifier {} env {command}\n", STEP_LIMIT.as_secs()));
    }
    script.push_str(&targets_script(workspace, planned, filter));
    let boot = Boot { kernel, name: format!("test-{kernel}"), script, limit };
    let outcome = boot.run(workspace)?;
    let out = boot.out(workspace);
    let mut tally = Tally::default();
    if outcome != Outcome::Exited(0) {
        tally.fail("boot", &format!("{outcome}; see {}", out.join("console").display()));
    }
    let read = |file: String| fs::read_to_string(out.join(file)).unwrap_or_default();
    let ended = |name: &str| status(&read(format!("{name}.status")));
    if verifier {
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
    for (executable, expected) in planned {
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
    Ok(tally)
}

fn targets_script(workspace: &Workspace, planned: &[(Executable, Vec<String>)], filter: Option<&str>) -> String {
    let package = quote(&workspace.root().join("agent").to_string_lossy());
    let filter = filter.map(quote).unwrap_or_default();
    let mut script = format!("cd {package}\nexport CARGO_MANIFEST_DIR={package} LANEKEEPER_OUT=/out\n");
    for (executable, _) in planned {
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
