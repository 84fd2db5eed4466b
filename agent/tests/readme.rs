//! README.md is true: its files parse, its metrics are those that are served.

use std::collections::BTreeSet;

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
