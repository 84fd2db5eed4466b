//! Where things are: everything this crate makes lies below the workspace's `target/`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace that is worked on.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace of the running `cargo xtask`.
    pub fn find() -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = package.parent().context("xtask has no workspace above it")?.to_path_buf();
        Ok(Self { root })
    }

    /// Another checkout.
    pub fn elsewhere(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the workspace's `target/`.
    pub fn target(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join("target").join(path)
    }

    /// Compilers and linkers that set-up unpacked or built.
    pub fn tools(&self) -> PathBuf {
        self.target("tools")
    }

    /// The objects with the kernel's programs, as the agent embeds them: those that steer, those that observe, and
    /// those that measure latency.
    pub fn bpf_objects(&self) -> [PathBuf; 3] {
        self.objects("bpf")
    }

    /// The same with the maps of another version, for tests of changes between versions.
    pub fn other_bpf_objects(&self) -> [PathBuf; 3] {
        self.objects("bpf-other-abi")
    }

    fn objects(&self, folder: &str) -> [PathBuf; 3] {
        ["lanekeeper-ebpf", "lanekeeper-observe", "lanekeeper-latency"].map(|name| self.target(folder).join(name))
    }
}
