//! Network namespaces: made, entered, and deleted with all that runs on their links.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;

/// Tools that read their commands from a file too: in an emulated guest each start of one takes 50 ms.
const BATCHED: [&str; 2] = ["ip", "tc"];

/// Ends such commands in a script.
const END: &str = "END-OF-BATCH";

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
        let [netns] = Self::several([name.to_owned()])?;
        netns.sh("ip link set lo up")?;
        Ok(netns)
    }

    /// Makes several, with `lo` down.
    pub fn several<const N: usize>(names: [String; N]) -> Result<[Self; N]> {
        let script: String = names.iter().map(|name| format!("ip netns add {name}\n")).collect();
        if let Some(theirs) = names.iter().find(|name| Ns((*name).clone()).path().exists()) {
            bail!(
                "the namespace {theirs} is there already: if a test that was killed has left it, ip netns del {theirs}"
            );
        }
        // Whichever of them are made before one cannot be are deleted.
        let all = names.map(|name| Self { name });
        run(Command::new("sh").args(["-ec", &batched(&script)]))?;
        Ok(all)
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
        let script = batched(script);
        let output = self
            .run(|| run(Command::new("sh").args(["-ec", &script])))
            .with_context(|| format!("in {}: {script}", self.0))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// As [`Netns::command`].
    ///
    /// # Panics
    /// The namespace's name has a byte of 0.
    pub fn command(&self, program: &str) -> Command {
        let path = CString::new(self.path().into_os_string().into_encoded_bytes()).expect("a name without a byte of 0");
        let mut command = Command::new(program);
        let enter = move || {
            let file = open(path.as_c_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            setns(file, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        };
        // SAFETY: open, setns and close are async-signal-safe, and nothing is allocated between fork and exec.
        unsafe { command.pre_exec(enter) };
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

/// The same script with neighbouring commands of one tool given to one run of it, which stops at the first that fails, too.
fn batched(script: &str) -> String {
    let mut text = String::new();
    let mut open = None;
    let mut goes_on = false;
    for line in script.lines() {
        let tool = if goes_on { None } else { plain(line) };
        goes_on = line.ends_with(['\\', '|', '&']);
        if open.is_some() && tool.map(|(tool, _)| tool) != open {
            let _ = writeln!(text, "{END}");
        }
        match tool {
            Some((tool, words)) if open == Some(tool) => text.push_str(words),
            Some((tool, words)) => {
                let _ = write!(text, "{tool} -batch - <<{END}\n{words}");
            }
            None => text.push_str(line),
        }
        text.push('\n');
        open = tool.map(|(tool, _)| tool);
    }
    if open.is_some() {
        let _ = writeln!(text, "{END}");
    }
    text
}

/// A tool and its words, where a line is that and nothing that the shell or an option changes.
fn plain(line: &str) -> Option<(&str, &str)> {
    let (tool, words) = line.trim().split_once(' ')?;
    let is_plain = words.chars().all(|letter| letter.is_ascii_alphanumeric() || " .:/,_-".contains(letter));
    (BATCHED.contains(&tool) && is_plain && !words.starts_with('-')).then_some((tool, words))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_commands_of_a_tool_are_one_run() {
        let script = "ip link add a type dummy
             ip link set a up
             tc qdisc add dev a clsact
             ip -6 route show
             ip addr add 192.0.2.1/24 dev a | cat
             ! ip link del b
             for n in 1 2; do
             ip link show
             done
             echo a \\
             ip link show";
        let said = [
            "ip -batch - <<END-OF-BATCH",
            "link add a type dummy",
            "link set a up",
            "END-OF-BATCH",
            "tc -batch - <<END-OF-BATCH",
            "qdisc add dev a clsact",
            "END-OF-BATCH",
            "ip -6 route show",
            "ip addr add 192.0.2.1/24 dev a | cat",
            "! ip link del b",
            "for n in 1 2; do",
            "ip -batch - <<END-OF-BATCH",
            "link show",
            "END-OF-BATCH",
            "done",
            "echo a \\",
            "ip link show",
        ];
        assert_eq!(batched(script).lines().map(str::trim).collect::<Vec<_>>(), said);
    }

    #[test]
    fn a_batch_ends_at_the_first_command_that_fails() {
        let script = batched("ip link show lo\nip link show lanekeeper-none\necho on");
        let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
        let (out, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && out.contains("lo") && !out.contains("on\n"), "{out}{told}");
        assert!(told.contains("lanekeeper-none"), "{told}");
    }
}
