//! The report hides nothing.

use crate::goals::Goal;
use crate::page::{self, PORT_SIZES, PORTS, SPEED};
use crate::report::{Change, Footprint, Load, OURS, Report, Row, SIZES, mode};

const README: &str = include_str!("../../../README.md");

#[test]
fn classify_bench_prints_a_missed_goal_as_missed() {
    let goal = |got: Option<&str>, pass| Goal { id: "P0", want: "much".into(), got: got.map(str::to_owned), pass };
    let report = Report {
        baseline_ns: Some(400.4),
        test_run_baseline_ns: Some(30.0),
        port_baseline_ns: None,
        rows: ["acl1", "fw1", "ipc1"]
            .iter()
            .zip([10.0, 30.0, 20.0])
            .map(|(family, ns)| Row::new(OURS, family, 1_000, mode::UNCACHED, &[ns]))
            .collect(),
        loads: vec![Load { engine: OURS, family: "acl1", rules: 10, ms: 3.0 }],
        changes: vec![Change { engine: OURS, family: "acl1", rules: 100_000, ms_median: 0.25, ms_p99: 1.0 }],
        footprints: vec![Footprint { family: "acl1".into(), load_ms: 9.0, maps: 2 << 20, resident: 5 << 20 }],
        void: vec!["nft list: 3 of 4 counted".into()],
        goals: vec![goal(Some("little"), false), goal(None, false), goal(Some("more"), true)],
    };
    let text = report.markdown();
    for line in [
        "| lanekeeper, uncached | - | - | 20 (30) | - | - |",
        "| lanekeeper | 3.0 (3.0) | - | - | - | - |",
        "| lanekeeper | - | - | - | - | 0.2 (0.2) |",
        "at most 2 MiB in maps, and the process that loaded them 5 MiB.",
        "| P0 | much | little | MISSED |",
        "| P0 | much | not built, not measured | MISSED |",
        "| P0 | much | more | met |",
        "VOID: nft list: 3 of 4 counted",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// A report of these rows alone, with nothing measured of engines.
fn of(rows: Vec<Row>, port_baseline_ns: Option<f64>) -> Report {
    Report {
        baseline_ns: None,
        test_run_baseline_ns: None,
        port_baseline_ns,
        rows,
        loads: Vec::new(),
        changes: Vec::new(),
        footprints: Vec::new(),
        void: Vec::new(),
        goals: Vec::new(),
    }
}

#[test]
fn classify_bench_prints_what_was_measured_for_the_readme_and_nothing_else() {
    assert_eq!(page::markdown(&of(Vec::new(), None)), "");
    let row = |engine, family, rules, mode, ns| Row::new(engine, family, rules, mode, &[ns]);
    let rows = vec![
        row("port tc", "acl1", 10, mode::UNCACHED, 999.6),
        row("port tc", "fw1", 10, mode::UNCACHED, 12_345.0),
        row("port xdp", "acl1", 10, mode::UNCACHED, 1.0),
        row("port xdp", "acl1", 10, mode::UNCACHED_AND_HOOK, 1_234_567.0),
        row("port xdp", "acl1", 100_000, mode::CACHED_AND_HOOK, -4.6),
    ];
    let expected = "
README.md, Ports, above 812 ns:

| port | 10 rules | 1,000 | 100,000 |
|---|---|---|---|
| `tc`, uncached | 6,672 (12,345) | - | - |
| `xdp`, uncached | 1,234,567 (1,234,567) | - | - |
| `xdp-generic`, uncached | - | - | - |
| `tc`, cached | - | - | - |
| `xdp`, cached | - | - | -5 (-5) |
| `xdp-generic`, cached | - | - | - |
";
    assert_eq!(page::markdown(&of(rows, Some(811.6))), expected);
}

#[test]
fn classify_bench_prints_the_tables_that_the_readme_has() {
    for (head, lines) in [(page::head("engine", &SIZES), &SPEED[..]), (page::head("port", &PORT_SIZES), &PORTS[..])] {
        let (_, table) = README.split_once(&head).unwrap_or_else(|| panic!("README.md lacks\n{head}"));
        let found = table.lines().take_while(|line| line.starts_with('|'));
        let found: Vec<&str> = found.filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
        assert_eq!(found, lines.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    }
}
