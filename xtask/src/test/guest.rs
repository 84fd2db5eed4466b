//! The guest tier: each kernel's targets in two boots of one processor, as many boots at a time as there are cores; what they
//! print and how they end is left in the guest's `/out`.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::deadline::Deadline;
use super::libtest;
use super::tally::Tally;
use super::targets::{self, Executable};
use crate::demo;
use crate::ebpf;
use crate::guest::boot::{Boot, Outcome, PROCESSORS};
use crate::guest::kernel::Label;
use crate::shell::{quote, say, took};
use crate::verifier;
use crate::workspace::Workspace;

/// What runs a step and leaves how it ended.
const STEP: &str = include_str!("step.sh");
/// Until a step is stopped, so that those after it still run.
const STEP_LIMIT: Duration = Duration::from_secs(600);
/// Until a boot is given up.
const BOOT_LIMIT: Duration = Duration::from_secs(25 * 60);

/// Boots of one kernel: with one, the last of three kernels would leave a core of two idle for a third of the time.
const BOOTS: usize = 2;

/// Side by side, guests of one processor ran the whole of 6.12 in 9 min 36 s, guests of two in twice that (two cores,
/// 2026-11-26). What needs several processors at once is in the tier `prog`, on the host's, and in the demo.
const SHARED: usize = 1;

/// The targets of which one kernel says as much as three, shared out among those that are there: one tries the lab itself, without
/// an agent, one systemd's sandbox, two fail and take away whatever can be, and the others look at what the agent makes of what
/// charon says and of routes, or shows, some through programs that take much of an emulated CPU.
const ONCE: [&str; 14] = [
    "attach_adopted",
    "attach_around",
    "attach_clients",
    "attach_doctor",
    "attach_identity",
    "attach_selectors",
    "attach_trap",
    "fault_closed",
    "fault_soak",
    "lab",
    "lanes_sysdump",
    "lanes_unit",
    "see_scrape",
    "see_top",
];

/// What may run in a boot.
struct Plan<'a> {
    verifier: bool,
    targets: Vec<(Executable, Vec<String>)>,
    filter: Option<&'a str>,
    /// The agent that `demo --check` plays with, where that is wanted.
    demo: Option<PathBuf>,
}

/// One boot, and what runs in it.
struct Share<'a> {
    kernel: Label,
    /// `6.12-1`
    name: String,
    processors: usize,
    plan: Plan<'a>,
}

/// Runs all on each kernel.
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
    if plan.targets.iter().any(|(executable, _)| executable.name == targets::OF_TWO_VERSIONS) {
        targets::build_other(workspace)?;
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for done in side_by_side(cores, shares(kernels, &plan), |share, left| {
        let limit = deadline.share(Instant::now(), left.div_ceil(cores), BOOT_LIMIT);
        one(workspace, share, limit)
    }) {
        tally.add(done);
    }
    Ok(())
}

/// What each boot runs, in the order of the kernels.
fn shares<'a>(kernels: &[Label], plan: &Plan<'a>) -> Vec<Share<'a>> {
    let mut shares = Vec::new();
    for (at, &kernel) in kernels.iter().enumerate() {
        let is_here = |name: &str| ONCE.iter().position(|once| *once == name).is_none_or(|n| n % kernels.len() == at);
        let targets = plan.targets.iter().filter(|(executable, _)| is_here(&executable.name));
        for boot in 0..BOOTS {
            let targets = targets.clone().skip(boot).step_by(BOOTS).cloned().collect();
            let part = Plan { verifier: plan.verifier && boot == 0, targets, filter: plan.filter, demo: None };
            if part.verifier || !part.targets.is_empty() {
                shares.push(Share { kernel, name: format!("{kernel}-{}", boot + 1), processors: SHARED, plan: part });
            }
        }
        // The claims are tests on every kernel: the demo is the program that a user starts, as it starts.
        if let Some(agent) = plan.demo.clone().filter(|_| kernel == demo::KERNEL) {
            let part = Plan { verifier: false, targets: Vec::new(), filter: plan.filter, demo: Some(agent) };
            shares.push(Share { kernel, name: format!("{kernel}-demo"), processors: PROCESSORS, plan: part });
        }
    }
    shares
}

