//! `build-ebpf`: the kernel's programs as objects that the agent embeds.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::compiler::{self, Choice, Compiler};
use crate::setup::{self, Need};
use crate::shell::{self, say};
use crate::workspace::Workspace;

const TRIPLE: &str = "bpfel-unknown-none";

/// Arguments of `build-ebpf`.
#[derive(Args, Debug, Default)]
pub struct Build {
    /// The compiler to use; without it, Debian's where it can be had, else nightly
    #[arg(long, value_enum)]
    compiler: Option<Choice>,
    /// Those of another version of the maps, into target/bpf-other-abi/: tests change between the two
    #[arg(long)]
    other_abi: bool,
}

impl Build {
    /// Builds and says where the objects are.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        setup::ensure(workspace, &[Need::Linker])?;
        let choice = self.compiler.map_or_else(compiler::asked, |choice| Ok(Some(choice)))?;
        let compiler = compiler::ensure(workspace, choice)?;
        let (features, objects): (&[&str], _) = match self.other_abi {
            false => (&[], workspace.bpf_objects()),
            true => (&["--features", "other-abi"], workspace.other_bpf_objects()),
        };
        compile(workspace, &compiler, features, &objects)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds with the compiler that set-up found.
pub fn build(workspace: &Workspace) -> Result<()> {
    Build::default().run(workspace).map(drop)
}

/// The same for those that the agent of the feature `other-abi` embeds.
pub fn build_other(workspace: &Workspace) -> Result<()> {
    Build { other_abi: true, ..Build::default() }.run(workspace).map(drop)
}

fn compile(workspace: &Workspace, compiler: &Compiler, features: &[&str], objects: &[PathBuf]) -> Result<()> {
    let start = Instant::now();
    say(format!("building the kernel's programs with {compiler}"));
    let target = workspace.target("bpf-build");
    cargo_build(workspace, workspace.root(), compiler, features, &target)?;
    for object in objects {
        let name = object.file_name().unwrap_or_default();
        let built = target.join(TRIPLE).join("release").join(name);
        let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        // The agent embeds the objects: an equal one must not look new to cargo.
        let changed = shell::write_if_changed(object, &bytes)?;
        let (name, state) = (object.display(), if changed { "new" } else { "unchanged" });
        say(format!("{name}: {} KiB, {state}, {}", bytes.len().div_ceil(1024), shell::took(start)));
    }
    Ok(())
}

/// Builds those of another checkout and compares them with ours.
pub fn rebuild(workspace: &Workspace, elsewhere: &Workspace) -> Result<()> {
    let choice = compiler::asked()?;
    // cargo tells packages apart by where they are in the checkout, and the library is built as one of them.
    compiler::copy(workspace, elsewhere)?;
    let compiler = compiler::ensure(elsewhere, choice)?;
    let target = elsewhere.target("bpf-build");
    cargo_build(workspace, elsewhere.root(), &compiler, &[], &target)?;
    for object in workspace.bpf_objects() {
        let again = target.join(TRIPLE).join("release").join(object.file_name().unwrap_or_default());
        let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        if read(&object)? != read(&again)? {
            bail!("{} and {} are made of one source and differ", object.display(), again.display());
        }
    }
    Ok(())
}

fn cargo_build(
    workspace: &Workspace,
    root: &Path,
    compiler: &Compiler,
    features: &[&str],
    target: &Path,
) -> Result<()> {
    let mut cargo = compiler.cargo();
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--release", "--package", "lanekeeper-ebpf", "--bins"])
        .args(features)
        .args(["-Z", "build-std=core", "--target", TRIPLE, "--target-dir"])
        .arg(target)
        .env("PATH", path_with(&workspace.tools().join("bin"))?)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, compiler)?)
        .env_remove("RUSTFLAGS")
        // In several units less is inlined, and a program's stack is more than the verifier allows.
        .env("CARGO_INCREMENTAL", "0");
    shell::run(&mut cargo)
}

/// Debug info for the verifier's log, BTF for the maps and the load, and the host's register layout; and no word of where this
/// was built, so that whoever builds it elsewhere by the same compiler gets the same bytes.
fn flags(root: &Path, compiler: &Compiler) -> Result<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let sources = home.into_iter().flat_map(|home| fs::read_dir(home.join("registry/src"))).flatten().flatten();
    let mut folders = vec![(root.to_path_buf(), "/lanekeeper"), (compiler.library()?, "/rust")];
    // Named after the registry that it came from, which may be a mirror.
    folders.extend(sources.map(|source| (source.path(), "/crates")));
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH);
    let mut flags = vec![arch, "-Cdebuginfo=2".to_string(), "-Clink-arg=--btf".to_string()];
    // The last one that fits a path is taken: sorted, that is the longest.
    folders.sort();
    flags.extend(folders.iter().map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display())));
    Ok(flags.join("\x1f"))
}

fn path_with(first: &Path) -> Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_path_buf()).chain(env::split_paths(&rest));
    env::join_paths(folders).context("PATH holds a folder that cannot be in it")
}

/// A cargo of the workspace's own toolchain, without what the running one set for its children.
pub fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace.root());
    // What cargo tells a program that it runs about that program's own package. Build scripts that look at these of theirs, as
    // ring's does, would be run anew whenever this is asked after a shell, or a shell after this.
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        cargo.env_remove(name);
    }
    cargo
}
