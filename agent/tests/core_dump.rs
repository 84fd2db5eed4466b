//! A process that dies leaves no copy of what it had in memory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

/// Whom it runs as where the test is root, whose own processes and others look alike.
const NOBODY: u32 = 65534;

/// In a folder where anybody may write a core, with as high a limit for it as there may be.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(place.0.path(), PermissionsExt::from_mode(0o777)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_lanekeeper"), place.0.path().join("lanekeeper")).unwrap();
        place
    }

    #[expect(unsafe_code, reason = "a limit of the child alone")]
    fn start(&self, program: &str, words: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.0.path()).stdin(Stdio::piped());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        // SAFETY: two system calls, which are async-signal-safe; nothing is allocated.
        unsafe {
            command.pre_exec(|| {
                let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
                Ok(setrlimit(Resource::RLIMIT_CORE, most, most)?)
            });
        }
        command.spawn().unwrap()
    }

    fn cores(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lanekeeper").collect()
    }
}

fn abort(mut child: Child) -> ExitStatus {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGABRT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status:?}");
    status
}

fn core_limit(child: &Child) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn fault_a_process_that_aborts_leaves_no_core() {
    let place = Place::new();
    // Reads rules from its standard input, and waits for them.
    let child = place.start("./lanekeeper", &["rules", "add", "-"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    let root = |child: &Child| fs::metadata(format!("/proc/{}/limits", child.id())).unwrap().uid() == 0;
    while core_limit(&child) != ["0", "0"] || !root(&child) {
        assert!(Instant::now() < deadline, "limit {:?}, root's: {}", core_limit(&child), root(&child));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!abort(child).core_dumped());
    assert_eq!(place.cores(), Vec::<String>::new());

    // What is so for any other process here, or the test says nothing.
    let other = place.start("sleep", &["60"]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!root(&other));
    assert!(core_limit(&other) != ["0", "0"] || getrlimit(Resource::RLIMIT_CORE).unwrap().1 == 0);
    let dumped = abort(other).core_dumped();
    println!("another process dumps its core here: {dumped}");
}
