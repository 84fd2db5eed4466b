//! `lanekeeper` in a gateway's namespace, with a runtime folder and a bpffs of its own: by itself, or under the packaged unit.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;

use super::failpoints::{self, Failpoints};
use super::metrics::Metrics;
use super::netns::{Ns, run};
use super::process::{Process, tail};
use super::unit::{self, Place, Unit};
use super::wait::until;
use crate::workspace::Workspace;

/// How long the verifier may take over the programs, on an emulated CPU that others want too.
const START: Duration = Duration::from_secs(180);

/// Whoever is using it, and with what is mounted below it.
const UNMOUNT: [&str; 2] = ["umount", "--lazy"];

const MISSING: &str = "lanekeeper was not started";

/// Between two looks at whether a unit that is waited for has failed: systemctl takes a processor of its own.
const LOOK: Duration = Duration::from_secs(5);

/// The agent's side of a gateway: files, mounts and commands; the daemon where it runs.
#[derive(Debug)]
pub struct Agent {
    ns: Ns,
    binary: PathBuf,
    folder: PathBuf,
    level: Option<&'static str>,
    failpoints: Option<Failpoints>,
    under_unit: bool,
    daemon: Option<Daemon>,
}

#[derive(Debug)]
enum Daemon {
    Alone(Process),
    Unit(Unit),
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
            under_unit: env::var_os(unit::VARIABLE).is_some(),
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

    /// The same file as the daemon knows it.
    pub fn known_config(&self) -> PathBuf {
        if self.under_unit { unit::CONFIG.into() } else { self.config() }
    }

