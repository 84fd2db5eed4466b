//! `plan`, `apply` and `down`: one look, one change, and done. Where an agent runs, `apply` is its work instead.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};

use super::agent::listen_to_charon;
use super::charon::Charon;
use super::live::Live;
use super::memory::Remembered;
use super::pending::{self, Pending};
use super::settle::settle;
use super::signals::Signals;
use super::world::{WithoutCharon, World};
use super::{Error, Places, Wanted, additions, insides, lockfile, memory, wanted};
use crate::control::server::{Call, Server};
use crate::control::{Reply, Request, client};
use crate::failpoint::pass;
use crate::ike::adopted::Followed;
use crate::lane::LaneId;
use crate::plan::Plan;
use crate::policy::adopt::{self, Learned};
use crate::policy::{Keying, Policy};

/// How long an agent that runs is waited for, by who needs it little.
const AGENT: Duration = Duration::from_secs(5);

/// How `apply --confirm` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The word came, or none was asked for.
    Stays,
    /// It did not: what ran before runs again.
    WentBack,
}

/// What `apply` would change.
pub async fn plan(places: &Places, file: &Path) -> Result<Plan, Error> {
    let wanted = Wanted::read(file)?.present()?.look(&places.runtime_dir).await?;
    let wanted = wanted.keep(known(places));
    let survey = World::open(&places.bpffs)?.survey(&wanted).await?;
    match survey.charon {
        Some(error) => Err(error.into()),
        None => Ok(survey.plan),
    }
}

/// A file's policy as the tables have it where it runs: with what is known of its adopted tunnels.
pub async fn learnt(places: &Places, mut policy: Policy) -> Result<Policy, Error> {
    if policy.tunnels.iter().any(|tunnel| matches!(tunnel.keying, Keying::Adopted(_))) {
        let (learned, insides) = wanted::look(&policy, &places.runtime_dir).await?;
        adopt::learn(&mut policy, &wanted::kept(learned, known(places)), &insides);
    }
    Ok(policy)
}

/// What the agent knows of adopted tunnels; nothing where none runs, without whom nobody knows more than charon.
fn known(places: &Places) -> Learned {
    match client::ask_within(&places.socket, &Request::Status {}, AGENT) {
        Ok(Reply::Status { status }) => status.learned(),
        Ok(_) | Err(_) => Learned::new(),
    }
}

