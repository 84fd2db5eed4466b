//! What a scrape costs of a gateway with 1,000 tunnels of four classes: P9 of the project's goals.
//!
//! `cargo xtask bench metrics [--json FILE]`. The agent's own page, of tables that are live in this machine's kernel, on a
//! bpffs and in namespaces that nobody else sees. There are no SAs: the page does not read them. What the kernel spends on the
//! counters of many classes is measured of a gateway that has these, behind all else: its tables would be in this process's memory.

mod classes;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lanekeeper::compile::{Registry, compile};
use lanekeeper::config;
use lanekeeper::ike::Event;
use lanekeeper::kernel::dataplane::Dataplane;
use lanekeeper::lane::LaneId;
use lanekeeper::metrics::Format;
use lanekeeper::metrics::server::Source;
use lanekeeper::policy::Policy;
use lanekeeper::reconcile::live::Live;
use serde::Serialize;

#[derive(Parser)]
struct Arguments {
    /// Write the figures there too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const TUNNELS: usize = 1_000;
const CLASSES: [&str; 4] = ["voice", "video", "bulk", "default"];
/// Scrapes that count, after one that does not.
const SCRAPES: usize = 15;
/// Where the namespaces that this runs in have their bpffs.
const PINS: &str = "/sys/fs/bpf";

/// What was wanted and what was got.
#[derive(Debug, Serialize)]
struct Goal {
    id: &'static str,
    want: &'static str,
    got: String,
    pass: bool,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Times {
    median: f64,
    min: f64,
    max: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
struct Report {
    tunnels: usize,
    classes: usize,
    /// Lines of the page that are values.
    series: usize,
    /// Of the page.
    bytes: usize,
    /// Until all counters are read.
    read_ms: Times,
    /// Until the page is written, reading included.
    page_ms: Times,
    /// The same page as OpenMetrics, which Prometheus asks for.
    openmetrics_ms: Times,
    /// Within the kernel, for the counters of 1,024 classes.
    classes_kernel_ms: Times,
    /// The same with what the agent does of it.
    classes_cpu_ms: Times,
    /// Of this process after the scrapes: the compiled tables, and what a page takes.
    resident_bytes: u64,
    goals: Vec<Goal>,
}

impl Times {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let ms = |at: usize| took[at].as_secs_f64() * 1e3;
        Self { median: ms(took.len() / 2), min: ms(0), max: ms(took.len() - 1) }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let policy = Arc::new(policy()?);
    let mut dataplane = Dataplane::open(Path::new(PINS))?;
    let tables = compile(&policy, &mut Registry::default())?;
    dataplane.load(&tables)?;
    drop(tables);
    let dataplane = Arc::new(Mutex::new(dataplane));
    let live = Live::new(Arc::clone(&dataplane), Path::new("bench.toml"), Arc::clone(&policy), None)?;
    live.install(&policy)?;
    for tunnel in &policy.tunnels {
        for lane in &tunnel.lanes {
            let class = policy.classes[lane.class.0].name.clone();
            live.on(&Event::LaneUp(LaneId { tunnel: tunnel.name.clone(), class, index: lane.index }))?;
        }
    }

    let (mut reads, mut pages, mut open, mut page) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    for scrape in 0..=SCRAPES {
        let start = Instant::now();
        let readings = dataplane.lock().expect("nothing panicked").counters()?;
        let read = start.elapsed();
        ensure!(readings.len() > TUNNELS * CLASSES.len(), "{} counters", readings.len());
        drop(readings);
        let start = Instant::now();
        drop(live.page(Format::OpenMetrics).map_err(anyhow::Error::msg)?);
        let openmetrics = start.elapsed();
        let start = Instant::now();
        page = live.page(Format::Prometheus).map_err(anyhow::Error::msg)?;
        if scrape > 0 {
            reads.push(read);
            open.push(openmetrics);
            pages.push(start.elapsed());
        }
    }
    let up = page.lines().filter(|line| line.starts_with("lanekeeper_lane_up{") && line.ends_with(" 1")).count();
    ensure!(up == TUNNELS * CLASSES.len(), "{up} lanes up on the page");
    let resident = resident()?;
    let report = report(&page, [reads, pages, open].map(Times::of), resident, classes::read()?);
    println!(
        "{} tunnels x {} classes: {} series, {} bytes",
        report.tunnels, report.classes, report.series, report.bytes
    );
    println!(
        "counters read in {:.1} ms ({:.1} to {:.1})",
        report.read_ms.median, report.read_ms.min, report.read_ms.max
    );
    println!(
        "page written in {:.1} ms ({:.1} to {:.1}), as OpenMetrics in {:.1} ms ({:.1} to {:.1})",
        report.page_ms.median,
        report.page_ms.min,
        report.page_ms.max,
        report.openmetrics_ms.median,
        report.openmetrics_ms.min,
        report.openmetrics_ms.max
    );
    println!(
        "{} classes read in {:.3} ms of the kernel ({:.3} to {:.3}), {:.2} ms with the agent's part",
        classes::ALL,
        report.classes_kernel_ms.median,
        report.classes_kernel_ms.min,
        report.classes_kernel_ms.max,
        report.classes_cpu_ms.median
    );
    for Goal { id, want, got, pass } in &report.goals {
        println!("{id} {want}: {got}, {}", if *pass { "met" } else { "MISSED" });
    }
    if let Some(file) = &arguments.json {
        fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn report(
    page: &str,
    [read_ms, page_ms, openmetrics_ms]: [Times; 3],
    resident_bytes: u64,
    classes: classes::Reading,
) -> Report {
    let classes::Reading { kernel_ms: classes_kernel_ms, cpu_ms: classes_cpu_ms } = classes;
    let slower = page_ms.median.max(openmetrics_ms.median);
    let mib = resident_bytes as f64 / f64::from(1 << 20);
    let goals = vec![
        Goal {
            id: "P9",
            want: "1,024 classes read in <= 1 ms of the kernel",
            got: format!("{:.3} ms", classes_kernel_ms.median),
            pass: classes_kernel_ms.median <= 1.0,
        },
        Goal {
            id: "P9",
            want: "/metrics at 1,000 tunnels x 4 classes <= 100 ms",
            got: format!("{slower:.1} ms"),
            pass: slower <= 100.0,
        },
        Goal { id: "P9", want: "resident there <= 64 MiB", got: format!("{mib:.0} MiB"), pass: mib <= 64.0 },
    ];
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    Report {
        tunnels: TUNNELS,
        classes: CLASSES.len(),
        series,
        bytes: page.len(),
        read_ms,
        page_ms,
        openmetrics_ms,
        classes_kernel_ms,
        classes_cpu_ms,
        resident_bytes,
        goals,
    }
}

/// Written as a file would be, so that all that the agent keeps of one is kept.
fn policy() -> Result<Policy> {
    let mut text = String::new();
    for class in CLASSES {
        text += &format!("[[class]]\nname = \"{class}\"\n");
    }
    for number in 1..=TUNNELS {
        text += &format!(
            "[[tunnel]]\nname = \"branch-{number}\"\nlocal = \"192.0.2.1\"\nremote = \"198.18.{}.{}\"\nclasses = {CLASSES:?}\n\
             device = {{ type = \"xfrm\", name = \"lk-{number}\", if-id = {number} }}\nroutes = [\"10.{}.{}.0/24\"]\n\
             ike = {{ local-id = \"hub.example\", remote-id = \"branch-{number}.example\", auth = {{ psk-file = \"psk\" }} }}\n",
            number / 256,
            number % 256,
            number / 256,
            number % 256
        );
    }
    Ok(config::parse_text("bench.toml", &text)?.policy)
}

fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.split_whitespace().next().context("an empty VmRSS")?.parse()?;
    Ok(kib * 1024)
}