    /// `lanekeeper ARGUMENTS` in the namespace, with this gateway's folders, and the mounts of the systemd that runs its daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.with(Unit::beside, arguments)
    }

    fn with(&self, under: fn(&Unit, &Ns, &Path) -> Command, arguments: &[&str]) -> Command {
        let mut command = match &self.daemon {
            Some(Daemon::Unit(unit)) => under(unit, &self.ns, &self.binary),
            _ => self.ns.command(&self.binary.to_string_lossy()),
        };
        command.args(arguments).env("LANEKEEPER_RUNTIME_DIR", self.runtime()).env("LANEKEEPER_BPFFS", self.bpffs());
        if let Some(failpoints) = &self.failpoints {
            command.env(failpoints::VARIABLE, failpoints.folder());
        }
        command
    }

    /// Runs a verb to its end, whatever its exit status.
    pub fn call(&self, arguments: &[&str]) -> Result<Output> {
        self.with(Unit::inside, arguments).output().with_context(|| format!("lanekeeper {arguments:?}"))
    }

    /// Runs a verb that must succeed.
    pub fn must(&self, arguments: &[&str]) -> Result<String> {
        let output = run(&mut self.with(Unit::inside, arguments))?;
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
        match self.daemon.as_ref()? {
            Daemon::Alone(process) => Some(process.id()),
            Daemon::Unit(unit) => unit.daemon().ok(),
        }
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
        self.wait_until(START, "lanekeeper has its file in place", in_place)
    }

    /// Has daemons that are started from now on be those of the packaged unit.
    pub fn set_under_unit(&mut self) {
        self.under_unit = true;
    }

    /// Starts the daemon and waits for nothing.
    pub fn launch(&mut self) -> Result<()> {
        self.daemon = Some(if self.under_unit { Daemon::Unit(self.of_unit()?) } else { Daemon::Alone(self.alone()?) });
        Ok(())
    }

    fn alone(&self) -> Result<Process> {
        let config = self.config();
        let mut command = self.command(&["run", "--config", &config.to_string_lossy()]);
        if let Some(level) = self.level {
            command.env("LANEKEEPER_LOG", level);
        }
        Process::start("lanekeeper", &mut command, &self.log_file())
    }

    fn of_unit(&self) -> Result<Unit> {
        let level = self.level.map(|level| ("LANEKEEPER_LOG", level.to_owned()));
        let failpoints = self.failpoints.as_ref();
        let failpoints = failpoints.map(|points| (failpoints::VARIABLE, points.folder().display().to_string()));
        let place = Place {
            ns: &self.ns,
            packaging: Workspace::find()?.root().join("agent/packaging"),
            binary: &self.binary,
            folder: &self.folder,
            runtime: self.runtime(),
            bpffs: self.bpffs(),
            // One that was killed where it was told to is looked at.
            restart: failpoints.is_none(),
            environment: level.into_iter().chain(failpoints).collect(),
        };
        Unit::launch(&place, &self.log_file())
    }

    /// Waits until `lanes` lanes are up.
    pub fn wait_for_lanes(&mut self, lanes: usize, limit: Duration) -> Result<()> {
        let ns = self.ns.clone();
        let ready =
            || Metrics::scrape(&ns).is_ok_and(|metrics| metrics.sum("lanekeeper_lane_up", &[]) as usize == lanes);
        self.wait_until(limit, &format!("{lanes} lanes are up"), ready)
    }

    fn wait_until(&mut self, limit: Duration, goal: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let unit = match self.daemon.as_mut().context(MISSING)? {
            Daemon::Alone(process) => return process.wait_until(limit, goal, ready),
            Daemon::Unit(unit) => unit,
        };
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if until(left.min(LOOK), &mut ready) {
                return Ok(());
            }
            // A unit that has failed becomes nothing else.
            unit.check()?;
            if left.is_zero() {
                bail!("lanekeeper: not within {limit:?}: {goal}\n{}", tail(&self.log()));
            }
        }
    }

    /// The daemon, where it is a child of ours.
    pub fn daemon(&mut self) -> Result<&mut Process> {
        match self.daemon.as_mut().context(MISSING)? {
            Daemon::Alone(process) => Ok(process),
            Daemon::Unit(_) => bail!("systemd runs lanekeeper, not the lab"),
        }
    }

    /// That unit, where its daemon was started.
    pub fn unit(&self) -> Result<&Unit> {
        match self.daemon.as_ref().context(MISSING)? {
            Daemon::Unit(unit) => Ok(unit),
            Daemon::Alone(_) => bail!("the lab runs lanekeeper, not systemd"),
        }
    }

    /// SIGTERM, and waits.
    pub fn stop(&mut self) -> Result<()> {
        match self.daemon.take() {
            Some(Daemon::Alone(mut process)) => process.stop().map(drop),
            Some(Daemon::Unit(unit)) => unit.stop(),
            None => Ok(()),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        match self.daemon.take() {
            Some(Daemon::Alone(mut process)) => process.kill(),
            Some(Daemon::Unit(unit)) => unit.kill(),
            None => Ok(()),
        }
    }

    /// Waits for a daemon to end by itself, and forgets it.
    pub fn bury(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = match self.daemon.as_mut().context(MISSING)? {
            Daemon::Alone(process) => process.wait(limit),
            Daemon::Unit(unit) => unit.wait(limit),
        }?;
        self.daemon = None;
        Ok(ended)
    }

    /// A signal to the daemon.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match self.daemon.as_ref().context(MISSING)? {
            Daemon::Alone(process) => process.signal(signal),
            Daemon::Unit(unit) => unit.signal(signal),
        }
    }

    /// SIGHUP: reads its file again.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// Puts an empty folder in the place of that one, for whoever sees it: the daemon and its systemd as well.
    pub fn hide(&self, path: &Path) -> Result<()> {
        let mount = ["mount", "-t", "tmpfs", "none"];
        if let Some(Daemon::Unit(unit)) = &self.daemon {
            unit.in_mounts(&mount, path)?;
        }
        run(Command::new(mount[0]).args(&mount[1..]).arg(path)).map(drop)
    }

    /// Takes what is mounted there away, from whoever else sees it.
    pub fn unmount(&self, path: &Path) -> Result<()> {
        if let Some(Daemon::Unit(unit)) = &self.daemon {
            unit.in_mounts(&UNMOUNT, path)?;
        }
        run(Command::new(UNMOUNT[0]).args(&UNMOUNT[1..]).arg(path)).map(drop)
    }

    /// Takes the bpffs away, with all that is pinned there, for so long.
    pub fn without_bpffs(&mut self, pause: Duration) -> Result<()> {
        if let Some(Daemon::Unit(unit)) = &self.daemon {
            unit.in_mounts(&UNMOUNT, Path::new(unit::BPFFS))?;
        }
        self.unmount(&self.bpffs())?;
        thread::sleep(pause);
        run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(self.bpffs()))?;
        if let Some(Daemon::Unit(_)) = &self.daemon {
            // What is mounted later is not seen by a daemon that has mounts of its own: an operator starts it again.
            self.stop()?;
            self.start()?;
        }
        Ok(())
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
