//! The files that tunnels and the listener name: where they are, and whether others can read a secret.

use std::path::PathBuf;

use crate::config::caution::Caution;
use crate::config::document::Document;
use crate::config::findings::{At, Findings};
use crate::config::problem::Problem;
use crate::config::{Facts, FileFact, Source};

/// A path as the config means it: relative ones start at the folder of the file that names them.
pub fn resolve(sources: &[Source], file: &At<PathBuf>) -> PathBuf {
    sources[file.spot.source].folder.join(&file.value)
}

/// Judges what was seen of each file.
pub fn check(document: &Document, sources: &[Source], facts: &Facts, findings: &mut Findings<'_>) {
    let of_tunnels =
        document.tunnels.iter().flat_map(|tunnel| tunnel.files().map(|file| (tunnel.object.as_str(), file)));
    let web = document.web_config().map(|file| ("[metrics]", ("web-config", file, false)));
    for (object, (key, file, private)) in of_tunnels.chain(web) {
        let path = resolve(sources, file);
        let Some(fact) = facts.files.get(&path) else { continue };
        let object = object.to_owned();
        match *fact {
            FileFact::Regular { mode } if private && mode & 0o077 != 0 => {
                let access = match mode {
                    _ if mode & 0o044 != 0 => "readable",
                    _ if mode & 0o022 != 0 => "writable",
                    _ => "executable",
                };
                findings.problem(file.spot, Problem::KeyFileOpen { object, key, path, mode, access });
            }
            FileFact::Regular { .. } => {}
            FileFact::NotRegular(kind) => {
                findings.problem(file.spot, Problem::FileKind { object, key, path, kind });
            }
            FileFact::Missing if facts.in_use => {
                findings.problem(file.spot, Problem::FileMissing { object, key, path });
            }
            FileFact::Missing => findings.caution(file.spot, Caution::FileMissing { object, key, path }),
            FileFact::Hidden if facts.in_use => {
                findings.problem(file.spot, Problem::FileHidden { object, key, path });
            }
            FileFact::Hidden => findings.caution(file.spot, Caution::FileHidden { object, key, path }),
        }
    }
}
