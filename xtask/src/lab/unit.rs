//! The packaged unit under a real systemd, in a gateway's network: the first process of a PID namespace, which knows no other unit.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup;
use super::netns::{Ns, run};
use super::process::{Process, tail};
use super::wait::until;
use crate::shell;

/// Where this is set, all agents of a test are the unit's: `cargo xtask test guest --unit`.
pub const VARIABLE: &str = "LANEKEEPER_LAB_UNIT";

/// The daemon's file, for those who have its systemd's mounts.
pub const CONFIG: &str = "/etc/lanekeeper/config.toml";

/// Its bpffs, likewise.
pub const BPFFS: &str = "/sys/fs/bpf";

const SYSTEMD: &str = "/lib/systemd/systemd";
const BINARY: &str = "/usr/bin/lanekeeper";
const TARGETS: [&str; 6] = ["lab", "sysinit", "basic", "shutdown", "multi-user", "network-pre"];

/// How long systemd may take for a step of its own, on an emulated CPU.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until the programs are loaded there.
const START: &str = "180";

/// A daemon of the unit, and the systemd that runs it alone; both are ended at drop.
#[derive(Debug)]
pub struct Unit {
    systemd: Process,
    log: PathBuf,
}

/// What is to be run: each of these stands where the package has it, for this systemd alone to see.
#[derive(Debug)]
pub struct Place<'a> {
    /// The network.
    pub ns: &'a Ns,
    /// What the package installs, as in the repository.
    pub packaging: PathBuf,
    /// The program.
    pub binary: &'a Path,
    /// `/etc/lanekeeper`, which may refer to what is beside it.
    pub folder: &'a Path,
    /// `/run/lanekeeper`.
    pub runtime: PathBuf,
    /// `/sys/fs/bpf`.
    pub bpffs: PathBuf,
    /// Whether a daemon that fails is started again, as the package has it.
    pub restart: bool,
    /// Further variables of the daemon.
    pub environment: Vec<(&'static str, String)>,
}

impl Unit {
    /// Starts systemd, then the unit, and does not wait until that is up.
    pub fn launch(place: &Place<'_>, log: &Path) -> Result<Self> {
        let units = place.folder.join("units");
        let lab = place.folder.parent().context("it is in no lab")?;
        write(place, &units, lab, log)?;
        run(Command::new("systemd-sysusers").arg(place.packaging.join("lanekeeper.sysusers")))?;
        fs::create_dir_all("/etc/lanekeeper")?;
        fs::create_dir_all("/run/lanekeeper")?;
        OpenOptions::new().create(true).append(true).open(BINARY).context(BINARY)?;
        let quote = |path: &Path| shell::quote(&path.to_string_lossy());
        // Two of them in one cgroup would take each other's daemons for their own.
        let group = cgroup::folder(&format!("lk-unit-{}", place.ns.name()))?;
        let script = format!(
            "echo 0 > {}/cgroup.procs\n\
             mkdir -p /run/systemd\n\
             mount -t tmpfs lab /run/systemd\n\
             mount --bind {} {BINARY}\n\
             mount --bind {} /etc/lanekeeper\n\
             mount --bind {} /run/lanekeeper\n\
             mount --bind {} {BPFFS}\n\
             exec {SYSTEMD} --system --unit=lab.target --log-target=console",
            quote(&group),
            quote(place.binary),
            quote(place.folder),
            quote(&place.runtime),
            quote(&place.bpffs),
        );
        let mut command = place.ns.command("unshare");
        // What is mounted below /run/netns later is there, too, as on a machine.
        let mounts = ["--mount", "--propagation", "slave", "--mount-proc"];
        command.args(["--fork", "--kill-child", "--pid"]).args(mounts).args(["--", "sh", "-ec", &script]);
        command.env_clear().env("container", "lab").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("SYSTEMD_UNIT_PATH", &units);
        let systemd = Process::start("systemd", &mut command, &place.folder.join("systemd.log"))?;
        let unit = Self { systemd, log: log.to_owned() };
        if !until(PATIENCE, || unit.ctl(&["is-active", "lab.target"]).is_ok()) {
            bail!("systemd did not come up within {PATIENCE:?}\n{}", tail(&unit.systemd.log()));
        }
        unit.must(&["start", "--no-block", "lanekeeper"])?;
        Ok(unit)
    }

