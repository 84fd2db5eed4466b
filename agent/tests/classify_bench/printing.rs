//! The report hides nothing.

use crate::goals::Goal;
use crate::report::{Change, Footprint, Load, OURS, Report, Row, mode};

#[test]
fn classify_bench_prints_a_missed_goal_as_missed() {
    let goal = |got: Option<&str>, pass| Goal { id: "P0", want: "much".into(), got: got.map(str::to_owned), pass };
    let report = Report {
        baseline_ns: 400.4,
        test_run_baseline_ns: 30.0,
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
