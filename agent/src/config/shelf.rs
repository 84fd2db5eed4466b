//! Files as they were read last, so that of a folder of rules only what has changed is read and parsed again.
//!
//! Kept are the rules of included files that have nothing else and nothing wrong: what they refer to is judged each time with
//! all the others. Whether a file has changed is told by its metadata. Those of one that was written shortly before it was read
//! say nothing: a second write within a tick of the clock would not show in them. Its text is read again and compared.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::document::Rule;
use super::source::Source;

/// A write that changes no metadata comes within this many seconds of the one before: file systems' clocks tick every 10 ms,
/// those of old ones every 2 s.
const TICK: i64 = 3;

/// What was read of included files, by path.
#[derive(Debug, Default)]
pub struct Shelf {
    files: BTreeMap<PathBuf, Kept>,
    /// Of the reading that is under way; what is not in it goes.
    next: BTreeMap<PathBuf, Kept>,
}

/// A file.
#[derive(Debug)]
pub struct Kept {
    seen: Option<Seen>,
    pub source: Source,
    pub rules: Vec<Arc<Rule>>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// Of a file that is about to be read; `None` where it says nothing.
    pub fn of(path: &Path) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        // Of the file that is opened: file systems of a network answer for a name from what they remember.
        Self::settled(&File::open(path).ok()?.metadata().ok()?, now as i64)
    }

    fn settled(meta: &Metadata, now: i64) -> Option<Self> {
        let seen = Self {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        (seen.changed.0.max(seen.modified.0) + TICK <= now).then_some(seen)
    }
}

impl Shelf {
    /// The file, if it is still as it was read; `text` reads it where that cannot be seen.
    pub fn take(
        &mut self,
        path: &Path,
        seen: Option<Seen>,
        text: impl FnOnce() -> Result<String, String>,
    ) -> Result<Kept, Result<String, String>> {
        let Some(kept) = self.files.remove(path) else { return Err(text()) };
        if seen.is_some() && kept.seen == seen {
            return Ok(kept);
        }
        match text() {
            Ok(text) if text == kept.source.text => Ok(Kept { seen, ..kept }),
            other => Err(other),
        }
    }

    /// Keeps a file for the next reading.
    pub fn put(&mut self, path: PathBuf, seen: Option<Seen>, source: Source, rules: Vec<Arc<Rule>>) {
        self.next.insert(path, Kept { seen, source, rules });
    }

    /// The same for one that was taken.
    pub fn put_back(&mut self, path: PathBuf, kept: Kept) {
        self.next.insert(path, kept);
    }

    /// All files have been read.
    pub fn turn(&mut self) {
        self.files = std::mem::take(&mut self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_just_now_says_nothing_by_its_metadata() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let meta = file.path().metadata().unwrap();
        assert_eq!(Seen::settled(&meta, meta.ctime() + TICK - 1), None);
        // Nor does one from the future.
        assert_eq!(Seen::settled(&meta, meta.ctime() - 1000), None);
        assert!(Seen::settled(&meta, meta.ctime() + TICK).is_some());
    }

    #[test]
    fn a_file_of_other_metadata_is_read_and_one_of_the_same_is_not() {
        let seen = |size| Some(Seen { file: (1, 2), size, modified: (3, 4), changed: (5, 6) });
        let mut shelf = Shelf::default();
        let put = |shelf: &mut Shelf| {
            shelf.put("a".into(), seen(7), Source::new("a", "text"), Vec::new());
            shelf.turn();
        };
        let never = || -> Result<String, String> { panic!("it is not to be read") };
        put(&mut shelf);
        assert!(shelf.take(Path::new("a"), seen(7), never).is_ok());
        for now in [seen(8), None] {
            put(&mut shelf);
            assert!(shelf.take(Path::new("a"), now, || Ok("text".into())).is_ok_and(|kept| kept.seen == now));
            put(&mut shelf);
            assert_eq!(shelf.take(Path::new("a"), now, || Ok("other".into())).unwrap_err(), Ok("other".to_owned()));
        }
        shelf.turn();
        assert_eq!(shelf.take(Path::new("a"), seen(7), || Err("gone".into())).unwrap_err(), Err("gone".to_owned()));
    }
}
