//! What is known of the inside of adopted connections' SAs, kept for whoever comes next: what was routed into a tunnel is not to
//! leave in clear because an agent began anew meanwhile, or charon. Gone at the next boot.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use crate::policy::adopt::Insides;

fn place(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("insides.json")
}

/// Keeps it.
pub fn remember(runtime_dir: &Path, insides: &Insides) -> Result<(), Error> {
    if insides.is_empty() {
        return forget(runtime_dir);
    }
    let path = place(runtime_dir);
    let bytes = serde_json::to_vec(insides).expect("our own types serialise");
    let fresh = path.with_extension("new");
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&fresh);
    let written = opened.and_then(|mut file| file.write_all(&bytes));
    written.and_then(|()| std::fs::rename(&fresh, &path)).map_err(|source| Error::Io { path, what: "write", source })
}

/// What was kept. That something was and cannot be read is an error: to take it for nothing would be to open what is blocked.
pub fn recall(runtime_dir: &Path) -> Result<Insides, Error> {
    let path = place(runtime_dir);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Insides::new()),
        read => read,
    };
    let parsed = bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(std::io::Error::from));
    parsed.map_err(|source| Error::Io { path, what: "read", source })
}

/// Nothing is known any more.
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
    use crate::policy::adopt::{Ends, Inside, OwnDevice};

    #[test]
    fn what_is_known_is_recalled_and_what_cannot_be_read_is_not_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(recall(folder.path()).unwrap(), Insides::new());
        let mut inside = Inside::default();
        let routes = ["10.2.0.0/16", "2001:db8::/32"].map(|route| route.parse().unwrap());
        inside.take(Ends { routes: routes.into(), addresses: ["10.3.0.1".parse().unwrap()].into(), ..Ends::default() });
        let own = OwnDevice { if_id: 7, routes: routes.into(), ..OwnDevice::default() };
        inside.now.devices.insert("lk-rw7".to_owned(), own);
        let insides = Insides::from([("b7".to_owned(), inside.clone())]);
        remember(folder.path(), &insides).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), insides);
        inside.take(Ends { routes: routes[..1].iter().copied().collect(), ..Ends::default() });
        let insides = Insides::from([("b7".to_owned(), inside)]);
        remember(folder.path(), &insides).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), insides);
        std::fs::write(place(folder.path()), "{").unwrap();
        let error = recall(folder.path()).unwrap_err().to_string();
        assert!(error.contains("insides.json: could not read: "), "{error}");
        remember(folder.path(), &Insides::new()).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), Insides::new());
        forget(folder.path()).unwrap();
    }
}
