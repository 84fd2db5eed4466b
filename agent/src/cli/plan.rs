//! `plan`: what `apply` would change.

use std::path::Path;

use super::{Outcome, Places, print, wait_for};
use crate::reconcile::once;

/// One line per change, or one JSON object.
pub fn plan(places: &Places, file: &Path, json: bool) -> anyhow::Result<Outcome> {
    let plan = wait_for(once::plan(&places.resolved(), file))?;
    let text = match (json, plan.ops.is_empty()) {
        (true, _) => serde_json::to_string(&plan)? + "\n",
        (false, true) => "nothing to do\n".to_owned(),
        (false, false) => plan.ops.iter().map(|op| format!("{op}\n")).collect(),
    };
    print(&text)?;
    Ok(if plan.ops.is_empty() { Outcome::Fine } else { Outcome::Finding })
}
