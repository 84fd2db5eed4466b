//! Cgroups of cgroup2, for what a gateway itself sends.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup of ours; removed at drop, those below it before it.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes it; the path begins at the mount.
    pub fn new(path: &str) -> Result<Self> {
        let folder = Path::new(ROOT).join(path.trim_start_matches('/'));
        fs::create_dir(&folder).with_context(|| format!("cannot make the cgroup {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Sockets are of the cgroup in which they are made, wherever their process goes then. Panics where it cannot be entered.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        enter(&self.0);
        let done = work();
        enter(Path::new(ROOT));
        done
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// That of the path below the mount, made where it is missing and left.
pub fn folder(path: &str) -> Result<PathBuf> {
    let folder = Path::new(ROOT).join(path);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the cgroup {}", folder.display()))?;
    Ok(folder)
}

fn enter(folder: &Path) {
    let entered = fs::write(folder.join("cgroup.procs"), "0");
    entered.unwrap_or_else(|error| panic!("cannot enter the cgroup {}: {error}", folder.display()));
}
