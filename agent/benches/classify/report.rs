//! What was measured, as JSON and as tables.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::goals::Goal;
use crate::stats::{Spread, median, percentile};

/// Numbers of rules.
pub const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

/// Ours at the ingress of the device that all engines' packets come in by.
pub const OURS: &str = "lanekeeper";
/// Ours alone, under BPF_PROG_TEST_RUN.
pub const ALONE: &str = "lanekeeper, test run";

/// How an engine was used.
pub mod mode {
    /// Thousands of flows, each new to the engine. Before a network stack, over lists of which no two rules overlap.
    pub const UNCACHED: &str = "uncached";
    /// A few flows again and again, each known to the engine.
    pub const CACHED: &str = "cached";
    /// A packet a thousand times over: everything that it needs is at hand.
    pub const REPEATED: &str = "repeated";
    /// Before a network stack, uncached, over the family's own list, in which rules overlap.
    pub const OVERLAPPING: &str = "overlapping";
    /// As [`UNCACHED`] and [`CACHED`], of a port with XDP: above an empty tc program, not above empty programs at both of
    /// its hooks. It is this that tells what XDP gains.
    pub const UNCACHED_AND_HOOK: &str = "uncached, hook included";
    /// See [`UNCACHED_AND_HOOK`].
    pub const CACHED_AND_HOOK: &str = "cached, hook included";
    /// Before a network stack, uncached, over ipset's list.
    pub const EXACT: &str = "exact";
    /// Uncached, all rules one tenant's, which has 10,000 networks.
    pub const TENANT: &str = "one tenant";
    /// Uncached, all rules one tenant's, which has every address.
    pub const TENANT_OF_ALL: &str = "one tenant of every address";
    /// Uncached, 10 rules a tenant.
    pub const TENANTS: &str = "tenants of 10 rules";
    /// Uncached packets of which each field fits another rule.
    pub const ADVERSARIAL: &str = "adversarial";
}

/// What one engine costs, above an empty hook or program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Whose.
    pub engine: &'static str,
    /// Over which kind of list.
    pub family: &'static str,
    /// How long it is.
    pub rules: usize,
    /// One of [`mode`].
    pub mode: &'static str,
    /// The rounds' median; of adversarial traffic the packets'.
    pub ns_median: f64,
    /// The least.
    pub ns_min: f64,
    /// The greatest.
    pub ns_max: f64,
    /// Of adversarial traffic, what one packet in a hundred exceeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_p99: Option<f64>,
}

/// How long an engine took to take a list; ours from the parsed file on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Whose.
    pub engine: &'static str,
    /// Of which list.
    pub family: &'static str,
    /// How long it is.
    pub rules: usize,
    /// Milliseconds.
    pub ms: f64,
}

/// How long it takes to add one rule to a list, until it is in effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Whose.
    pub engine: &'static str,
    /// Of which list.
    pub family: &'static str,
    /// How long it is.
    pub rules: usize,
    /// Milliseconds.
    pub ms_median: f64,
    /// What one change in a hundred exceeds.
    pub ms_p99: f64,
}

/// What a process holds that does nothing but have the family's 100,000 rules live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Of which list.
    pub family: String,
    /// From the parsed file to live.
    pub load_ms: f64,
    /// Kernel memory of all maps, in bytes.
    pub maps: u64,
    /// Resident, in bytes.
    pub resident: u64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// A packet's whole way with an empty program at ingress, in nanoseconds. Rows of ours are above it, those of others
    /// above the way with their hook empty. As the next two, nothing where none of these rows was measured.
    pub baseline_ns: Option<f64>,
    /// An empty program's test run, above which the rows of test runs are.
    pub test_run_baseline_ns: Option<f64>,
    /// A packet's whole way from one end of a pair through the other, a port, with an empty tc program.
    pub port_baseline_ns: Option<f64>,
    /// Costs.
    pub rows: Vec<Row>,
    /// Load times.
    pub loads: Vec<Load>,
    /// Changes of one rule.
    pub changes: Vec<Change>,
    /// Memory.
    pub footprints: Vec<Footprint>,
    /// Runs in which not all packets were counted, or not all that should have been marked; they have no row.
    pub void: Vec<String>,
    /// What was to reach.
    pub goals: Vec<Goal>,
}

