//! `status`, `reload` and `confirm`: a question to the running agent, and its answer.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, bail};

use super::{Outcome, now, print};
use crate::control::{Reply, Request, client};
use crate::status::{Form, Status};
use crate::top::Environment;

/// How it stands.
pub fn status(socket: &Path, json: bool, all: bool) -> anyhow::Result<Outcome> {
    let status = match client::ask(socket, &Request::Status {})? {
        Reply::Status { status } => status,
        Reply::Refused { error } => bail!("{error}"),
        Reply::Done { message } => bail!("the agent answered a question that was not asked: {message}"),
        Reply::Rules { .. }
        | Reply::Sample { .. }
        | Reply::Observing {}
        | Reply::Seen { .. }
        | Reply::Unseen { .. } => {
            bail!("the agent answered a question that was not asked")
        }
    };
    print(&shown(&status, json, all)?)?;
    Ok(Outcome::Fine)
}

/// The file, again.
pub fn reload(socket: &Path) -> anyhow::Result<Outcome> {
    done(socket, &Request::Reload {}, "the file was refused, what ran before still runs")
}

/// Another file, by the agent.
pub fn apply(socket: &Path, request: &Request) -> anyhow::Result<Outcome> {
    done(socket, request, "the file was refused, what ran before still runs")
}

/// Rules, by the agent.
pub fn change(socket: &Path, request: &Request) -> anyhow::Result<Outcome> {
    done(socket, request, "no rule was changed")
}

/// It stays.
pub fn confirm(socket: &Path) -> anyhow::Result<Outcome> {
    done(socket, &Request::Confirm {}, "nothing was confirmed")
}

fn shown(status: &Status, json: bool, all: bool) -> anyhow::Result<String> {
    let broken = std::io::stdout().is_terminal();
    let colours = broken && Environment::read().has_colours();
    Ok(if json { serde_json::to_string(status)? + "\n" } else { status.table(now(), Form { all, colours, broken }) })
}

fn done(socket: &Path, request: &Request, refusal: &'static str) -> anyhow::Result<Outcome> {
    match client::ask(socket, request)? {
        Reply::Done { message } => {
            print(&format!("{message}\n"))?;
            Ok(Outcome::Fine)
        }
        Reply::Refused { error } if error.contains('\n') => bail!("{refusal}:\n{error}"),
        Reply::Refused { error } => Err(anyhow::anyhow!(error)).context(refusal),
        Reply::Status { .. }
        | Reply::Rules { .. }
        | Reply::Sample { .. }
        | Reply::Observing {}
        | Reply::Seen { .. }
        | Reply::Unseen { .. } => {
            bail!("the agent answered a question that was not asked")
        }
    }
}