/// Applies the file; returns how many things changed.
pub async fn apply(
    places: &Places,
    file: &Path,
    wait: Duration,
    confirm_within: Option<Duration>,
    applied: impl FnOnce(usize),
) -> Result<Confirmed, Error> {
    let _lock = lockfile::take(&places.runtime_dir)?;
    // Taken before the first change: who is ended cannot go back. A terminal that hangs up is what going back is for.
    let signals = confirm_within.map(|_| Signals::new()).transpose()?;
    let before = memory::recall(&places.runtime_dir);
    let mut found = before.as_ref().ok().and_then(|before| before.as_ref()).map(|before| before.policy().clone());
    let before = before.and_then(|before| before.map(Remembered::wanted).transpose());
    // Without a way back there is no trying.
    let before = if confirm_within.is_some() { Ok(before?) } else { before };
    let wanted = Wanted::read(file)?.present()?.look(&places.runtime_dir).await?;
    let server = confirm_within.map(|_| Server::bind(&places.socket, &places.runtime_dir)).transpose()?;
    let mut world = World::open(&places.bpffs)?;
    if let Some(error) = world.survey(&wanted).await?.charon {
        return Err(error.into());
    }
    if let Some(found) = &mut found {
        adopt::learn(found, &wanted.learned, &wanted.insides);
    }
    let opened = world.dataplane();
    let live = opened.and_then(|it| Live::new(it, &wanted.file, Arc::clone(&wanted.policy), found.as_ref()));
    let live = match (live, &before) {
        (Ok(live), _) => live,
        (Err(error), Ok(None)) => {
            // Some of it may be there, and nothing was before.
            world.remove_dataplane()?;
            return Err(error);
        }
        (Err(error), Ok(Some(_)) | Err(_)) => return Err(error),
    };
    // Before anything is routed: what was once is not forgotten if this is killed.
    insides::remember(&places.runtime_dir, &wanted.insides)?;
    if let Some(within) = confirm_within {
        Pending::new(&wanted, within, pending::now()).remember(&places.runtime_dir)?;
    }
    let had_charons = matches!(&before, Ok(Some(before)) if !before.loads.is_empty());
    let charons = had_charons || !wanted.loads.is_empty();
    let outcome = put_in_place(&mut world, &live, &wanted, WithoutCharon::Refuse, charons, wait).await;
    // Whether to live with a peer that is late is the operator's word to say, and that is asked for here.
    let outcome = match (outcome, confirm_within) {
        (Err(late @ Error::LanesDown { .. }), Some(_)) => {
            tracing::warn!("{late}");
            Ok(0)
        }
        (outcome, _) => outcome,
    };
    match (outcome, confirm_within.zip(server).zip(signals)) {
        (Ok(changes), None) => {
            memory::remember(&places.runtime_dir, &wanted)?;
            applied(changes);
            Ok(Confirmed::Stays)
        }
        (Err(error @ Error::LanesDown { .. }), None) => {
            memory::remember(&places.runtime_dir, &wanted)?;
            Err(error)
        }
        (Ok(changes), Some(((within, server), signals))) => {
            applied(changes);
            pass("in place")?;
            if word_comes(server, within, signals).await {
                memory::remember(&places.runtime_dir, &wanted)?;
                return Ok(Confirmed::Stays);
            }
            pass("going back")?;
            go_back(places, &mut world, &live, before, &wanted, wait).await?;
            Ok(Confirmed::WentBack)
        }
        (Err(refused), _) => match go_back(places, &mut world, &live, before, &wanted, wait).await {
            Ok(()) => Err(refused),
            Err(back) => Err(Error::NoWayBack { refused: Box::new(refused), back: Box::new(back) }),
        },
    }
}

/// Removes all that is ours. Without charon its connections are out of reach, and gone with it anyway.
pub async fn down(places: &Places, vici: Option<&Path>) -> Result<usize, Error> {
    let _lock = lockfile::take(&places.runtime_dir)?;
    let known = match memory::recall(&places.runtime_dir) {
        Ok(known) => known.map(|known| known.policy().vici.clone()),
        Err(error) => {
            tracing::warn!("charon is looked for where it is by default: {error}");
            None
        }
    };
    let vici = vici.map(Path::to_path_buf).or(known).unwrap_or_else(|| crate::policy::DEFAULT_VICI.into());
    let mut world = World::open(&places.bpffs)?;
    let changes = tear_down(&mut world, &vici).await?;
    pass("all taken down")?;
    memory::forget(&places.runtime_dir)?;
    pass("memory forgotten")?;
    insides::forget(&places.runtime_dir)?;
    additions::forget(&places.runtime_dir)?;
    Ok(changes)
}

/// Makes the machine what `wanted` says and waits for the lanes: those of charon come up after the connection is loaded, and
/// one whose connection has changed only then. `charons` is whether tunnels of charon's come or go.
async fn put_in_place(
    world: &mut World,
    live: &Live,
    wanted: &Wanted,
    without: WithoutCharon,
    charons: bool,
    wait: Duration,
) -> Result<usize, Error> {
    live.doubt();
    live.learn(&wanted.learned, &wanted.insides)?;
    let listener = charons.then(|| {
        let (charon, events) = Charon::start(&wanted.policy.vici);
        world.set_charon(Some(charon));
        tokio::spawn(listen_to_charon(live.clone(), events))
    });
    let outcome = match settle(world, live, wanted, without).await {
        Ok(changes) => all_up(live, &wanted.policy, wait).await.map(|()| changes.len()),
        Err(error) => Err(error),
    };
    if let Some(charon) = world.set_charon(None) {
        charon.stop().await;
    }
    if let Some(listener) = listener {
        listener.abort();
    }
    outcome
}

