//! One boot of a guest: the initramfs, QEMU, the console, and how it ended.

use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kernel::{self, Kernel, Label};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

const INIT: &str = include_str!("init.sh");
const MAIN: &str = include_str!("main.sh");
/// What mounts the shares; the other modules are read through them.
const FIRST_MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// What a guest has that runs alone.
pub const PROCESSORS: u8 = 2;

/// All that QEMU emulates but `rep movsb` and `rep stosb` as the fast way to copy and to clear: it does them byte by byte, and
/// whatever the kernel takes instead eight at a time. A quarter of the kernel's time in attach_devices (2026-11-27). Without SMAP
/// an access to user memory ends no translation of its: 1 to 9 of 100 s in lanes_static and prog (2026-11-28).
const PROCESSOR: &str = "max,-erms,-fsrm,-smap";

/// Memory is cleared where it must be, and not once more at each allocation.
const COMMAND_LINE: &str =
    "console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off random.trust_cpu=on init_on_alloc=0";

/// Under software emulation a kernel now and then spins before its first line: seen once in ten boots of 7.2 on a busy machine.
const ATTEMPTS: u32 = 3;
/// A boot takes 5 s on an idle machine, 20 s on a busy one, a minute where fifteen processes share two cores.
const START: Duration = Duration::from_secs(150);

/// Boots of one kernel side by side would unpack it twice.
static UNPACKING: Mutex<()> = Mutex::new(());

/// A guest to boot.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Its kernel.
    pub kernel: Label,
    /// Its folder below `target/guest/out`, emptied first; the guest sees it as `/out`.
    pub name: String,
    /// Its processors. With more of them than cores, one spins for a lock whose holder the host has put to sleep.
    pub processors: u8,
    /// What stands before each line that it prints.
    pub prefix: String,
    /// What bash runs in it, as root, in the workspace's folder.
    pub script: String,
    /// A folder that it has together with others, which sees it as `/heap`.
    pub heap: Option<PathBuf>,
    /// When it is given up, all attempts together.
    pub limit: Duration,
}

/// The host's side of the `/out` of a guest of that name.
pub fn out(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target("guest/out").join(name)
}

/// How a boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The script ended with this status.
    Exited(u8),
    /// The kernel panicked with this message.
    Panicked(String),
    /// The limit was reached.
    TimedOut(Duration),
    /// The kernel never reached the script.
    Stuck,
    /// QEMU ended and the script had not.
    Stopped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with {status}"),
            Self::Panicked(message) => write!(f, "the kernel panicked: {message}"),
            Self::TimedOut(limit) => write!(f, "not done after {}", shell::seconds(*limit)),
            Self::Stuck => write!(f, "not up after {}", shell::seconds(START)),
            Self::Stopped => f.write_str("it stopped before the command had ended"),
        }
    }
}

impl Boot {
    /// The host's side of the guest's `/out`.
    pub fn out(&self, workspace: &Workspace) -> PathBuf {
        out(workspace, &self.name)
    }

    /// Boots, streams the console to stdout and into `console` of the out folder, and waits for the end.
    pub fn run(&self, workspace: &Workspace) -> Result<Outcome> {
        let start = Instant::now();
        let (kernel, initramfs) = {
            let _one_at_a_time = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
            let kernel = kernel::ensure(workspace, self.kernel)?;
            let initramfs = initramfs(&kernel)?;
            (kernel, initramfs)
        };
        let out = self.out(workspace);
        let _one_at_a_time = lock(&out)?;
        shell::remove_folder(&out)?;
        fs::create_dir_all(&out)?;
        let root = shell::quote(&workspace.root().to_string_lossy());
        let kernel_name = self.kernel;
        let script = format!("export LANEKEEPER_GUEST={kernel_name}\ncd {root} || exit 1\n{}\n", self.script);
        fs::write(out.join("command"), script)?;

        let begin = Instant::now();
        let mut outcome = Outcome::Stuck;
        for attempt in 1..=ATTEMPTS {
            let limit = self.limit.saturating_sub(begin.elapsed());
            let most = shell::seconds(limit);
            say(format!("{}booting {} (at most {most}, attempt {attempt} of {ATTEMPTS})", self.prefix, kernel.release));
            outcome = self.once(&kernel, &initramfs, &out, limit)?;
            say(format!("{}guest {}: {outcome} ({})", self.prefix, self.kernel, took(start)));
            if outcome != Outcome::Stuck {
                break;
            }
        }
        Ok(outcome)
    }

