//! `lanekeeper` in a gateway's namespace, with a runtime folder and a bpffs of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;

use super::failpoints::{self, Failpoints};
use super::metrics::Metrics;
use super::netns::{Ns, run};
use super::process::Process;

/// How long the verifier may take over the programs, on an emulated CPU that others want too.
const START: Duration = Duration::from_secs(180);

/// How long a daemon that is to end may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The agent's side of a gateway: files, mounts and commands; the daemon where it runs.
#[derive(Debug)]
pub struct Agent {
    ns: Ns,
    binary: PathBuf,
    folder: PathBuf,
    level: Option<&'static str>,
    failpoints: Option<Failpoints>,
    daemon: Option<Process>,
}

impl Agent {
    /// Makes the folders and mounts the bpffs; starts nothing.
    pub fn new(binary: &Path, ns: &Ns, folder: &Path) -> Result<Self> {
        let agent = Self {
            ns: ns.clone(),
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            level: None,
            failpoints: None,
            daemon: None,
        };
        fs::create_dir_all(agent.runtime())?;
        fs::create_dir_all(agent.bpffs())?;
        mount(Some("bpf"), &agent.bpffs(), Some("bpf"), MsFlags::empty(), None::<&str>).context("mount a bpffs")?;
        Ok(agent)
    }

    /// Its namespace.
    pub fn ns(&self) -> &Ns {
        &self.ns
    }

    /// The bpffs.
    pub fn bpffs(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    /// The runtime folder, with the control socket.
    pub fn runtime(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// `lanekeeper ARGUMENTS` in the namespace, with this gateway's folders.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ns.command(&self.binary.to_string_lossy());
        command.args(arguments).env("LANEKEEPER_RUNTIME_DIR", self.runtime()).env("LANEKEEPER_BPFFS", self.bpffs());
        if let Some(failpoints) = &self.failpoints {
            command.env(failpoints::VARIABLE, failpoints.folder());
        }
        command
    }

    /// Runs a verb to its end, whatever its exit status.
    pub fn call(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().with_context(|| format!("lanekeeper {arguments:?}"))
    }

    /// Runs a verb that must succeed.
    pub fn must(&self, arguments: &[&str]) -> Result<String> {
        let output = run(&mut self.command(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Has daemons that are started from now on log at that level.
    pub fn set_level(&mut self, level: &'static str) {
        self.level = Some(level);
    }

    /// Has all that is started from now on stop where it is told to.
    pub fn set_failpoints(&mut self) -> Result<Failpoints> {
        let failpoints = Failpoints::new(&self.folder.join("failpoints"))?;
        self.failpoints = Some(failpoints.clone());
        Ok(failpoints)
    }

    /// Whether the daemon was started and has not been ended since.
    pub fn is_started(&self) -> bool {
        self.daemon.is_some()
    }

    /// Its process id.
    pub fn id(&self) -> Option<u32> {
        self.daemon.as_ref().map(Process::id)
    }

    /// Has daemons that are started from now on be of another build.
    pub fn set_binary(&mut self, binary: &Path) {
        self.binary = binary.to_owned();
    }

    /// Starts the daemon and waits until its file is in place.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        let ns = self.ns.clone();
        // Metrics are served before the file is in place.
        let in_place =
            || Metrics::scrape(&ns).is_ok_and(|metrics| metrics.sum("lanekeeper_reload_success", &[]) == 1.0);
        self.daemon()?.wait_until(START, "lanekeeper has its file in place", in_place)
    }

    /// Starts the daemon and waits for nothing.
    pub fn launch(&mut self) -> Result<()> {
        let config = self.config();
        let mut command = self.command(&["run", "--config", &config.to_string_lossy()]);
        if let Some(level) = self.level {
            command.env("LANEKEEPER_LOG", level);
        }
        self.daemon = Some(Process::start("lanekeeper", &mut command, &self.folder.join("lanekeeper.log"))?);
        Ok(())
    }

    /// Waits until `lanes` lanes are up.
    pub fn wait_for_lanes(&mut self, lanes: usize, limit: Duration) -> Result<()> {
        let ns = self.ns.clone();
        let ready =
            || Metrics::scrape(&ns).is_ok_and(|metrics| metrics.sum("lanekeeper_lane_up", &[]) as usize == lanes);
        self.daemon()?.wait_until(limit, &format!("{lanes} lanes are up"), ready)
    }

    /// The daemon.
    pub fn daemon(&mut self) -> Result<&mut Process> {
        self.daemon.as_mut().context("lanekeeper was not started")
    }

    /// SIGTERM, and waits.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop()?;
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
        }
        Ok(())
    }

    /// Forgets a daemon that has ended by itself.
    pub fn bury(&mut self) -> Result<ExitStatus> {
        self.daemon.take().context("lanekeeper was not started")?.wait(PATIENCE)
    }

    /// SIGHUP: reads its file again.
    pub fn hang_up(&mut self) -> Result<()> {
        self.daemon()?.signal(Signal::SIGHUP)
    }

    /// Its metrics.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(&self.ns)
    }

    /// Where it logs.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("lanekeeper.log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("lab: {error:#}");
        }
        if let Err(error) = umount(&self.bpffs()) {
            eprintln!("lab: unmount {}: {error}", self.bpffs().display());
        }
    }
}
