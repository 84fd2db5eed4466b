//! What the disk says about the files that a config names: gathered by the loader, judged by the pure part.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What was seen of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFact {
    /// A regular file of these permission bits (`st_mode & 0o7777`).
    Regular {
        /// Permission bits.
        mode: u32,
    },
    /// There, but of another kind: `"a directory"`, `"a socket"`.
    NotRegular(&'static str),
    /// Not there.
    Missing,
    /// There may be something, but we may not look.
    Hidden,
}

/// Everything that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// By path as resolved against the config's folder. A file that is not listed was not looked at: nothing is said
    /// about it.
    pub files: BTreeMap<PathBuf, FileFact>,
    /// What is in the web-config file and in what that names, if there is one and it was looked at.
    pub web: Option<crate::web::Found>,
    /// The config is to be used on this machine now, so what is missing is an error instead of a warning.
    pub in_use: bool,
}
