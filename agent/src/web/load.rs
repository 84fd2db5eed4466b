//! Reads a web-config file and what it names from the disk.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::file::{Clients, File, Named, Tls, finding, read};
use super::problem::Problem;
use super::tls::{Contents, Optional, Paths, build};
use super::{Guards, Users, Web};
use crate::config::{Errors, Finding, Place};

/// Far above any such file; keeps a wrong path out of memory.
const LIMIT: u64 = 256 * 1024;

/// What was found in it and in what it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What has to be put right.
    pub errors: Vec<Finding>,
    /// What may be right on the machine that it is for.
    pub cautions: Vec<Finding>,
    /// What it asks of callers.
    pub guards: Guards,
}

/// All of it, ready for use.
pub fn load(path: &Path) -> Result<Web, Errors> {
    let mut found = Found::default();
    match look(path, true, &mut found) {
        Some(web) if found.errors.is_empty() => Ok(web),
        Some(_) | None => Err(Errors(found.errors)),
    }
}

/// What is wrong with it. Where it is not for use here, files that are not there or may not be read are cautions.
pub fn examine(path: &Path, in_use: bool) -> Found {
    let mut found = Found::default();
    look(path, in_use, &mut found);
    found
}

/// Every file that it names, as far as it can be read, behind its own.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    let tls = text(path).ok().and_then(|text| read("", &text).ok()).and_then(|file| file.tls);
    if let Some(tls) = tls {
        let named = [Some(&tls.certificate), Some(&tls.key), ca(&tls).map(|(ca, _)| ca)];
        files.extend(named.into_iter().flatten().map(|named| beside(path, named)));
    }
    files
}

fn look(path: &Path, in_use: bool, found: &mut Found) -> Option<Web> {
    let name = path.display().to_string();
    let text = match text(path) {
        Ok(text) => text,
        Err(reason) => {
            let problem = Problem::Unreadable { what: "web-config", path: path.to_owned(), reason };
            let finding =
                Finding { place: Place::whole(&name), message: problem.to_string(), help: Some(problem.cure()) };
            found.errors.push(finding);
            return None;
        }
    };
    let File { tls, headers, users } = match read(&name, &text) {
        Ok(file) => file,
        Err(errors) => {
            found.errors.extend(errors);
            return None;
        }
    };
    found.guards = Guards {
        tls: tls.is_some(),
        certificates: tls.as_ref().is_some_and(|tls| matches!(tls.clients, Clients::Required(_))),
        passwords: !users.is_empty(),
    };
    let tls = match tls {
        Some(tls) => Some(Arc::new(listen(path, &name, &tls, in_use, found)?)),
        None => None,
    };
    Some(Web { tls, headers, users: Users::new(users) })
}

fn listen(path: &Path, name: &str, tls: &Tls, in_use: bool, found: &mut Found) -> Option<rustls::ServerConfig> {
    let mut contents = |what, named: &Named, private| {
        let file = beside(path, named);
        match contents(what, &file, private) {
            Ok(contents) => Some(contents),
            Err(Problem::Unreadable { .. }) if !in_use => {
                // As for every key file: what matters is whether the daemon can read it, there.
                let problem = Problem::Unreadable { what, path: file, reason: "not here, or not for us".into() };
                found.cautions.push(finding(name, named.at, &problem));
                None
            }
            Err(problem) => {
                found.errors.push(finding(name, named.at, &problem));
                None
            }
        }
    };
    let certificate = contents("cert_file", &tls.certificate, Private::No);
    let key = contents("key_file", &tls.key, Private::Yes);
    let ca = match ca(tls) {
        Some((named, optional)) => Some((contents("client_ca_file", named, Private::No)?, optional)),
        None => None,
    };
    let (certificate, key) = (certificate?, key?);
    let all = Contents {
        certificate: &certificate,
        key: &key,
        ca: ca.as_ref().map(|(ca, optional)| (ca.as_slice(), *optional)),
    };
    let place = |named: &Named| beside(path, named);
    let (certificate, key) = (place(&tls.certificate), place(&tls.key));
    let ca = self::ca(tls).map(|(ca, _)| place(ca)).unwrap_or_default();
    match build(tls, Paths { certificate: &certificate, key: &key, ca: &ca }, &all) {
        Ok(config) => Some(config),
        Err(problem) => {
            let at = match &problem {
                Problem::Pem { what, .. } | Problem::Unfit { what, .. } => match *what {
                    "key_file" => tls.key.at,
                    "client_ca_file" => self::ca(tls).map_or(tls.key.at, |(ca, _)| ca.at),
                    _ => tls.certificate.at,
                },
                _ => tls.key.at,
            };
            found.errors.push(finding(name, at, &problem));
            None
        }
    }
}

fn ca(tls: &Tls) -> Option<(&Named, Optional)> {
    match &tls.clients {
        Clients::Nothing => None,
        Clients::Verified(ca) => Some((ca, Optional::Yes)),
        Clients::Required(ca) => Some((ca, Optional::No)),
    }
}

/// Relative paths start at the folder of the file that names them.
fn beside(file: &Path, named: &Named) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(&named.path)
}

fn text(path: &Path) -> Result<String, String> {
    match contents("web-config", path, Private::No) {
        Ok(bytes) => String::from_utf8(bytes.to_vec()).map_err(|_| "it is not UTF-8".to_owned()),
        Err(Problem::Unreadable { reason, .. }) => Err(reason),
        Err(problem) => Err(problem.to_string()),
    }
}

/// Whether nobody but its owner may get at a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Private {
    Yes,
    No,
}

/// Permissions are those of the opened file: there is no moment to swap it in.
fn contents(what: &'static str, path: &Path, private: Private) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let unreadable = |reason: String| Problem::Unreadable { what, path: path.to_owned(), reason };
    let mode = |mode: u32| match private {
        Private::Yes if mode & 0o077 != 0 => Err(Problem::Mode { path: path.to_owned(), mode: mode & 0o7777 }),
        Private::Yes | Private::No => Ok(()),
    };
    // Told also of a file that we may not open.
    if let Ok(metadata) = std::fs::metadata(path) {
        mode(metadata.mode())?;
    }
    // Opening a pipe would wait for its other end, for ever.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let opened = opened.map_err(|error| unreadable(error.to_string()))?;
    let metadata = opened.metadata().map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a regular file".into()));
    }
    if metadata.len() > LIMIT {
        return Err(unreadable(format!("it is larger than {LIMIT} bytes")));
    }
    mode(metadata.mode())?;
    let us = nix::unistd::geteuid().as_raw();
    if private == Private::Yes && ![us, 0].contains(&metadata.uid()) {
        return Err(Problem::Owner { path: path.to_owned(), owner: metadata.uid(), us });
    }
    // Its full size from the start: a vector that grows leaves copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    opened.take(LIMIT).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok(bytes)
}
