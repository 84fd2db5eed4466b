//! `lanekeeper run`: puts the file in place, then keeps it there.

mod following;
mod rules;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::following::Following;
use super::additions::Additions;
use super::charon::Charon;
use super::counts::{Errors, used};
use super::heap;
use super::live::Live;
use super::memory::Remembered;
use super::observing::{Newcomer, Observing};
use super::pending::Pending;
use super::settle::{kind, settle};
use super::signals::Signals;
use super::world::{WithoutCharon, World};
use super::{Error, Places, Wanted};
use super::{lockfile, memory, pending};
use crate::check::plural;
use crate::config::Shelf;
use crate::control::server::{Call, Server};
use crate::control::{Reply, Request};
use crate::failpoint::{pass, stop};
use crate::ike::Event;
use crate::ike::machine::LACKS;
use crate::kernel::{self, Watch, What};
use crate::metrics::server::{bind, serve};
use crate::policy::adopt;
use crate::rest::Rest;
use crate::web::Current;

/// Between two looks at everything, for what no event told.
const RESYNC: Duration = Duration::from_secs(5);

/// Between two looks at what the kernel counts against SAs.
const COUNT: Duration = Duration::from_secs(2);

/// Between two looks for cgroups that rules name: services come and go without a word to us.
const CGROUPS: Duration = Duration::from_secs(1);

/// Between two looks at the programs, at least; and how many times as long as such a look takes.
const PROGRAMS: (Duration, u32) = (Duration::from_millis(500), 20);

/// After the kernel told of a change: others come in a row with it.
const SETTLED: Duration = Duration::from_millis(300);

/// Until going back is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// For charon to name the lanes that are up: connections are loaded, old SAs closed and all listed well within it.
const HEARSAY: Duration = Duration::from_secs(8);

/// The running agent.
struct Agent {
    /// What `run` was given; a reload reads it again.
    config: PathBuf,
    runtime_dir: PathBuf,
    world: World,
    live: Live,
    /// What runs.
    wanted: Arc<Wanted>,
    /// Of the file that was read last.
    shelf: Shelf,
    /// Rules that came while it runs.
    additions: Additions,
    /// What ran before it, to go back to unless what runs is confirmed in time.
    unconfirmed: Option<(Arc<Wanted>, Instant)>,
    metrics: Option<Metrics>,
    /// When charon's task, or what it was given, last changed: from then on it has [`HEARSAY`].
    hearsay_since: Instant,
    errors: Errors,
    /// Carries charon's events into the data path.
    events: Option<JoinHandle<()>>,
    /// Follows adopted tunnels.
    following: Option<Following>,
    /// Those who observe.
    observing: Observing,
    bpffs: PathBuf,
    /// Why packets cannot be timed, as the log has it already.
    untimed: Option<String>,
}

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To a file that is refused unless all of it can be put in place.
    On,
    /// To what ran before: what cannot be had now follows later.
    Back,
}

struct Metrics {
    address: SocketAddr,
    /// What is asked of callers.
    web: Arc<Current>,
    task: JoinHandle<()>,
}

