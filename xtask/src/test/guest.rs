//! The guest tier: each kernel's targets in two boots of one processor that draw from one heap, as many boots at a time as there
//! are cores; what they print and how they end is left in the guest's `/out`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::deadline::Deadline;
use super::libtest;
use super::side_by_side::{cores, side_by_side};
use super::tally::Tally;
use super::targets::{self, Executable};
use crate::demo;
use crate::ebpf;
use crate::guest::boot::{self, Boot, Outcome, PROCESSORS};
use crate::guest::kernel::Label;
use crate::lab;
use crate::shell::{self, quote, say, took};
use crate::verifier;
use crate::workspace::Workspace;

/// What runs a step and leaves how it ended.
const STEP: &str = include_str!("step.sh");
/// Until a step is stopped, so that those after it still run.
const STEP_LIMIT: Duration = Duration::from_secs(900);
/// Until a boot is given up.
const BOOT_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Boots of one kernel: with one, the last of three kernels would leave a core of two idle for a third of the time.
const BOOTS: usize = 2;

/// Side by side, guests of one processor ran the whole of 6.12 in 9 min 36 s, guests of two in twice that (two cores,
/// 2026-11-26). What needs several processors at once is in the tier `prog`, on the host's, and in the demo.
const SHARED: u8 = 1;

/// The targets of which one kernel says as much as three, shared out among those that are there: one tries the lab itself, without
/// an agent, one systemd's sandbox, four fail, undo, mend and take away whatever can be, four are about devices, policies and marks
/// alone, one about what others have beside them, one about lanes that are set up otherwise than those of `lanes_claims`, and the others look at what the agent makes of
/// what charon says and of routes, or shows, some through programs that take much of an emulated CPU. What classifies, steers and
/// counts packets, and what starts anew, runs on each: `prog` and `verifier` have all programs.
const ONCE: [&str; 28] = [
    "attach_adopted",
    "attach_around",
    "attach_clients",
    "attach_doctor",
    "attach_gre",
    "attach_identity",
    "attach_marks",
    "attach_selectors",
    "attach_trap",
    "attach_vrf",
    "attach_vti",
    "fault_closed",
    "fault_soak",
    "lab",
    "lanes_confirm",
    "lanes_drift",
    "lanes_fallback",
    "lanes_ike",
    "lanes_rekey",
    "lanes_sysdump",
    "lanes_undo",
    "lanes_unit",
    "lanes_variants",
    "see_latency",
    "see_observe",
    "see_scrape",
    "see_top",
    "attach_beside",
];

/// The targets of what an older kernel has not.
const ONLY: [(&str, Label); 2] = [("attach_cpus", Label::V7_2), ("attach_namespace", Label::V6_12)];

/// The targets that take longest: begun last, they would leave a core idle to the end.
const LONGEST: [&str; 4] = ["fault_closed", "see_top", "lanes_rekey", "attach_clients"];

/// Who starts the agents of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemons {
    /// The test itself.
    Plain,
    /// A systemd each, as the packaged unit.
    Units,
}

/// What runs on a kernel, in boots that draw from one heap: each runs what no other has begun.
struct Work<'a> {
    kernel: Label,
    /// `6.12-1`: that of each boot.
    boots: Vec<String>,
    processors: u8,
    verifier: bool,
    /// With the tests expected of each.
    targets: Vec<&'a (Executable, Vec<String>)>,
    filter: Option<&'a str>,
    daemons: Daemons,
    /// The agent that `demo --check` plays with, where that is wanted.
    demo: Option<&'a Path>,
}

/// Runs all on each kernel.
pub fn run(
    workspace: &Workspace,
    kernels: &[Label],
    filter: Option<&str>,
    daemons: Daemons,
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
    let mut targets = Vec::new();
    for executable in built.tests {
        let tests = executable.tests(filter)?;
        if !tests.is_empty() {
            targets.push((executable, tests));
        }
    }
    if targets.iter().any(|(executable, _)| executable.name == targets::OF_TWO_VERSIONS) {
        targets::build_other(workspace)?;
    }
    let all = work(kernels, &targets, filter, daemons, &built.agent);
    let running: Vec<_> = all.iter().map(|work| AtomicUsize::new(work.boots.len())).collect();
    let boots =
        all.iter().zip(&running).flat_map(|(work, running)| work.boots.iter().map(move |name| (work, name, running)));
    for done in side_by_side(boots.collect(), |&(work, name, running), left| {
        let limit = deadline.share(Instant::now(), left.div_ceil(cores()), BOOT_LIMIT);
        let start = Instant::now();
        let mut tally = Tally::default();
        // A kernel that cannot be had or booted says nothing about the others.
        match boot(workspace, work, name, limit) {
            Ok(Outcome::Exited(0)) => {}
            Ok(outcome) => {
                tally.fail("boot", &format!("{outcome}; see {}", out(workspace, name).join("console").display()));
            }
            Err(error) => tally.fail("boot", &format!("{error:#}")),
        }
        say(format!("guest {name}: ended ({})", took(start)));
        if running.fetch_sub(1, Ordering::SeqCst) == 1 {
            let counted = count(workspace, work);
            say(format!("guest {}: {counted}", work.boots.join(" and ")));
            tally.add(counted);
        }
        tally.within(&work.kernel.to_string())
    }) {
        tally.add(done);
    }
    all.iter().try_for_each(|work| shell::remove_folder(&heap(workspace, work)))
}

