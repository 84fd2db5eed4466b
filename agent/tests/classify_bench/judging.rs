//! Goals follow from the figures.

use std::collections::BTreeSet;

use crate::goals::{Goal, Lanes, Measured, Verdicts, goals};
use crate::report::{ALONE, Change, Footprint, OURS, Row, mode};

fn row(engine: &'static str, family: &'static str, rules: usize, mode: &'static str, ns: f64) -> Row {
    Row::new(engine, family, rules, mode, &[ns])
}

fn of(rows: &[Row]) -> Vec<Goal> {
    goals(&Measured {
        rows,
        footprints: &[],
        empty_ns: 50.0,
        changes: &[],
        verdicts: Verdicts::default(),
        lanes: Lanes { fullest: 1.05, moved: 0 },
    })
}

fn said(goals: &[Goal], want: &str) -> (Option<String>, bool) {
    let goal = goals.iter().find(|goal| goal.want.contains(want)).unwrap();
    (goal.got.clone(), goal.pass)
}

#[test]
fn classify_bench_misses_what_it_has_no_figures_for() {
    let goals = of(&[]);
    let ids: BTreeSet<&str> = goals.iter().map(|goal| goal.id).collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"]);
    for goal in goals.iter().filter(|goal| goal.id != "P8") {
        assert_eq!((&goal.got, goal.pass), (&None, false), "{goal:?}");
    }
}

#[test]
fn classify_bench_compares_within_a_family_and_judges_the_median_one() {
    let list = |family, ns| row("nft list", family, 1_000, mode::UNCACHED, ns);
    let ours = |family, ns| row(OURS, family, 1_000, mode::UNCACHED, ns);
    let rows = [
        list("a", 4_000.0),
        ours("a", 100.0),
        list("b", 10_000.0),
        ours("b", 100.0),
        list("c", 3_000.0),
        ours("c", 100.0),
        // A family without the other engine says nothing, nor does another mode.
        list("d", 1.0),
        row(OURS, "a", 1_000, mode::OVERLAPPING, 9_999.0),
    ];
    assert_eq!(said(&of(&rows), "nft list"), (Some("40.0x, 30.0x in c".into()), true));
    assert_eq!(said(&of(&rows[2..]), "nft list"), (Some("65.0x, 30.0x in c".into()), true));
    assert_eq!(said(&of(&rows[4..]), "nft list"), (Some("30.0x, 30.0x in c".into()), false));
}

#[test]
fn classify_bench_judges_the_worst_family_where_every_one_counts() {
    let rows = [
        row(ALONE, "a", 1_000, mode::UNCACHED, 100.0),
        row(ALONE, "a", 100_000, mode::UNCACHED, 150.0),
        row(ALONE, "b", 1_000, mode::UNCACHED, 100.0),
        row(ALONE, "b", 100_000, mode::UNCACHED, 401.0),
    ];
    assert_eq!(said(&of(&rows), "100,000 rules: <= 4x"), (Some("4.01x in b".into()), false));
    assert_eq!(said(&of(&rows[..2]), "100,000 rules: <= 4x"), (Some("1.50x in a".into()), true));
}

#[test]
fn classify_bench_holds_a_tail_against_the_lesser_median() {
    let adversarial = Row { ns_p99: Some(800.0), ..row(ALONE, "a", 100_000, mode::ADVERSARIAL, 200.0) };
    let usual = |ns| row(ALONE, "a", 100_000, mode::UNCACHED, ns);
    let tail = "adversarial traffic";
    assert_eq!(said(&of(&[adversarial.clone(), usual(300.0)]), tail), (Some("4.0x in a".into()), true));
    assert_eq!(said(&of(&[adversarial, usual(100.0)]), tail), (Some("8.0x in a".into()), false));
}

#[test]
fn classify_bench_wants_no_wrong_verdict_and_no_flow_moved() {
    let footprint = Footprint { family: "a".into(), load_ms: 1_001.0, maps: 0, resident: 0 };
    let change = |engine, family, ms_p99| Change { engine, family, rules: 100_000, ms_median: 0.0, ms_p99 };
    let changes = [change(OURS, "a", 0.1), change(OURS, "b", 0.9), change("nft map", "a", 9.0)];
    let repeated = |ns| [row(ALONE, "a", 10, mode::REPEATED, 1.0), row(ALONE, "b", 1_000, mode::REPEATED, ns)];
    let (good_rows, bad_rows) = (repeated(100.0), repeated(101.0));
    let measured = |wrong, moved, rows| Measured {
        rows,
        footprints: std::slice::from_ref(&footprint),
        empty_ns: 50.0,
        changes: &changes,
        verdicts: Verdicts { all: 100, wrong },
        lanes: Lanes { fullest: 1.05, moved },
    };
    let good = goals(&measured(0, 0, &good_rows));
    assert_eq!(said(&good, "oracle"), (Some("0 of 100".into()), true));
    assert_eq!(said(&good, "8 lanes"), (Some("1.050x, 0 moved".into()), true));
    assert_eq!(said(&good, "hook, parsing"), (Some("3.0x (150 to 50 ns) in b".into()), true));
    assert_eq!(said(&good, "within 1 ms"), (Some("0.90 ms in b".into()), true));
    assert_eq!(said(&good, "after the file"), (Some("1.00 s in a".into()), false));
    let bad = goals(&measured(1, 1, &bad_rows));
    for want in ["oracle", "8 lanes", "hook, parsing"] {
        assert!(!said(&bad, want).1, "{want}");
    }
}
