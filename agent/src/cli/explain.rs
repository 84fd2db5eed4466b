//! `explain`: packets in words or from a capture, through the classifier or the program.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::Outcome;
use crate::compile::{Registry, compile};
use crate::config;
use crate::explain::engine::{Engine, Kernel};
use crate::explain::line::{HEAD, Line};
use crate::explain::words::Words;
use crate::explain::{self, Frame, capture};
use crate::model::Model;
use crate::policy::Policy;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The classifier on the host
    Model,
    /// The program that the kernel runs, over maps of its own
    Kernel,
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

/// One answer per packet.
pub fn explain(file: &Path, packets: Packets, json: bool, which: Which) -> anyhow::Result<Outcome> {
    let policy = config::inspect(file)?.policy;
    let tables = compile(&policy, &mut Registry::default())?;
    let mut engine: Box<dyn Engine> = match which {
        Which::Model => Box::new(Model::all_up(&tables)),
        Which::Kernel => Box::new(Kernel::new(&tables)?),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    match packets {
        Packets::InWords(words) => {
            let frame = Frame::of(&Words::parse(&words)?);
            let line = explain::explain(&policy, engine.as_mut(), &frame)?;
            if json { writeln!(out, "{}", line.json())? } else { write!(out, "{}", line.text())? }
        }
        Packets::Captured { pcap, interface } => {
            if !json {
                writeln!(out, "{HEAD}")?;
            }
            let mut outcome: anyhow::Result<()> = Ok(());
            let read = capture::read(&pcap, |frame| {
                if outcome.is_ok() {
                    outcome = each(&policy, engine.as_mut(), frame, interface.as_deref(), |line| {
                        Ok(writeln!(out, "{}", if json { line.json() } else { line.row() })?)
                    });
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

fn each(
    policy: &Policy,
    engine: &mut dyn Engine,
    frame: Frame,
    interface: Option<&str>,
    write: impl FnOnce(&Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let frame = match interface {
        Some(interface) => frame.by(interface),
        None => frame,
    };
    write(&explain::explain(policy, engine, &frame)?)
}
