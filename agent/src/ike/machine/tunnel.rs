//! One tunnel: its IKE_SAs, its lanes and their CHILD_SAs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::{Backoff, Chance};
use super::known::{Known, Sa};
use super::lane::{Change, Doubles, Lane};
use super::{Action, HOLD_AFTER_CONTACT, LACKS, stands};
use crate::ike::connection::ChildLane;
use crate::ike::sas::{ChildSa, IkeSa, IkeState, Notice};
use crate::ike::{Connection, Event, Lack, Load, Standing, TunnelStatus};
use crate::lane::LaneId;
use crate::policy::Start;

/// How long the end with the greater identity waits for the other, where both begin.
const YIELD: Duration = Duration::from_secs(3);
/// Tunnels that lost their lanes together do not begin again in the same instant. Within a tunnel the policy's order
/// holds.
const SPREAD: Duration = Duration::from_millis(200);
/// Doubles of a lane are closed after that time: a rekey has them for a moment. The end that yields waits three times as
/// long, or both would close, each the other's choice.
const SURPLUS: Duration = Duration::from_secs(5);
/// Until the event of a CHILD_SA whose initiation has succeeded must be there.
const SETTLE: Duration = Duration::from_secs(2);
/// Failed attempts of an end that does not begin, after its charon's restart.
const RECOVERY_ATTEMPTS: u32 = 3;
/// What charon's own answer to a packet is left without an IKE_SA: from then on there is one, half open, that another attempt
/// joins. Two at the same instant would make two.
const CHARONS_TURN: Duration = Duration::from_millis(500);

pub(super) struct Tunnel {
    pub(super) load: Arc<Load>,
    /// The connection that charon took last: what it refuses leaves that one as it is.
    accepted: Option<Connection>,
    /// charon has the connection.
    is_loaded: bool,
    /// A list has told which SAs it has.
    is_known: bool,
    /// What becomes of the SAs that were there before us.
    standing: Standing,
    /// charon has restarted since its lanes were open, and no list has come since then.
    is_lost: bool,
    /// Ticket of the load under way.
    loading: Option<u64>,
    load_retry: Backoff,
    known: Known,
    lanes: Vec<Lane>,
    /// Made from an older configuration; closed when the new one is loaded.
    outdated: Vec<Sa>,
    /// Ticket and lane of the initiation under way: one at a time, for two without an IKE_SA would make two.
    attempt: Option<(u64, usize)>,
    retry: Backoff,
    /// Attempts left to an end that does not begin.
    recovery: u32,
    up: bool,
    trouble: Option<String>,
}

impl Tunnel {
    pub(super) fn new(load: Arc<Load>, standing: Standing) -> Self {
        let was_open = |lane: &ChildLane| matches!(&standing, Standing::Lost(open) if open.contains(&lane.lane));
        let lanes = load.connection.lanes.iter().map(|lane| Lane::new(lane.clone(), was_open(lane))).collect();
        Self {
            load,
            accepted: None,
            is_loaded: false,
            is_known: false,
            is_lost: matches!(standing, Standing::Lost(_)),
            standing,
            loading: None,
            load_retry: Backoff::default(),
            known: Known::default(),
            lanes,
            outdated: Vec::new(),
            attempt: None,
            retry: Backoff::default(),
            recovery: 0,
            up: false,
            trouble: None,
        }
    }

    /// Nothing where no list has told yet.
    pub(super) fn status(&self) -> Option<TunnelStatus> {
        self.is_known.then(|| TunnelStatus {
            tunnel: self.load.connection.tunnel.clone(),
            up: self.up,
            lanes: self.lanes.iter().map(Lane::status).collect(),
            trouble: self.trouble.clone(),
        })
    }

