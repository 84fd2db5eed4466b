//! `apply`: by the agent where one runs, else by this process.

use std::path::Path;
use std::time::Duration;

use super::{Outcome, Places, ask, print, span, wait_for};
use crate::control::{Request, client};
use crate::reconcile::Error;
use crate::reconcile::once::{self, Confirmed};

/// Applies it whole, or refuses it whole.
pub fn apply(places: &Places, file: &Path, wait: Duration, confirm: Option<Duration>) -> anyhow::Result<Outcome> {
    // Names in it are remembered, and an agent stands in another folder.
    let file = std::path::absolute(file)?;
    let places = places.resolved();
    if client::answers(&places.socket) {
        let request = Request::Apply { file, confirm_within: confirm.map(|within| within.as_secs()) };
        return ask::apply(&places.socket, &request);
    }
    let name = file.display().to_string();
    let applied = |changes: usize| {
        let _ = print(&match (changes, confirm) {
            (_, Some(within)) => format!(
                "{name} is in place ({changes} changes); it is taken back in {} unless `lanekeeper confirm` comes\n",
                span::show(within)
            ),
            (0, None) => format!("{name} was in place, nothing to do\n"),
            (_, None) => format!("{name} is in place ({changes} changes)\n"),
        });
    };
    match wait_for(once::apply(&places, &file, wait, confirm, applied)) {
        Ok(Confirmed::Stays) => Ok(Outcome::Fine),
        Ok(Confirmed::WentBack) => {
            eprintln!("{name}: not confirmed, what ran before runs again");
            Ok(Outcome::Finding)
        }
        Err(error) => match error.downcast_ref::<Error>() {
            Some(down @ Error::LanesDown { .. }) => {
                // The file is in place, which is what was asked for; a peer may well come later than we do.
                eprintln!("{name}: {down}");
                Ok(Outcome::Fine)
            }
            Some(_) | None => Err(error),
        },
    }
}
