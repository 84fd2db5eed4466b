//! Test targets, what they need, and the executables cargo makes of them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::artifact::{self, Artifact};
use crate::ebpf;
use crate::shell::{self, say};
use crate::workspace::Workspace;

/// The package that all of them belong to.
const PACKAGE: &str = "lanekeeper";

/// What lets all of them be built.
pub const FEATURES: &str = "lanekeeper/privileged,lanekeeper/guest";

/// A test target with `required-features`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it asks for: `privileged` (this kernel) or `guest`.
    pub features: Vec<String>,
}

impl Target {
    /// Whether it runs on this machine's kernel, in the tier that its name begins with.
    pub fn is_host(&self, tier: &str) -> bool {
        self.name.starts_with(tier) && self.needs("privileged")
    }

    /// Whether it runs in guests: all that ask for one, and the programs' tests on each kernel.
    pub fn is_guest(&self) -> bool {
        self.needs("guest") || self.is_host("prog")
    }

    fn needs(&self, feature: &str) -> bool {
        self.features.iter().any(|other| other == feature)
    }
}

/// A built test target.
#[derive(Debug, Clone)]
pub struct Executable {
    /// The target's name.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// The folder of its package, in which cargo would run it.
    pub package: PathBuf,
}

/// The targets of the package that ask for features; one that no tier would run is an error.
pub fn list(workspace: &Workspace) -> Result<Vec<Target>> {
    let said = shell::read(ebpf::cargo(workspace).args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let targets = parse(&said)?;
    let homeless = |target: &&Target| !target.is_host("prog") && !target.is_host("netns") && !target.is_guest();
    if let Some(target) = targets.iter().find(homeless) {
        bail!("no tier runs the test target {:?}: name it prog* or netns*, or let it require `guest`", target.name);
    }
    Ok(targets)
}

fn parse(metadata: &str) -> Result<Vec<Target>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let package = packages.iter().find(|package| package["name"] == PACKAGE);
    let targets = package.with_context(|| format!("there is no package {PACKAGE}"))?["targets"].as_array();
    let parse = |target: &Value| {
        let features = target["required-features"].as_array()?;
        let is_test = target["kind"].as_array()?.iter().any(|kind| kind == "test");
        let features = features.iter().filter_map(Value::as_str).map(str::to_string).collect();
        is_test.then_some(Target { name: target["name"].as_str()?.to_string(), features })
    };
    Ok(targets.context("the package has no targets")?.iter().filter_map(parse).collect())
}

/// Test targets in the order they were asked for, and the agent that they start.
#[derive(Debug)]
pub struct Built {
    /// The targets.
    pub tests: Vec<Executable>,
    /// `lanekeeper`.
    pub agent: PathBuf,
}

/// Builds targets, and the binary that they start.
pub fn build(workspace: &Workspace, names: &[&str]) -> Result<Built> {
    say(format!("building {}", names.join(" ")));
    let mut cargo = cargo(workspace, true);
    cargo.arg("--no-run");
    for name in names {
        cargo.args(["--test", name]);
    }
    let artifacts = artifact::build(&mut cargo).with_context(|| names.join(" "))?;
    let find = |name: &&str| artifact::find(&artifacts, "test", name).map(Executable::from);
    let agent = artifact::find(&artifacts, "bin", PACKAGE)?.file.clone();
    Ok(Built { tests: names.iter().map(find).collect::<Result<_>>()?, agent })
}

/// Builds what `cargo test --workspace` runs; with `others` what the other tiers do, too, for which the agent would be compiled
/// anew.
pub fn build_plain(workspace: &Workspace, others: bool) -> Result<Vec<Executable>> {
    let theirs = list(workspace)?;
    let mut cargo = cargo(workspace, others);
    cargo.arg("--no-run");
    let is_plain = |artifact: &&Artifact| artifact.test && !theirs.iter().any(|target| target.name == artifact.name);
    Ok(artifact::build(&mut cargo)?.iter().filter(is_plain).map(Executable::from).collect())
}

/// `cargo test` of the workspace; with `all`, of the targets that ask for features, too. For another choice of packages or features
/// cargo would compile the agent anew.
pub fn cargo(workspace: &Workspace, all: bool) -> Command {
    let mut cargo = ebpf::cargo(workspace);
    cargo.args(["test", "--locked", "--workspace"]);
    cargo.args(all.then_some(["--features", FEATURES]).into_iter().flatten());
    cargo
}

/// The target whose tests go from one version of the maps to another and back.
pub const OF_TWO_VERSIONS: &str = "fault_upgrade";

/// Builds the agent of the other version, which those tests find beside the agent.
pub fn build_other(workspace: &Workspace) -> Result<()> {
    ebpf::build_other(workspace)?;
    let mut cargo = ebpf::cargo(workspace);
    cargo.args(["build", "--package", PACKAGE, "--bin", "lanekeeper-other-abi", "--features", "other-abi"]);
    cargo.env("LANEKEEPER_EBPF_OBJECT", &workspace.other_bpf_objects()[0]);
    shell::run(&mut cargo)
}

impl From<&Artifact> for Executable {
    fn from(artifact: &Artifact) -> Self {
        let (name, kind) = (&artifact.name, &artifact.kind);
        let name = if kind == "test" { name.clone() } else { format!("{name}-{kind}") };
        Self { name, file: artifact.file.clone(), package: artifact.package.clone() }
    }
}

impl Executable {
    /// The tests in it that the filter lets through.
    pub fn tests(&self, filter: Option<&str>) -> Result<Vec<String>> {
        let mut list = Command::new(&self.file);
        let said = shell::read(list.args(filter).args(["--list", "--format", "terse"]))?;
        Ok(super::libtest::names(&said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_go_to_the_tiers_of_their_name_and_features() {
        let metadata = r#"{"packages": [{"name": "xtask", "targets": []}, {"name": "lanekeeper", "targets": [
            {"name": "lanekeeper", "kind": ["lib"]}, {"name": "plain", "kind": ["test"]},
            {"name": "prog_run", "kind": ["test"], "required-features": ["privileged"]},
            {"name": "netns_tcx", "kind": ["test"], "required-features": ["privileged"]},
            {"name": "lanes_ike", "kind": ["test"], "required-features": ["guest"]}]}]}"#;
        let targets = parse(metadata).unwrap();
        let named = |choose: &dyn Fn(&Target) -> bool| {
            targets.iter().filter(|target| choose(target)).map(|target| target.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(named(&|target| target.is_host("prog")), ["prog_run"]);
        assert_eq!(named(&|target| target.is_host("netns")), ["netns_tcx"]);
        assert_eq!(named(&Target::is_guest), ["prog_run", "lanes_ike"]);
    }
}
