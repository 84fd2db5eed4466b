//! Debian's archive through an apt configuration of our own: the machine's sources with other suites at a low priority,
//! indexes and packages below `target/apt`, nothing changed in `/etc/apt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::setup::sources::{self, Source};
use crate::shell::{self, say};
use crate::workspace::Workspace;

/// Suites that guests take their kernels from, wherever this machine itself stands.
const SUITES: &[&str] = &["bookworm", "bookworm-backports", "sid"];
/// Suites whose packages' sources hold rule sets, after the machine's own: what one has not, another may have.
const SOURCE_SUITES: &[&str] = &["bookworm", "trixie", "sid"];
/// Indexes older than this are fetched again before something is installed.
const FRESH: Duration = Duration::from_secs(12 * 60 * 60);

/// An apt that knows the machine's suites and ours.
#[derive(Debug, Clone)]
pub struct Apt {
    config: PathBuf,
    codename: String,
}

impl Apt {
    /// Writes the configuration and fetches the indexes if there are none or they are old.
    pub fn open(workspace: &Workspace) -> Result<Self> {
        let codename = codename().context("this is no Debian: /etc/os-release names no VERSION_CODENAME of it")?;
        Self::at(workspace.target("apt"), codename, &Self::suites)
    }

    /// One that knows where the sources of packages are, and no package.
    pub fn open_sources(workspace: &Workspace) -> Result<Self> {
        let codename = codename().context("this is no Debian: /etc/os-release names no VERSION_CODENAME of it")?;
        Self::at(workspace.target("apt-sources"), codename, &Self::source_suites)
    }

    /// One that knows a single suite, for programs that run with that suite's own libraries.
    pub fn open_suite(workspace: &Workspace, suite: &str) -> Result<Self> {
        let codename = codename().context("this is no Debian: /etc/os-release names no VERSION_CODENAME of it")?;
        Self::at(workspace.target(format!("apt-{suite}")), codename, &|apt: &Self| {
            let (_, archive) = apt.own()?;
            let source = Source { suite: suite.to_owned(), ..archive };
            Ok(Lists { lines: format!("{source}\n"), pins: String::new() })
        })
    }

    fn at(folder: PathBuf, codename: String, lists: &dyn Fn(&Self) -> Result<Lists>) -> Result<Self> {
        let apt = Self { config: folder.join("apt.conf"), codename };
        let changed = apt.configure(&folder, &lists(&apt)?)?;
        let stamp = folder.join("updated");
        if changed || is_older(&stamp, FRESH) {
            apt.update()?;
            fs::write(&stamp, "")?;
        }
        Ok(apt)
    }

    /// Fetches the indexes.
    pub fn update(&self) -> Result<()> {
        say("fetching Debian's package indexes");
        shell::run(self.command("apt-get").args(["update", "-q", "--error-on=any"]))
    }

    /// The version that would be installed.
    pub fn candidate(&self, package: &str) -> Option<String> {
        let said = shell::read(self.command("apt-cache").args(["policy", package])).ok()?;
        let line = said.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (line != "(none)").then(|| line.to_string())
    }

