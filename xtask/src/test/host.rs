//! The tiers on this machine's kernel: each test target in namespaces of its own.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::deadline::Deadline;
use super::libtest;
use super::side_by_side::side_by_side;
use super::tally::Tally;
use super::targets::{self, Executable};
use crate::alone::alone;
use crate::ebpf;
use crate::shell::{say, took};
use crate::verifier;
use crate::workspace::Workspace;

/// Until a target is given up.
const LIMIT: Duration = Duration::from_secs(600);

/// The programs' own tests, one target after the other, for some measure; beside them their budget is held.
pub fn prog(workspace: &Workspace, filter: Option<&str>, deadline: Deadline, tally: &mut Tally) -> Result<()> {
    ebpf::build(workspace)?;
    if filter.is_none_or(|filter| "verifier".contains(filter)) {
        tally.add(budget(workspace));
    }
    for executable in built(workspace, "prog")? {
        tally.add(one(&executable, filter, deadline));
    }
    Ok(())
}

/// What needs namespaces: several targets at a time, for they wait most of it.
pub fn netns(workspace: &Workspace, filter: Option<&str>, deadline: Deadline, tally: &mut Tally) -> Result<()> {
    ebpf::build(workspace)?;
    let done = side_by_side(built(workspace, "netns")?, |executable, _| one(executable, filter, deadline));
    done.into_iter().for_each(|done| tally.add(done));
    Ok(())
}

/// The targets whose name begins with `tier`.
fn built(workspace: &Workspace, tier: &str) -> Result<Vec<Executable>> {
    let targets = targets::list(workspace)?;
    let names: Vec<&str> =
        targets.iter().filter(|target| target.is_host(tier)).map(|target| target.name.as_str()).collect();
    if names.is_empty() { Ok(Vec::new()) } else { Ok(targets::build(workspace, &names)?.tests) }
}

/// As in the guests: a test of its own, of the name `verifier`.
fn budget(workspace: &Workspace) -> Tally {
    let start = Instant::now();
    let mut tally = Tally::default();
    match verifier::over_on_host(workspace) {
        Ok(over) if over.is_empty() => tally.pass(),
        Ok(over) => tally.fail("verifier", &over.join("; ")),
        Err(error) => tally.fail("verifier", &format!("{error:#}")),
    }
    tally.took("verifier", start.elapsed());
    say(format!("verifier: {tally} ({})", took(start)));
    tally
}

/// Alone, one test after the other.
fn one(executable: &Executable, filter: Option<&str>, deadline: Deadline) -> Tally {
    run(executable, alone(), &["--test-threads=1"], filter, deadline)
}

/// Runs the tests of a target that the filter lets through, by what runs the program that is added to it as arguments.
pub fn run(executable: &Executable, by: Command, options: &[&str], filter: Option<&str>, deadline: Deadline) -> Tally {
    tests(executable, by, options, filter, deadline).unwrap_or_else(|error| {
        let mut tally = Tally::default();
        tally.fail(&executable.name, &format!("{error:#}"));
        tally
    })
}

fn tests(
    executable: &Executable,
    mut by: Command,
    options: &[&str],
    filter: Option<&str>,
    deadline: Deadline,
) -> Result<Tally> {
    let expected = executable.tests(filter)?;
    if expected.is_empty() {
        return Ok(Tally::default());
    }
    let start = Instant::now();
    say(format!("{} on this kernel", executable.name));
    // 0 would be no limit.
    let limit = deadline.share(start, 1, LIMIT).as_secs().max(1).to_string();
    by.args(["timeout", "--kill-after", "10", &limit]).arg(&executable.file).args(options).args(filter);
    by.current_dir(&executable.package).env("CARGO_MANIFEST_DIR", &executable.package);
    let (exit, output) = tee(&mut by, &format!("{}| ", executable.name))?;
    let mut tally = libtest::count(&output, Some(&expected), exit).within(&executable.name);
    tally.took(&executable.name, start.elapsed());
    say(format!("{}: {tally} ({})", executable.name, took(start)));
    Ok(tally)
}

/// Runs a command with its stdout shown, each line behind `prefix`, and kept; its exit status unless a signal ended it, and what
/// it printed.
pub fn tee(command: &mut Command, prefix: &str) -> Result<(Option<i32>, String)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run a test")?;
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let (mut output, mut line) = (String::new(), Vec::new());
    while stdout.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{prefix}{text}");
        output.push_str(&text);
        line.clear();
    }
    Ok((child.wait()?.code(), output))
}
