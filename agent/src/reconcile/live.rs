//! What the running agent knows, for whoever asks: status, metrics, readiness.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lanekeeper_common::latency::Delays;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use super::lanes::{Effect, Lanes};
use super::troubles::Troubles;
use super::world::{SharedDataplane, lock};
use super::{Error, heap};
use crate::compile::series::{Refusal, Series};
use crate::ike::{Event, TunnelStatus};
use crate::kernel::dataplane::{self, Gate, Stopwatch};
use crate::lane::LaneId;
use crate::metrics::{Effort, Format, Part, Scrape, encode, server::Source, xfrm_stat};
use crate::policy::Policy;
use crate::policy::adopt::{Insides, Learned};
use crate::status::{Reload, Status};
use crate::top::Sample;

/// Shared between the tasks of the agent.
#[derive(Clone)]
pub struct Live {
    dataplane: SharedDataplane,
    /// Part of the data path with a lock of its own: lanes open and close while tables are loaded and counters are read.
    /// Whoever holds the state may wait for it, and for nothing else.
    gate: Arc<Mutex<Gate>>,
    state: Arc<Mutex<State>>,
    /// What times packets, where the file asks for that and it can be had.
    stopwatch: Arc<Mutex<Option<Stopwatch>>>,
    /// Something new is known of adopted lanes, which the tables may not have yet.
    learning: Arc<Notify>,
    /// Callers that the metrics listener turned away and that are not counted yet, in the order of [`Refusal::ALL`].
    refused: Arc<[AtomicU64; Refusal::ALL.len()]>,
    /// How often each part of a scrape could not be read, in the order of [`Part::ALL`].
    unread: Arc<[AtomicU64; Part::ALL.len()]>,
}

struct State {
    file: PathBuf,
    policy: Arc<Policy>,
    lanes: Lanes,
    troubles: Troubles,
    /// Why devices are not there, by their names.
    missing: BTreeMap<String, String>,
    /// What is known of the inside of adopted connections' SAs.
    insides: Insides,
    /// How many have those that clients share.
    clients: BTreeMap<String, usize>,
    /// How much of their sequence numbers lanes have used.
    used: BTreeMap<LaneId, f64>,
    /// Counted, but not yet in the data path.
    uncounted: Vec<(Series, u64)>,
    reload: Reload,
    /// When a file was last applied, in seconds since 1970.
    applied_at: u64,
    /// Until when what was applied must be confirmed.
    confirm_by: Option<Instant>,
    /// Why traffic is not yet steered as the file says.
    not_ready: Option<String>,
}

impl Live {
    /// Before the first file is in place; `before` is what an agent before this one had there.
    pub fn new(
        dataplane: SharedDataplane,
        file: &Path,
        policy: Arc<Policy>,
        before: Option<&Policy>,
    ) -> Result<Self, Error> {
        let gate = lock(&dataplane).gate();
        let lanes = match before {
            Some(before) => Lanes::found(before, &lock(&gate).lanes_up()?, now()),
            None => Lanes::default(),
        };
        let state = State {
            file: file.into(),
            policy,
            lanes,
            troubles: Troubles::default(),
            missing: BTreeMap::new(),
            insides: Insides::new(),
            clients: BTreeMap::new(),
            used: BTreeMap::new(),
            uncounted: Vec::new(),
            reload: Reload { success: false, at: now(), error: None },
            applied_at: 0,
            confirm_by: None,
            not_ready: Some("the file is not in place yet".to_owned()),
        };
        Ok(Self {
            dataplane,
            gate,
            state: Arc::new(Mutex::new(state)),
            stopwatch: Arc::default(),
            learning: Arc::default(),
            refused: Arc::default(),
            unread: Arc::default(),
        })
    }

