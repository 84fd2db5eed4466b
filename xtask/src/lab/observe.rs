//! `lanekeeper observe --json` in a gateway, at work: each line is kept as it comes.

use std::fs::remove_file;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::agent::Agent;

/// The verifier takes its time on an emulated CPU.
const LOADED: Duration = Duration::from_secs(60);

/// Until what has passed is shown.
const SHOWN: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(20);

/// The command.
#[derive(Debug)]
pub struct Observe {
    child: Child,
    pcap: PathBuf,
    reader: JoinHandle<Result<()>>,
    lines: Arc<Mutex<Vec<Value>>>,
}

/// What it came to.
#[derive(Debug)]
pub struct Observed {
    /// How it ended.
    pub code: i32,
    /// Packet by packet.
    pub lines: Vec<Value>,
    /// What it says of them on stderr.
    pub said: String,
}

impl Observe {
    /// Returns when it observes, which the capture that it writes then tells.
    pub fn start(agent: &Agent, words: &[&str]) -> Result<Self> {
        let pcap = agent.runtime().join("seen.pcap");
        let _ = remove_file(&pcap);
        let file = pcap.to_str().context("a path that is no text")?;
        let mut command = agent.command(&[&["observe", "--json", "--pcap", file], words].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = BufReader::new(child.stdout.take().context("no pipe")?);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            out.lines().try_for_each(|line| {
                locked(&into).push(serde_json::from_str(&line?)?);
                Ok(())
            })
        });
        let mut observe = Self { child, pcap, reader, lines };
        let deadline = Instant::now() + LOADED;
        while !observe.pcap.metadata().is_ok_and(|meta| meta.len() > 0) {
            if let Some(status) = observe.child.try_wait()? {
                bail!("observe {words:?}: it ended with {status}");
            }
            if Instant::now() >= deadline {
                observe.child.kill()?;
                bail!("observe {words:?}: it does not observe within {LOADED:?}");
            }
            thread::sleep(PAUSE);
        }
        Ok(observe)
    }

    /// The capture that it writes.
    pub fn pcap(&self) -> &Path {
        &self.pcap
    }

    /// Waits until so many have been shown that go to one of these ports: they come a moment after the packets.
    pub fn wait_for(&self, count: u64, ports: &[u16]) -> Result<()> {
        let is_of = |line: &&Value| ports.iter().any(|port| line["destination_port"] == *port);
        let shown = || locked(&self.lines).iter().filter(is_of).count() as u64;
        let deadline = Instant::now() + SHOWN;
        while shown() < count {
            if Instant::now() >= deadline {
                bail!("{} of {count} to {ports:?} are shown", shown());
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(self) -> Result<Observed> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT)?;
        self.end()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<Observed> {
        let mut said = String::new();
        self.child.stderr.take().context("no pipe")?.read_to_string(&mut said)?;
        let code = self.child.wait()?.code().context("a signal ended it")?;
        self.reader.join().map_err(|_| anyhow!("its lines were not read"))??;
        Ok(Observed { code, lines: std::mem::take(&mut *locked(&self.lines)), said })
    }
}

fn locked(lines: &Mutex<Vec<Value>>) -> MutexGuard<'_, Vec<Value>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
