//! Steps at which a test has the agent killed, failed or held; see `agent/src/failpoint.rs`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The variable that names the folder.
pub const VARIABLE: &str = "LANEKEEPER_FAILPOINTS";

/// The folder by which an agent is told.
#[derive(Debug, Clone)]
pub struct Failpoints(PathBuf);

impl Failpoints {
    /// Makes the folder; nothing happens at any step yet.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder.to_owned()))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// At the first step whose name begins so: `kill`, `fail` or `hold`.
    pub fn order(&self, action: &str, step: &str) -> Result<()> {
        // Read while it is written it would be another order.
        let fresh = self.0.join("order.new");
        fs::write(&fresh, format!("{action} {step}\n"))?;
        Ok(fs::rename(fresh, self.0.join("order"))?)
    }

    /// Nothing any more; what is held goes on.
    pub fn clear(&self) -> Result<()> {
        gone(&self.0.join("order"))
    }

    /// The names of the steps that came since this was last asked, in their order.
    pub fn passed(&self) -> Result<Vec<String>> {
        let file = self.0.join("passed");
        let text = fs::read_to_string(&file).unwrap_or_default();
        gone(&file)?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

fn gone(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context(file.display().to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}
