//! What the kernel spends on a reading of 1,024 classes' counters.
//!
//! A class of a tenant is one: 64 classes, the most that a file may have, of 15 tenants and of no tenant. A value of the map holds
//! 256 counters for each CPU, so that one system call reads those of dozens of classes. What is timed is the system time of the
//! thread that reads all counters of such a gateway, which has one tunnel of one lane beside, as getrusage tells it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lanekeeper::compile::series::Series;
use lanekeeper::compile::{Registry, compile};
use lanekeeper::config;
use lanekeeper::kernel::dataplane::Dataplane;
use lanekeeper::policy::Policy;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::{PINS, Times};

/// Classes of a file, and tenants beside what is nobody's.
const CLASSES: usize = 64;
const TENANTS: usize = 15;
/// All that are read.
pub const ALL: usize = CLASSES * (TENANTS + 1);

/// Rounds of so many readings. The kernel shares a thread's time between itself and the program by what each tick of the clock
/// meets, 250 in a second: only of many readings together is the share true.
const ROUNDS: usize = 9;
const READINGS: u32 = 500;

/// What no class does without.
const TUNNEL: &str = r#"
[[tunnel]]
name = "hub"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["class-0"]
device = { type = "xfrm", name = "lk-hub", if-id = 1 }
routes = ["192.168.0.0/16"]
ike = { local-id = "hub.example", remote-id = "branch.example", auth = { psk-file = "psk" } }
"#;

/// What one reading takes of this thread's time.
pub struct Reading {
    /// Within the kernel.
    pub kernel_ms: Times,
    /// All of it: names are looked up and copied outside of it.
    pub cpu_ms: Times,
}

/// Loads the tables that have them, beside others, and reads again and again.
pub fn read() -> Result<Reading> {
    let root = Path::new(PINS).join("classes");
    std::fs::create_dir(&root)?;
    let mut dataplane = Dataplane::open(&root)?;
    dataplane.load(&compile(&policy()?, &mut Registry::default())?)?;
    let is_class = |series: &Series| matches!(series, Series::ClassOut { class, .. } if !class.is_empty());
    let found = dataplane.counters()?.iter().filter(|reading| is_class(&reading.series)).count();
    ensure!(found == ALL, "{found} classes are read");
    let (mut kernel, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = spent()?;
        for _ in 0..READINGS {
            dataplane.counters()?;
        }
        let after = spent()?;
        kernel.push((after.0 - before.0) / READINGS);
        cpu.push((after.0 + after.1 - before.0 - before.1) / READINGS);
    }
    Ok(Reading { kernel_ms: Times::of(kernel), cpu_ms: Times::of(cpu) })
}

fn policy() -> Result<Policy> {
    let classes = (0..CLASSES).map(|number| format!("[[class]]\nname = \"class-{number}\"\n"));
    let tenants = (0..TENANTS)
        .map(|number| format!("[[tenant]]\nname = \"tenant-{number}\"\nsources = [\"10.{number}.0.0/16\"]\n"));
    let rest = [TUNNEL.to_owned(), "[default]\nclass = \"class-0\"\n".to_owned()];
    let text: String = classes.chain(tenants).chain(rest).collect();
    Ok(config::parse_text("classes.toml", &text)?.policy)
}

/// This thread's time so far, within the kernel and outside of it.
fn spent() -> Result<(Duration, Duration)> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let time = |time: TimeVal| Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()).unsigned_abs());
    Ok((time(usage.system_time()), time(usage.user_time())))
}