    /// Closes the lanes that get other marks with the tables of this policy.
    pub fn leave(&self, policy: &Policy) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let effects = state.lanes.leave(policy);
        self.carry_out(&mut state, effects)
    }

    /// The lanes of the policy whose tables are loaded now.
    pub fn install(&self, policy: &Arc<Policy>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.policy = Arc::clone(policy);
        let open = lock(&self.gate).lanes_up()?;
        let effects = state.lanes.install(policy, &open, now());
        self.carry_out(&mut state, effects)
    }

    /// Rules have come or gone: all else of the policy is as it was.
    pub fn set_policy(&self, policy: &Arc<Policy>) {
        lock(&self.state).policy = Arc::clone(policy);
    }

    /// Devices that cannot be made now, and why: what was said before of others holds no more.
    pub fn go_without(&self, devices: BTreeMap<String, String>) {
        lock(&self.state).missing = devices;
    }

    /// What runs.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&lock(&self.state).policy)
    }

    /// The data path.
    pub fn dataplane(&self) -> &SharedDataplane {
        &self.dataplane
    }

    /// The change of policy stays, or has been taken back whole.
    pub fn settled(&self) {
        let mut state = lock(&self.state);
        state.lanes.settled();
        let policy = Arc::clone(&state.policy);
        state.insides.retain(|name, _| policy.tunnels.iter().any(|tunnel| tunnel.follows() && tunnel.name == *name));
    }

    /// charon's task is another one from now on.
    pub fn doubt(&self) {
        lock(&self.state).lanes.doubt();
    }

    /// What charon says, carried into the data path before this returns.
    pub fn on(&self, event: &Event) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let effects = state.lanes.on(event, now());
        state.troubles.on(event, &state.lanes);
        self.carry_out(state, effects)?;
        match event {
            Event::Inside(tunnel, ends) => {
                state.insides.entry(tunnel.clone()).or_default().take(ends.clone());
                self.learning.notify_one();
            }
            Event::Clients(tunnel, clients) => drop(state.clients.insert(tunnel.clone(), *clients)),
            // Of clients that have gone nothing is to stay.
            Event::Adopted(..) | Event::LaneDown(_) => self.learning.notify_one(),
            Event::LaneUp(_) | Event::LaneOnDemand(_) | Event::Rekeyed(_) => {}
            Event::TunnelUp(_) | Event::TunnelDown(_) => {}
            Event::CharonGone { .. } | Event::CharonBack { .. } | Event::Trouble { .. } => {}
            Event::Unfit { .. } | Event::Sound(_) => {}
        }
        Ok(())
    }

    /// Takes what a look at charon has told of adopted tunnels.
    pub fn learn(&self, learned: &Learned, insides: &Insides) -> Result<(), Error> {
        lock(&self.state).insides = insides.clone();
        learned.iter().try_for_each(|(lane, traits)| self.on(&Event::Adopted(lane.clone(), traits.clone())))
    }

    /// Times packets as the policy says from now on, for as long as this is called again and again. `bpffs` has the data path's
    /// pins, `stacked` are the devices that hand packets on to others below them.
    pub fn measure(&self, bpffs: &Path, policy: &Policy, stacked: &BTreeSet<u32>) -> Result<(), Error> {
        let mut stopwatch = lock(&self.stopwatch);
        let Some(every) = policy.latency_every else {
            if stopwatch.take().is_some() {
                tracing::info!("no packets are timed any more");
            }
            return Ok(());
        };
        if !stopwatch.as_ref().is_some_and(|stopwatch| stopwatch.is_of(every, policy.mark_mask)) {
            // The programs of before go first, or some packets would be timed by both.
            *stopwatch = None;
            *stopwatch = Some(Stopwatch::open(bpffs, every, policy.mark_mask)?);
            tracing::info!(every, "packets are timed");
        }
        match &mut *stopwatch {
            Some(stopwatch) => Ok(stopwatch.follow(&lock(&self.dataplane), policy, stacked)?),
            None => Ok(()),
        }
    }

    /// How long packets have waited, by lane.
    fn delays(&self) -> Result<BTreeMap<LaneId, Delays>, dataplane::Error> {
        let delays = match &*lock(&self.stopwatch) {
            Some(stopwatch) => stopwatch.delays()?,
            None => return Ok(BTreeMap::new()),
        };
        let lanes = lock(&self.dataplane).lanes_by_number();
        Ok(delays.into_iter().filter_map(|(number, delays)| Some((lanes.get(&number)?.clone(), delays))).collect())
    }

    /// Times nothing any more.
    pub fn stop_measuring(&self) {
        *lock(&self.stopwatch) = None;
    }

    /// What the tables should have of adopted lanes.
    pub fn learned(&self) -> Learned {
        lock(&self.state).lanes.learned().clone()
    }

    /// What is known of the inside of adopted connections' SAs.
    pub fn insides(&self) -> Insides {
        lock(&self.state).insides.clone()
    }

    /// Wakes whoever waits for it when that has changed.
    pub fn learning(&self) -> Arc<Notify> {
        Arc::clone(&self.learning)
    }

    /// Counts what happened to lanes outside the data path, with what has waited for it.
    pub fn tally(&self, counts: &[(Series, u64)]) -> Result<(), Error> {
        let mut dataplane = lock(&self.dataplane);
        let waiting = {
            let mut state = lock(&self.state);
            state.uncounted.extend_from_slice(counts);
            for (reason, n) in Refusal::ALL.into_iter().zip(self.refused.iter()) {
                match n.swap(0, Ordering::Relaxed) {
                    0 => {}
                    n => state.uncounted.push((Series::Refused { reason }, n)),
                }
            }
            std::mem::take(&mut state.uncounted)
        };
        let (left, outcome) = count_each(waiting, |series, n| dataplane.tally(series, n));
        lock(&self.state).uncounted.extend(left);
        Ok(outcome?)
    }

    /// Counts that a part of a scrape could not be read, and why, for whoever asked.
    fn unread(&self, part: Part, error: &dyn std::error::Error) -> String {
        for (other, n) in Part::ALL.into_iter().zip(self.unread.iter()) {
            if other == part {
                n.fetch_add(1, Ordering::Relaxed);
            }
        }
        error.to_string()
    }

    /// How much of their sequence numbers lanes have used; those without an SA none.
    pub fn set_used(&self, used: BTreeMap<LaneId, f64>) {
        lock(&self.state).used = used;
    }

    /// The kernel had more to tell than was taken.
    pub fn overrun(&self) {
        lock(&self.state).uncounted.push((Series::Overrun, 1));
    }

    /// Whether charon has yet to be asked about lanes that were found open.
    pub fn untold(&self) -> bool {
        lock(&self.state).lanes.untold()
    }

    /// What charon says of those.
    pub fn believe(&self, picture: &[TunnelStatus]) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let effects = state.lanes.believe(picture, now());
        self.carry_out(&mut state, effects)
    }

    /// The file is in place.
    pub fn applied(&self, file: &Path) {
        let mut state = lock(&self.state);
        state.file = file.into();
        state.reload = Reload { success: true, at: now(), error: None };
        state.applied_at = now();
        state.not_ready = None;
    }

    /// It was refused; what ran before still runs.
    pub fn refused(&self, error: &str) {
        let mut state = lock(&self.state);
        state.reload = Reload { success: false, at: now(), error: Some(error.to_owned()) };
    }

    /// Something of ours had been changed and was put back.
    pub fn repaired(&self, kind: &'static str) {
        lock(&self.state).uncounted.push((Series::Repair { kind: kind.to_owned() }, 1));
    }

    /// Until when what was applied must be confirmed.
    pub fn set_confirm_by(&self, at: Option<Instant>) {
        lock(&self.state).confirm_by = at;
    }

    /// Lanes that nobody has said are up.
    pub fn down(&self) -> Vec<LaneId> {
        lock(&self.state).lanes.down().into_iter().cloned().collect()
    }

    /// How it stands.
    pub fn status(&self) -> Result<Status, Error> {
        let generation = lock(&self.dataplane).observed()?.generation;
        Ok(lock(&self.state).status(generation))
    }

    /// The same, and what was counted.
    pub fn sample(&self) -> Result<Sample, Error> {
        if let Err(error) = self.tally(&[]) {
            tracing::warn!("events are not counted: {error}");
        }
        let (readings, at, generation) = {
            let dataplane = lock(&self.dataplane);
            (dataplane.counters()?, monotonic(), dataplane.observed()?.generation)
        };
        let delays = self.delays()?;
        let state = lock(&self.state);
        let (policy, status) = (Arc::clone(&state.policy), state.status(generation));
        drop(state);
        Ok(Sample::of(&policy, status, &readings, &delays, at, now()))
    }

    fn carry_out(&self, state: &mut State, effects: Vec<Effect>) -> Result<(), Error> {
        for effect in effects {
            match effect {
                Effect::Open(lane) => {
                    lock(&self.gate).set_up(&lane, true)?;
                    tracing::debug!(%lane, "open");
                }
                Effect::Close(lane) => {
                    lock(&self.gate).set_up(&lane, false)?;
                    tracing::debug!(%lane, "closed");
                }
                // A count can wait, the next event cannot.
                Effect::Tally(LaneId { tunnel, class, index }, event) => {
                    state.uncounted.push((Series::Event { tunnel, class, index, event }, 1));
                }
            }
        }
        Ok(())
    }
}