    /// All versions of a package, newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let said = shell::read(self.command("apt-cache").args(["madison", package]))?;
        Ok(said.lines().filter_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_string()).collect())
    }

    /// What a package depends on, as `name (= version)` clauses without their alternatives.
    pub fn depends(&self, package: &str, version: &str) -> Result<Vec<String>> {
        let spec = format!("{package}={version}");
        let said = shell::read(self.command("apt-cache").args(["show", &spec]))?;
        let line = said.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        let names = line.split(',').filter_map(|clause| clause.split_whitespace().next());
        Ok(names.map(str::to_string).collect())
    }

    /// Downloads packages (`name=version`) into `folder`; returns the files.
    pub fn download(&self, packages: &[String], folder: &Path) -> Result<Vec<PathBuf>> {
        shell::remove_folder(folder)?;
        fs::create_dir_all(folder)?;
        shell::run(self.command("apt-get").current_dir(folder).arg("download").args(packages))?;
        let files = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
        let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "deb")).collect();
        if files.len() != packages.len() {
            bail!("apt-get downloaded {} of {} packages: {}", files.len(), packages.len(), packages.join(" "));
        }
        Ok(files)
    }

    /// Downloads the upstream archive of a package's source into `folder`, which apt checks against the signed indexes: of
    /// the first version that there is. Returns the version and the file.
    pub fn download_source(&self, package: &str, folder: &Path) -> Result<(String, PathBuf)> {
        let mut versions = self.versions(package)?;
        versions.dedup();
        let mut failures = Vec::new();
        for version in &versions {
            shell::remove_folder(folder)?;
            fs::create_dir_all(folder)?;
            let mut command = self.command("apt-get");
            command.current_dir(folder).args(["source", "-q", "--download-only", "--tar-only"]);
            if let Err(error) = shell::read(command.arg(format!("{package}={version}"))) {
                failures.push(format!("{error:#}"));
                continue;
            }
            let files = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
            let is_archive = |file: &PathBuf| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name.contains(".orig.tar.") && !name.ends_with(".asc")
            };
            if let Some(file) = files.into_iter().find(is_archive) {
                return Ok((version.clone(), file));
            }
            failures.push(format!("{package} {version} has no .orig.tar"));
        }
        let found = if versions.is_empty() { "no version".to_owned() } else { versions.join(", ") };
        bail!(
            "Debian's suites have {found} of the source of {package}, and none could be fetched\n{}",
            failures.join("\n")
        )
    }

    /// The command line that installs `packages`, from the machine's backports where `backports` says so.
    ///
    /// A policy-rc.d keeps the services among them from starting; the shell removes it whatever happens.
    pub fn install(&self, packages: &[&str], backports: bool) -> Command {
        let mut shell = Command::new("sh");
        shell.env("APT_CONFIG", &self.config).env("DEBIAN_FRONTEND", "noninteractive");
        shell.args(["-c", include_str!("setup/install.sh"), "apt-get"]);
        shell.args([
            "install",
            "--yes",
            "--quiet",
            "--no-install-recommends",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            "DPkg::Lock::Timeout=600",
        ]);
        if backports {
            shell.arg("--target-release").arg(format!("{}-backports", self.codename));
        }
        shell.args(packages);
        shell
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C.UTF-8");
        command
    }

    /// The machine's suites and ours, with their packages.
    fn suites(&self) -> Result<Lists> {
        let backports = format!("{}-backports", self.codename);
        let (mut list, archive) = self.own()?;
        for suite in SUITES.iter().copied().chain([backports.as_str()]) {
            if !list.iter().any(|source| source.suite == suite && !source.is_security()) {
                list.push(Source { suite: suite.to_string(), ..archive.clone() });
            }
        }
        let foreign = SUITES.iter().filter(|suite| !suite.starts_with(&self.codename));
        let pins = foreign.map(|suite| format!("Package: *\nPin: release n={suite}\nPin-Priority: 50\n\n")).collect();
        Ok(Lists { lines: list.iter().map(|source| format!("{source}\n")).collect(), pins })
    }

    /// The machine's suite and others, with the sources of their packages.
    fn source_suites(&self) -> Result<Lists> {
        let (_, archive) = self.own()?;
        let others = SOURCE_SUITES.iter().copied().filter(|suite| *suite != self.codename);
        let suites = [self.codename.as_str()].into_iter().chain(others);
        let line = |suite: &str| Source { suite: suite.to_owned(), ..archive.clone() }.of_sources() + "\n";
        Ok(Lists { lines: suites.map(line).collect(), pins: String::new() })
    }

    /// The machine's sources, and the one of its suite.
    fn own(&self) -> Result<(Vec<Source>, Source)> {
        let own = sources::of_machine(Path::new("/etc/apt"));
        let list = sources::named(&own, &self.codename);
        let archive = list.iter().find(|source| source.suite == self.codename && !source.is_security()).cloned();
        let archive = archive.with_context(|| format!("/etc/apt has no source of the suite {}", self.codename))?;
        Ok((list, archive))
    }

    fn configure(&self, folder: &Path, lists: &Lists) -> Result<bool> {
        for part in ["lists/partial", "cache/archives/partial", "parts", "preferences"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let at = folder.display();
        let config = format!(
            "Dir::Etc::SourceList \"{at}/sources.list\";\nDir::Etc::SourceParts \"{at}/parts\";\n\
             Dir::Etc::Preferences \"{at}/preferences/suites\";\nDir::Etc::PreferencesParts \"{at}/parts\";\n\
             Dir::State::Lists \"{at}/lists\";\nDir::Cache \"{at}/cache\";\n\
             APT::Sandbox::User \"root\";\nAPT::Get::List-Cleanup \"true\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\n"
        );
        let mut changed = shell::write_if_changed(&folder.join("sources.list"), lists.lines.as_bytes())?;
        changed |= shell::write_if_changed(&folder.join("preferences/suites"), lists.pins.as_bytes())?;
        changed |= shell::write_if_changed(&self.config, config.as_bytes())?;
        Ok(changed)
    }
}

/// What an apt is told of archives.
struct Lists {
    /// Of sources.list.
    lines: String,
    /// Of preferences.
    pins: String,
}

/// The suite this machine was installed from, if it is a Debian.
pub fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let value = |key: &str| {
        release.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim_matches('"').to_string())
    };
    (value("ID=")? == "debian").then(|| value("VERSION_CODENAME="))?
}

fn is_older(file: &Path, limit: Duration) -> bool {
    let time = fs::metadata(file).and_then(|metadata| metadata.modified());
    time.ok().and_then(|time| SystemTime::now().duration_since(time).ok()).is_none_or(|age| age > limit)
}
