//! `explain`: packets in words or from a capture, through the classifier or the program.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::{Outcome, Places, wait_for};
use crate::compile::{Registry, Tables, compile};
use crate::config;
use crate::explain::engine::{Engine, Kernel};
use crate::explain::line::{Line, head};
use crate::explain::shadow::{self, Shadows};
use crate::explain::words::Words;
use crate::explain::{self, Frame, capture};
use crate::kernel::dataplane::Dataplane;
use crate::kernel::lookup::Lookup;
use crate::lane::LaneId;
use crate::model::Model;
use crate::policy::Policy;
use crate::reconcile::once;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The classifier on the host
    Model,
    /// The program that the kernel runs, over maps of its own
    Kernel,
}

/// Whether it is this machine's lanes, routes, policies and SAs that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Where the file runs here
    Auto,
    /// Yes, or an error
    Always,
    /// No: every lane is up
    Never,
}

/// What is explained.
#[derive(Debug)]
pub enum Packets {
    /// One.
    InWords(String),
    /// Many, which came in by the interface, if that is said.
    Captured {
        /// The file.
        pcap: PathBuf,
        /// The name.
        interface: Option<String>,
    },
}

/// How.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// One JSON object per packet.
    pub json: bool,
    /// Who decides.
    pub engine: Which,
    /// Whether this machine counts.
    pub live: When,
}

/// One answer per packet.
pub fn explain(places: &Places, file: &Path, packets: Packets, how: How) -> anyhow::Result<Outcome> {
    let Scene { policy, tables, up, mut lookup } = Scene::of(places, file, how.live)?;
    let mut engine: Box<dyn Engine> = match how.engine {
        Which::Model => Box::new(Model::with_up(&tables, &up)),
        Which::Kernel => Box::new(Kernel::new(&tables, &up)?),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    match packets {
        Packets::InWords(words) => {
            let frame = Frame::of(&Words::parse(&words)?);
            let line = explain::explain_nearly(&policy, engine.as_mut(), lookup.as_mut(), &frame)?;
            if how.json { writeln!(out, "{}", line.json())? } else { write!(out, "{}", line.text())? }
        }
        Packets::Captured { pcap, interface } => {
            if !how.json {
                writeln!(out, "{}", head(lookup.is_some()))?;
            }
            let mut outcome: anyhow::Result<()> = Ok(());
            let read = capture::read(&pcap, |frame| {
                if outcome.is_ok() {
                    let frame = match interface.as_deref() {
                        Some(interface) => frame.by(interface),
                        None => frame,
                    };
                    outcome = explain::explain(&policy, engine.as_mut(), lookup.as_mut(), &frame)
                        .map_err(Into::into)
                        .and_then(|line| write_line(&mut out, &line, how.json));
                }
            });
            outcome?;
            // What could be read stands before the error.
            out.flush()?;
            read?;
        }
    }
    out.flush()?;
    Ok(Outcome::Fine)
}

fn write_line(out: &mut impl Write, line: &Line, json: bool) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", if json { line.json() } else { line.row() })?)
}

/// What packets meet.
struct Scene {
    policy: Policy,
    tables: Tables,
    up: Vec<LaneId>,
    /// Where the file runs here.
    lookup: Option<Lookup>,
}

impl Scene {
    fn of(places: &Places, file: &Path, when: When) -> anyhow::Result<Self> {
        let policy = config::inspect(file)?.policy;
        let live = match when {
            When::Never => None,
            When::Always => Some(Self::live(places, file, &policy)?.with_context(|| {
                format!(
                    "nothing of lanekeeper's is pinned below {}, or only root may look: start `lanekeeper run`, or leave --live out",
                    places.bpffs.display()
                )
            })?),
            When::Auto => Self::live(places, file, &policy).unwrap_or_else(|why| {
                eprintln!("lanekeeper: every lane is taken for up, and nothing is said of this machine: {why:#}");
                None
            }),
        };
        match live {
            Some(scene) => Ok(scene),
            None => {
                let tables = compile(&policy, &mut Registry::default())?;
                let up = tables.lanes.keys().cloned().collect();
                Ok(Self { policy, tables, up, lookup: None })
            }
        }
    }

    /// `None` where nothing of ours is loaded.
    fn live(places: &Places, file: &Path, policy: &Policy) -> anyhow::Result<Option<Self>> {
        let Some((observed, mut registry)) = Dataplane::peek(&places.bpffs)? else { return Ok(None) };
        let policy = wait_for(once::learnt(&places.resolved(), policy.clone()))?;
        let tables = compile(&policy, &mut registry)?;
        if observed.digest != Some(tables.digest) {
            bail!(
                "{} is not all that runs here: it waits for `lanekeeper reload`, or rules were added, which `lanekeeper rules list` shows",
                file.display()
            );
        }
        let up = Dataplane::peek_up(&places.bpffs, &tables)?;
        Ok(Some(Self { policy, tables, up, lookup: Some(Lookup::open()?) }))
    }
}

/// One line for each rule that no packet can reach.
pub fn shadowed(file: &Path, json: bool) -> anyhow::Result<Outcome> {
    let policy = config::inspect(file)?.policy;
    let tables = compile(&policy, &mut Registry::default())?;
    let Shadows { rules: all, unseen } = shadow::shadows(&policy, &tables);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for one in &all {
        writeln!(out, "{}", if json { one.json(&policy) } else { one.text(&policy) })?;
    }
    if all.is_empty() && unseen.is_none() && !json {
        writeln!(out, "no rule is shadowed")?;
    }
    out.flush()?;
    if let Some(rule) = unseen {
        eprintln!(
            "lanekeeper: rules from {} on were not looked at: those before them took too long",
            policy.rules[rule].place
        );
    }
    Ok(if all.is_empty() { Outcome::Fine } else { Outcome::Finding })
}
