//! Programs built by `cargo install` into `target/tools`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Need;
use super::packages;
use crate::shell::{self, say, took, which};
use crate::workspace::Workspace;

/// The LLVM that bpf-linker is built against: it reads what no newer one wrote.
pub const LLVM: u32 = 22;
/// The version of bpf-linker.
pub const LINKER: &str = "0.13.0";
/// The version of cargo-deny.
pub const DENY: &str = "0.20.2";

/// The version of cargo-cyclonedx.
pub const MATERIALS: &str = "0.5.9";

/// Whether there is a bpf-linker: ours, or one of our version in PATH.
pub fn has_linker(workspace: &Workspace) -> bool {
    let asked = |program| shell::read(Command::new(program).arg("--version")).unwrap_or_default();
    workspace.tools().join("bin/bpf-linker").is_file()
        || which("bpf-linker").is_some_and(|found| asked(found).contains(LINKER))
}

/// Whether there is a cargo-deny.
pub fn has_deny(workspace: &Workspace) -> bool {
    workspace.tools().join("bin/cargo-deny").is_file()
}

/// Finds or builds bpf-linker.
pub fn linker(workspace: &Workspace) -> Result<()> {
    if has_linker(workspace) {
        return Ok(());
    }
    packages::ensure(workspace, &[Need::BuildPackages])?;
    install(workspace, "bpf-linker", LINKER, |cargo| {
        unoptimised(cargo);
        cargo.env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"));
        cargo.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]);
    })
}

/// Finds or builds cargo-deny.
pub fn deny(workspace: &Workspace) -> Result<()> {
    if has_deny(workspace) { Ok(()) } else { install(workspace, "cargo-deny", DENY, unoptimised) }
}

/// cargo-cyclonedx, as set-up built it.
pub fn materials_program(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("bin/cargo-cyclonedx")
}

/// Finds or builds cargo-cyclonedx.
pub fn materials(workspace: &Workspace) -> Result<()> {
    if materials_program(workspace).is_file() {
        return Ok(());
    }
    install(workspace, "cargo-cyclonedx", MATERIALS, unoptimised)
}

/// A third to half of the time, and quick enough for what they are asked: bpf-linker leaves the work to LLVM.
fn unoptimised(cargo: &mut Command) {
    cargo.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0");
}

fn install(workspace: &Workspace, name: &str, version: &str, adjust: impl FnOnce(&mut Command)) -> Result<()> {
    let start = Instant::now();
    say(format!("building {name} {version} into target/tools (one to three minutes, once)"));
    let scratch = workspace.tools().join(format!("build-{name}"));
    let mut cargo = Command::new("cargo");
    // Away from the workspace, its configuration and its toolchain file do not apply.
    cargo.current_dir("/").args(["install", name, "--locked", "--version", version, "--root"]).arg(workspace.tools());
    cargo.env("CARGO_TARGET_DIR", &scratch).env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTFLAGS");
    adjust(&mut cargo);
    shell::run(&mut cargo).with_context(|| format!("cannot build {name}"))?;
    shell::remove_folder(&scratch)?;
    say(format!("{name} built ({})", took(start)));
    Ok(())
}
