//! P1 to P8, as far as this measures them: what was wanted, what was got. A goal without what it needs is missed.

use serde::Serialize;

use crate::report::{ALONE, Change, Footprint, OURS, Row, mode};
use crate::stats::median;

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// Its number; a goal of several parts has several.
    pub id: &'static str,
    /// What was to reach.
    pub want: String,
    /// What was reached; nothing where it is not built.
    pub got: Option<String>,
    /// Whether that is enough.
    pub pass: bool,
}

/// Verdicts that were held against the oracle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// All.
    pub all: usize,
    /// Those that were not its.
    pub wrong: usize,
}

/// Flows over the lanes of a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lanes {
    /// Flows on the fullest, of the mean.
    pub fullest: f64,
    /// Flows that took another lane when the same tables were loaded again.
    pub moved: usize,
}

/// All that goals are held against.
pub struct Measured<'a> {
    /// Costs.
    pub rows: &'a [Row],
    /// Loads and memory.
    pub footprints: &'a [Footprint],
    /// An empty program, repeated; nanoseconds.
    pub empty_ns: f64,
    /// Changes of one rule.
    pub changes: &'a [Change],
    /// Against the oracle.
    pub verdicts: Verdicts,
    /// Over eight lanes.
    pub lanes: Lanes,
}