impl Row {
    /// Of measurements of at least one round.
    pub fn new(engine: &'static str, family: &'static str, rules: usize, mode: &'static str, ns: &[f64]) -> Self {
        let Spread { median, min, max } = Spread::of(ns);
        Self { engine, family, rules, mode, ns_median: median, ns_min: min, ns_max: max, ns_p99: None }
    }
}

impl Report {
    /// For a terminal and for a page alike.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Nanoseconds a packet: median of the families, and the slowest family in brackets. Above an empty hook \
             ({} from XDP to the drop with an empty tc program, {} where frames come in at a port), rows of test runs \
             above an empty program ({}).\n\n",
            nanos(self.baseline_ns),
            nanos(self.port_baseline_ns),
            nanos(self.test_run_baseline_ns)
        );
        self.costs(&mut text);
        if !self.loads.is_empty() {
            text.push_str("\nMilliseconds until a list is live, the same way.\n\n");
            Self::times(&mut text, self.loads.iter().map(|load| (load.engine, load.rules, load.ms)).collect());
        }
        if !self.changes.is_empty() {
            text.push_str(
                "\nMilliseconds until one rule more is in effect, the same way; of others than ours with the start and end \
                           of their programs.\n\n",
            );
            Self::times(
                &mut text,
                self.changes.iter().map(|change| (change.engine, change.rules, change.ms_median)).collect(),
            );
        }
        if let Some(line) = self.memory() {
            let _ = write!(text, "\n{line}\n");
        }
        if !self.goals.is_empty() {
            text.push_str("\n| goal | wanted | got | |\n|---|---|---|---|\n");
        }
        for Goal { id, want, got, pass } in &self.goals {
            let got = got.as_deref().unwrap_or("not built, not measured");
            let _ = writeln!(text, "| {id} | {want} | {got} | {} |", if *pass { "met" } else { "MISSED" });
        }
        for run in &self.void {
            let _ = write!(text, "\nVOID: {run}\n");
        }
        text
    }

    fn costs(&self, text: &mut String) {
        let of = |row: &Row| (row.engine, row.mode);
        let mut kinds: Vec<(&str, &str)> = Vec::new();
        for row in &self.rows {
            if !kinds.contains(&of(row)) {
                kinds.push(of(row));
            }
        }
        head(text, "engine, mode");
        for kind in kinds {
            let values = |rules| {
                self.rows.iter().filter(move |row| of(row) == kind && row.rules == rules).map(|row| row.ns_median)
            };
            line(text, &format!("{}, {}", kind.0, kind.1), |rules| values(rules).collect());
        }
    }

    fn times(text: &mut String, times: Vec<(&str, usize, f64)>) {
        let mut engines: Vec<&str> = Vec::new();
        for (engine, ..) in &times {
            if !engines.contains(engine) {
                engines.push(engine);
            }
        }
        head(text, "engine");
        for engine in engines {
            let of = |rules| times.iter().filter(move |time| (time.0, time.1) == (engine, rules)).map(|time| time.2);
            line(text, engine, |rules| of(rules).collect());
        }
    }

    fn memory(&self) -> Option<String> {
        let most = |of: fn(&Footprint) -> u64| self.footprints.iter().map(of).max();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (maps, resident) = (most(|footprint| footprint.maps)?, most(|footprint| footprint.resident)?);
        Some(format!(
            "With 100,000 rules live, ours holds at most {:.0} MiB in maps, and the process that loaded them {:.0} MiB.",
            mib(maps),
            mib(resident)
        ))
    }
}

fn head(text: &mut String, first: &str) {
    let _ = write!(text, "| {first} |");
    for rules in SIZES {
        let _ = write!(text, " {rules} |");
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
}

/// Of a way that may not have been measured.
pub fn nanos(ns: Option<f64>) -> String {
    ns.map_or("not measured".to_owned(), |ns| format!("{ns:.0} ns"))
}

/// With two figures or more.
fn short(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn line(text: &mut String, name: &str, values: impl Fn(usize) -> Vec<f64>) {
    let _ = write!(text, "| {name} |");
    for rules in SIZES {
        let values = values(rules);
        if values.is_empty() {
            text.push_str(" - |");
        } else {
            let [median, most] = [median(&values), percentile(&values, 100)].map(short);
            let _ = write!(text, " {median} ({most}) |");
        }
    }
    text.push('\n');
}