/// Runs until SIGTERM or SIGINT; the data path stays as it is when this returns.
pub async fn run(places: &Places, config: &Path) -> Result<(), Error> {
    let _lock = lockfile::take(&places.runtime_dir)?;
    let mut signals = Signals::new()?;
    let server = Server::bind(&places.socket, &places.runtime_dir)?;
    let (mut agent, watch) = Agent::start(places, config).await?;
    let mut watch = Some(watch);
    let (calls, mut mailbox) = mpsc::channel::<Call>(16);
    let control = tokio::spawn(server.serve(calls));
    let learning = agent.live.learning();
    notify(&[NotifyState::Ready, NotifyState::Status("running")]);
    let mut resync = every(RESYNC);
    let mut count = every(COUNT);
    let mut interfaces = every(RESYNC);
    let mut cgroups = every(CGROUPS);
    let mut programs = every(PROGRAMS.0);
    let mut learn = every(RESYNC);
    // A change has been told, and the look at it is due; the same for interfaces alone, and for adopted CHILD_SAs.
    let (mut due, mut moved, mut news) = (false, false, false);
    let mut rest = Rest::new();
    let mut watchdog = every(sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |limit| limit / 3));
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {
                // The outcome is in log, status and metrics.
                let _ = agent.reload_with_notice().await;
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            Some(call) = mailbox.recv() => agent.take(call).await,
            told = next(&mut watch) => {
                match told {
                    Some(kernel::Event::Changed(What::Interface)) => {
                        if !std::mem::replace(&mut moved, true) {
                            interfaces.reset_after(SETTLED);
                        }
                        // It may be one that a device of ours waits for, or has lost.
                        if agent.wanted.desired.links.iter().all(|link| link.link.is_none()) {
                            continue;
                        }
                    }
                    Some(kernel::Event::Acquire(reqid)) => {
                        if let Some(charon) = agent.world.charon() {
                            charon.acquired(reqid).await;
                        }
                        continue;
                    }
                    Some(kernel::Event::Overrun) => agent.live.overrun(),
                    Some(kernel::Event::Changed(_)) => {}
                    None => watch = Watch::open().map_err(|error| tracing::error!("cannot watch the kernel: {error}")).ok(),
                }
                if !std::mem::replace(&mut due, true) {
                    resync.reset_after(SETTLED.max(rest.left()));
                }
            }
            _ = interfaces.tick(), if moved => {
                moved = false;
                if let Err(error) = agent.world.know_interfaces().await {
                    tracing::warn!("whose packets come in by new interfaces is not known yet, trying again: {error}");
                }
            }
            _ = cgroups.tick() => {
                let policy = Arc::clone(&agent.wanted.policy);
                if let Err(error) = agent.world.know_cgroups(&policy) {
                    tracing::warn!("which cgroups are there is not known, trying again: {error}");
                }
            }
            _ = programs.tick() => {
                let start = Instant::now();
                match agent.world.has_lost_programs() {
                    Ok(false) => {}
                    Ok(true) => resync.reset_immediately(),
                    Err(error) => tracing::warn!("whether programs are where they should be is not known: {error}"),
                }
                programs.reset_after(PROGRAMS.0.max(start.elapsed() * PROGRAMS.1));
            }
            () = learning.notified(), if !news => {
                news = true;
                learn.reset_after(rest.left());
            }
            _ = learn.tick(), if news => {
                news = false;
                let start = Instant::now();
                agent.learn().await;
                rest.since(start);
            }
            _ = count.tick() => agent.count().await,
            _ = resync.tick() => {
                let start = Instant::now();
                agent.tick().await;
                rest.since(start);
                heap::give_back();
                due = agent.world.is_in_doubt();
                if due {
                    resync.reset_after(LACKS);
                }
            }
            _ = watchdog.tick() => notify(&[NotifyState::Watchdog]),
        }
    }
    notify(&[NotifyState::Stopping]);
    control.abort();
    if let Some((before, _)) = agent.unconfirmed.take() {
        // Nobody would be there to do it later.
        agent.go_back(before, "told to stop before it was confirmed").await;
    }
    agent.stop().await;
    tracing::info!("stopped; the data path stays as it is");
    Ok(())
}

