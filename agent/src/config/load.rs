//! Reads a config from the disk: the file, what it includes, and the metadata of the files that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::document::Document;
use super::findings::At;
use super::parse::Reading;
use super::problem::Problem;
use super::report::Finding;
use super::shelf::{Seen, Shelf};
use super::source::{Place, Source};
use super::{Errors, Facts, FileFact, Loaded};
use crate::web;

/// Reads and judges it, but for what `shelf` has of it. `in_use` as in [`Facts::in_use`].
pub fn load(path: &Path, in_use: bool, shelf: &mut Shelf) -> Result<Loaded, Errors> {
    let name = path.display().to_string();
    let main = match read(path) {
        Ok(text) => Source::new(&name, &text),
        Err(reason) => {
            let problem = Problem::Unreadable { reason };
            let finding = Finding { place: Place::whole(&name), message: problem.to_string(), help: problem.cure() };
            return Err(Errors(vec![finding]));
        }
    };
    let mut sources = vec![main];
    let mut reading = Reading::default();
    reading.read(&sources);
    add_includes(&mut sources, &mut reading, path, shelf);
    shelf.turn();
    let facts = gather(reading.document(), &sources, in_use);
    reading.judge(&sources, &facts)
}

/// Adds and reads every file that the patterns match, in the order of their names, none twice.
fn add_includes(sources: &mut Vec<Source>, reading: &mut Reading, main: &Path, shelf: &mut Shelf) {
    let folder = sources[0].folder.clone();
    let mut seen: BTreeSet<PathBuf> = main.canonicalize().into_iter().collect();
    for At { value: pattern, spot } in reading.document().include.clone() {
        // Relative patterns start at the config's folder, whose name is no pattern.
        let escaped = PathBuf::from(glob::Pattern::escape(&folder.display().to_string()));
        let paths = match glob::glob(&escaped.join(&pattern).display().to_string()) {
            Ok(paths) => paths,
            Err(error) => {
                reading.problem(spot, Problem::Pattern { pattern, reason: error.msg.to_owned() });
                continue;
            }
        };
        let mut matched = false;
        for path in paths {
            matched = true;
            let (path, found) = match path {
                Ok(path) => (path, Ok(())),
                Err(error) => (error.path().to_path_buf(), Err(error.error().to_string())),
            };
            // The same file by two patterns, or the main file itself by its own pattern.
            if path.canonicalize().is_ok_and(|real| !seen.insert(real)) {
                continue;
            }
            let name = path.display().to_string();
            let seen = Seen::of(&path);
            match shelf.take(&path, seen, || found.and_then(|()| read(&path))) {
                Ok(mut kept) => {
                    sources.push(kept.source.clone());
                    reading.add(&mut kept.rules, sources.len() - 1);
                    shelf.put_back(path, kept);
                }
                Err(Ok(text)) => {
                    sources.push(Source::new(&name, &text));
                    if let Some(rules) = reading.read(sources) {
                        shelf.put(path, seen, sources[sources.len() - 1].clone(), rules);
                    }
                }
                Err(Err(reason)) => reading.problem(spot, Problem::Include { path: name, reason }),
            }
        }
        // A pattern may match nothing today; a plain name may not.
        if !matched && !pattern.contains(['*', '?', '[']) {
            let path = folder.join(&pattern).display().to_string();
            reading.problem(spot, Problem::Include { path, reason: "no such file".to_owned() });
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

/// What the disk says about each file that the document names.
fn gather(document: &Document, sources: &[Source], in_use: bool) -> Facts {
    let files = document.files().into_iter().map(|(source, file)| sources[source].folder.join(file));
    let files: BTreeMap<PathBuf, FileFact> = files.map(|file| (file.clone(), look(&file))).collect();
    let web = document.web_config().map(|file| sources[file.spot.source].folder.join(&file.value));
    // What is wrong with the file as a whole is said where it is named.
    let web = web.filter(|file| matches!(files.get(file), Some(FileFact::Regular { .. })));
    Facts { files, web: web.map(|file| web::examine(&file, in_use)), in_use }
}

fn look(path: &Path) -> FileFact {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => FileFact::Regular { mode: meta.permissions().mode() & 0o7777 },
        Ok(meta) => {
            let kind = meta.file_type();
            FileFact::NotRegular(if kind.is_dir() {
                "a directory"
            } else if kind.is_socket() {
                "a socket"
            } else if kind.is_fifo() {
                "a pipe"
            } else {
                "a device"
            })
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => FileFact::Hidden,
        Err(_) => FileFact::Missing,
    }
}