/// One value for each family.
struct Ratios(Vec<(&'static str, f64)>);

impl Ratios {
    /// `above` over `below`, in each family that has both.
    fn of(rows: &[Row], above: (&str, usize, &str), below: (&str, usize, &str)) -> Option<Self> {
        let is = |row: &&Row, (engine, rules, mode)| row.engine == engine && row.rules == rules && row.mode == mode;
        let ratio = |row: &Row| {
            let other = rows.iter().find(|other| other.family == row.family && is(other, below))?;
            // The baseline's own spread may leave nothing above it.
            Some((row.family, row.ns_median / other.ns_median.max(1.0)))
        };
        let ratios: Vec<_> = rows.iter().filter(|row| is(row, above)).filter_map(ratio).collect();
        if ratios.is_empty() { None } else { Some(Self(ratios)) }
    }

    fn median(&self) -> f64 {
        median(&self.0.iter().map(|(_, ratio)| *ratio).collect::<Vec<_>>())
    }

    fn least(&self) -> (&'static str, f64) {
        *self.0.iter().min_by(|one, other| one.1.total_cmp(&other.1)).expect("there is one")
    }

    fn greatest(&self) -> (&'static str, f64) {
        *self.0.iter().max_by(|one, other| one.1.total_cmp(&other.1)).expect("there is one")
    }
}

fn goal(id: &'static str, want: &str, reached: Option<(String, bool)>) -> Goal {
    let (got, pass) = reached.unzip();
    Goal { id, want: want.to_owned(), got, pass: pass.unwrap_or(false) }
}

/// All of them, in order.
pub fn goals(measured: &Measured<'_>) -> Vec<Goal> {
    let rows = measured.rows;
    let ours = |rules| (OURS, rules, mode::UNCACHED);
    // How many times cheaper ours is, in the median family.
    let cheaper = |id, want, peer, rules, least: f64| {
        let reached = Ratios::of(rows, (peer, rules, mode::UNCACHED), ours(rules)).map(|ratios| {
            let (family, worst) = ratios.least();
            let median = ratios.median();
            (format!("{median:.1}x, {worst:.1}x in {family}"), median >= least)
        });
        goal(id, want, reached)
    };
    let tenants = |want, one| {
        let reached = Ratios::of(rows, (ALONE, 100_000, mode::TENANTS), (ALONE, 100_000, one)).map(|ratios| {
            let (family, worst) = ratios.greatest();
            let median = ratios.median();
            (format!("{median:.2}x, {worst:.2}x in {family}"), median <= 1.0)
        });
        goal("P5", want, reached)
    };
    vec![
        cheaper("P1", "1,000 rules uncached: >= 40x cheaper than the nft list", "nft list", 1_000, 40.0),
        goal("P1", "1,000 rules uncached: <= 1.0x of the nft map", {
            Ratios::of(rows, ours(1_000), ("nft map", 1_000, mode::UNCACHED)).map(|ratios| {
                let (family, worst) = ratios.greatest();
                let median = ratios.median();
                (format!("{median:.2}x, {worst:.2}x in {family}"), median <= 1.0)
            })
        }),
        cheaper("P2", "10,000 rules uncached: >= 3x cheaper than the nft map", "nft map", 10_000, 3.0),
        cheaper("P2", "10,000 rules uncached: >= 60x cheaper than iptables", "iptables-legacy", 10_000, 60.0),
        cheaper("P3", "100,000 rules uncached: >= 10x cheaper than the nft map", "nft map", 100_000, 10.0),
        goal("P3", "100,000 rules uncached: >= 5x cheaper than the nft map in the worst family", {
            Ratios::of(rows, ("nft map", 100_000, mode::UNCACHED), ours(100_000)).map(|ratios| {
                let (family, worst) = ratios.least();
                (format!("{worst:.1}x in {family}"), worst >= 5.0)
            })
        }),
        goal("P4", "a hit of the flow cache at 100,000 rules: <= 1.3x that at 10", {
            Ratios::of(rows, (ALONE, 100_000, mode::CACHED), (ALONE, 10, mode::CACHED)).map(|ratios| {
                let (family, worst) = ratios.greatest();
                let median = ratios.median();
                (format!("{median:.2}x, {worst:.2}x in {family}"), worst <= 1.3)
            })
        }),
        goal("P4", "hook, parsing and hit: <= 3x an empty program under test run", {
            let empty = measured.empty_ns;
            let hits = rows.iter().filter(|row| (row.engine, row.mode) == (ALONE, mode::REPEATED));
            let slowest = hits.max_by(|one, other| one.ns_median.total_cmp(&other.ns_median));
            slowest.map(|row| {
                let hit = empty + row.ns_median;
                let said = format!("{:.1}x ({hit:.0} to {empty:.0} ns) in {}", hit / empty, row.family);
                (said, hit <= 3.0 * empty)
            })
        }),
        goal("P5", "uncached at 100,000 rules: <= 4x that at 1,000, in every family", {
            Ratios::of(rows, (ALONE, 100_000, mode::UNCACHED), (ALONE, 1_000, mode::UNCACHED)).map(|ratios| {
                let (family, worst) = ratios.greatest();
                (format!("{worst:.2}x in {family}"), worst <= 4.0)
            })
        }),
        tenants("10,000 tenants of 10 rules uncached: <= 1.0x of one of 100,000 and the same networks", mode::TENANT),
        tenants(
            "10,000 tenants of 10 rules uncached: <= 1.0x of one of 100,000 and every address",
            mode::TENANT_OF_ALL,
        ),
        goal("P6", "one rule added or removed among 100,000: in effect within 1 ms (p99)", {
            let ours = measured.changes.iter().filter(|change| change.engine == OURS && change.rules == 100_000);
            let slowest = ours.max_by(|one, other| one.ms_p99.total_cmp(&other.ms_p99));
            slowest.map(|change| (format!("{:.2} ms in {}", change.ms_p99, change.family), change.ms_p99 <= 1.0))
        }),
        goal("P6", "100,000 rules live <= 1 s after the file was parsed", {
            let slowest = measured.footprints.iter().max_by(|one, other| one.load_ms.total_cmp(&other.load_ms));
            slowest.map(|load| (format!("{:.2} s in {}", load.load_ms / 1e3, load.family), load.load_ms <= 1e3))
        }),
        goal("P7", "no verdict against the oracle", {
            let Verdicts { all, wrong } = measured.verdicts;
            (all > 0).then(|| (format!("{wrong} of {all}"), wrong == 0))
        }),
        goal("P7", "adversarial traffic at 100,000 rules: p99 <= 5x the median, of it and of the usual", tail(rows)),
        goal("P8", "10,000 flows over 8 lanes: fullest <= 1.10x the mean, and none moves", {
            let Lanes { fullest, moved } = measured.lanes;
            Some((format!("{fullest:.3}x, {moved} moved"), fullest <= 1.10 && moved == 0))
        }),
    ]
}

/// The longest tail of all families, against the lesser of both medians.
fn tail(rows: &[Row]) -> Option<(String, bool)> {
    let is = |row: &&Row, mode| row.engine == ALONE && row.rules == 100_000 && row.mode == mode;
    let ratio = |row: &Row| {
        let usual = rows.iter().find(|other| other.family == row.family && is(other, mode::UNCACHED))?;
        Some((row.family, row.ns_p99? / usual.ns_median.min(row.ns_median).max(1.0)))
    };
    let ratios: Vec<_> = rows.iter().filter(|row| is(row, mode::ADVERSARIAL)).filter_map(ratio).collect();
    let (family, worst) = ratios.into_iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
    Some((format!("{worst:.1}x in {family}"), worst <= 5.0))
}
