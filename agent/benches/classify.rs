//! What the egress program costs over long rule lists, in nanoseconds of the kernel's own count, above an empty program.
//!
//! `cargo xtask bench classify [--json FILE]`. Each family's lists of 10 to 100,000 rules are loaded side by side, and
//! rounds go through all of them in turn, so that whatever the machine does meanwhile falls on all alike. *uncached* runs
//! every packet once a round: between two packets comes a system call and the memory of thousands of others. *repeated*
//! runs one packet a thousand times over.

#[path = "../tests/witness/mod.rs"]
mod witness;

use std::fmt::Write as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::model::Probe;
use serde::Serialize;
use witness::list::{self, FAMILIES, Family};
use witness::random::Random;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const PACKETS: usize = 4_096;
const ROUNDS: usize = 5;
const REPEAT: u32 = 1_000;
/// Of the packets, those that are repeated.
const REPEATED: usize = 64;

#[derive(Serialize)]
struct Report {
    /// Median of the empty program, run as *uncached* is.
    baseline_ns: f64,
    rows: Vec<Row>,
    goals: Vec<Goal>,
}

#[derive(Serialize)]
struct Row {
    engine: &'static str,
    family: &'static str,
    rules: usize,
    mode: &'static str,
    ns_median: f64,
    ns_min: f64,
    ns_max: f64,
    load_ms: f64,
}

#[derive(Serialize)]
struct Goal {
    id: &'static str,
    want: String,
    got: String,
    pass: bool,
}

/// A tc program that returns at once.
struct Empty(OwnedFd);

/// linux/bpf.h: `union bpf_attr` as far as a program's load goes.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The same for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    /// Nanoseconds of one run.
    duration: u32,
}

impl Empty {
    fn new() -> Self {
        const BPF_PROG_LOAD: i32 = 5;
        const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
        // r0 = -1 (TC_ACT_UNSPEC); exit
        let code: [u64; 2] = [0xffff_ffff_0000_00b7, 0x0000_0000_0000_0095];
        let license = c"GPL";
        let load = Load {
            kind: BPF_PROG_TYPE_SCHED_CLS,
            instructions: 2,
            code: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
        };
        // SAFETY: the kernel reads `load`, the code and the licence, which outlive the call, and returns a new descriptor.
        unsafe {
            let program = libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>());
            assert!(program >= 0, "an empty program: {}", std::io::Error::last_os_error());
            Self(OwnedFd::from_raw_fd(program as i32))
        }
    }

    fn time(&self, frame: &[u8], repeat: u32) -> Duration {
        const BPF_PROG_TEST_RUN: i32 = 10;
        let mut run = TestRun {
            program: self.0.as_raw_fd() as u32,
            size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat,
            ..TestRun::default()
        };
        // SAFETY: the kernel reads the frame and writes its answers into `run`; both outlive the call.
        let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut run, size_of::<TestRun>()) };
        assert_eq!(done, 0, "a test run of the empty program: {}", std::io::Error::last_os_error());
        Duration::from_nanos(run.duration.into())
    }
}

/// A list that is loaded, and the packets for it.
struct Loaded {
    rules: usize,
    trial: Trial,
    frames: Vec<Vec<u8>>,
    load: Duration,
}

fn load(family: &Family, rules: usize) -> Loaded {
    let policy = list::policy(family, rules);
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    let start = Instant::now();
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    trial.load(&tables).unwrap();
    let load = start.elapsed();
    trial.set_all_up().unwrap();
    trial.set_tunnel("tunnel0").unwrap();
    let mut random = Random::new(11);
    let frames = (0..PACKETS).map(|_| list::packet(&mut random, family, &policy).frame).collect();
    Loaded { rules, trial, frames, load }
}

fn mean(of: impl Iterator<Item = Duration>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for duration in of {
        sum += duration.as_nanos() as f64;
        count += 1;
    }
    sum / f64::from(count)
}

fn row(family: &Family, loaded: &Loaded, mode: &'static str, mut ns: Vec<f64>) -> Row {
    ns.sort_by(f64::total_cmp);
    Row {
        engine: "lanekeeper",
        family: family.name,
        rules: loaded.rules,
        mode,
        ns_median: ns[ns.len() / 2],
        ns_min: ns[0],
        ns_max: ns[ns.len() - 1],
        load_ms: loaded.load.as_secs_f64() * 1e3,
    }
}

