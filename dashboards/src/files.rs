//! What the source makes, file by file.

use std::fs;
use std::path::Path;

use crate::{boards, rules};

/// One file beside this crate's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub text: String,
}

impl File {
    /// Whether the folder has it with just this text.
    pub fn is_in(&self, folder: &Path) -> bool {
        fs::read_to_string(folder.join(&self.name)).is_ok_and(|text| text == self.text)
    }
}

/// All of them.
pub fn all() -> Vec<File> {
    let boards = boards::all()
        .into_iter()
        .map(|board| File { name: format!("{}.json", board.name), text: format!("{:#}\n", board.json()) });
    boards.chain([File { name: "rules.yml".to_owned(), text: rules::yaml() }]).collect()
}