/// What runs on each kernel, and before that what is a boot of its own.
fn work<'a>(
    kernels: &[Label],
    targets: &'a [(Executable, Vec<String>)],
    filter: Option<&'a str>,
    daemons: Daemons,
    agent: &'a Path,
) -> Vec<Work<'a>> {
    let is_wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let mut all = Vec::new();
    // The claims are tests on every kernel: the demo is the program that a user starts, as it starts.
    if is_wanted("demo") && kernels.contains(&demo::KERNEL) {
        all.push(Work {
            kernel: demo::KERNEL,
            boots: vec![format!("{}-demo", demo::KERNEL)],
            processors: PROCESSORS,
            verifier: false,
            targets: Vec::new(),
            filter,
            daemons,
            demo: Some(agent),
        });
    }
    for (at, &kernel) in kernels.iter().enumerate() {
        let has = |name: &str| ONLY.iter().find(|(only, _)| *only == name).is_none_or(|(_, of)| *of == kernel);
        let is_here = |name: &str| {
            has(name) && ONCE.iter().position(|once| *once == name).is_none_or(|n| n % kernels.len() == at)
        };
        let mut targets: Vec<_> = targets.iter().filter(|(executable, _)| is_here(&executable.name)).collect();
        targets.sort_by_key(|(executable, _)| !LONGEST.contains(&executable.name.as_str()));
        let verifier = is_wanted("verifier");
        let boots = BOOTS.min(targets.len() + usize::from(verifier));
        if boots > 0 {
            let boots = (1..=boots).map(|boot| format!("{kernel}-{boot}")).collect();
            all.push(Work { kernel, boots, processors: SHARED, verifier, targets, filter, daemons, demo: None });
        }
    }
    all
}

/// A boot's name in the folder of outs.
fn named(boot: &str) -> String {
    format!("test-{boot}")
}

fn out(workspace: &Workspace, boot: &str) -> PathBuf {
    boot::out(workspace, &named(boot))
}

/// Where a folder stands for each step that has begun; of this process, for another may run the same.
fn heap(workspace: &Workspace, work: &Work<'_>) -> PathBuf {
    let id = std::process::id();
    boot::out(workspace, &format!("{}.{id}", work.boots.first().map_or("", String::as_str)))
}

fn boot(workspace: &Workspace, work: &Work<'_>, name: &str, limit: Duration) -> Result<Outcome> {
    let heap = heap(workspace, work);
    fs::create_dir_all(&heap)?;
    let boot = Boot {
        kernel: work.kernel,
        name: named(name),
        processors: work.processors,
        prefix: format!("{name}| "),
        script: script(workspace, work)?,
        heap: Some(heap),
        limit,
    };
    boot.run(workspace)
}

fn script(workspace: &Workspace, work: &Work<'_>) -> Result<String> {
    let mut script = STEP.to_string();
    if work.verifier {
        let command = verifier::command(workspace, work.kernel)?;
        script.push_str(&format!("step verifier {} env {command}\n", STEP_LIMIT.as_secs()));
    }
    script.push_str(&targets_script(workspace, work));
    if let Some(agent) = work.demo {
        script.push_str(&format!("step demo {} {}\n", STEP_LIMIT.as_secs(), demo::script(agent, &["--check"])?));
    }
    Ok(script)
}

/// What its steps left, wherever they ran.
fn count(workspace: &Workspace, work: &Work<'_>) -> Tally {
    let outs: Vec<PathBuf> = work.boots.iter().map(|boot| out(workspace, boot)).collect();
    let left = |step: &str| {
        let file = format!("{step}.log");
        let out = outs.iter().find(|out| out.join(&file).exists()).unwrap_or(&outs[0]);
        let read = |file: &str| fs::read_to_string(out.join(file)).unwrap_or_default();
        (out, read(&file), status(&read(&format!("{step}.status"))))
    };
    let mut tally = Tally::default();
    if work.verifier {
        let (out, _, ended) = left("verifier");
        if let Some((_, time)) = ended {
            tally.took("verifier", time);
        }
        match verifier::over(workspace, &out.join("verifier.log")) {
            Ok(over) if over.is_empty() => tally.pass(),
            Ok(over) => tally.fail("verifier", &over.join("; ")),
            Err(error) => {
                tally.fail("verifier", &format!("{error:#}"));
                show_stderr(out, "verifier");
            }
        }
    }
    for (executable, expected) in &work.targets {
        let (out, log, ended) = left(&executable.name);
        let counted = libtest::count(&log, Some(expected), ended.map(|(exit, _)| exit));
        if let Some((_, time)) = ended {
            tally.took(&executable.name, time);
        }
        if counted.failed() > 0 {
            show_stderr(out, &executable.name);
        }
        tally.add(counted.within(&executable.name));
    }
    if work.demo.is_some() {
        let (_, _, ended) = left("demo");
        match ended {
            Some((0, _)) => tally.pass(),
            Some((exit, _)) => tally.fail("demo --check", &format!("it exited with {exit}; see demo.log")),
            None => tally.fail("demo --check", "it was not ended"),
        }
        if let Some((_, time)) = ended {
            tally.took("demo --check", time);
        }
    }
    tally
}