/// Works on `all`, `slots` at a time; the answers in their order. `work` learns how many are not done, its own included.
fn side_by_side<T: Send, R: Send>(slots: usize, all: Vec<T>, work: impl Fn(&T, usize) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(all.into_iter().enumerate().collect::<VecDeque<_>>());
    let next = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let left = queue.len();
        queue.pop_front().map(|(at, one)| (at, one, left))
    };
    let mut answers: Vec<(usize, R)> = thread::scope(|scope| {
        let worker = || {
            let mut answers = Vec::new();
            while let Some((at, one, left)) = next() {
                answers.push((at, work(&one, left)));
            }
            answers
        };
        let workers: Vec<_> = (0..slots).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a panic has said why")).collect()
    });
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn one(workspace: &Workspace, share: &Share<'_>, limit: Duration) -> Tally {
    let start = Instant::now();
    let result = boot(workspace, share, limit).unwrap_or_else(|error| {
        // A kernel that cannot be had or booted says nothing about the others.
        let mut tally = Tally::default();
        tally.fail("boot", &format!("{error:#}"));
        tally
    });
    say(format!("guest {}: {result} ({})", share.name, took(start)));
    result.within(&share.kernel.to_string())
}

fn boot(workspace: &Workspace, share: &Share<'_>, limit: Duration) -> Result<Tally> {
    let Share { kernel, name, processors, plan } = share;
    let mut script = STEP.to_string();
    if plan.verifier {
        let command = verifier::command(workspace, *kernel)?;
        script.push_str(&format!("step verifier {} env {command}\n", STEP_LIMIT.as_secs()));
    }
    script.push_str(&targets_script(workspace, plan));
    if let Some(agent) = &plan.demo {
        script.push_str(&format!("step demo {} {}\n", STEP_LIMIT.as_secs(), demo::script(agent, &["--check"])?));
    }
    let boot = Boot {
        kernel: *kernel,
        name: format!("test-{name}"),
        processors: *processors,
        prefix: format!("{name}| "),
        script,
        limit,
    };
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
    if plan.demo.is_some() {
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
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
    fn boots_run_side_by_side_and_answer_in_their_order() {
        let (running, most, both) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(2));
        let answers = side_by_side(2, vec!["first", "second", "third"], |&name, left| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if name != "third" {
                // Neither ends before the other has begun.
                both.wait();
            }
            running.fetch_sub(1, Ordering::SeqCst);
            format!("{name} of {left}")
        });
        assert_eq!(answers, ["first of 3", "second of 2", "third of 1"]);
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn each_kernel_runs_every_target_once_and_one_of_them_the_lab() {
        let executable = |name: &str| Executable { name: name.into(), file: name.into() };
        let target = |name: &str| (executable(name), vec!["test".to_string()]);
        let targets = ["a", "lab", "b", "c"].map(target).to_vec();
        let plan = Plan { verifier: true, targets, filter: None, demo: Some("agent".into()) };
        let said: Vec<String> = shares(&[Label::V6_1, demo::KERNEL], &plan)
            .iter()
            .map(|share| {
                let names: Vec<&str> = share.plan.targets.iter().map(|(target, _)| target.name.as_str()).collect();
                let (verifier, demo) = (share.plan.verifier, share.plan.demo.is_some());
                format!("{} {}: {} verifier {verifier} demo {demo}", share.name, share.processors, names.join(","))
            })
            .collect();
        assert_eq!(
            said,
            [
                "6.1-1 1: a,c verifier true demo false",
                "6.1-2 1: b verifier false demo false",
                "6.12-1 1: a,b verifier true demo false",
                "6.12-2 1: lab,c verifier false demo false",
                "6.12-demo 2:  verifier false demo true",
            ]
        );
    }

    #[test]
    fn a_boot_with_nothing_to_run_is_left_out() {
        let target = (Executable { name: "a".into(), file: "a".into() }, vec!["test".to_string()]);
        let plan = Plan { verifier: false, targets: vec![target], filter: Some("a"), demo: None };
        let names: Vec<String> = shares(&Label::ALL, &plan).into_iter().map(|share| share.name).collect();
        assert_eq!(names, ["6.1-1", "6.12-1", "7.2-1"]);
    }

    #[test]
    fn a_step_that_never_ended_has_no_status() {
        assert_eq!(status("101 34\n"), Some((101, Duration::from_secs(34))));
        assert_eq!(status(""), None);
    }
}
