//! Secrets and certificates from their files.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::policy::{Auth, Ike};

/// Far above any key or certificate; keeps a wrong path (a device, an image) out of memory.
const MAX_FILE: u64 = 60 * 1024;

/// What is wrong with a key or certificate file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {what} {path}: {source}")]
    Read {
        /// Which one.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "{what} {path} has mode {mode:04o}, others can read it: chmod 600 {path} (and change the secret if others did)"
    )]
    Mode {
        /// Which one.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder, a pipe, a device.
    #[error("{what} {path} is not a regular file")]
    NotAFile {
        /// Which one.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Somebody else's, who can change it.
    #[error("{what} {path} is owned by uid {owner}, not by uid {us} or root: chown {us} {path}")]
    Owner {
        /// Which one.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Whom we run as.
        us: u32,
    },
    /// It is empty.
    #[error("{what} {path} is empty")]
    Empty {
        /// Which one.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It is too large to be what it should be.
    #[error("{what} {path} is larger than {MAX_FILE} bytes; is it the right file?")]
    Large {
        /// Which one.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// What proves an identity. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A pre-shared key.
    Psk(Zeroizing<Vec<u8>>),
    /// X.509.
    Certificate {
        /// Ours, PEM or DER.
        certificate: Vec<u8>,
        /// Its private key, PEM or DER.
        key: Zeroizing<Vec<u8>>,
        /// The CA of the peer's, PEM or DER.
        ca: Vec<u8>,
    },
}

impl Credentials {
    /// Reads the files that `ike.auth` names.
    pub fn read(ike: &Ike) -> Result<Self, Error> {
        match &ike.auth {
            Auth::Psk { file } => {
                let mut secret = read("pre-shared key file", file, true)?;
                if secret.ends_with(b"\n") {
                    secret.pop();
                }
                if secret.is_empty() {
                    return Err(Error::Empty { what: "pre-shared key file", path: file.clone() });
                }
                Ok(Self::Psk(secret))
            }
            Auth::Certificate { certificate, key, ca } => Ok(Self::Certificate {
                certificate: read("certificate", certificate, false)?.to_vec(),
                key: read("private key", key, true)?,
                ca: read("CA certificate", ca, false)?.to_vec(),
            }),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Psk(_) => "Psk(<secret>)",
            Self::Certificate { .. } => "Certificate(<secret key>)",
        })
    }
}

fn read(what: &'static str, path: &Path, private: bool) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::Read { what, path: path.to_owned(), source };
    // Opening a pipe would wait for its other end, for ever.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::NotAFile { what, path: path.to_owned() });
    }
    if private && meta.mode() & 0o077 != 0 {
        return Err(Error::Mode { what, path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    let us = nix::unistd::geteuid().as_raw();
    if private && ![us, 0].contains(&meta.uid()) {
        return Err(Error::Owner { what, path: path.to_owned(), owner: meta.uid(), us });
    }
    // One allocation of the right size: a growing vector would leave copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 2));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 {
        0 => Err(Error::Empty { what, path: path.to_owned() }),
        len if len > MAX_FILE => Err(Error::Large { what, path: path.to_owned() }),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::ike::testing;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, contents: &[u8], mode: u32) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, contents).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    fn psk(file: PathBuf) -> Result<Credentials, Error> {
        let mut policy = testing::policy();
        let ike = testing::ike(&mut policy);
        ike.auth = Auth::Psk { file };
        Credentials::read(ike)
    }

    #[test]
    fn one_trailing_newline_is_no_part_of_the_secret() {
        let files = Files::new();
        for (contents, secret) in [("moon\n", "moon"), ("moon", "moon"), ("moon\n\n", "moon\n"), (" m \n", " m ")] {
            let read = psk(files.write("psk", contents.as_bytes(), 0o600)).unwrap();
            assert_eq!(read, Credentials::Psk(Zeroizing::new(secret.as_bytes().to_vec())), "{contents:?}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_cure() {
        let files = Files::new();
        for mode in [0o644, 0o640, 0o620, 0o601] {
            let error = psk(files.write("psk", b"moon", mode)).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 600"), "{error}");
        }
        assert!(psk(files.write("psk", b"moon", 0o400)).is_ok());
    }

    #[test]
    fn a_private_key_that_others_can_read_is_refused_and_a_certificate_is_not() {
        let files = Files::new();
        let read = |mode| {
            let mut policy = testing::policy();
            let ike = testing::ike(&mut policy);
            let certificate = files.write("cert", b"c", 0o644);
            let (key, ca) = (files.write("key", b"k", mode), files.write("ca", b"a", 0o644));
            ike.auth = Auth::Certificate { certificate, key, ca };
            Credentials::read(ike)
        };
        assert!(read(0o600).is_ok());
        assert!(read(0o644).unwrap_err().to_string().starts_with("private key "));
    }

    #[test]
    fn a_secret_of_somebody_else_is_refused() {
        let files = Files::new();
        let path = files.write("psk", b"moon", 0o600);
        // Only root can give files away.
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            let error = psk(path.clone()).unwrap_err().to_string();
            let name = path.display();
            assert_eq!(
                error,
                format!("pre-shared key file {name} is owned by uid 65534, not by uid 0 or root: chown 0 {name}")
            );
        }
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting_for_it() {
        let files = Files::new();
        let pipe = files.0.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [pipe, files.0.path().to_owned()] {
            let error = psk(path).unwrap_err().to_string();
            assert!(error.ends_with("is not a regular file"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_by_name() {
        let files = Files::new();
        let large = vec![b'x'; MAX_FILE as usize + 1];
        let cases: [(PathBuf, &str); 4] = [
            (files.write("empty", b"", 0o600), "is empty"),
            (files.write("newline", b"\n", 0o600), "is empty"),
            (files.write("large", &large, 0o600), "is larger than"),
            (files.0.path().join("absent"), "cannot read pre-shared key file"),
        ];
        for (path, wanted) in cases {
            let error = psk(path.clone()).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains(&path.display().to_string()), "{error}");
        }
    }
}