    /// Takes a changed configuration. SAs of lanes that stay the same stay; the others go once charon has it.
    pub(super) fn replace(&mut self, load: Arc<Load>, actions: &mut Vec<Action>) {
        if load != self.load {
            // What failed before may work now.
            self.retry.succeed();
            self.load_retry.succeed();
        }
        if load.connection == self.load.connection {
            self.load = load;
            return;
        }
        if load.connection.ike_digest != self.load.connection.ike_digest {
            self.outdated.extend(self.known.ikes().map(Sa::Ike));
        }
        let mut before: Vec<Lane> = std::mem::take(&mut self.lanes);
        for lane in &load.connection.lanes {
            let state = match before.iter().position(|state| state.lane.child == lane.child) {
                Some(at) => {
                    let mut state = before.swap_remove(at);
                    if state.lane.digest != lane.digest {
                        state.trapped = false;
                        self.outdated.extend(state.children.keys().map(|id| Sa::Child(*id)));
                        state.retry.succeed();
                    }
                    state.lane = lane.clone();
                    state
                }
                None => Lane::new(lane.clone(), false),
            };
            self.lanes.push(state);
        }
        for mut state in before {
            self.outdated.extend(state.children.keys().map(|id| Sa::Child(*id)));
            actions.extend(state.end().map(Action::Tell));
        }
        if self.accepted.as_ref() == Some(&load.connection) {
            // charon never had what was wanted meanwhile: its SAs are of this form.
            self.outdated.clear();
            actions.push(Action::ListSas);
        }
        self.is_loaded = false;
        self.attempt = None;
        self.load = load;
    }

    pub(super) fn begin_load(&mut self, ticket: u64) -> Action {
        self.loading = Some(ticket);
        Action::Load { tunnel: self.load.connection.key.clone(), ticket, standing: self.standing.clone() }
    }

    pub(super) fn loaded(
        &mut self,
        now: Duration,
        ticket: u64,
        result: Result<(), String>,
        chance: &mut Chance,
        actions: &mut Vec<Action>,
    ) {
        if self.loading != Some(ticket) {
            return;
        }
        self.loading = None;
        match result {
            Ok(()) => {
                if !self.is_loaded {
                    self.retry.wait(now + chance.up_to(SPREAD));
                    for state in &mut self.lanes {
                        state.retry.wait(now + turn(&self.load.connection, state.lane.start));
                    }
                }
                self.is_loaded = true;
                for state in &mut self.lanes {
                    state.trapped = state.lane.start == Start::Trap;
                }
                self.accepted = Some(self.load.connection.clone());
                self.load_retry.succeed();
                if std::mem::replace(&mut self.standing, Standing::Adopt) == Standing::Close {
                    // Nobody may go on taking for up what an agent before us had told of.
                    actions.extend(self.lanes.iter().filter_map(Lane::unknown).map(Action::Tell));
                }
                let outdated = std::mem::take(&mut self.outdated);
                actions.extend(outdated.into_iter().map(|sa| match sa {
                    Sa::Ike(id) => Action::CloseIke { id, force: false },
                    Sa::Child(id) => Action::CloseChild(id),
                }));
            }
            Err(reason) => {
                self.load_retry.fail(now, chance);
                self.complain(reason, actions);
            }
        }
    }

    pub(super) fn initiated(
        &mut self,
        now: Duration,
        ticket: u64,
        result: Result<(), String>,
        chance: &mut Chance,
        actions: &mut Vec<Action>,
    ) {
        let Some((_, lane)) = self.attempt.take_if(|(current, _)| *current == ticket) else {
            return;
        };
        let state = &mut self.lanes[lane];
        match result {
            Ok(()) => {
                self.retry.succeed();
                self.trouble = None;
                if state.is_missing() {
                    // Its event is on the other connection; should it be lost, the list tells.
                    state.retry.wait(now + SETTLE);
                    actions.push(Action::ListSas);
                }
            }
            // The peer made it meanwhile: nothing is wrong.
            Err(_) if !state.is_missing() => {}
            Err(reason) => {
                if self.known.is_empty() {
                    self.retry.fail(now, chance);
                } else {
                    state.retry.fail(now, chance);
                }
                self.recovery = self.recovery.saturating_sub(1);
                self.complain(reason, actions);
                // What the attempt left half open is found there.
                actions.push(Action::ListSas);
            }
        }
    }