/// Adopted lanes are nobody's to wait for here: whoever wrote swanctl.conf has them come up, and `run` follows them.
async fn all_up(live: &Live, policy: &Policy, wait: Duration) -> Result<(), Error> {
    let adopted: BTreeSet<LaneId> = Followed::all(policy).iter().flat_map(Followed::lanes).collect();
    for lane in live.down().iter().filter(|lane| adopted.contains(lane)) {
        tracing::warn!(%lane, "down: `lanekeeper run` steers to it when it comes up, `apply` has looked once");
    }
    let deadline = Instant::now() + wait;
    let mut look = interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        let mut down = live.down();
        down.retain(|lane| !adopted.contains(lane));
        if down.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let lanes = down.iter().map(ToString::to_string).collect();
            return Err(Error::LanesDown { after: wait, lanes });
        }
    }
}

/// Whether `lanekeeper confirm` comes in time, and before a no.
async fn word_comes(server: Server, within: Duration, mut signals: Signals) -> bool {
    let deadline = Instant::now() + within;
    let (calls, mut mailbox) = mpsc::channel::<Call>(1);
    let serving = tokio::spawn(server.serve(calls));
    let came = loop {
        let call = tokio::select! {
            call = mailbox.recv() => call,
            () = sleep_until(deadline) => break false,
            () = signals.end() => break false,
        };
        let Some(call) = call else { break false };
        let (reply, confirmed) = match call.request {
            Request::Confirm {} => (Reply::Done { message: "it stays".to_owned() }, true),
            Request::Status {}
            | Request::Sample {}
            | Request::Reload {}
            | Request::Apply { .. }
            | Request::AddRules { .. }
            | Request::DeleteRules { .. }
            | Request::ListRules {}
            | Request::Observe { .. } => {
                let error = "no agent runs: this is `apply --confirm`, waiting for `lanekeeper confirm`".to_owned();
                (Reply::Refused { error }, false)
            }
        };
        let _ = call.reply.send(reply);
        if confirmed {
            // For the answer to be on its way before the socket goes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            break true;
        }
    };
    serving.abort();
    came
}

/// Where nothing ran before, nothing of ours stays; where what ran before cannot be had, all is left as it is, for to take
/// away the routes that block would be to send in clear.
async fn go_back(
    places: &Places,
    world: &mut World,
    live: &Live,
    before: Result<Option<Wanted>, Error>,
    refused: &Wanted,
    wait: Duration,
) -> Result<(), Error> {
    match before? {
        Some(before) => {
            let before = before.look(&places.runtime_dir).await?;
            insides::remember(&places.runtime_dir, &before.insides)?;
            let charons = !before.loads.is_empty() || !refused.loads.is_empty();
            match put_in_place(world, live, &before, WithoutCharon::Proceed, charons, wait).await {
                Err(late @ Error::LanesDown { .. }) => {
                    tracing::warn!("{}: {late}", before.file.display());
                    Ok(())
                }
                outcome => outcome.map(drop),
            }?;
            pending::forget(&places.runtime_dir)
        }
        None => {
            tear_down(world, &refused.policy.vici).await?;
            insides::forget(&places.runtime_dir)?;
            memory::forget(&places.runtime_dir)
        }
    }
}

async fn tear_down(world: &mut World, vici: &Path) -> Result<usize, Error> {
    let survey = world.survey_for_nothing(vici).await?;
    if let Some(error) = &survey.charon {
        tracing::info!("charon was not asked for connections of ours: {error}");
    }
    let changes = world.take_down(&survey, vici).await?;
    world.remove_dataplane()?;
    Ok(changes)
}
