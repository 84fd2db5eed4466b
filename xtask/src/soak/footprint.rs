//! Reads what an agent takes of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use lanekeeper_common::abi::{self, Device, Guide, Ingress, Name, Numbers, OuterKey, map};

use super::judge::PASSING;
use super::sample::Footprint;
use crate::lab::agent::Agent;
use crate::lab::metrics::Metrics;

/// Of the agent that runs there.
pub fn read(agent: &Agent) -> Result<Footprint> {
    let process = PathBuf::from(format!("/proc/{}", agent.id().context("no agent runs")?));
    let status = fs::read_to_string(process.join("status"))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let series = agent.metrics()?;
    let mut counts = [
        ("descriptors".to_owned(), fs::read_dir(process.join("fd"))?.count() as u64),
        ("series".to_owned(), lasting(&series)),
        ("pins".to_owned(), pins(&agent.bpffs())?.len() as u64),
    ]
    .into_iter()
    .collect::<std::collections::BTreeMap<_, _>>();
    let ours = agent.bpffs().join("lanekeeper");
    let folder = ours.join(format!("v{}", abi::VERSION));
    let entries = [
        (map::DEVICES, entries::<u32, Device>(&folder, map::DEVICES)),
        (map::INTERFACES, entries::<u32, Ingress>(&folder, map::INTERFACES)),
        (map::CGROUPS, entries::<u64, u32>(&folder, map::CGROUPS)),
        (map::GUIDES, entries::<u32, Guide>(&folder, map::GUIDES)),
        (map::OUTER, entries::<OuterKey, u32>(&folder, map::OUTER)),
        (map::NAMES, entries::<Name, Numbers>(&ours.join("kept"), map::NAMES)),
    ];
    for (name, count) in entries {
        counts.insert(format!("entries of {name}"), count.with_context(|| format!("map {name}"))?);
    }
    Ok(Footprint { rss: rss.context("no VmRSS")?, counts })
}

/// Every file below a bpffs.
pub fn pins(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(pins(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn entries<K: Pod, V: Pod>(folder: &Path, name: &str) -> Result<u64> {
    let map = HashMap::<_, K, V>::try_from(Map::HashMap(MapData::from_pin(folder.join(name))?))?;
    Ok(map.keys().filter(Result::is_ok).count() as u64)
}

fn lasting(metrics: &Metrics) -> u64 {
    let passes = |rule: &String| rule.starts_with(PASSING);
    metrics.0.keys().filter(|series| !series.labels.get("rule").is_some_and(passes)).count() as u64
}
