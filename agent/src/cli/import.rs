//! `import`: what other programs' rules come to, on standard output, and what they do not, on standard error.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;

use super::{Outcome, print};
use crate::import::{self, Imported, LeftOut, Traffic, classbench};

/// Whose rules.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// A ClassBench filter set; filters are dealt to classes in turn
    Classbench {
        /// The filter set; - is standard input
        file: PathBuf,
        /// How many classes
        #[arg(long, value_name = "N", default_value_t = classbench::CLASSES, value_parser = classes)]
        classes: usize,
        /// One JSON object: the file and what was left out
        #[arg(long)]
        json: bool,
    },
    /// What `nft -j list ruleset` writes: a class for each mark
    Nft(Dump),
    /// What `iptables-save` or `ip6tables-save` writes: a class for each mark
    Iptables(Dump),
}

/// A dump of a firewall's.
#[derive(Debug, clap::Args)]
pub struct Dump {
    /// The dump; - is standard input
    file: PathBuf,
    /// Whose chains are imported: a rule cannot tell the host's own packets from forwarded ones
    #[arg(long, value_enum, default_value = "forwarded")]
    traffic: Traffic,
    /// One JSON object: the file and what was left out
    #[arg(long)]
    json: bool,
}

fn classes(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=32).contains(count)).ok_or_else(|| "from 1 to 32".to_owned())
}

/// With `--json`.
#[derive(Serialize)]
struct Json<'a> {
    source: String,
    file: &'a str,
    left_out: &'a [LeftOut],
}

/// Prints both.
pub fn import(what: &Import) -> anyhow::Result<Outcome> {
    let (file, json) = match what {
        Import::Classbench { file, json, .. } => (file, *json),
        Import::Nft(dump) | Import::Iptables(dump) => (&dump.file, dump.json),
    };
    let (name, text) = read(file)?;
    let Imported { file, left_out } = match what {
        Import::Classbench { classes, .. } => classbench::import(&name, &text, *classes)?,
        Import::Nft(dump) => import::nft::import(&name, &text, dump.traffic)?,
        Import::Iptables(dump) => import::iptables::import(&name, &text, dump.traffic)?,
    };
    if json {
        let json = Json { source: name, file: &file, left_out: &left_out };
        print(&(serde_json::to_string_pretty(&json)? + "\n"))?;
    } else {
        for lost in &left_out {
            eprintln!("{lost}");
        }
        print(&file)?;
    }
    Ok(if left_out.is_empty() { Outcome::Fine } else { Outcome::Finding })
}

/// What messages call the file, and what is in it.
fn read(file: &Path) -> anyhow::Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(("<stdin>".to_owned(), text));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
    Ok((name, text))
}
