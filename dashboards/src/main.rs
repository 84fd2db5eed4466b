//! Writes the dashboards and rules, or says which of them are not what the source makes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use lanekeeper_dashboards::files::{self, File};

#[derive(Parser)]
#[command(name = "cargo xtask dashboards", about = "Make Grafana dashboards and Prometheus rules")]
struct Arguments {
    /// Write nothing; exit with 1 if a file is not what the source makes
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode> {
    let Arguments { check } = Arguments::parse();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stale: Vec<File> = files::all().into_iter().filter(|file| !file.is_in(folder)).collect();
    for File { name, text } in &stale {
        if check {
            println!("dashboards/{name} is not what its source makes: run `cargo xtask dashboards`");
        } else {
            std::fs::write(folder.join(name), text).with_context(|| format!("cannot write dashboards/{name}"))?;
            println!("dashboards/{name} written");
        }
    }
    Ok(if check && !stale.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
