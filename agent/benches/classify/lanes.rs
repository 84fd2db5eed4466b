//! How flows spread over a class's lanes, by the loaded program.

use anyhow::{Context, Result};
use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::lane::LaneId;
use lanekeeper::model::Probe;
use lanekeeper::policy::Policy;

use crate::goals::Lanes;
use crate::witness::list::{self, FAMILIES};
use crate::witness::policy::tunnel;
use crate::witness::random::Random;

const LANES: u8 = 8;
const FLOWS: usize = 10_000;

/// All flows in one class of eight lanes: how they spread, and whether the same tables, loaded again, move one.
pub fn spread() -> Result<Lanes> {
    let family = &FAMILIES[0];
    let listed = list::policy(family, 10);
    let mut classes = listed.classes.clone();
    classes.truncate(1);
    classes[0].lanes = LANES;
    let tunnels = vec![tunnel(&mut Random::new(1), 0, &classes, listed.mark_mask)];
    let mut random = Random::new(17);
    let flows: Vec<Vec<u8>> = (0..FLOWS).map(|_| list::packet(&mut random, family, &listed).frame).collect();
    let policy = Policy { classes, tunnels, rules: Vec::new(), ..listed };
    let tables = compile(&policy, &mut Registry::default())?;
    let mut trial = Trial::new()?;
    let mut taken = || -> Result<Vec<LaneId>> {
        trial.load(&tables)?;
        trial.set_all_up()?;
        trial.set_tunnel("tunnel0")?;
        let lane = |frame: &Vec<u8>| {
            let probe = Probe { frame, mark: 0, ingress: None, stripped: None, cgroup: None };
            trial.run(&probe)?.lane.context("a flow without a lane")
        };
        flows.iter().map(lane).collect()
    };
    let (before, after) = (taken()?, taken()?);
    let moved = before.iter().zip(&after).filter(|(one, other)| one != other).count();
    let on = |index: u8| before.iter().filter(|lane| lane.index == index).count();
    let fullest = (0..LANES).map(on).max().unwrap_or(0);
    Ok(Lanes { fullest: fullest as f64 * f64::from(LANES) / FLOWS as f64, moved })
}
