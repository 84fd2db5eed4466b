//! `swanctl`: the connections of a file as strongSwan's own.

use std::path::Path;

use super::{Outcome, print};
use crate::config;
use crate::ike::connection::swanctl::{End, conf};

/// Of this end, or of the far one. Reads no key: those who may not read them may see all else.
pub fn swanctl(file: &Path, peer: bool) -> anyhow::Result<Outcome> {
    let loaded = config::inspect(file)?;
    let end = if peer { End::Peer } else { End::Ours };
    print(&conf(&loaded.policy, end, &std::env::current_dir()?)?)?;
    Ok(Outcome::Fine)
}