    pub(super) fn notice(&mut self, now: Duration, notice: Notice, actions: &mut Vec<Action>) {
        match notice {
            Notice::IkeUp(ike) => self.ike_up(now, ike.id),
            Notice::IkeDown(ike) => {
                self.known.went(now, Sa::Ike(ike.id));
                let known = &mut self.known;
                for state in &mut self.lanes {
                    state.children.retain(|id, child| {
                        let stays = child.ike != ike.id;
                        if !stays {
                            known.went(now, Sa::Child(*id));
                        }
                        stays
                    });
                }
            }
            Notice::IkeRekeyed { old, new } => {
                self.known.went(now, Sa::Ike(old));
                self.known.up(now, new.id);
                for child in self.lanes.iter_mut().flat_map(|state| state.children.values_mut()) {
                    if child.ike == old {
                        child.ike = new.id;
                    }
                }
            }
            Notice::ChildUp(ike) => {
                if stands(&ike) && !self.known.has(ike.id) {
                    self.ike_up(now, ike.id);
                }
                for child in &ike.children {
                    self.child_up(now, ike.id, child, actions);
                }
            }
            Notice::ChildDown(ike) => ike.children.iter().for_each(|child| self.child_gone(now, child.id)),
            Notice::ChildRekeyed { ike, old, new } => {
                self.child_gone(now, old);
                self.child_up(now, ike.id, &new, actions);
                let lane = self.lanes.iter().find(|state| state.children.contains_key(&new.id));
                // Also where a list has shown the new one before: charon tells each rekey once.
                if let Some(state) = lane {
                    actions.push(Action::Tell(Event::Rekeyed(state.lane.lane.clone())));
                }
            }
        }
    }

    fn ike_up(&mut self, now: Duration, id: u32) {
        self.known.up(now, id);
        for state in &mut self.lanes {
            state.hold_until(now + HOLD_AFTER_CONTACT);
        }
    }

    fn child_up(&mut self, now: Duration, ike: u32, child: &ChildSa, actions: &mut Vec<Action>) {
        match self.lanes.iter_mut().find(|state| child.fits(&state.lane)) {
            Some(state) => state.rise(now, ike, child),
            // Made from a configuration that is no longer wanted.
            None => actions.push(Action::CloseChild(child.id)),
        }
    }

    fn child_gone(&mut self, now: Duration, id: u32) {
        self.known.went(now, Sa::Child(id));
        for state in &mut self.lanes {
            state.children.remove(&id);
        }
    }

