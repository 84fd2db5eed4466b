//! A dashboard as its reader sees it: with a value for each variable, and queries that a Prometheus can be asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::prometheus::Asker;
use crate::workspace::Workspace;

/// All that are shipped.
pub const NAMES: [&str; 5] = ["fleet", "gateway", "tunnel", "tenant", "agent"];

/// One of them, of which values have been chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// As Grafana reads it.
    pub json: Value,
    /// By variable: all there is where many may be chosen, else the first.
    pub chosen: BTreeMap<String, String>,
    /// What `$__rate_interval` stands for.
    rate_interval: String,
}

/// One query of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The panel's number.
    pub panel: u64,
    /// Its title.
    pub title: String,
    /// The query's letter.
    pub letter: String,
    /// What Prometheus is asked.
    pub text: String,
    /// Of one moment, not of a time.
    pub instant: bool,
}

impl Board {
    /// Reads the shipped one of that name, and chooses among what this Prometheus knows.
    pub fn read(workspace: &Workspace, name: &str, asker: &Asker, rate_interval: &str) -> Result<Self> {
        Self::of(&workspace.root().join("dashboards").join(format!("{name}.json")), asker, rate_interval)
    }

    fn of(file: &Path, asker: &Asker, rate_interval: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        let mut board = Self { json, chosen: BTreeMap::new(), rate_interval: rate_interval.to_owned() };
        for variable in list(&board.json["templating"]["list"]).to_vec() {
            let name = variable["name"].as_str().context("a variable without a name")?;
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let asked = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
            let (selector, label) =
                asked.and_then(|asked| asked.rsplit_once(", ")).with_context(|| query.to_owned())?;
            let found = asker.label_values(&board.filled(selector)?, label)?;
            if found.is_empty() {
                bail!("{query}: nothing to choose from");
            }
            let value = match (variable["multi"].as_bool(), variable["allValue"].as_str()) {
                (Some(true), Some(all)) => all.to_owned(),
                (Some(true), None) => found.join("|"),
                (Some(false) | None, _) => found[0].clone(),
            };
            board.chosen.insert(name.to_owned(), value);
        }
        Ok(board)
    }

    /// A query as Grafana would send it.
    fn filled(&self, text: &str) -> Result<String> {
        let mut text = text.replace("$__rate_interval", &self.rate_interval);
        for (variable, value) in &self.chosen {
            text = text.replace(&format!("\"${variable}\""), &format!("\"{value}\""));
        }
        if text.contains('$') {
            bail!("a variable is left: {text}");
        }
        Ok(text)
    }

    /// Every query of every panel.
    pub fn queries(&self) -> Result<Vec<Query>> {
        let mut all = Vec::new();
        for panel in list(&self.json["panels"]) {
            for target in list(&panel["targets"]) {
                let text = |key: &str| target[key].as_str().with_context(|| format!("{}: no {key}", panel["title"]));
                all.push(Query {
                    panel: panel["id"].as_u64().context("a panel without a number")?,
                    title: panel["title"].as_str().context("a panel without a title")?.to_owned(),
                    letter: text("refId")?.to_owned(),
                    text: self.filled(text("expr")?)?,
                    instant: target["instant"].as_bool().unwrap_or_default(),
                });
            }
        }
        Ok(all)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
