//! What 100,000 rules take of time and memory, in a process that does nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::Trial;
use xtask::lab::netns;

use crate::report::{Footprint, SIZES};
use crate::stats::median;
use crate::witness::list::{self, Family};

/// Times that the list is loaded; the median counts.
const LOADS: usize = 3;

/// Asks a process of its own.
pub fn of(family: &Family) -> Result<Footprint> {
    let this = std::env::current_exe()?;
    let said = netns::run(Command::new(this).args(["--footprint", family.name]))?;
    serde_json::from_slice(&said.stdout).context("a process that said what it holds")
}

/// Loads the list here.
pub fn here(family: &Family) -> Result<Footprint> {
    let policy = list::policy(family, SIZES[SIZES.len() - 1]);
    let mut trial = Trial::new()?;
    let mut load = || -> Result<f64> {
        let start = Instant::now();
        trial.load(&compile(&policy, &mut Registry::default())?)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let loads = (0..LOADS).map(|_| load()).collect::<Result<Vec<f64>>>()?;
    Ok(Footprint { family: family.name.to_owned(), load_ms: median(&loads), maps: maps()?, resident: resident()? })
}

/// By the kernel's own count, of each map that this process has open.
fn maps() -> Result<u64> {
    let mut of_map = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The folder's own descriptor is gone by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        if let (Some(id), Some(bytes)) = (number(&text, "map_id:"), number(&text, "memlock:")) {
            of_map.insert(id, bytes);
        }
    }
    Ok(of_map.values().sum())
}

fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    Ok(number(&text, "VmRSS:").context("no VmRSS in /proc/self/status")? * 1024)
}

/// The number behind a line's name.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