impl Agent {
    async fn start(places: &Places, config: &Path) -> Result<(Self, Watch), Error> {
        let additions = Additions::recall(&places.runtime_dir)?;
        let mut shelf = Shelf::default();
        let wanted = Wanted::read_again(config, &mut shelf)?
            .with(|policy| additions.put_back_into(policy, &places.runtime_dir))?
            .look(&places.runtime_dir)
            .await?;
        // Behind the file, whose errors whoever may not watch is told all the same; before the first look, so that no change
        // falls between them.
        let watch = Watch::open()?;
        let mut world = World::open(&places.bpffs)?;
        // Before anything is made: a file that cannot be had whole leaves no pins behind.
        world.survey(&wanted).await?;
        let metrics = match wanted.policy.metrics_listen {
            Some(address) => {
                Some((address, listen(address).await?, Current::read(wanted.policy.web_config.as_deref())?))
            }
            None => None,
        };
        let waits = pending::recall(&places.runtime_dir).unwrap_or_else(|error| {
            tracing::error!("whether anything waits to be confirmed is not known: {error}");
            None
        });
        let before = memory::recall(&places.runtime_dir);
        let mut found = before.as_ref().ok().and_then(|before| before.as_ref()).map(|it| it.policy().clone());
        if let Some(found) = &mut found {
            adopt::learn(found, &wanted.learned, &wanted.insides);
        }
        let live = Live::new(world.dataplane()?, config, Arc::clone(&wanted.policy), found.as_ref())?;
        let mut agent = Self {
            config: config.into(),
            runtime_dir: places.runtime_dir.clone(),
            world,
            live,
            wanted: Arc::new(wanted),
            shelf,
            additions,
            unconfirmed: None,
            metrics: None,
            hearsay_since: Instant::now(),
            errors: Errors::default(),
            events: None,
            following: None,
            observing: Observing::new(&places.bpffs),
            bpffs: places.bpffs.clone(),
            untimed: None,
        };
        if let Some((address, listener, web)) = metrics {
            agent.metrics = Some(agent.serve_metrics(address, listener, web));
        }
        agent.start_charon();
        agent.live.learn(&agent.wanted.learned, &agent.wanted.insides)?;
        agent.remember_insides();
        agent.follow();
        let before = before.and_then(|before| before.map(Remembered::wanted).transpose());
        if let Err(refused) = settle(&mut agent.world, &agent.live, &agent.wanted, WithoutCharon::Proceed).await {
            return Err(agent.give_up(refused, before).await);
        }
        agent.live.settled();
        agent.measure().await;
        agent.applied();
        match waits.filter(|waits| waits.is_of(&agent.wanted)) {
            Some(waits) => agent.wait_on(waits.left(pending::now()), before),
            None => agent.remember(),
        }
        tracing::info!(config = %config.display(), "in place");
        Ok((agent, watch))
    }

    /// An agent before this one had been told to take this file back unless it is confirmed.
    fn wait_on(&mut self, left: Duration, before: Result<Option<Wanted>, Error>) {
        match before {
            Ok(Some(before)) => {
                tracing::warn!(seconds = left.as_secs(), "still to be confirmed, or it is taken back");
                let deadline = Instant::now() + left;
                self.unconfirmed = Some((Arc::new(before), deadline));
                self.live.set_confirm_by(Some(deadline));
            }
            Ok(None) => self.remember(),
            Err(error) => {
                tracing::error!("it was not confirmed, and stays: {error}");
                self.remember();
            }
        }
    }

