//! Where a test can stop the agent: at each step of what it changes, to see what stands then and what becomes of it.
//!
//! A release build cannot be stopped: there [`pass`] does nothing, and [`Stopped`] has no value.
//!
//! `LANEKEEPER_FAILPOINTS` names a folder. Each step is written into its file `passed`; its file `order`, while it is there,
//! says what is to happen at the first step whose name begins with its second word and what follows: `kill STEP`, as SIGKILL
//! does; `fail STEP`, once; `hold STEP` until the file is gone. The folder is asked at each step, so that one process can be
//! told one thing after the other.

use std::fmt;

#[cfg(debug_assertions)]
pub use armed::Stopped;
#[cfg(not(debug_assertions))]
pub use unarmed::Stopped;

/// Says that a step comes next.
pub fn pass(step: impl fmt::Display) -> Result<(), Stopped> {
    #[cfg(debug_assertions)]
    return armed::pass(step);
    #[cfg(not(debug_assertions))]
    return unarmed::pass(step);
}

/// The same where nothing can fail any more, or nobody would hear of it.
pub fn stop(step: impl fmt::Display) {
    if let Err(stopped) = pass(step) {
        tracing::error!("{stopped}");
    }
}

#[cfg(not(debug_assertions))]
mod unarmed {
    use std::fmt;

    /// Never.
    #[derive(Debug, thiserror::Error)]
    pub enum Stopped {}

    #[inline(always)]
    pub fn pass(_: impl fmt::Display) -> Result<(), Stopped> {
        Ok(())
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::fmt;
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::thread;
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::getpid;

    const FOLDER: &str = "LANEKEEPER_FAILPOINTS";

    /// A test wanted it so.
    #[derive(Debug, thiserror::Error)]
    #[error("stopped at {step:?}, as LANEKEEPER_FAILPOINTS says")]
    pub struct Stopped {
        /// The step that did not come.
        step: String,
    }

    pub fn pass(step: impl fmt::Display) -> Result<(), Stopped> {
        static AT: OnceLock<Option<PathBuf>> = OnceLock::new();
        match AT.get_or_init(|| std::env::var_os(FOLDER).map(PathBuf::from)) {
            Some(folder) => pass_by(folder, &step.to_string()),
            None => Ok(()),
        }
    }

    fn pass_by(folder: &Path, step: &str) -> Result<(), Stopped> {
        // In one write: steps of several threads do not mix.
        let passed = File::options().create(true).append(true).open(folder.join("passed"));
        passed.and_then(|mut file| file.write_all(format!("{step}\n").as_bytes())).expect("the folder of failpoints");
        let order = folder.join("order");
        let Ok(text) = fs::read_to_string(&order) else { return Ok(()) };
        let Some((action, wanted)) = text.trim_end().split_once(' ') else { return Ok(()) };
        if !step.starts_with(wanted) {
            return Ok(());
        }
        match action {
            "kill" => {
                let _ = kill(getpid(), Signal::SIGKILL);
                loop {
                    thread::park();
                }
            }
            "fail" => {
                // Whoever goes back passes the same step.
                let _ = fs::remove_file(&order);
                Err(Stopped { step: step.to_owned() })
            }
            "hold" => {
                while order.exists() {
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            }
            other => panic!("a failpoint cannot {other:?}: kill, fail or hold"),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_step_is_written_down_and_the_wanted_one_fails_once() {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("order"), "fail op + route\n").unwrap();
            pass_by(folder.path(), "op + link").unwrap();
            let stopped = pass_by(folder.path(), "op + route 10.0.0.0/8").unwrap_err().to_string();
            assert_eq!(stopped, "stopped at \"op + route 10.0.0.0/8\", as LANEKEEPER_FAILPOINTS says");
            pass_by(folder.path(), "op + route 10.0.0.0/8").unwrap();
            let passed = fs::read_to_string(folder.path().join("passed")).unwrap();
            assert_eq!(passed, "op + link\nop + route 10.0.0.0/8\nop + route 10.0.0.0/8\n");
        }

        #[test]
        fn a_held_step_comes_when_the_order_is_gone() {
            let folder = tempfile::tempdir().unwrap();
            let order = folder.path().join("order");
            fs::write(&order, "hold tables").unwrap();
            let came = thread::scope(|scope| {
                let held = scope.spawn(|| pass_by(folder.path(), "tables filled"));
                thread::sleep(Duration::from_millis(30));
                let early = held.is_finished();
                fs::remove_file(&order).unwrap();
                (early, held.join().unwrap().is_ok())
            });
            assert_eq!(came, (false, true));
        }
    }
}
