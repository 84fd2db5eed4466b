//! The fuzz targets over their corpora: what led libFuzzer further once, and what it found.

mod hostile;
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

#[test]
fn charon_may_say_what_it_likes() {
    replay("vici", hostile::vici);
}

#[test]
fn files_are_refused_in_their_place_or_can_be_meant() {
    replay("config", hostile::config);
}

#[test]
fn lines_of_the_control_socket_are_taken_as_they_are_meant() {
    replay("control", hostile::control);
}

#[test]
fn web_config_files_and_passwords_break_nothing() {
    replay("web", hostile::web);
}

#[test]
fn the_kernels_words_break_nothing() {
    replay("netlink", hostile::netlink);
}

#[test]
fn other_programs_rules_become_a_file_or_are_refused() {
    replay("import", hostile::import);
}

#[test]
fn captures_are_read_or_refused() {
    replay("capture", hostile::capture);
}
