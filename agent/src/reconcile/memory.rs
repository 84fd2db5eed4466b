//! The text of the file that was applied last, so that `apply --confirm` has something to go back to after the file itself
//! was changed. Gone at the next boot, as is what it describes.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, Wanted};
use crate::config::{self, Facts, Source};

#[derive(Serialize, Deserialize)]
struct Applied {
    file: PathBuf,
    /// Name and text of the file and what it includes.
    sources: Vec<(String, String)>,
}

fn place(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("applied.json")
}

/// Keeps the text of what was just applied.
pub fn remember(runtime_dir: &Path, wanted: &Wanted) -> Result<(), Error> {
    let path = place(runtime_dir);
    let io = |what| {
        let path = path.clone();
        move |source| Error::Io { path, what, source }
    };
    let mut sources = Vec::new();
    for file in &wanted.files {
        let text = std::fs::read_to_string(file).map_err(io("keep the text of a config in it"))?;
        sources.push((file.display().to_string(), text));
    }
    let applied = Applied { file: wanted.file.clone(), sources };
    let bytes = serde_json::to_vec(&applied).expect("our own types serialise");
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o640).open(&fresh);
    let written = opened.and_then(|mut file| std::io::Write::write_all(&mut file, &bytes));
    written.and_then(|()| std::fs::rename(&fresh, &path)).map_err(io("write"))
}

/// What was applied last, as it was then; nothing where nothing was, or where it can no longer be had.
pub fn recall(runtime_dir: &Path) -> Option<Wanted> {
    let bytes = std::fs::read(place(runtime_dir)).ok()?;
    let applied: Applied = serde_json::from_slice(&bytes).ok()?;
    let sources: Vec<Source> = applied.sources.iter().map(|(name, text)| Source::new(name, text)).collect();
    let outcome = config::parse(&sources, &Facts::default()).map_err(Error::from);
    let wanted = outcome.and_then(|loaded| Wanted::of(&applied.file, loaded));
    wanted.map_err(|error| tracing::warn!("what was applied last cannot be had any more: {error}")).ok()
}

/// Nothing is applied any more.
pub fn forget(runtime_dir: &Path) -> Result<(), Error> {
    let path = place(runtime_dir);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { path, what: "remove", source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_was_applied_is_recalled_as_it_was_then() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, TEXT).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let psk = options.write(true).create(true).mode(0o600).open(folder.path().join("a.psk"));
        std::io::Write::write_all(&mut psk.unwrap(), b"secret\n").unwrap();
        remember(folder.path(), &Wanted::read(&file).unwrap()).unwrap();
        std::fs::write(&file, "changed meanwhile").unwrap();
        let wanted = recall(folder.path()).unwrap();
        assert_eq!((wanted.file, wanted.policy.classes.len()), (file, 1));
        forget(folder.path()).unwrap();
        assert!(recall(folder.path()).is_none());
        forget(folder.path()).unwrap();
    }
}