    /// The file that this agent was started with failed halfway: puts back what an agent before it had in place.
    async fn give_up(mut self, refused: Error, before: Result<Option<Wanted>, Error>) -> Error {
        let back = match before {
            Ok(Some(before)) => {
                self.wanted = Arc::new(before);
                if self.world.charon().map(Charon::vici) != self.wanted.vici() {
                    self.start_charon();
                }
                self.take_learned();
                settle(&mut self.world, &self.live, &self.wanted, WithoutCharon::Proceed).await.map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.stop().await;
        match back {
            Ok(Some(_)) => refused,
            Ok(None) => Error::NothingBefore(Box::new(refused)),
            Err(back) => Error::NoWayBack { refused: Box::new(refused), back: Box::new(back) },
        }
    }

    fn serve_metrics(&self, address: SocketAddr, listener: tokio::net::TcpListener, web: Current) -> Metrics {
        tracing::info!(%address, "metrics");
        let web = Arc::new(web);
        let task = tokio::spawn(serve(listener, Arc::new(self.live.clone()), Arc::clone(&web)));
        Metrics { address, web, task }
    }

    /// The task for charon, and the one that listens to it. Nothing is started where no tunnel is charon's.
    fn start_charon(&mut self) -> Option<Charon> {
        if let Some(events) = self.events.take() {
            events.abort();
        }
        self.live.doubt();
        self.hearsay_since = Instant::now();
        if self.wanted.loads.is_empty() {
            return self.world.set_charon(None);
        }
        let (charon, events) = Charon::start(&self.wanted.policy.vici);
        self.events = Some(tokio::spawn(listen_to_charon(self.live.clone(), events)));
        self.world.set_charon(Some(charon))
    }

    async fn take(&mut self, Call { request, reply, lines }: Call) {
        if let Request::Observe { wish } = request {
            return self.observing.join(&self.live, Newcomer { wish, lines, reply });
        }
        if request == (Request::Sample {}) {
            // Reads every counter: meanwhile the agent goes on.
            let live = self.live.clone();
            tokio::task::spawn_blocking(move || reply.send(sample(&live)));
            return;
        }
        let _ = reply.send(self.answer(&request).await);
    }

    async fn answer(&mut self, request: &Request) -> Reply {
        match request {
            Request::Sample {} => sample(&self.live),
            Request::Observe { .. } => Reply::Refused { error: "nothing is there to be told to".to_owned() },
            Request::Status {} => match self.live.status() {
                Ok(status) => Reply::Status { status: Box::new(status) },
                Err(error) => Reply::Refused { error: error.to_string() },
            },
            Request::Reload {} => {
                let config = self.config.display().to_string();
                reply(self.reload_with_notice().await, |n| format!("{config} is in place ({n} changes)"))
            }
            Request::Apply { file, confirm_within } => {
                let outcome = self.change_to(file, confirm_within.map(Duration::from_secs)).await;
                reply(outcome, |n| match confirm_within {
                    Some(within) => format!(
                        "{} is in place ({n} changes); it is taken back in {within} s unless `lanekeeper confirm` comes",
                        file.display()
                    ),
                    None => format!("{} is in place ({n} changes)", file.display()),
                })
            }
            Request::Confirm {} => match self.unconfirmed.take() {
                Some(_) => {
                    self.live.set_confirm_by(None);
                    self.remember();
                    tracing::info!("confirmed");
                    Reply::Done { message: format!("{} stays", self.wanted.file.display()) }
                }
                None => Reply::Refused { error: "nothing waits to be confirmed".to_owned() },
            },
            Request::AddRules { name, text, at, keep } => {
                reply(self.add_rules(name, text, at, *keep).await, |n| format!("{} added", plural(n, "rule")))
            }
            Request::DeleteRules { tenant, names } => {
                reply(self.delete_rules(tenant, names).await, |n| format!("{} deleted", plural(n, "rule")))
            }
            Request::ListRules {} => Reply::Rules { rules: self.list_rules() },
        }
    }

    async fn reload_with_notice(&mut self) -> Result<usize, Error> {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
        let config = self.config.clone();
        let outcome = self.change_to(&config, None).await;
        notify(&[NotifyState::Ready]);
        outcome
    }

    /// Applies a file whole, or refuses it whole and keeps what ran.
    async fn change_to(&mut self, file: &Path, confirm_within: Option<Duration>) -> Result<usize, Error> {
        let wanted = Wanted::read_again(file, &mut self.shelf)
            .and_then(Wanted::present)
            .and_then(|wanted| wanted.with(|policy| self.additions.put_into(policy)));
        let outcome = match wanted.and_then(|wanted| self.arm(&wanted, confirm_within).map(|()| wanted)) {
            Ok(wanted) => self.replace(Arc::new(wanted), Way::On).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok((before, changes)) => {
                tracing::info!(file = %file.display(), changes, "in place");
                self.applied();
                let deadline = confirm_within.map(|within| Instant::now() + within);
                // A second change before the first is confirmed goes back to what was confirmed last.
                self.unconfirmed = match (deadline, self.unconfirmed.take()) {
                    (Some(deadline), Some((confirmed, _))) => Some((confirmed, deadline)),
                    (Some(deadline), None) => Some((before, deadline)),
                    (None, _) => None,
                };
                self.live.set_confirm_by(deadline);
                if deadline.is_none() {
                    self.remember();
                }
                pass("in place")?;
                Ok(changes)
            }
            Err(error) => {
                tracing::error!(file = %file.display(), "refused, what ran before still runs: {error}");
                self.live.refused(&error.to_string());
                self.disarm();
                Err(error)
            }
        }
    }

    /// Before the first change: who dies in the midst of it is to go back, too.
    fn arm(&self, wanted: &Wanted, confirm_within: Option<Duration>) -> Result<(), Error> {
        let Some(within) = confirm_within else { return Ok(()) };
        Pending::new(wanted, within, pending::now()).remember(&self.runtime_dir)
    }

    /// What runs is what ran before, and waits for a word if it did.
    fn disarm(&self) {
        let kept = match &self.unconfirmed {
            Some((_, deadline)) => {
                let left = deadline.saturating_duration_since(Instant::now());
                Pending::new(&self.wanted, left, pending::now()).remember(&self.runtime_dir)
            }
            None => pending::forget(&self.runtime_dir),
        };
        if let Err(error) = kept {
            tracing::warn!("what waits to be confirmed is not what an agent after this one will take for it: {error}");
        }
    }

    fn applied(&self) {
        self.live.applied(&self.wanted.file);
    }

    /// What runs is what to go back to from now on.
    fn remember(&self) {
        if let Err(error) = memory::remember(&self.runtime_dir, &self.wanted) {
            tracing::warn!("`apply --confirm` will have nothing to go back to: {error}");
        }
    }

    /// Puts `wanted` in the place of what runs, which is returned; or puts that back.
    async fn replace(&mut self, wanted: Arc<Wanted>, way: Way) -> Result<(Arc<Wanted>, usize), Error> {
        let address = wanted.policy.metrics_listen;
        let mut moved = address != self.metrics.as_ref().map(|metrics| metrics.address);
        let listener = match (address.filter(|_| moved), way) {
            (Some(address), Way::On) => Some((address, listen(address).await?)),
            (Some(address), Way::Back) => match listen(address).await {
                Ok(listener) => Some((address, listener)),
                Err(error) => {
                    tracing::error!("metrics stay where they are: {error}");
                    moved = false;
                    None
                }
            },
            (None, _) => None,
        };
        let web = match (Current::read(wanted.policy.web_config.as_deref()), way) {
            (Ok(web), _) => Some(web),
            (Err(errors), Way::On) => return Err(errors.into()),
            (Err(errors), Way::Back) => {
                tracing::error!("what the metrics listener asks of callers stays as it is: {errors}");
                None
            }
        };
        let without = match way {
            Way::On => WithoutCharon::Refuse,
            Way::Back => WithoutCharon::Proceed,
        };
        // What was read knows nothing of the CHILD_SAs of adopted tunnels.
        let wanted = Arc::new(Arc::unwrap_or_clone(wanted).learn(self.live.learned(), self.live.insides()));
        let before = std::mem::replace(&mut self.wanted, wanted);
        let other_charon = self.world.charon().map(Charon::vici) != self.wanted.vici();
        let charon = if other_charon { self.start_charon() } else { None };
        match settle(&mut self.world, &self.live, &self.wanted, without).await {
            Ok(changes) => {
                self.live.settled();
                self.measure().await;
                self.hearsay_since = Instant::now();
                self.follow();
                if let Some(charon) = charon {
                    charon.retire(before.loads.keys()).await;
                }
                if moved && let Some(metrics) = self.metrics.take() {
                    metrics.task.abort();
                }
                match (listener, web, &self.metrics) {
                    (Some((address, listener)), Some(web), _) => {
                        self.metrics = Some(self.serve_metrics(address, listener, web));
                    }
                    // Served in clear, or to anybody, it would be what the file does not say.
                    (Some((address, _)), None, _) => tracing::error!(%address, "metrics are not served"),
                    (None, Some(web), Some(metrics)) => metrics.web.become_like(web),
                    (None, _, _) => {}
                }
                Ok((before, changes.len()))
            }
            Err(refused) => {
                self.wanted = before;
                self.take_learned();
                if other_charon {
                    // The task before is gone with its events; a new one asks charon for all that is up.
                    self.start_charon();
                }
                match settle(&mut self.world, &self.live, &self.wanted, WithoutCharon::Proceed).await {
                    Ok(_) => {
                        self.live.settled();
                        self.hearsay_since = Instant::now();
                        Err(refused)
                    }
                    Err(back) => Err(Error::NoWayBack { refused: Box::new(refused), back: Box::new(back) }),
                }
            }
        }
    }

    /// Takes back what was not confirmed, and repairs what others changed.
    async fn tick(&mut self) {
        if let Some((before, _)) = self.unconfirmed.take_if(|(_, deadline)| *deadline <= Instant::now()) {
            self.go_back(before, "not confirmed in time").await;
        }
        let news = self.take_learned();
        match settle(&mut self.world, &self.live, &self.wanted, WithoutCharon::Proceed).await {
            // What follows SAs is no repair.
            Ok(_) if news => {}
            Ok(repaired) => {
                for op in repaired {
                    tracing::warn!("put back: {op}");
                    self.live.repaired(kind(&op));
                }
            }
            Err(error) => tracing::error!("could not put everything back, trying again: {error}"),
        }
        self.measure().await;
        self.believe_charon().await;
    }

    /// Times packets as the file says. Nothing else waits for it, and nothing fails with it.
    async fn measure(&mut self) {
        let policy = Arc::clone(&self.wanted.policy);
        let outcome = match policy.latency_every {
            None => self.live.measure(&self.bpffs, &policy, &BTreeSet::new()),
            Some(_) => match self.world.stacked().await {
                Ok(stacked) => self.live.measure(&self.bpffs, &policy, &stacked),
                Err(error) => Err(error),
            },
        };
        let why = outcome.err().map(|error| error.to_string());
        if let Some(error) = why.as_ref().filter(|_| why != self.untimed) {
            tracing::warn!("packets are not timed, trying again: {error}");
        }
        self.untimed = why;
    }

    /// Adds what the kernel counts of SAs to their lanes.
    async fn count(&mut self) {
        let outcome = match self.world.sa_counts(&self.wanted).await {
            Ok(sas) => {
                self.live.set_used(used(&self.wanted.policy, &sas));
                self.live.tally(&self.errors.since(&self.wanted.policy, &sas))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!("errors and sequence numbers of SAs are not counted: {error}");
        }
    }

    /// Takes charon's whole picture for lanes of which it has said nothing once it has had time to: one that was found open
    /// may have fallen while nobody listened, one that got another mark may have a new SA that came before the old one went.
    async fn believe_charon(&mut self) {
        if !self.live.untold() || self.hearsay_since.elapsed() < HEARSAY {
            return;
        }
        let Some(charon) = self.world.charon() else { return };
        if self.world.charon_answers(&self.wanted).await
            && let Err(error) = self.live.believe(&charon.status().await)
        {
            tracing::error!("the data path did not take what charon said: {error}");
        }
    }

    async fn go_back(&mut self, before: Arc<Wanted>, why: &'static str) {
        stop("going back");
        tracing::warn!(from = %self.wanted.file.display(), to = %before.file.display(), "{why}: going back");
        match self.replace(Arc::clone(&before), Way::Back).await {
            Ok(_) => {
                self.live.set_confirm_by(None);
                self.applied();
                self.disarm();
            }
            Err(error) => {
                tracing::error!("could not go back, trying again in {} s: {error}", AGAIN.as_secs());
                self.live.refused(&format!("could not go back: {error}"));
                let deadline = Instant::now() + AGAIN;
                self.live.set_confirm_by(Some(deadline));
                self.unconfirmed = Some((before, deadline));
            }
        }
    }

    async fn stop(mut self) {
        self.observing.end().await;
        self.live.stop_measuring();
        if let Some(charon) = self.world.set_charon(None) {
            charon.stop().await;
        }
        if let Some(events) = self.events.take() {
            events.abort();
        }
        self.follow_no_more();
        if let Err(error) = self.live.tally(&[]) {
            tracing::warn!("the last events of lanes are not counted: {error}");
        }
    }
}

/// Waits for ever where the kernel cannot be watched: the timer looks all the same.
async fn next(watch: &mut Option<Watch>) -> Option<kernel::Event> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// A lane that charon says is down is closed at once: nothing in here waits for anything but the next event.
pub(super) async fn listen_to_charon(live: Live, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        if let Err(error) = live.on(&event) {
            tracing::error!(?event, "the data path did not take what charon said: {error}");
        }
    }
}

async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, Error> {
    bind(address).await.map_err(|source| Error::Metrics { address, source })
}

fn sample(live: &Live) -> Reply {
    match live.sample() {
        Ok(sample) => Reply::Sample { sample: Box::new(sample) },
        Err(error) => Reply::Refused { error: error.to_string() },
    }
}

fn reply(outcome: Result<usize, Error>, done: impl FnOnce(usize) -> String) -> Reply {
    match outcome {
        Ok(changes) => Reply::Done { message: done(changes) },
        Err(error) => Reply::Refused { error: error.to_string() },
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Nobody may be listening: systemd is one of many ways to run.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