impl State {
    fn status(&self, generation: u64) -> Status {
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.file.display().to_string(),
            generation,
            reload: self.reload.clone(),
            confirm_within: self.confirm_by.map(|at| at.saturating_duration_since(Instant::now()).as_secs()),
            ..Status::of(&self.policy, |lane| self.lanes.standing(lane))
        };
        for tunnel in &mut status.tunnels {
            let of_charon = || if tunnel.keying == "static" { None } else { self.troubles.of(&tunnel.name) };
            if let Some(clients) = &mut tunnel.clients {
                *clients = self.clients.get(&tunnel.name).copied().unwrap_or_default();
            }
            tunnel.trouble = self.missing.get(&tunnel.device).cloned().or_else(of_charon);
        }
        status
    }
}

impl Live {
    fn written(&self, format: Format) -> Result<String, String> {
        let start = Instant::now();
        if let Err(error) = self.tally(&[]) {
            let error = self.unread(Part::Events, &error);
            tracing::warn!("events are not counted: {error}");
        }
        let (readings, generation) = {
            let dataplane = lock(&self.dataplane);
            let readings = dataplane.counters().map_err(|error| self.unread(Part::Counters, &error))?;
            (readings, dataplane.observed().map_err(|error| self.unread(Part::Counters, &error))?.generation)
        };
        let delays = self.delays().map_err(|error| self.unread(Part::Latency, &error))?;
        let xfrm_errors = xfrm_stat::read(Path::new(xfrm_stat::FILE)).unwrap_or_else(|error| {
            // The page is of use without them.
            self.unread(Part::XfrmStat, &error);
            Vec::new()
        });
        let mut effort = Effort { time: start.elapsed(), ..Effort::default() };
        for (n, unread) in effort.failures.iter_mut().zip(self.unread.iter()) {
            *n = unread.load(Ordering::Relaxed);
        }
        let state = lock(&self.state);
        let scrape = Scrape {
            policy: &state.policy,
            lanes: &state.lanes,
            clients: &state.clients,
            readings: &readings,
            delays: &delays,
            used: &state.used,
            generation,
            reload_success: state.reload.success,
            reload_at: state.applied_at,
            xfrm_errors: &xfrm_errors,
            effort,
        };
        encode(&scrape, format).map_err(|error| error.to_string())
    }
}

