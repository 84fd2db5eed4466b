//! `down`: all that is ours, gone.

use std::path::Path;

use super::{Outcome, Places, print, wait_for};
use crate::reconcile::once;

/// Removes it.
pub fn down(places: &Places, vici: Option<&Path>) -> anyhow::Result<Outcome> {
    let changes = wait_for(once::down(&places.resolved(), vici))?;
    print(&format!("all that was ours is gone ({changes} changes)\n"))?;
    Ok(Outcome::Fine)
}