    /// Compares with a list. What was learned after the question was asked is newer than the list.
    pub(super) fn snapshot<'a>(
        &mut self,
        now: Duration,
        asked: Duration,
        sas: impl Iterator<Item = &'a IkeSa>,
        actions: &mut Vec<Action>,
    ) {
        self.is_known = true;
        let mut listed = Vec::new();
        for ike in sas {
            if self.known.has_gone(Sa::Ike(ike.id), asked) {
                continue;
            }
            match ike.state {
                IkeState::Established => {
                    listed.push(Sa::Ike(ike.id));
                    self.known.found(now, ike.id);
                    for child in ike.children.iter().filter(|child| child.installed) {
                        if self.known.has_gone(Sa::Child(child.id), asked) {
                            continue;
                        }
                        listed.push(Sa::Child(child.id));
                        if !self.lanes.iter().any(|state| state.children.contains_key(&child.id)) {
                            self.child_up(now, ike.id, child, actions);
                        }
                    }
                }
                IkeState::Connecting => {
                    // Left behind by an attempt that was given up.
                    if ike.initiator && self.attempt.is_none() && self.retry.has_failed() {
                        actions.push(Action::CloseIke { id: ike.id, force: true });
                    }
                }
                IkeState::Leaving => {}
            }
        }
        if self.known.compare(now, asked, &listed) {
            actions.push(Action::ListSas);
        }
        let known = &self.known;
        for state in &mut self.lanes {
            state.children.retain(|id, child| {
                let is_with_its_ike = || known.has(child.ike) && !listed.contains(&Sa::Ike(child.ike));
                child.learned >= asked || listed.contains(&Sa::Child(*id)) || is_with_its_ike()
            });
            if matches!(state.doubles, Doubles::Asked(at) if at <= asked) {
                state.doubles = Doubles::Listed;
            }
        }
    }

    /// A new connection to charon. With a new charon numbers start again from one.
    pub(super) fn set_aside(&mut self, restarted: bool) {
        self.lanes.iter_mut().for_each(Lane::set_aside);
        self.known.clear();
        if restarted {
            self.outdated.clear();
        }
        self.is_loaded = false;
        self.is_known = false;
    }

    /// A list has told of it since it, or charon, is known.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// After the first list: what is missing in it was lost, or is held where charon has restarted.
    pub(super) fn hold(&mut self, now: Duration, restarted: bool) {
        let restarted = std::mem::take(&mut self.is_lost) || restarted;
        for state in &mut self.lanes {
            state.hold(now, restarted);
            if state.held.is_some() && state.lane.start == Start::None {
                self.recovery = RECOVERY_ATTEMPTS;
            }
        }
    }

    /// A packet asked for that lane.
    pub(super) fn acquired(&mut self, now: Duration, is_it: impl Fn(&ChildLane) -> bool) {
        let turn = if self.known.is_empty() { CHARONS_TURN } else { Duration::ZERO };
        let asked = |state: &&mut Lane| state.lane.start == Start::Trap && !state.wanted && state.is_missing();
        for state in self.lanes.iter_mut().filter(|state| is_it(&state.lane)).filter(asked) {
            state.wanted = true;
            state.retry.wait(now + turn);
        }
    }

    /// charon does not notice what somebody takes out of the kernel, and goes on with CHILD_SAs that carry nothing and traps
    /// that nothing falls into. They are closed or put back once two looks in a row, some time apart, have missed them: in a
    /// single one they may just be changing.
    pub(super) fn lacking(&mut self, now: Duration, lanes: &BTreeMap<LaneId, Lack>, actions: &mut Vec<Action>) {
        self.acquired(now, |lane| lanes.get(&lane.lane) == Some(&Lack::Asked));
        for state in &mut self.lanes {
            let carries = !state.children.is_empty() || state.held.is_some();
            let lacks = match lanes.get(&state.lane.lane) {
                None => false,
                Some(Lack::States | Lack::Asked) => carries,
                Some(Lack::Policies) => carries || state.trapped,
            };
            state.lacks_since = lacks.then(|| state.lacks_since.unwrap_or(now));
            if state.lacks_since.is_none_or(|since| now < since + LACKS) {
                continue;
            }
            state.lacks_since = None;
            state.held = None;
            if !carries {
                let (connection, child) = (self.load.connection.name.clone(), state.lane.child.clone());
                actions.push(Action::Trap { connection, child });
            }
            for id in std::mem::take(&mut state.children).into_keys() {
                self.known.went(now, Sa::Child(id));
                actions.push(Action::CloseChild(id));
            }
        }
    }

    /// Something was missed in one look.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.lanes.iter().any(|state| state.lacks_since.is_some())
    }

    /// charon is gone: what was asked of it will not be answered.
    pub(super) fn forget_work(&mut self) {
        self.attempt = None;
        self.loading = None;
        self.lanes.iter_mut().for_each(|state| state.trapped = false);
    }

    /// Drops CHILD_SAs that the kernel has removed by now, while there is no charon to tell.
    pub(super) fn expire(&mut self, now: Duration) {
        self.lanes.iter_mut().for_each(|state| state.expire(now));
    }

    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.lanes.iter().filter_map(Lane::next_expiry).min()
    }

    /// Tells what has changed since it was told last.
    pub(super) fn tell(&mut self, now: Duration, chance: &mut Chance, actions: &mut Vec<Action>) {
        if self.up == self.known.is_empty() {
            self.up = !self.up;
            let name = self.load.connection.key.clone();
            actions.push(Action::Tell(if self.up { Event::TunnelUp(name) } else { Event::TunnelDown(name) }));
        }
        let reachable = self.is_known && (!self.retry.has_failed() || !self.known.is_empty());
        for state in &mut self.lanes {
            let event = match state.change(now, reachable, chance) {
                Some(Change::Other(event)) => event,
                Some(Change::Fell(event)) => {
                    state.retry.wait(now + turn(&self.load.connection, state.lane.start));
                    self.retry.wait(now + chance.up_to(SPREAD));
                    event
                }
                None => continue,
            };
            actions.push(Action::Tell(event));
        }
        if self.lanes.iter().all(Lane::is_well) {
            self.recovery = 0;
            self.trouble = None;
        }
    }

    /// It has told that packets may take that lane.
    pub(super) fn has_open(&self, lane: &LaneId) -> bool {
        self.lanes.iter().any(|state| state.lane.lane == *lane && state.is_open())
    }

    /// The policy no longer has the tunnel.
    pub(super) fn drop_all(&mut self, actions: &mut Vec<Action>) {
        actions.extend(self.lanes.iter_mut().filter_map(Lane::end).map(Action::Tell));
        if std::mem::take(&mut self.up) {
            actions.push(Action::Tell(Event::TunnelDown(self.load.connection.key.clone())));
        }
    }

    /// Does what is due; charon is there and its SAs are known.
    pub(super) fn progress(
        &mut self,
        now: Duration,
        tickets: &mut u64,
        chance: &mut Chance,
        actions: &mut Vec<Action>,
    ) {
        for state in &mut self.lanes {
            state.held = state.held.filter(|until| *until > now);
        }
        self.tell(now, chance, actions);
        self.close_doubles(now, actions);
        if self.load_due().is_some_and(|at| at <= now) {
            *tickets += 1;
            actions.push(self.begin_load(*tickets));
        }
        if let Some((at, lane)) = self.next_attempt()
            && at <= now
        {
            *tickets += 1;
            self.attempt = Some((*tickets, lane));
            actions.push(Action::Initiate {
                tunnel: self.load.connection.key.clone(),
                connection: self.load.connection.name.clone(),
                child: self.lanes[lane].lane.child.clone(),
                ticket: *tickets,
            });
        }
    }

    /// When [`Tunnel::progress`] is due.
    pub(super) fn wake(&self) -> Option<Duration> {
        let held = self.lanes.iter().filter_map(|state| state.held);
        let doubles = self.lanes.iter().filter_map(|state| self.doubles_due(state));
        let attempt = self.next_attempt().map(|(at, _)| at);
        held.chain(doubles).chain(attempt).chain(self.load_due()).min()
    }

    /// The lane to initiate next, and when.
    fn next_attempt(&self) -> Option<(Duration, usize)> {
        if !self.is_known || !self.is_loaded || self.loading.is_some() || self.attempt.is_some() {
            return None;
        }
        let begins = |state: &Lane| match state.lane.start {
            Start::Start => true,
            Start::Trap => state.wanted,
            Start::None => self.recovery > 0,
        };
        let wanted = self.lanes.iter().enumerate().filter(|(_, state)| state.is_missing() && begins(state));
        let due = wanted.map(|(lane, state)| (state.retry.not_before.max(self.retry.not_before), lane));
        due.min()
    }

    fn load_due(&self) -> Option<Duration> {
        (self.loading.is_none() && self.load_retry.has_failed()).then_some(self.load_retry.not_before)
    }

    fn close_doubles(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for lane in 0..self.lanes.len() {
            let state = &mut self.lanes[lane];
            if state.children.len() < 2 {
                (state.doubles_since, state.doubles) = (None, Doubles::Told);
                continue;
            }
            state.doubles_since.get_or_insert(now);
            if self.doubles_due(&self.lanes[lane]).is_none_or(|at| at > now) {
                continue;
            }
            let state = &mut self.lanes[lane];
            match state.doubles {
                Doubles::Told => {
                    state.doubles = Doubles::Asked(now);
                    actions.push(Action::ListSas);
                }
                Doubles::Asked(_) => {}
                Doubles::Listed => {
                    // Once more after the same time, should one of them stay.
                    (state.doubles_since, state.doubles) = (Some(now), Doubles::Told);
                    let newest = state.newest();
                    let others = state.children.keys().filter(|id| Some(**id) != newest);
                    actions.extend(others.map(|id| Action::CloseChild(*id)));
                }
            }
        }
    }

    /// When they are asked about, or closed.
    fn doubles_due(&self, state: &Lane) -> Option<Duration> {
        if matches!(state.doubles, Doubles::Asked(_)) {
            return None;
        }
        match state.lane.start {
            Start::Start | Start::Trap if self.load.connection.yields => {
                state.doubles_since.map(|since| since + 3 * SURPLUS)
            }
            Start::Start | Start::Trap => state.doubles_since.map(|since| since + SURPLUS),
            Start::None => None,
        }
    }

    fn complain(&mut self, reason: String, actions: &mut Vec<Action>) {
        if self.trouble.as_ref() != Some(&reason) {
            self.trouble = Some(reason.clone());
            let tunnel = self.load.connection.tunnel.clone();
            actions.push(Action::Tell(Event::Trouble { tunnel, reason }));
        }
    }
}

/// How long a lane is left to the other end first.
fn turn(connection: &Connection, start: Start) -> Duration {
    match start {
        Start::Start if connection.yields => YIELD,
        // A packet waits.
        Start::Start | Start::Trap | Start::None => Duration::ZERO,
    }
}
