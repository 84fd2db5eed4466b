//! `run`: the agent.

use std::path::Path;

use super::{Outcome, Places, wait_for};
use crate::reconcile::agent;

/// Until it is told to stop.
pub fn run(places: &Places, config: &Path) -> anyhow::Result<Outcome> {
    let config = std::path::absolute(config)?;
    wait_for(agent::run(&places.resolved(), &config))?;
    Ok(Outcome::Fine)
}
