//! The tables of README.md, to be pasted there as they are.

use std::fmt::Write as _;

use crate::report::{OURS, Report, Row, SIZES, mode, nanos};
use crate::stats::{median, percentile};

/// A row: what the page calls it, whose it is, and how the engine was used.
type Line = (&'static str, &'static str, &'static str);

/// Of "Speed".
pub const SPEED: [Line; 8] = [
    ("Lanekeeper, uncached", OURS, mode::UNCACHED),
    ("Lanekeeper, cached", OURS, mode::CACHED),
    ("Lanekeeper, rules that overlap", OURS, mode::OVERLAPPING),
    ("nft, interval map", "nft map", mode::UNCACHED),
    ("nft, list of rules", "nft list", mode::UNCACHED),
    ("iptables-legacy", "iptables-legacy", mode::UNCACHED),
    ("ipset, hash:net,port", "ipset", mode::UNCACHED),
    ("Lanekeeper, ipset's rules", OURS, mode::EXACT),
];
/// Of "Ports".
pub const PORTS: [Line; 6] = [
    ("`tc`, uncached", "port tc", mode::UNCACHED),
    ("`xdp`, uncached", "port xdp", mode::UNCACHED_AND_HOOK),
    ("`xdp-generic`, uncached", "port xdp-generic", mode::UNCACHED_AND_HOOK),
    ("`tc`, cached", "port tc", mode::CACHED),
    ("`xdp`, cached", "port xdp", mode::CACHED_AND_HOOK),
    ("`xdp-generic`, cached", "port xdp-generic", mode::CACHED_AND_HOOK),
];
/// Its numbers of rules.
pub const PORT_SIZES: [usize; 3] = [10, 1_000, 100_000];

/// Both, as far as they were measured, each with what its rows are above.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let tables = [
        ("Speed", "engine", &SPEED[..], &SIZES[..], report.baseline_ns),
        ("Ports", "port", &PORTS[..], &PORT_SIZES[..], report.port_baseline_ns),
    ];
    for (part, first, lines, sizes, baseline) in tables {
        if baseline.is_some() {
            let _ = write!(text, "\nREADME.md, {part}, above {}:\n\n{}", nanos(baseline), head(first, sizes));
            for line in lines {
                text.push_str(&row(report, line, sizes));
            }
        }
    }
    text
}

/// The first two lines of a table.
pub fn head(first: &str, sizes: &[usize]) -> String {
    let mut text = format!("| {first} |");
    for (place, rules) in sizes.iter().enumerate() {
        let _ = write!(text, " {}{} |", grouped(*rules as f64), if place == 0 { " rules" } else { "" });
    }
    text + "\n" + &"|---".repeat(sizes.len() + 1) + "|\n"
}

fn row(report: &Report, (name, engine, mode): &Line, sizes: &[usize]) -> String {
    let mut text = format!("| {name} |");
    for rules in sizes {
        let is = |row: &&Row| (row.engine, row.mode, row.rules) == (*engine, *mode, *rules);
        let ns: Vec<f64> = report.rows.iter().filter(is).map(|row| row.ns_median).collect();
        match ns[..] {
            [] => text.push_str(" - |"),
            [..] => {
                let _ = write!(text, " {} ({}) |", grouped(median(&ns)), grouped(percentile(&ns, 100)));
            }
        }
    }
    text + "\n"
}

/// Without fraction, thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value <= -0.5 { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
