//! `release`: what is handed out, made of a commit and of nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::artifact;
use crate::ebpf;
use crate::setup::{self, Need, cargo};
use crate::shell::{self, say};
use crate::workspace::Workspace;

/// Beside the agent, each as it lies in the checkout and under the name that it is installed by.
const FILES: [(&str, &str); 10] = [
    ("README.md", "README.md"),
    ("config.sample.toml", "config.sample.toml"),
    ("agent/packaging/lanekeeper.service", "lanekeeper.service"),
    ("agent/packaging/lanekeeper.sysusers", "lanekeeper.conf"),
    ("dashboards/rules.yml", "lanekeeper-rules.yml"),
    ("dashboards/fleet.json", "grafana-fleet.json"),
    ("dashboards/gateway.json", "grafana-gateway.json"),
    ("dashboards/tunnel.json", "grafana-tunnel.json"),
    ("dashboards/tenant.json", "grafana-tenant.json"),
    ("dashboards/agent.json", "grafana-agent.json"),
];
/// What the agent itself prints.
const PRINTED: [(&[&str], &str); 5] = [
    (&["man"], "lanekeeper.8"),
    (&["schema"], "config.schema.json"),
    (&["completions", "bash"], "lanekeeper.bash"),
    (&["completions", "zsh"], "_lanekeeper"),
    (&["completions", "fish"], "lanekeeper.fish"),
];
/// The packages whose materials are listed: the agent and what it embeds.
const MATERIALS: [(&str, &str); 2] = [
    ("agent/lanekeeper.cdx.json", "lanekeeper.cdx.json"),
    ("ebpf/lanekeeper-ebpf.cdx.json", "lanekeeper-ebpf.cdx.json"),
];

/// Arguments of `release`.
#[derive(Args, Debug)]
pub struct Release {}

impl Release {
    /// Builds the kernel's programs twice, here and in a checkout elsewhere, and refuses where the two differ; then the agent, from
    /// the lock file alone; and lists what both are made of.
    pub fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let commit = Commit::find(workspace)?;
        setup::ensure(workspace, &[Need::BuildPackages, Need::Linker, Need::Compiler, Need::Materials])?;
        ebpf::build(workspace)?;
        let elsewhere = Elsewhere::check_out(workspace)?;
        say(format!("building the kernel's programs once more in {}", elsewhere.0.root().display()));
        ebpf::rebuild(workspace, &elsewhere.0)?;
        say("they are the same to the byte");
        say("building the agent");
        let mut cargo = ebpf::cargo(workspace);
        cargo.args(["build", "--quiet", "--release", "--locked", "--package", "lanekeeper"]);
        let built = artifact::build(&mut cargo)?;
        let agent = &artifact::find(&built, "bin", "lanekeeper")?.file;

        let folder = workspace.target("dist").join(format!("lanekeeper-{}", commit.version(agent)?));
        shell::remove_folder(&folder)?;
        fs::create_dir_all(&folder)?;
        let copy = |from: &Path, name: &str| {
            fs::copy(from, folder.join(name)).map(drop).with_context(|| format!("cannot copy {}", from.display()))
        };
        copy(agent, "lanekeeper")?;
        FILES.iter().try_for_each(|(from, name)| copy(&workspace.root().join(from), name))?;
        for object in workspace.bpf_objects() {
            let name = object.file_name().context("an object without a name")?.to_string_lossy().into_owned();
            copy(&object, &format!("{name}.o"))?;
        }
        for (arguments, name) in PRINTED {
            fs::write(folder.join(name), shell::read(Command::new(agent).args(arguments))?)?;
        }
        commit.list_materials(workspace, &elsewhere)?;
        let there = elsewhere.0.root().to_string_lossy().into_owned();
        for (from, name) in MATERIALS {
            // A package without a registry is named after its folder, which is of this run alone.
            let listed = fs::read_to_string(elsewhere.0.root().join(from)).with_context(|| format!("no {from}"))?;
            fs::write(folder.join(name), listed.replace(&there, "/lanekeeper"))?;
        }
        let sums = shell::read(Command::new("sh").current_dir(&folder).args(["-c", "sha256sum -- *"]))?;
        fs::write(folder.join("SHA256SUMS"), &sums)?;
        let archive = commit.pack(&folder)?;
        print!("{sums}");
        say(format!("{} and {}", folder.display(), archive.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// What a release is of.
struct Commit {
    id: String,
    /// Seconds of the epoch.
    time: String,
}

impl Commit {
    fn find(workspace: &Workspace) -> Result<Self> {
        let git = |arguments: &[&str]| {
            shell::read(Command::new("git").current_dir(workspace.root()).args(arguments))
                .map(|text| text.trim().to_string())
        };
        let changed = git(&["status", "--porcelain"])?;
        if !changed.is_empty() {
            bail!("a release is of a commit, and this checkout differs from it: commit or take back\n{changed}");
        }
        Ok(Self { id: git(&["rev-parse", "--short=12", "HEAD"])?, time: git(&["log", "-1", "--format=%ct"])? })
    }

    /// `0.1.0-0123456789ab`
    fn version(&self, agent: &Path) -> Result<String> {
        let said = shell::read(Command::new(agent).arg("--version"))?;
        let version = said.split_whitespace().nth(1).context("the agent names no version")?;
        Ok(format!("{version}-{}", self.id))
    }

    /// CycloneDX, of each package beside its Cargo.toml.
    fn list_materials(&self, workspace: &Workspace, elsewhere: &Elsewhere) -> Result<()> {
        let mut list = Command::new(cargo::materials_program(workspace));
        list.current_dir(elsewhere.0.root()).args([
            "cyclonedx",
            "--format",
            "json",
            "--spec-version",
            "1.5",
            "--quiet",
        ]);
        shell::run(list.args(["--manifest-path", "agent/Cargo.toml"]).env("SOURCE_DATE_EPOCH", &self.time))
    }

    /// The same files at the same time make the same archive.
    fn pack(&self, folder: &Path) -> Result<PathBuf> {
        let archive = shell::beside(folder, "tar.gz");
        let name = folder.file_name().context("no name")?;
        let mut tar = Command::new("tar");
        tar.current_dir(folder.parent().context("no folder above")?).args(["--sort=name", "--owner=0", "--group=0"]);
        tar.args(["--numeric-owner", "--mtime", &format!("@{}", self.time), "--use-compress-program", "gzip -n9"]);
        shell::run(tar.args(["--create", "--file"]).arg(&archive).arg("--").arg(name))?;
        Ok(archive)
    }
}

/// The commit's files under another path, gone with the value.
struct Elsewhere(Workspace);

impl Elsewhere {
    fn check_out(workspace: &Workspace) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("lanekeeper-release-{}", std::process::id()));
        let elsewhere = Self(Workspace::elsewhere(folder));
        fs::create_dir_all(elsewhere.0.root())?;
        let script = "git archive --format tar HEAD | tar --extract --directory \"$0\"";
        let mut copy = Command::new("bash");
        copy.current_dir(workspace.root()).args(["-c", &format!("set -o pipefail; {script}")]).arg(elsewhere.0.root());
        shell::run(&mut copy)?;
        Ok(elsewhere)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = shell::remove_folder(self.0.root());
    }
}
