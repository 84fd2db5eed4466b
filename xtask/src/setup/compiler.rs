//! A compiler that can build `core` for BPF: the one Debian keeps for browsers, else a nightly with its library's source.
//!
//! Debian's first, because it is one version everywhere: what the verifiers walk depends on it. A nightly is taken as it
//! is and never updated: a newer one writes what bpf-linker cannot read (seen: 1.101, whose LLVM is 23).

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::cargo;
use crate::apt::Apt;
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// Chooses the compiler for a whole run.
pub const VARIABLE: &str = "LANEKEEPER_EBPF_COMPILER";
/// The oldest minor version that compiles this workspace (`rust-version` in Cargo.toml).
const OLDEST: u32 = 95;

/// Which compiler to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// rustup's nightly
    Nightly,
    /// Debian's rustc-web, unpacked
    Packages,
}

/// A compiler that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// rustup's nightly, whose sysroot holds `rust-src`.
    Nightly,
    /// Debian's packages, unpacked in this folder.
    Packages(PathBuf),
}

impl Compiler {
    /// A cargo that compiles with it.
    pub fn cargo(&self) -> Command {
        match self {
            Self::Nightly => {
                let mut cargo = Command::new("cargo");
                cargo.arg("+nightly").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
                cargo
            }
            Self::Packages(folder) => {
                let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo
                    .env("RUSTC", rustc(folder))
                    .env("LD_LIBRARY_PATH", folder.join("usr/lib/x86_64-linux-gnu"))
                    .env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        }
    }
}

impl Compiler {
    /// Where the source of its library is: it is in debug info.
    pub fn library(&self) -> Result<PathBuf> {
        let sysroot = match self {
            Self::Nightly => {
                let mut rustc = Command::new("rustc");
                rustc.args(["+nightly", "--print", "sysroot"]).env_remove("RUSTUP_TOOLCHAIN");
                PathBuf::from(shell::read(&mut rustc)?.trim())
            }
            Self::Packages(folder) => folder.join("usr"),
        };
        Ok(sysroot.join("lib/rustlib/src/rust"))
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly => f.write_str("rustup's nightly"),
            Self::Packages(_) => f.write_str("Debian's rustc-web"),
        }
    }
}

/// What the environment asks for.
pub fn asked() -> Result<Option<Choice>> {
    let Some(value) = env::var_os(VARIABLE) else { return Ok(None) };
    let value = value.to_string_lossy();
    match Choice::from_str(&value, true) {
        Ok(choice) => Ok(Some(choice)),
        Err(_) => bail!("{VARIABLE} is {value:?}: it takes nightly or packages"),
    }
}

/// Finds a compiler, or brings one.
pub fn ensure(workspace: &Workspace, choice: Option<Choice>) -> Result<Compiler> {
    match choice {
        Some(Choice::Nightly) => nightly(),
        Some(Choice::Packages) => packages(workspace),
        None => packages(workspace).or_else(|error| {
            say(format!("{error:#}; looking for rustup's nightly"));
            nightly()
        }),
    }
}

/// Why there is no compiler yet; nothing where there is one.
pub fn lack(workspace: &Workspace, choice: Option<Choice>) -> Option<String> {
    let nightly = || judge(&ask_nightly(&["-vV"])).err().map(|error| format!("{error:#}"));
    let unpacked = is_unpacked(workspace);
    match choice {
        Some(Choice::Nightly) => nightly(),
        Some(Choice::Packages) => (!unpacked).then(|| "Debian's rustc-web is not unpacked".to_string()),
        None if unpacked => None,
        None => nightly(),
    }
}

fn ask_nightly(what: &[&str]) -> String {
    shell::read(Command::new("rustc").arg("+nightly").args(what).env_remove("RUSTUP_TOOLCHAIN")).unwrap_or_default()
}