    fn once(&self, kernel: &Kernel, initramfs: &Path, out: &Path, limit: Duration) -> Result<Outcome> {
        let mut machine = self.machine(kernel, initramfs, out).spawn().context("cannot run QEMU")?;
        let console = File::create(out.join("console")).context("cannot write the console's log")?;
        let up = || out.join("up").exists();
        let watched = watch(&mut machine, console, (io::stdout(), &self.prefix), START, up, limit)?;
        Ok(match (watched, status(out)) {
            (Watched::Panicked(message), _) => Outcome::Panicked(message),
            (_, Some(status)) => Outcome::Exited(status),
            (Watched::Stuck, None) => Outcome::Stuck,
            (Watched::TimedOut, None) => Outcome::TimedOut(self.limit),
            (Watched::Ended, None) => Outcome::Stopped,
        })
    }

    fn machine(&self, kernel: &Kernel, initramfs: &Path, out: &Path) -> Command {
        // setpriv: no guest outlives this process.
        let mut machine = Command::new("setpriv");
        machine.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        machine.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-m", "2048"]);
        machine.args(["-smp", &self.processors.to_string()]);
        machine.args(["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-nic", "none"]);
        machine.args(["-virtfs", &share("root", Path::new("/"), true)]);
        machine.args(["-virtfs", &share("modules", &kernel.modules(), true)]);
        machine.args(["-virtfs", &share("out", out, false)]);
        if let Some(heap) = &self.heap {
            machine.args(["-virtfs", &share("heap", heap, false)]);
        }
        machine.arg("-kernel").arg(kernel.folder.join("vmlinuz")).arg("-initrd").arg(initramfs);
        machine.args(["-append", COMMAND_LINE]);
        machine.stdin(Stdio::null()).stdout(Stdio::piped());
        machine
    }
}

enum Watched {
    Ended,
    Stuck,
    Panicked(String),
    TimedOut,
}

/// Copies the console to `log` and, each line behind `prefix`, to `shown` until QEMU ends or a limit is reached: `start` for
/// being `up`, `limit` for all.
fn watch(
    machine: &mut Child,
    mut log: File,
    (mut shown, prefix): (impl Write, &str),
    start: Duration,
    up: impl Fn() -> bool,
    limit: Duration,
) -> Result<Watched> {
    let begin = Instant::now();
    let mut is_up = false;
    let mut console = BufReader::new(machine.stdout.take().context("QEMU has no stdout")?);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line).replace('\r', "");
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let mut watched = Watched::Ended;
    loop {
        let deadline = begin + if is_up { limit } else { start.min(limit) };
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let _ = shown.write_all(format!("{prefix}{line}").as_bytes()).and_then(|()| shown.flush());
                log.write_all(line.as_bytes())?;
                if let Some((_, message)) = line.split_once("Kernel panic - not syncing: ") {
                    // The trace still follows; with panic=-1 and -no-reboot QEMU then ends by itself.
                    watched = Watched::Panicked(message.trim().to_string());
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if !is_up && start < limit && up() => is_up = true,
            Err(RecvTimeoutError::Timeout) => {
                if matches!(watched, Watched::Ended) {
                    watched = if is_up || limit <= start { Watched::TimedOut } else { Watched::Stuck };
                }
                machine.kill()?;
                break;
            }
        }
    }
    machine.wait()?;
    Ok(watched)
}

fn status(out: &Path) -> Option<u8> {
    fs::read_to_string(out.join("status")).ok()?.trim().parse().ok()
}

fn share(tag: &str, folder: &Path, read_only: bool) -> String {
    // In QEMU's options a comma is written twice.
    let folder = folder.to_string_lossy().replace(',', ",,");
    let access = if read_only { "on" } else { "off" };
    format!("local,path={folder},mount_tag={tag},security_model=none,multidevs=remap,readonly={access}")
}

