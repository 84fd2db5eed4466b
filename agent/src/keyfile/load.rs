//! File -> keys, if nobody else can read it.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Errors, Keys, parse};

/// Far above what 32 lanes of 32 classes need.
const LIMIT: u64 = 1 << 20;

/// Why no keys came of a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("key file {file}: {source}", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder, a pipe, a device.
    #[error("key file {file}: not a regular file", file = file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
    /// Larger than any key file.
    #[error("key file {file}: larger than 1 MiB", file = file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// Group or others may touch it.
    #[error("key file {file}: mode {mode:04o} lets others at it; run `chmod 600 {file}`", file = file.display())]
    Mode {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else's.
    #[error("key file {file}: owned by uid {owner}, not by uid {us} or root; run `chown {us} {file}`", file = file.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// Its owner.
        owner: u32,
        /// Whom we run as.
        us: u32,
    },
    /// Its contents are wrong.
    #[error(transparent)]
    Contents(#[from] Errors),
}

/// Reads a key file. Permissions are those of the opened file: there is no moment to swap it in.
pub fn load(path: &Path) -> Result<Keys, Error> {
    let file = || path.to_owned();
    let failed = |source| Error::Read { file: path.to_owned(), source };
    // Opening a pipe would wait for its other end, for ever.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut opened = opened.map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { file: file() });
    }
    if metadata.len() > LIMIT {
        return Err(Error::TooLarge { file: file() });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::Mode { file: file(), mode: metadata.mode() & 0o7777 });
    }
    let us = nix::unistd::geteuid().as_raw();
    if ![us, 0].contains(&metadata.uid()) {
        return Err(Error::Owner { file: file(), owner: metadata.uid(), us });
    }
    // Its full size from the start: a string that grows leaves copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
    opened.read_to_string(&mut text).map_err(failed)?;
    Ok(parse(path, &text)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(mode: u32, text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            let file = file(mode, "");
            let name = file.path().display();
            assert_eq!(
                load(file.path()).unwrap_err().to_string(),
                format!("key file {name}: mode {mode:04o} lets others at it; run `chmod 600 {name}`")
            );
        }
    }

    #[test]
    fn a_private_file_is_read() {
        for mode in [0o600, 0o400] {
            assert_eq!(load(file(mode, "").path()).unwrap(), Keys::default());
        }
    }

    #[test]
    fn a_folder_or_a_pipe_is_no_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [folder.path(), &pipe] {
            assert!(load(path).unwrap_err().to_string().ends_with(": not a regular file"));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = load(Path::new("/nonexistent/a.keys")).unwrap_err().to_string();
        assert!(message.starts_with("key file /nonexistent/a.keys: No such file"), "{message}");
    }

    #[test]
    fn a_wrong_file_names_itself_once() {
        let file = file(0o600, "\n x");
        assert_eq!(
            load(file.path()).unwrap_err().to_string(),
            format!("{}:2:3: this is not TOML", file.path().display())
        );
    }
}
