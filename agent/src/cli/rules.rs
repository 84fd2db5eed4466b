//! `rules`: rules that come and go while the agent runs.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::{Outcome, ask, print};
use crate::control::{Anchor, Listed, Reply, Request, client};

/// What to do with them.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Put rules into the list, all of them or none; in effect when this returns
    Add {
        /// A file of nothing but [[rule]], each with a name; - reads them from standard input
        file: PathBuf,
        /// Where to
        #[command(flatten)]
        at: At,
        /// Keep them over a restart of the agent, until the next boot
        #[arg(long)]
        keep: bool,
    },
    /// Take rules out that were added so, all of them or none; those of a file are taken out there
    Delete {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Whose rules; without it, those of no tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// All rules in their order, those of the files and those that were added
    List {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// A place in the list; the last one unless told otherwise.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct At {
    /// In front of the rule of that name, which has the same tenant
    #[arg(long, value_name = "NAME")]
    before: Option<String>,
    /// Behind the rule of that name
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// In front of all others
    #[arg(long)]
    first: bool,
    /// Behind all others
    #[arg(long)]
    last: bool,
}

impl At {
    fn anchor(self) -> Anchor {
        match (self.before, self.after, self.first) {
            (Some(name), _, _) => Anchor::Before(name),
            (None, Some(name), _) => Anchor::After(name),
            (None, None, true) => Anchor::First,
            (None, None, false) => Anchor::Last,
        }
    }
}

/// Asks the running agent.
pub fn rules(socket: &Path, verb: Verb) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Add { file, at, keep } => {
            let (name, text) = read(&file)?;
            ask::change(socket, &Request::AddRules { name, text, at: at.anchor(), keep })
        }
        Verb::Delete { names, tenant } => ask::change(socket, &Request::DeleteRules { tenant, names }),
        Verb::List { json } => list(socket, json),
    }
}

fn read(file: &Path) -> anyhow::Result<(String, String)> {
    let name = file.display().to_string();
    let mut text = String::new();
    let read = match name.as_str() {
        "-" => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.with_context(|| name.clone())?;
    Ok((name, text))
}

fn list(socket: &Path, json: bool) -> anyhow::Result<Outcome> {
    let rules = match client::ask(socket, &Request::ListRules {})? {
        Reply::Rules { rules } => rules,
        Reply::Refused { error } => bail!("{error}"),
        Reply::Done { .. }
        | Reply::Status { .. }
        | Reply::Sample { .. }
        | Reply::Observing {}
        | Reply::Seen { .. }
        | Reply::Unseen { .. } => {
            bail!("the agent answered a question that was not asked")
        }
    };
    let text = match json {
        true => serde_json::to_string(&serde_json::json!({ "rules": rules }))? + "\n",
        false => rules.iter().map(|rule| line(rule) + "\n").collect(),
    };
    print(&text)?;
    Ok(Outcome::Fine)
}

/// `NAME  TENANT  CLASS  PLACE`, and how long it stays if the file does not say so.
fn line(rule: &Listed) -> String {
    let stays = match (rule.added, rule.kept) {
        (true, true) => "  added, kept",
        (true, false) => "  added",
        (false, _) => "",
    };
    let name = rule.name.as_deref().unwrap_or("-");
    format!("{name:<24}  {:<12}  {:<12}  {}{stays}", rule.tenant.as_deref().unwrap_or("-"), rule.class, rule.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whether_a_rule_can_be_deleted_and_stays() {
        let mut rule = Listed {
            name: Some("sip".into()),
            tenant: None,
            class: "voice".into(),
            place: "gw.toml:9:1".into(),
            added: false,
            kept: false,
        };
        assert_eq!(line(&rule), "sip                       -             voice         gw.toml:9:1");
        rule.added = true;
        assert!(line(&rule).ends_with("gw.toml:9:1  added"));
        rule.kept = true;
        assert!(line(&rule).ends_with("gw.toml:9:1  added, kept"));
    }
}