/// Builds the initramfs, or finds the one made of the same parts.
fn initramfs(kernel: &Kernel) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (INIT, MAIN, FIRST_MODULES, &kernel.release).hash(&mut hasher);
    let file = kernel.folder.join(format!("initramfs-{:016x}", hasher.finish()));
    if file.is_file() {
        return Ok(file);
    }
    let root = kernel.folder.join(format!("initramfs.{}", std::process::id()));
    shell::remove_folder(&root)?;
    fs::create_dir_all(root.join("bin"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("no /bin/busybox (package busybox-static)")?;
    fs::write(root.join("main.sh"), MAIN)?;
    fs::write(root.join("init"), INIT)?;
    shell::run(Command::new("chmod").arg("755").arg(root.join("init")))?;
    for module in FIRST_MODULES {
        copy_with_dependencies(kernel, module, &root)?;
    }
    let depmod = shell::which("depmod").context("there is no depmod (package kmod)")?;
    shell::run(Command::new(depmod).arg("-b").arg(&root).arg(&kernel.release))?;
    let pack =
        "cd \"$0\" && find . | cpio --create --format newc --quiet > ../\"$1\".part && mv ../\"$1\".part ../\"$1\"";
    let name = file.file_name().context("no name")?;
    shell::run(Command::new("sh").args(["-c", pack]).arg(&root).arg(name))?;
    shell::remove_folder(&root)?;
    Ok(file)
}

fn copy_with_dependencies(kernel: &Kernel, module: &str, root: &Path) -> Result<()> {
    let modprobe = shell::which("modprobe").context("there is no modprobe (package kmod)")?;
    let mut list = Command::new(modprobe);
    list.args(["--show-depends", "--dirname"]).arg(&kernel.folder).args(["--set-version", &kernel.release, module]);
    for line in shell::read(&mut list)?.lines() {
        // `insmod PATH`, or `builtin NAME`.
        let Some(file) = line.strip_prefix("insmod ") else { continue };
        let file = Path::new(file.trim());
        let inside = file.strip_prefix(&kernel.folder).context("modprobe named a module of another kernel")?;
        let target = root.join(inside);
        fs::create_dir_all(target.parent().context("no folder")?)?;
        fs::copy(file, target)?;
    }
    let index = Path::new("lib/modules").join(&kernel.release);
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        let to = root.join(&index).join(name);
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(kernel.folder.join(&index).join(name), to)?;
    }
    Ok(())
}

/// Two guests of one name would write into each other's folder: the second waits.
fn lock(out: &Path) -> Result<File> {
    let path = shell::beside(out, "lock");
    fs::create_dir_all(path.parent().context("no folder")?)?;
    let file = File::create(&path)?;
    if file.try_lock().is_err() {
        say(format!("waiting for the guest that uses {}", out.display()));
        file.lock()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_does_not_end_the_option() {
        assert!(share("out", Path::new("/a,b"), false).starts_with("local,path=/a,,b,mount_tag=out,"));
    }

    #[test]
    fn the_console_tells_a_panic_from_an_end_and_a_hang() {
        let watched = |script: &str, up: bool, limit| {
            let mut machine = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
            let log = File::create("/dev/null").unwrap();
            watch(&mut machine, log, (io::sink(), ""), Duration::from_millis(100), || up, Duration::from_millis(limit))
                .unwrap()
        };
        assert!(matches!(watched("echo fine", false, 5000), Watched::Ended));
        assert!(matches!(watched("exec sleep 5", false, 5000), Watched::Stuck));
        assert!(matches!(watched("exec sleep 5", true, 300), Watched::TimedOut));
        assert!(matches!(watched("sleep 0.3", true, 5000), Watched::Ended));
        let panic = watched("echo '[ 1.0] Kernel panic - not syncing: Fatal exception'; echo trace", true, 5000);
        assert!(matches!(panic, Watched::Panicked(message) if message == "Fatal exception"));
    }
}
