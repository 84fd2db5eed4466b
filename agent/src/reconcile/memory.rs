//! The text of the file that was applied last, so that `apply --confirm` has something to go back to after the file itself
//! was changed. Gone at the next boot, as is what it describes.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, Wanted, pending};
use crate::config::{self, Facts, Loaded, Source};
use crate::failpoint::pass;
use crate::policy::Policy;

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Applied {
    file: PathBuf,
    /// Name and text of the file and what it includes.
    sources: Vec<(String, String)>,
}

/// A file that was applied, read but not yet with its keys.
pub struct Remembered {
    file: PathBuf,
    loaded: Loaded,
}

impl Remembered {
    /// What it says.
    pub fn policy(&self) -> &Policy {
        &self.loaded.policy
    }

    /// The file's name, and what it said.
    pub fn parts(self) -> (PathBuf, Loaded) {
        (self.file, self.loaded)
    }

    /// All of it; fails where its keys cannot be had any more.
    pub fn wanted(self) -> Result<Wanted, Error> {
        Wanted::of(&self.file, self.loaded).map_err(|error| Error::Before(Box::new(error)))
    }
}

fn place(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("applied.json")
}

/// Keeps the text of what was applied, as it was read then: it is what to go back to from now on, and waits for no word.
pub fn remember(runtime_dir: &Path, wanted: &Wanted) -> Result<(), Error> {
    let path = place(runtime_dir);
    let sources = wanted.sources.iter().map(|source| (source.name.clone(), source.text.clone())).collect();
    let applied = Applied { file: wanted.file.clone(), sources };
    let bytes = serde_json::to_vec(&applied).expect("our own types serialise");
    pass("to be remembered")?;
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o640).open(&fresh);
    let written = opened.and_then(|mut file| std::io::Write::write_all(&mut file, &bytes));
    let unable = |source| Error::Io { path: path.clone(), what: "write", source };
    written.map_err(unable)?;
    pass("memory written")?;
    std::fs::rename(&fresh, &path).map_err(unable)?;
    pending::forget(runtime_dir)?;
    Ok(pass("memory kept")?)
}

/// What was applied last; `None` where nothing was. That it was and cannot be had any more is an error: whoever takes it for
/// nothing would go back to a machine without us, where what was in the tunnels leaves in clear.
pub fn recall(runtime_dir: &Path) -> Result<Option<Remembered>, Error> {
    let path = place(runtime_dir);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Before(Box::new(Error::Io { path, what: "read", source }))),
    };
    let parsed = serde_json::from_slice(&bytes).map_err(|error| Error::Io { path, what: "read", source: error.into() });
    let read = parsed.and_then(|Applied { file, sources }| {
        let sources: Vec<Source> = sources.iter().map(|(name, text)| Source::new(name, text)).collect();
        Ok(Remembered { file, loaded: config::parse(&sources, &Facts::default())? })
    });
    read.map(Some).map_err(|error| Error::Before(Box::new(error)))
}

/// Nothing is applied any more.
pub fn forget(runtime_dir: &Path) -> Result<(), Error> {
    pending::forget(runtime_dir)?;
    let path = place(runtime_dir);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { path, what: "remove", source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const TEXT: &str = r#"
        [[class]]
        name = "default"
        [[tunnel]]
        name = "a"
        local = "192.0.2.1"
        remote = "192.0.2.2"
        classes = ["default"]
        device = { type = "xfrm", name = "lk-a", if-id = 42, mtu = 1400 }
        routes = ["10.2.0.0/16"]
        [tunnel.ike]
        local-id = "moon"
        remote-id = "sun"
        auth = { psk-file = "a.psk" }
        [default]
        class = "default"
    "#;

    /// A folder with a file and its key.
    pub fn applied() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, TEXT).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let psk = options.write(true).create(true).mode(0o600).open(folder.path().join("a.psk"));
        std::io::Write::write_all(&mut psk.unwrap(), b"secret\n").unwrap();
        (folder, file)
    }

    #[test]
    fn what_was_applied_is_recalled_as_it_was_read() {
        let (folder, file) = applied();
        let wanted = Wanted::read(&file).unwrap();
        std::fs::write(&file, "changed before it was remembered").unwrap();
        remember(folder.path(), &wanted).unwrap();
        let recalled = recall(folder.path()).unwrap().unwrap();
        assert_eq!(recalled.policy().classes.len(), 1);
        let recalled = recalled.wanted().unwrap();
        assert_eq!((recalled.file, recalled.sources), (file, wanted.sources));
        forget(folder.path()).unwrap();
        assert!(recall(folder.path()).unwrap().is_none());
        forget(folder.path()).unwrap();
    }

    #[test]
    fn what_lost_its_key_is_not_taken_for_nothing() {
        let (folder, file) = applied();
        remember(folder.path(), &Wanted::read(&file).unwrap()).unwrap();
        std::fs::remove_file(folder.path().join("a.psk")).unwrap();
        let recalled = recall(folder.path()).unwrap().unwrap();
        assert_eq!(recalled.policy().tunnels.len(), 1);
        let error = recalled.wanted().unwrap_err().to_string();
        assert!(error.starts_with("what was applied last cannot be had any more, so nothing can go back to it: "));
        assert!(error.contains("a.psk") && error.ends_with("or `apply` without --confirm"), "{error}");
    }

    #[test]
    fn a_memory_that_does_not_parse_is_not_taken_for_nothing() {
        let (folder, _) = applied();
        std::fs::write(place(folder.path()), "{").unwrap();
        let error = recall(folder.path()).err().unwrap().to_string();
        assert!(error.contains("applied.json: could not read: "), "{error}");
    }
}