/// The rows of a family, and the empty program's means.
fn measure(family: &Family, empty: &Empty) -> (Vec<Row>, Vec<f64>) {
    let mut lists: Vec<Loaded> = SIZES.iter().map(|rules| load(family, *rules)).collect();
    let mut baselines = Vec::new();
    let mut uncached = vec![Vec::new(); lists.len()];
    let mut repeated = vec![Vec::new(); lists.len()];
    for _ in 0..ROUNDS {
        let frames = &lists[0].frames;
        let once = mean(frames.iter().map(|frame| empty.time(frame, 1)));
        let many = mean(frames[..REPEATED].iter().map(|frame| empty.time(frame, REPEAT)));
        baselines.push(once);
        for (place, list) in lists.iter_mut().enumerate() {
            let Loaded { trial, frames, .. } = list;
            let mut time = |frame: &[u8], repeat| {
                trial.time(&Probe { frame, mark: 0, ingress: None, stripped: None }, repeat).unwrap()
            };
            uncached[place].push(mean(frames.iter().map(|frame| time(frame, 1))) - once);
            repeated[place].push(mean(frames[..REPEATED].iter().map(|frame| time(frame, REPEAT))) - many);
        }
    }
    let mut rows = Vec::new();
    for (place, list) in lists.iter().enumerate() {
        rows.push(row(family, list, "uncached", std::mem::take(&mut uncached[place])));
        rows.push(row(family, list, "repeated", std::mem::take(&mut repeated[place])));
    }
    (rows, baselines)
}

fn uncached<'a>(rows: &'a [Row], family: &str, rules: usize) -> &'a Row {
    let is_it = |row: &&Row| row.family == family && row.rules == rules && row.mode == "uncached";
    rows.iter().find(is_it).expect("every family has every size")
}

/// Those goals that need no other engine beside ours.
fn goals(rows: &[Row]) -> Vec<Goal> {
    let growth =
        |family: &Family| uncached(rows, family.name, 100_000).ns_median / uncached(rows, family.name, 1_000).ns_median;
    let (worst, ratio) = FAMILIES
        .iter()
        .map(|family| (family.name, growth(family)))
        .max_by(|one, other| one.1.total_cmp(&other.1))
        .expect("there are families");
    let slowest = rows.iter().map(|row| row.load_ms).fold(0.0, f64::max);
    vec![
        Goal {
            id: "P5",
            want: "uncached at 100,000 rules <= 4x that at 1,000, in every family".into(),
            got: format!("{ratio:.2}x in {worst}"),
            pass: ratio <= 4.0,
        },
        Goal {
            id: "P6 (load)",
            want: "100,000 rules from parsed config to live <= 1,000 ms".into(),
            got: format!("{slowest:.0} ms"),
            pass: slowest <= 1000.0,
        },
    ]
}

fn table(report: &Report) -> String {
    let mut text = format!("empty program: {:.0} ns; all else above it\n\n", report.baseline_ns);
    let _ = write!(text, "{:<6} {:<9}", "family", "mode");
    for rules in SIZES {
        let _ = write!(text, "{rules:>9}");
    }
    text.push_str("  ns a packet, by rules\n");
    for family in &FAMILIES {
        for mode in ["uncached", "repeated"] {
            let _ = write!(text, "{:<6} {mode:<9}", family.name);
            for row in report.rows.iter().filter(|row| row.family == family.name && row.mode == mode) {
                let _ = write!(text, "{:>9.0}", row.ns_median);
            }
            text.push('\n');
        }
    }
    for Goal { id, want, got, pass } in &report.goals {
        let _ = writeln!(text, "\n{id}: {want}: {got}: {}", if *pass { "reached" } else { "NOT reached" });
    }
    text
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().position(|argument| argument == "--json").and_then(|at| arguments.get(at + 1));
    let empty = Empty::new();
    let (mut rows, mut baselines) = (Vec::new(), Vec::new());
    for family in &FAMILIES {
        eprintln!("{}", family.name);
        let (of_family, baseline) = measure(family, &empty);
        rows.extend(of_family);
        baselines.extend(baseline);
    }
    baselines.sort_by(f64::total_cmp);
    let goals = goals(&rows);
    let report = Report { baseline_ns: baselines[baselines.len() / 2], rows, goals };
    print!("{}", table(&report));
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_string_pretty(&report).unwrap()).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
}
