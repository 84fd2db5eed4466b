//! Network namespaces: made, entered, and deleted with all that runs on their links.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

/// A network namespace that we made; deleted at drop.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

/// The name of a namespace, free to go to other threads. Dangles once its [`Netns`] is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ns(String);

impl Netns {
    /// Makes the namespace, with `lo` up.
    pub fn new(name: &str) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let netns = Self { name: name.to_owned() };
        netns.sh("ip link set lo up")?;
        Ok(netns)
    }

    /// A handle for other threads.
    pub fn ns(&self) -> Ns {
        Ns(self.name.clone())
    }

    /// Its name below /run/netns.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a shell script in it; stops at the first command that fails. Returns what it printed.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.ns().sh(script)
    }

    /// A command that will run in it. Only the network changes: mounts stay the caller's.
    pub fn command(&self, program: &str) -> Command {
        self.ns().command(program)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("ip").args(["netns", "del", &self.name])) {
            eprintln!("lab: {error:#}");
        }
    }
}

impl Ns {
    /// Its name below /run/netns.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// As [`Netns::sh`].
    pub fn sh(&self, script: &str) -> Result<String> {
        let output =
            run(self.command("sh").args(["-ec", script])).with_context(|| format!("in {}: {script}", self.0))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// As [`Netns::command`].
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread of its own that lives in the namespace: sockets made there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                work()
            });
            inside.join().unwrap_or_else(|_| bail!("a thread in {} panicked", self.0))
        })
    }

    /// Moves the calling thread, and no other, into the namespace for good.
    pub fn enter(&self) -> Result<()> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", path.display()))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }
}

/// Runs to the end; an exit status other than 0 is an error that carries what was printed.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}
