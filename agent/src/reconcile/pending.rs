//! What was applied with `--confirm` and waits for the word: kept beside what it would go back to, so that an agent that dies
//! meanwhile, and is started again over that file, still takes it back. Gone at the next boot, as is what it describes.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{Error, Wanted};

/// As it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Name and text of the file and what it includes.
    sources: Vec<(String, String)>,
    /// When the time for the word is over, in seconds since boot, sleep included.
    until: u64,
}

impl Pending {
    /// Of a file that is being applied; `now` as [`now`] says.
    pub fn new(wanted: &Wanted, within: Duration, now: u64) -> Self {
        let sources = wanted.sources.iter().map(|source| (source.name.clone(), source.text.clone())).collect();
        Self { sources, until: now.saturating_add(within.as_secs()) }
    }

    /// Whether it is about what that file says. By whichever name: who applies a file may come to it by another way than the
    /// daemon that is started over it, such as a link or a mount.
    pub fn is_of(&self, wanted: &Wanted) -> bool {
        self.sources.iter().map(|(_, text)| text).eq(wanted.sources.iter().map(|source| &source.text))
    }

    /// What is left of the time.
    pub fn left(&self, now: u64) -> Duration {
        Duration::from_secs(self.until.saturating_sub(now))
    }

    /// Keeps it.
    pub fn remember(&self, runtime_dir: &Path) -> Result<(), Error> {
        let path = place(runtime_dir);
        let bytes = serde_json::to_vec(self).expect("our own types serialise");
        let fresh = path.with_extension("new");
        let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&fresh);
        let written = opened.and_then(|mut file| file.write_all(&bytes));
        written.and_then(|()| std::fs::rename(&fresh, &path)).map_err(|source| Error::Io {
            path,
            what: "write",
            source,
        })
    }
}

fn place(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("unconfirmed.json")
}

/// What was kept. What cannot be read is an error: who takes it for nothing keeps what nobody has confirmed.
pub fn recall(runtime_dir: &Path) -> Result<Option<Pending>, Error> {
    let path = place(runtime_dir);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read,
    };
    let parsed = bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
    parsed.map(Some).map_err(|source| Error::Io { path, what: "read", source })
}

/// Nothing waits any more.
pub fn forget(runtime_dir: &Path) -> Result<(), Error> {
    let path = place(runtime_dir);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, what: "remove", source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Seconds since boot: a clock that is set moves no deadline.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::memory::tests::applied;

    #[test]
    fn what_waits_is_recalled_with_the_time_that_is_left_and_for_its_file_alone() {
        let (folder, file) = applied();
        let wanted = Wanted::read(&file).unwrap();
        let pending = Pending::new(&wanted, Duration::from_secs(60), 1000);
        pending.remember(folder.path()).unwrap();
        let recalled = recall(folder.path()).unwrap().unwrap();
        assert_eq!((&recalled, recalled.is_of(&wanted)), (&pending, true));
        assert_eq!([1000, 1059, 1060, 9000].map(|now| recalled.left(now).as_secs()), [60, 1, 0, 0]);
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(recalled.is_of(&Wanted::read(&link).unwrap()));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("# changed\n{text}")).unwrap();
        assert!(!recalled.is_of(&Wanted::read(&file).unwrap()));
        forget(folder.path()).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), None);
        forget(folder.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(place(folder.path()), "{").unwrap();
        let error = recall(folder.path()).unwrap_err().to_string();
        assert!(error.contains("unconfirmed.json: could not read: "), "{error}");
    }
}
