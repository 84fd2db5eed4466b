//! An imported file as its user completes it, and what it decides.
#![allow(dead_code, reason = "each test target uses a part")]

pub mod packet;

use lanekeeper::compile::{Registry, Tables, compile};
use lanekeeper::config;
use lanekeeper::model::{Model, Probe};
use lanekeeper::policy::Policy;

/// The printed file with its tunnel filled in, as `check` takes it.
pub fn completed(file: &str) -> String {
    let block = file.split_once("# [[tunnel]]\n").expect("a tunnel to be filled in").1;
    let lines = block.lines().map_while(|line| line.strip_prefix("# "));
    format!("{file}\n[[tunnel]]\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// Checked and typed.
pub fn policy(file: &str) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imported.toml");
    std::fs::write(&path, completed(file)).unwrap();
    config::inspect(&path).unwrap_or_else(|errors| panic!("{errors}\n{file}")).policy
}

/// What decides.
pub struct Decider {
    pub policy: Policy,
    pub tables: Tables,
}

impl Decider {
    pub fn new(file: &str) -> Self {
        let policy = policy(file);
        let tables = compile(&policy, &mut Registry::default()).unwrap();
        Self { policy, tables }
    }

    /// The class of a frame, and where the rule stood that says so.
    pub fn class(&self, model: &Model<'_>, frame: &[u8], ingress: Option<&str>) -> (String, String) {
        let verdict = model.evaluate("branch-1", &Probe { frame, mark: 0, ingress, stripped: None, cgroup: None });
        assert_eq!(verdict.parse, None, "{frame:02x?}");
        let rule = verdict.rule.map_or("the default".to_owned(), |rule| self.policy.rules[rule].place.clone());
        (self.policy.classes[verdict.class.0].name.clone(), rule)
    }
}
