//! `run`: the agent.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Outcome, Places, wait_for};
use crate::reconcile::{agent, heap};

/// Until it is told to stop.
pub fn run(places: &Places, config: &Path) -> anyhow::Result<Outcome> {
    let config = std::path::absolute(config)?;
    // The links of a thousand tunnels' programs, which it holds open, are more than a process has by default.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    heap::share();
    wait_for(agent::run(&places.resolved(), &config))?;
    Ok(Outcome::Fine)
}