fn targets_script(workspace: &Workspace, work: &Work<'_>) -> String {
    let package = quote(&workspace.root().join("agent").to_string_lossy());
    // Who asks for some wants to see what they measure.
    let filter = work.filter.map(|filter| format!("--show-output {}", quote(filter))).unwrap_or_default();
    let mut script = format!("cd {package}\nexport CARGO_MANIFEST_DIR={package} LANEKEEPER_OUT=/out\n");
    if work.daemons == Daemons::Units {
        script.push_str(&format!("export {}=1\n", lab::unit::VARIABLE));
    }
    for (executable, _) in &work.targets {
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
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_step_leaves_its_output_and_how_it_ended() {
        let out = std::env::temp_dir().join(format!("lanekeeper-step-{}", std::process::id()));
        fs::create_dir_all(&out).unwrap();
        let step =
            STEP.replace("/out/", &format!("{}/", out.display())).replace("/heap/", &format!("{}/", out.display()));
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
    fn what_one_boot_has_begun_no_other_begins() {
        let folder = std::env::temp_dir().join(format!("lanekeeper-heap-{}", std::process::id()));
        let beside = |boot: &str| {
            let out = folder.join(boot);
            fs::create_dir_all(&out).unwrap();
            STEP.replace("/out/", &format!("{}/", out.display()))
        };
        let heap = folder.join("heap");
        fs::create_dir_all(&heap).unwrap();
        let steps = "step one 9 sh -c 'sleep 0.2; echo one'\nstep two 9 sh -c 'sleep 0.2; echo two'\n";
        let boots = ["first", "second"].map(|boot| {
            let script = beside(boot).replace("/heap/", &format!("{}/", heap.display())) + steps;
            Command::new("bash").args(["-c", &script]).stdout(Stdio::null()).spawn().unwrap()
        });
        boots.into_iter().for_each(|mut boot| assert!(boot.wait().unwrap().success()));
        for step in ["one", "two"] {
            let said: Vec<String> = ["first", "second"]
                .iter()
                .filter_map(|boot| fs::read_to_string(folder.join(boot).join(format!("{step}.log"))).ok())
                .collect();
            assert_eq!(said, [format!("{step}\n")]);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn each_kernel_runs_every_target_and_one_of_them_the_lab_and_what_takes_long_comes_first() {
        let executable = |name: &str| Executable { name: name.into(), file: name.into(), package: "agent".into() };
        let targets = ["a", "lab", "b", "c", "see_top"].map(|name| (executable(name), vec!["test".to_string()]));
        let said: Vec<String> = work(&[Label::V6_1, demo::KERNEL], &targets, None, Daemons::Plain, Path::new("agent"))
            .iter()
            .map(|work| {
                let names: Vec<&str> = work.targets.iter().map(|(target, _)| target.name.as_str()).collect();
                let (boots, verifier, demo) = (work.boots.join(" "), work.verifier, work.demo.is_some());
                format!("{boots}, {}: {} verifier {verifier} demo {demo}", work.processors, names.join(","))
            })
            .collect();
        assert_eq!(
            said,
            [
                "6.12-demo, 2:  verifier false demo true",
                "6.1-1 6.1-2, 1: see_top,a,b,c verifier true demo false",
                "6.12-1 6.12-2, 1: a,lab,b,c verifier true demo false",
            ]
        );
    }

    #[test]
    fn a_boot_with_nothing_to_run_is_left_out() {
        let targets =
            [(Executable { name: "a".into(), file: "a".into(), package: "agent".into() }, vec!["test".to_string()])];
        let all = work(&Label::ALL, &targets, Some("a"), Daemons::Units, Path::new("agent"));
        let names: Vec<String> = all.into_iter().flat_map(|work| work.boots).collect();
        assert_eq!(names, ["6.1-1", "6.12-1", "7.2-1"]);
    }

    #[test]
    fn a_step_that_never_ended_has_no_status() {
        assert_eq!(status("101 34\n"), Some((101, Duration::from_secs(34))));
        assert_eq!(status(""), None);
    }
}
