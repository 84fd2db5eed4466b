//! A network namespace for each engine, where packets come in by a veth, pass the engine, and are counted and dropped.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask::lab::netns::{self, Netns};

use crate::bpf::{FRAMES, Program};
use crate::frame::MAC;
use crate::gro;

/// The device that packets come in by.
pub const DEVICE: &str = "in0";
/// The other end of its pair.
const FAR: &str = "out0";

/// Frames that are sent at once. One poll takes in 64: as many would make it ask for another turn, which the kernel may
/// leave to a thread, whose time nobody counts.
const BATCH: u32 = 32;

/// Behind every engine: prerouting, a step after `mangle`, where netfilter's engines mark. Both counters count in every
/// engine's run and in the empty one's.
const DROP: &str = "\
table inet tally {
    counter marked { }
    counter unmarked { }
    chain tally {
        type filter hook prerouting priority mangle + 1
        meta mark != 0 counter name marked drop
        counter name unmarked drop
    }
}
";

/// What was put in, to be compared with what was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Those that should get a mark.
    pub marked: u64,
}

/// A namespace with nothing in it but the counting.
#[derive(Debug)]
pub struct Stage {
    netns: Netns,
    ifindex: u32,
    /// The device that packets are injected at, and how many at once.
    entry: (u32, u32),
    injected: Tally,
}

impl Stage {
    /// Makes it. The program runs alone: nobody else gives namespaces numbers.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let netns = Netns::new(&format!("lk-bench-{}", MADE.fetch_add(1, Ordering::Relaxed)))?;
        // Without addresses of their own the devices send nothing that would be counted.
        netns.sh(&format!(
            "ip link add {DEVICE} address {} type veth peer name {FAR}
             ip link set {DEVICE} addrgenmode none
             ip link set {FAR} addrgenmode none
             ip link set {DEVICE} up
             ip link set {FAR} up",
            MAC.map(|byte| format!("{byte:02x}")).join(":")
        ))?;
        let ifindex = netns.ns().run(|| index(DEVICE))?;
        let stage = Self { netns, ifindex, entry: (ifindex, 0), injected: Tally::default() };
        stage.feed("nft", &["-f", "-"], DROP)?;
        Ok(stage)
    }

    /// The same, where frames are sent by the other end, and come in by NAPI whether a program of XDP waits there or not.
    pub fn across() -> Result<Self> {
        let stage = Self::new()?;
        let entry = stage.within(|| {
            gro::switch_on(DEVICE)?;
            index(FAR)
        })?;
        Ok(Self { entry: (entry, BATCH), ..stage })
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        self.netns.name()
    }

    /// The number of [`DEVICE`] in it.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Gives a program its rules; how long it took to take them.
    pub fn feed(&self, program: &str, arguments: &[&str], text: &str) -> Result<Duration> {
        let mut command = self.netns.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        // One that refuses early closes its end: what it says tells more than a broken pipe.
        let written = child.stdin.take().context("no stdin")?.write_all(text.as_bytes());
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program}: {}: {}", output.status, said.lines().take(3).collect::<Vec<_>>().join("; "));
        }
        written.with_context(|| format!("feeding {program}"))?;
        Ok(start.elapsed())
    }

    /// Does something in it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.netns.ns().run(work)
    }

    /// Injects all frames once, of which so many should get a mark; nanoseconds a packet.
    pub fn pass(&mut self, injector: &Program, marked: u64) -> Result<f64> {
        self.injected.packets += FRAMES as u64;
        self.injected.marked += marked;
        let (entry, batch) = self.entry;
        let duration = self.within(|| injector.inject(entry, FRAMES as u32, batch))?;
        Ok(duration.as_nanos() as f64)
    }

    /// What all passes put in, and what was counted.
    pub fn tallies(&self) -> Result<(Tally, Tally)> {
        let said = netns::run(self.netns.command("nft").args(["--json", "list", "table", "inet", "tally"]))?;
        let said: serde_json::Value = serde_json::from_slice(&said.stdout)?;
        let count = |name: &str| {
            let objects = said["nftables"].as_array()?;
            let counter = objects.iter().map(|object| &object["counter"]).find(|counter| counter["name"] == name)?;
            counter["packets"].as_u64()
        };
        let marked = count("marked").context("nft says nothing of the marked")?;
        let unmarked = count("unmarked").context("nft says nothing of the unmarked")?;
        Ok((self.injected, Tally { packets: marked + unmarked, marked }))
    }
}

fn index(device: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(device).with_context(|| format!("{device}, which was just made"))
}