    /// A program, run among its own and with their files, to its end; returns what it printed.
    pub fn run(&self, program: &[&str]) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first()?, "--pid", "--mount", "--"]).args(program);
        Ok(String::from_utf8_lossy(&run(&mut command)?.stdout).trim().to_owned())
    }

    /// A program, to be run with the mounts that its systemd has, in a network of ours; signals to it are the program's.
    pub fn beside(&self, ns: &Ns, program: &Path) -> Command {
        self.entering(&["--mount"], ns, program)
    }

    /// As [`Unit::beside`], and among its processes; signals to it are nsenter's.
    pub fn inside(&self, ns: &Ns, program: &Path) -> Command {
        self.entering(&["--mount", "--pid"], ns, program)
    }

    fn entering(&self, namespaces: &[&str], ns: &Ns, program: &Path) -> Command {
        let mut command = ns.command("nsenter");
        // Where systemd has just ended there is no such process, which nsenter says.
        let target = self.first().unwrap_or_default();
        command.args(["--target", &target]).args(namespaces).arg("--").arg(program);
        command
    }

    /// Mounts or unmounts for the daemon, and for systemd.
    pub fn in_mounts(&self, words: &[&str], path: &Path) -> Result<()> {
        for target in [self.daemon()?.to_string(), self.first()?] {
            // /proc there is of its processes alone.
            let enter = ["--target", &target, "--mount", "--pid", "--"];
            run(Command::new("nsenter").args(enter).args(words).arg(path))?;
        }
        Ok(())
    }

    /// Waits until the daemon has ended, and is not started again.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let property = |name: &str| self.must(&["show", &format!("--property={name}"), "--value", "lanekeeper"]);
        if !until(limit, || property("ActiveState").is_ok_and(|state| ["failed", "inactive"].contains(&state.as_str())))
        {
            bail!("the unit has not ended within {limit:?}\n{}", tail(&self.said()));
        }
        // As wait(2) has them: exited is 1, killed is 2 (waitid's si_code).
        let status: i32 = property("ExecMainStatus")?.parse()?;
        let killed = property("ExecMainCode")? == "2";
        Ok(ExitStatus::from_raw(if killed { status } else { status << 8 }))
    }

    /// systemd's id out here.
    fn first(&self) -> Result<String> {
        let unshare = self.systemd.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        Ok(children.trim().to_owned())
    }

    /// `systemctl` of that systemd.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        self.run(&[&["systemctl"], arguments].concat())
    }

    /// As [`Unit::ctl`], with both logs in an error.
    pub fn must(&self, arguments: &[&str]) -> Result<String> {
        self.ctl(arguments).with_context(|| format!("{}\n{}", tail(&self.systemd.log()), tail(&self.said())))
    }

    /// The daemon's id out here: its own is that of the namespace.
    pub fn daemon(&self) -> Result<u32> {
        let inside = self.must(&["show", "--property=MainPID", "--value", "lanekeeper"])?;
        let namespace = |id: &str| fs::read_link(format!("/proc/{id}/ns/pid"));
        let systemd = namespace(&self.first()?)?;
        for entry in fs::read_dir("/proc")? {
            let Ok(id) = entry?.file_name().into_string() else { continue };
            let Ok(status) = fs::read_to_string(format!("/proc/{id}/status")) else { continue };
            let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
            let is_it = field("NSpid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some(&inside));
            if is_it && namespace(&id).is_ok_and(|theirs| theirs == systemd) {
                return id.parse().with_context(|| id);
            }
        }
        bail!("the daemon does not run\n{}", tail(&self.said()))
    }

    /// Fails where the unit has.
    pub fn check(&self) -> Result<()> {
        let state = self.must(&["show", "--property=ActiveState", "--value", "lanekeeper"])?;
        if state == "failed" {
            bail!("the unit has failed\n{}", tail(&self.said()));
        }
        Ok(())
    }

    /// What the daemon has printed.
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// To the daemon.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.daemon()?;
        kill(Pid::from_raw(id.cast_signed()), signal).with_context(|| format!("send {signal} to {id}"))
    }

    /// The daemon by systemd, then systemd.
    pub fn stop(mut self) -> Result<()> {
        let stopped = self.must(&["stop", "lanekeeper"]);
        self.systemd.kill()?;
        stopped.map(drop)
    }

    /// Both at once, without a goodbye.
    pub fn kill(mut self) -> Result<()> {
        // unshare takes its child along, and with the first process of the namespace goes every other.
        self.systemd.kill()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // unshare waits for its child whatever other signal comes.
        if self.systemd.ended().is_none()
            && let Err(error) = self.systemd.kill()
        {
            eprintln!("lab: {error:#}");
        }
    }
}

/// The unit as it is, and what the lab has otherwise: where it prints, how long it may take, the lab's files below a private /tmp.
fn write(place: &Place<'_>, units: &Path, lab: &Path, log: &Path) -> Result<()> {
    let more = units.join("lanekeeper.service.d");
    fs::create_dir_all(&more)?;
    for target in TARGETS {
        let unit = "[Unit]\nDescription=of the lab\nDefaultDependencies=no\n";
        fs::write(units.join(format!("{target}.target")), unit)?;
    }
    fs::copy(place.packaging.join("lanekeeper.service"), units.join("lanekeeper.service"))?;
    let log = log.display();
    let mut text = format!(
        "[Service]\nStandardOutput=append:{log}\nStandardError=inherit\nTimeoutStartSec={START}\nWatchdogSec=120\n\
         BindPaths={}\n",
        lab.display()
    );
    if !place.restart {
        text.push_str("Restart=no\n");
    }
    for (name, value) in &place.environment {
        text.push_str(&format!("Environment={name}={value}\n"));
    }
    fs::write(more.join("lab.conf"), text).context("lab.conf")
}
