//! `sysdump`: one file for a bug report.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Outcome, Places, now, print, wait_for};
use crate::sysdump::{gather::gather, mask::Mask, render};

/// Writes it, for its owner alone, where nothing is yet.
pub fn sysdump(places: &Places, file: Option<&Path>, mask: bool, output: Option<PathBuf>) -> anyhow::Result<Outcome> {
    let now = now();
    let output = output.unwrap_or_else(|| format!("lanekeeper-sysdump-{now}.txt").into());
    let name = output.display();
    // Before the work, which takes a while.
    let mut to = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&output) {
        Ok(to) => to,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{name} is there already and is not written over; remove it, or name another with --output")
        }
        Err(error) => return Err(error).with_context(|| format!("{name}: cannot be made")),
    };
    let written = wait_for(async { Ok(gather(&places.resolved(), file, now).await) }).and_then(|gathered| {
        let text = render(&gathered.sections);
        let text = if mask { Mask::of(gathered.identities.iter().map(String::as_str)).apply(&text) } else { text };
        Ok(to.write_all(text.as_bytes())?)
    });
    if let Err(error) = written {
        let _ = std::fs::remove_file(&output);
        return Err(error.context(format!("{name}: cannot be written")));
    }
    let addresses = if mask { "addresses and identities are masked" } else { "addresses are in it: --mask-addresses" };
    print(&format!("{name}: no keys are in it; {addresses}\n"))?;
    Ok(Outcome::Fine)
}
