//! Executables that cargo makes, where its own messages say they are: a user's configuration moves them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// An executable of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The target's name.
    pub name: String,
    /// `lib`, `bin`, `test`, `bench`.
    pub kind: String,
    /// Whether libtest or a bench's own harness is in it: the unit tests of a library or a binary have its name and its kind.
    pub test: bool,
    /// The file.
    pub file: PathBuf,
    /// The folder of its package.
    pub package: PathBuf,
}

/// Runs a cargo that builds, and returns what it made or found made.
pub fn build(cargo: &mut Command) -> Result<Vec<Artifact>> {
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("it does not build");
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// One of them that is no unit test.
pub fn find<'a>(artifacts: &'a [Artifact], kind: &str, name: &str) -> Result<&'a Artifact> {
    let test = matches!(kind, "test" | "bench");
    let found =
        artifacts.iter().find(|artifact| artifact.name == name && artifact.kind == kind && artifact.test == test);
    found.with_context(|| format!("cargo made no {kind} {name}"))
}

fn parse(messages: &str) -> Vec<Artifact> {
    let parse = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" {
            return None;
        }
        Some(Artifact {
            name: message["target"]["name"].as_str()?.to_string(),
            kind: message["target"]["kind"][0].as_str()?.to_string(),
            test: message["profile"]["test"].as_bool()?,
            file: message["executable"].as_str()?.into(),
            package: Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf(),
        })
    };
    messages.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_where_cargo_says_it_is() {
        let line = |kind: &str, name: &str, test: bool, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/tree/agent/Cargo.toml","target":{{"kind":["{kind}"],"name":"{name}"}},"profile":{{"test":{test}}},"executable":{file}}}"#
            )
        };
        let messages = [
            line("lib", "lanekeeper", false, "null"),
            line("bin", "lanekeeper", true, "\"/elsewhere/debug/deps/lanekeeper-2\""),
            line("bin", "lanekeeper", false, "\"/elsewhere/debug/lanekeeper\""),
            line("test", "lab", true, "\"/elsewhere/debug/deps/lab-1\""),
            r#"{"reason":"build-finished","success":true}"#.to_string(),
        ];
        let artifacts = parse(&messages.join("\n"));
        let file = |kind, name| find(&artifacts, kind, name).unwrap().file.as_path();
        assert_eq!(file("bin", "lanekeeper"), Path::new("/elsewhere/debug/lanekeeper"));
        assert_eq!(file("test", "lab"), Path::new("/elsewhere/debug/deps/lab-1"));
        assert_eq!(find(&artifacts, "test", "lab").unwrap().package, Path::new("/tree/agent"));
        assert_eq!(find(&artifacts, "test", "prog").unwrap_err().to_string(), "cargo made no test prog");
    }
}
