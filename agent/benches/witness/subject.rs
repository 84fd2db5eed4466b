//! The list that is gone through, as each witness has it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use lanekeeper::compile::edit::{Beside, Edit};
use lanekeeper::compile::{Registry, Tables, compile};
use lanekeeper::kernel::dataplane::{Dataplane, Trial};
use lanekeeper::model::{Model, Verdict};
use lanekeeper::policy::{Policy, Rule};

use crate::change::Step;
use crate::witness::columns::Columns;
use crate::witness::oracle::Judgement;
use crate::witness::packet::Packet;

/// The tunnel that all packets leave by.
const TUNNEL: &str = "tunnel0";

/// The list as the oracle and the host have it.
pub struct Host {
    /// The rules in their order.
    pub policy: Policy,
    columns: Columns,
    /// What `classify` goes by.
    pub tables: Tables,
}

impl Host {
    /// Compiles it.
    pub fn new(policy: Policy, mut registry: Registry) -> Result<Self> {
        let tables = compile(&policy, &mut registry)?;
        Ok(Self { columns: Columns::new(&policy.rules), policy, tables })
    }

    /// Edits the oracle's list alone.
    pub fn edit_list(&mut self, step: &Step) {
        match step {
            Step::Insert(place, rule) => {
                self.policy.rules.insert(*place, Rule::clone(rule));
                self.columns.insert(*place, rule);
            }
            Step::Remove(place) => {
                self.policy.rules.remove(*place);
                self.columns.remove(*place);
            }
        }
    }

    /// Edits the tables alone; false where they are to be compiled anew.
    pub fn edit_tables(&mut self, step: &Step) -> Result<bool> {
        let edit = match step {
            Step::Insert(place, rule) => {
                Edit::insert(&self.policy, rule, *place, Beside::Next, &mut self.tables.registry)?
            }
            Step::Remove(place) => Edit::Remove { place: *place },
        };
        Ok(self.tables.edit(&edit).is_ok())
    }

    /// What the oracle says.
    pub fn judge(&self, packets: &[Packet]) -> Vec<Judgement> {
        self.columns.judge(&self.policy, packets)
    }

    /// What `classify` says.
    pub fn classify(&self, packets: &[Packet]) -> Vec<Verdict> {
        let model = Model::all_up(&self.tables);
        packets.iter().map(|packet| model.evaluate(TUNNEL, &packet.probe())).collect()
    }
}

/// The list as the kernel has it.
pub struct Kernel {
    /// What changes it.
    pub dataplane: Dataplane,
    /// What packets go through.
    pub trial: Option<Trial>,
    pins: PathBuf,
}

impl Kernel {
    /// Pins its maps there.
    pub fn new(pins: &Path) -> Result<Self> {
        Ok(Self { dataplane: Dataplane::open(pins)?, trial: None, pins: pins.to_owned() })
    }

    /// Loads the whole list.
    pub fn load(&mut self, tables: &Tables) -> Result<()> {
        self.dataplane.load(tables)?;
        let trial = match &mut self.trial {
            Some(trial) => {
                trial.follow(tables);
                trial
            }
            none => none.insert(Trial::over(&self.pins, tables)?),
        };
        trial.set_all_up()?;
        trial.set_tunnel(TUNNEL)?;
        Ok(())
    }

    /// Edits it in place; false where it is to be loaded anew.
    pub fn edit(dataplane: &mut Dataplane, policy: &Policy, step: &Step) -> Result<bool> {
        Ok(match step {
            Step::Insert(place, rule) => dataplane.insert(policy, rule, *place, Beside::Next)?,
            Step::Remove(place) => dataplane.remove(*place)?,
        })
    }

    /// Knows the list that edits have led to; an error if that is not the one of these tables.
    pub fn follow(&mut self, tables: &Tables) -> Result<()> {
        let live = self.dataplane.observed()?.digest;
        if live != Some(tables.digest) {
            bail!("the kernel's list has the digest {live:?}, the host's {}", tables.digest);
        }
        if let Some(trial) = &mut self.trial {
            trial.follow(tables);
        }
        Ok(())
    }
}

/// What the program says.
pub fn run(trial: &mut Trial, packets: &[Packet]) -> Result<Vec<Verdict>> {
    packets.iter().map(|packet| Ok(trial.run(&packet.probe())?)).collect()
}
