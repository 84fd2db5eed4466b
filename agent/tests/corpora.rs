//! The fuzz targets over their corpora: what led libFuzzer further once, and what it found.

mod witness;

use std::fs;
use std::path::Path;

/// Runs a target over every file of its corpus.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{} holds {} files", folder.display(), files.len());
    for file in files {
        println!("{}", file.display());
        target(&fs::read(file).unwrap());
    }
}

#[test]
fn classify_parses_the_corpus_without_contradiction() {
    replay("parse", witness::fuzz::parse);
}

#[test]
fn classify_agrees_with_the_oracle_on_the_corpus() {
    replay("classify", witness::fuzz::classify);
}
