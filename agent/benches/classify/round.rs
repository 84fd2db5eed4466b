//! A family's lists, and rounds over all that is measured of them.

use anyhow::Result;

use crate::alone::Alone;
use crate::bpf::{Injector, Program};
use crate::goals::Verdicts;
use crate::lists::Lists;
use crate::live::Live;
use crate::report::{Change, Load, Row, SIZES};
use crate::tenants::{self, Tenants};
use crate::witness::list::Family;

/// Rounds that count, after one that does not. Those over long lists take most of the time.
fn rounds(rules: usize) -> usize {
    if rules < 10_000 { 9 } else { 5 }
}

/// What was taken down.
#[derive(Debug, Default)]
pub struct Taken {
    /// Nanoseconds of a packet's way with an empty program on it.
    pub baselines: Vec<f64>,
    /// Nanoseconds of an empty program's test run.
    pub empties: Vec<f64>,
    /// The same of one packet, repeated.
    pub empties_repeated: Vec<f64>,
    /// Nanoseconds of a frame's way through a port with an empty program.
    pub port_baselines: Vec<f64>,
    /// Costs.
    pub rows: Vec<Row>,
    /// Load times.
    pub loads: Vec<Load>,
    /// Changes of one rule.
    pub changes: Vec<Change>,
    /// Runs whose counts are not what they must be.
    pub void: Vec<String>,
    /// Against the oracle.
    pub verdicts: Verdicts,
}

/// What all families are measured with.
pub struct Bench {
    injector: Injector,
    empty: Program,
}

/// One length of list.
struct Size {
    rules: usize,
    lists: Lists,
    live: Live,
    alone: Alone,
}

impl Bench {
    /// Puts its own programs into the kernel.
    pub fn new() -> Result<Self> {
        Ok(Self { injector: Injector::new()?, empty: Program::empty()? })
    }

    /// What tenants cost, and nothing else.
    pub fn measure_tenants(&mut self, family: &'static Family, taken: &mut Taken) -> Result<()> {
        let mut tenants = Tenants::new(family)?;
        tenants.judge(&mut taken.verdicts)?;
        for round in 0..=rounds(tenants::RULES) {
            tenants.round(&self.empty, round > 0)?;
        }
        tenants.rows(family, &mut taken.rows);
        Ok(())
    }

    /// Everything about a family.
    pub fn measure(&mut self, family: &'static Family, taken: &mut Taken) -> Result<()> {
        let mut sizes = Vec::new();
        for rules in SIZES {
            let lists = Lists::new(family, rules)?;
            let mut live = Live::new(family, rules, &lists, &self.empty, &mut taken.loads)?;
            let mut alone = Alone::new(family, rules, &lists.overlapping, &mut taken.loads)?;
            live.share(&mut alone)?;
            alone.judge(&lists.overlapping, &mut taken.verdicts)?;
            sizes.push(Size { rules, lists, live, alone });
        }
        let mut tenants = Tenants::new(family)?;
        tenants.judge(&mut taken.verdicts)?;
        let most = SIZES.map(rounds).into_iter().max().unwrap_or(0);
        for round in 0..=most {
            for size in sizes.iter_mut().filter(|size| round <= rounds(size.rules)) {
                // What the last round of test runs left, the frames of this one must not find.
                size.alone.trial.forget_flows()?;
                let baseline = size.live.round(&size.lists, &mut self.injector, round > 0)?;
                let empty = size.alone.round(&size.lists.overlapping, &self.empty, round > 0)?;
                if round > 0 {
                    taken.baselines.push(baseline);
                    taken.empties.push(empty.once);
                    taken.empties_repeated.push(empty.repeated);
                }
            }
            if round <= rounds(tenants::RULES) {
                tenants.round(&self.empty, round > 0)?;
            }
        }
        tenants.rows(family, &mut taken.rows);
        for Size { rules, lists, live, mut alone } in sizes {
            live.rows(family, rules, taken)?;
            alone.rows(family, rules, &mut taken.rows);
            alone.change(family, &lists.overlapping, &mut taken.changes)?;
            live.change(family, rules, &lists, &mut taken.changes)?;
        }
        Ok(())
    }
}