/// rustup's nightly, with its library's source if that can be had.
fn nightly() -> Result<Compiler> {
    judge(&ask_nightly(&["-vV"]))?;
    let source =
        Path::new(ask_nightly(&["--print", "sysroot"]).trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !source.is_file() {
        say("asking rustup for nightly's library source");
        let mut rustup = Command::new("timeout");
        rustup.args(["300", "rustup", "component", "add", "rust-src", "--toolchain", "nightly"]);
        shell::run(&mut rustup)?;
    }
    Ok(Compiler::Nightly)
}

/// Whether the compiler that says this of itself compiles the workspace to what bpf-linker reads.
fn judge(version: &str) -> Result<()> {
    let Some(minor) = minor(version) else {
        bail!("there is no nightly compiler: rustup toolchain install nightly --component rust-src");
    };
    if minor < OLDEST {
        bail!("rustup's nightly is 1.{minor}, older than 1.{OLDEST}: rustup update nightly");
    }
    let number = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    let llvm: Option<u32> = number.and_then(|number| number.parse().ok());
    match llvm {
        Some(llvm) if llvm > cargo::LLVM => bail!(
            "rustup's nightly has LLVM {llvm}, and bpf-linker's is {}: install a nightly of early 2026, or unset \
             {VARIABLE} to take Debian's compiler",
            cargo::LLVM
        ),
        Some(_) | None => Ok(()),
    }
}

fn packages(workspace: &Workspace) -> Result<Compiler> {
    let folder = folder(workspace);
    if is_unpacked(workspace) {
        return Ok(Compiler::Packages(folder));
    }
    let start = Instant::now();
    say("fetching rustc-web, its libstd and its source from Debian into target/tools");
    let apt = Apt::open(workspace)?;
    let version = apt.candidate("rustc-web").context("this Debian has no rustc-web")?;
    if minor(&version).is_none_or(|minor| minor < OLDEST) {
        bail!("Debian's rustc-web {version} is older than 1.{OLDEST}: add rust-src to a nightly by rustup");
    }
    // The library is named after the compiler's version.
    let number = version.split(['+', '-', '~']).next().unwrap_or_default();
    let release = number.rsplit_once('.').map_or(number, |(release, _)| release);
    let downloads = workspace.tools().join("rustc-web.debs");
    let wanted = [
        format!("rustc-web={version}"),
        format!("libstd-rust-web-{release}={version}"),
        format!("libstd-rust-web-dev={version}"),
        format!("rust-web-src={version}"),
    ];
    let aside = folder.with_extension("part");
    shell::remove_folder(&aside)?;
    for package in apt.download(&wanted, &downloads)? {
        shell::run(Command::new("dpkg").arg("-x").arg(package).arg(&aside))?;
    }
    shell::remove_folder(&folder)?;
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    shell::remove_folder(&downloads)?;
    say(format!("rustc-web {version} unpacked ({})", took(start)));
    Ok(Compiler::Packages(folder))
}

/// Has another checkout find what is unpacked here.
pub fn copy(workspace: &Workspace, elsewhere: &Workspace) -> Result<()> {
    if !is_unpacked(workspace) {
        return Ok(());
    }
    fs::create_dir_all(elsewhere.tools())?;
    let copy = |how: &str| {
        shell::run(Command::new("cp").args(["--archive", how, "--"]).arg(folder(workspace)).arg(elsewhere.tools()))
    };
    // Links cost nothing, where both are on one file system.
    copy("--link").or_else(|_| {
        shell::remove_folder(&folder(elsewhere))?;
        copy("--reflink=auto")
    })
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("rustc-web")
}

fn rustc(folder: &Path) -> PathBuf {
    folder.join("usr/bin/rustc")
}

fn is_unpacked(workspace: &Workspace) -> bool {
    let folder = folder(workspace);
    // Build scripts and macros run on the host and want its library.
    rustc(&folder).is_file() && folder.join("usr/lib/rustlib/x86_64-unknown-linux-gnu").is_dir()
}

/// The `97` of `rustc 1.97.0-nightly (...)`, the `96` of `1.96.0+dfsg1-1`.
fn minor(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with("1."))?;
    number.split('.').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_rustup_and_debian_are_read() {
        assert_eq!(minor("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)"), Some(97));
        assert_eq!(minor("1.96.0+dfsg1-1~deb12u2"), Some(96));
        assert_eq!(minor("error: no such toolchain"), None);
    }

    #[test]
    fn a_nightly_is_judged_by_its_age_and_its_llvm() {
        let said = |minor: u32, llvm: u32| {
            let version =
                format!("rustc 1.{minor}.0-nightly (e50aa6fba 2026-05-19)\nhost: x\nLLVM version: {llvm}.1.2\n");
            judge(&version).map_err(|error| error.to_string())
        };
        assert_eq!(said(97, 22), Ok(()));
        assert!(said(94, 22).expect_err("too old").contains("older than 1.95"));
        assert!(said(101, 23).expect_err("too new").contains("has LLVM 23, and bpf-linker's is 22"));
        assert!(judge("").expect_err("absent").to_string().contains("rustup toolchain install nightly"));
    }
}
