//! `sysdump`: one file for a bug report.

use std::fs::{File, OpenOptions};
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
    if output == Path::new("-") {
        bail!("--output takes a file's name, and writes nothing to a terminal: name one");
    }
    // Before the work, which takes a while and may be broken off.
    if output.symlink_metadata().is_ok() {
        bail!("{name} {THERE}");
    }
    if let Some(file) = file {
        File::open(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    }
    let gathered = wait_for(async { Ok(gather(&places.resolved(), file, now).await) })?;
    let of_keys = Mask::of_keys(gathered.keys.iter().map(String::as_str));
    let mut masks = match mask {
        true => of_keys.and_addresses(gathered.identities.iter().map(String::as_str)),
        false => of_keys,
    };
    let text = masks.apply(&render(&gathered.sections));
    let mut to = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&output) {
        Ok(to) => to,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{name} {THERE}"),
        Err(error) => return Err(error).with_context(|| format!("{name}: cannot be made")),
    };
    if let Err(error) = to.write_all(text.as_bytes()) {
        let _ = std::fs::remove_file(&output);
        return Err(error).with_context(|| format!("{name}: cannot be written"));
    }
    let addresses = match mask {
        true => "addresses are masked, and identities that the file has",
        false => "addresses are in it: --mask-addresses",
    };
    print(&format!("{name}: key files were not read into it; {addresses}; read it before you send it\n"))?;
    Ok(Outcome::Fine)
}

const THERE: &str = "is there already and is not written over; remove it, or name another with --output";