impl Source for Live {
    fn page(&self, format: Format) -> Result<String, String> {
        let page = self.written(format);
        // It was made of several times as much.
        heap::give_back();
        page
    }

    fn ready(&self) -> Result<(), String> {
        lock(&self.state).not_ready.clone().map_or(Ok(()), Err)
    }

    fn refused(&self, why: Refusal) {
        for (reason, n) in Refusal::ALL.into_iter().zip(self.refused.iter()) {
            if reason == why {
                n.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Counts one after the other; those that cannot be counted are left, the same ones added up, and do not keep others waiting.
fn count_each<T: PartialEq, E>(
    waiting: Vec<(T, u64)>,
    mut count: impl FnMut(&T, u64) -> Result<(), E>,
) -> (Vec<(T, u64)>, Result<(), E>) {
    let (mut left, mut outcome): (Vec<(T, u64)>, _) = (Vec::new(), Ok(()));
    for (what, n) in waiting {
        if let Err(error) = count(&what, n) {
            match left.iter_mut().find(|(other, _)| *other == what) {
                Some((_, sum)) => *sum += n,
                None => left.push((what, n)),
            }
            outcome = outcome.and(Err(error));
        }
    }
    (left, outcome)
}

/// Microseconds since the machine started, for every process the same.
fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_micros() as u64)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_counted_waits_and_keeps_nothing_else_from_being_counted() {
        let mut counted = Vec::new();
        let (left, outcome) = count_each(vec![('a', 1), ('b', 2), ('c', 3), ('b', 4)], |what, n| match what {
            'b' => Err("full"),
            what => {
                counted.push((*what, n));
                Ok(())
            }
        });
        assert_eq!((counted, left, outcome), (vec![('a', 1), ('c', 3)], vec![('b', 6)], Err("full")));
        assert_eq!(count_each(vec![('b', 6)], |_, _| Ok::<(), ()>(())), (vec![], Ok(())));
    }
}
