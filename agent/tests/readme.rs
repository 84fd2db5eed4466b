//! README.md is true: its files parse, its commands exist, its metrics are those that are served.

use std::collections::BTreeSet;
use std::process::Command;

use lanekeeper::config;
use lanekeeper::metrics::METRICS;

const README: &str = include_str!("../../README.md");

/// Fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if fence == language {
            found.push(block.join("\n"));
        }
    }
    found
}

/// Words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lanekeeper")).args(arguments).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs that `--help` lists.
fn verbs() -> BTreeSet<String> {
    let help = help(&[]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect()
}

#[test]
fn every_file_in_it_parses() {
    let files = blocks("toml");
    assert!(files.len() >= 2);
    for file in files {
        if let Err(errors) = config::parse_text("README.md", &file) {
            panic!("{errors}\n{file}");
        }
    }
}

#[test]
fn every_command_in_it_exists_with_its_flags() {
    let verbs = verbs();
    let blocks = blocks("sh").join("\n");
    let lines: Vec<&str> = blocks.lines().filter(|line| line.starts_with("lanekeeper ")).collect();
    assert!(lines.len() >= 5);
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert!(verbs.contains(words[0]), "{line}: {verbs:?}");
        // Some verbs have verbs of their own, with their own flags.
        let own = help(&words[..1]).contains("<COMMAND>");
        let help = help(&words[..1 + usize::from(own)]);
        for flag in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{line}: {help}");
        }
    }
}

#[test]
fn its_table_of_commands_is_the_agents() {
    let (_, section) = README.split_once("## Commands").unwrap();
    let rows = section.lines().skip(4).take_while(|line| line.starts_with('|'));
    let told: BTreeSet<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| {
            quoted(cell).map(|verb| verb.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let mut there = verbs();
    there.remove("help");
    // Told beside `apply --confirm`.
    there.remove("confirm");
    assert_eq!(told, there);
}

#[test]
fn its_table_of_metrics_is_the_agents() {
    let (_, section) = README.split_once("## Metrics").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let told: BTreeSet<(String, String)> = rows
        .flat_map(|row| {
            let labels = row.split('|').nth(2).unwrap().trim().replace(", ", ",");
            quoted(row).map(move |name| (name.to_owned(), labels.clone())).collect::<Vec<_>>()
        })
        .collect();
    let there: BTreeSet<(String, String)> =
        METRICS.iter().map(|metric| (metric.name.to_owned(), metric.labels.join(","))).collect();
    assert_eq!(told, there);
}

#[test]
fn its_table_of_kinds_names_a_test_in_each_cell() {
    let (_, section) = README.split_once("## Ways to attach").unwrap();
    let rows: Vec<&str> = section.lines().skip(4).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 5, "{rows:?}");
    for cell in rows.iter().flat_map(|row| row.trim_matches('|').split(" | ").skip(1)) {
        assert!(quoted(cell).any(is_test), "{cell}");
    }
}

fn is_test(word: &str) -> bool {
    ["attach_", "lanes_", "classify_", "config_"].iter().any(|begin| word.starts_with(begin))
}

#[test]
fn every_test_in_it_exists() {
    let tables = README.lines().filter(|line| line.starts_with("| "));
    let named: BTreeSet<&str> = tables.flat_map(quoted).filter(|word| is_test(word)).collect();
    assert!(!named.is_empty());
    for test in named {
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(test);
        assert!(place.with_extension("rs").exists() || place.join("main.rs").exists(), "{test}");
    }
}
