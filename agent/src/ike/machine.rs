//! What to do when: charon's events, answers and the clock go in, actions come out. No I/O, no clock of its own.
//!
//! A lane is up while a CHILD_SA of it carries traffic. charon's SAs live in the kernel, so while charon cannot be
//! reached lanes stay what they were, until their SAs' lifetimes end. A charon that comes back *restarted* knows none of
//! them, and they carry on all the same: such lanes are held up until a fresh CHILD_SA takes over, for [`HOLD`] at most,
//! and for [`HOLD_AFTER_CONTACT`] once a new IKE_SA stands, for then the peer has dropped its side of them. Likewise where the
//! agent has ended together with charon, and left lanes open.
//!
//! An end with `start = "none"` initiates nothing, but for one case: its own charon has restarted while lanes were up.
//! The peer would notice only when its dead-peer detection has given up, minutes later.
//!
//! A lane with `start = "trap"` has a policy of charon's in the kernel that asks for a state (an ACQUIRE) when a packet takes
//! it. Such a lane is *on demand*, which is as good as up. charon hears the ACQUIRE, and so does this: charon 5.9.8 says
//! nothing of an attempt that comes to nothing, after which the kernel asks again only minutes later, and takes each lane with
//! a label for being under way from its first ACQUIRE to the end of its IKE_SA (trap_manager.c: the ACQUIRE has no label to
//! find it by). The two attempts do not make two CHILD_SAs: charon queues the second behind the first, and then drops it as a
//! duplicate (child_create.c). A lane whose attempt fails is down until one succeeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::connection::NAME_PREFIX;
use super::sas::{IkeSa, IkeState, Notice};
use super::{Event, Lack, Load, Standing, TunnelStatus};
use crate::lane::LaneId;
use backoff::Chance;
use tunnel::Tunnel;

mod backoff;
mod known;
mod lane;
#[cfg(test)]
mod tests;
mod tunnel;

/// How long a lane of before charon's restart is held up without a CHILD_SA that charon knows.
pub const HOLD: Duration = Duration::from_secs(15);
/// The same once a new IKE_SA stands: its INITIAL_CONTACT made the peer drop what it had.
pub const HOLD_AFTER_CONTACT: Duration = Duration::from_secs(1);
/// Between the two looks that have to miss a lane's states or policies in the kernel, at least: long enough for charon to put
/// in what belongs together.
pub const LACKS: Duration = Duration::from_millis(700);
/// Events may be lost with a connection, or overtaken by a snapshot: all is compared this often.
pub const RESYNC: Duration = Duration::from_secs(30);
/// Between attempts to reach charon.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_LAST: Duration = Duration::from_secs(5);

/// What happens.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Commands and events are connected, events are registered.
    Connected {
        /// strongSwan's version.
        version: String,
        /// When charon started, in its own words: tells a new charon from the one before.
        since: String,
    },
    /// charon could not be reached, or no longer can.
    Unreachable {
        /// Why, and the cure.
        reason: String,
    },
    /// The policy has that connection now; and what becomes of SAs that it may have already.
    Load(Arc<Load>, Standing),
    /// The outcome of [`Action::Load`].
    Loaded {
        /// The tunnel.
        tunnel: String,
        /// As in the action.
        ticket: u64,
        /// The reason and the cure.
        result: Result<(), String>,
    },
    /// The policy no longer has that tunnel.
    Unload(String),
    /// The outcome of [`Action::ListSas`].
    Sas {
        /// When the question was sent.
        asked: Duration,
        /// All IKE_SAs and their CHILD_SAs.
        sas: Vec<IkeSa>,
    },
    /// An event of charon.
    Notice(Notice),
    /// The kernel lacks something of these lanes.
    Lacking(BTreeMap<LaneId, Lack>),
    /// A packet wanted to take the lane of that request id.
    Acquired(u32),
    /// The outcome of [`Action::Initiate`].
    Initiated {
        /// The tunnel.
        tunnel: String,
        /// As in the action.
        ticket: u64,
        /// The reason and the cure.
        result: Result<(), String>,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to charon, check its version, register for events.
    Connect,
    /// Load a tunnel's connection and secrets.
    Load {
        /// The tunnel.
        tunnel: String,
        /// Comes back with the outcome.
        ticket: u64,
        /// Whether its SAs are closed then.
        standing: Standing,
    },
    /// Close all SAs of a connection and unload it and its secret.
    Unload {
        /// The tunnel.
        tunnel: String,
        /// Its connection.
        connection: String,
    },
    /// List all SAs.
    ListSas,
    /// Initiate a CHILD_SA.
    Initiate {
        /// The tunnel.
        tunnel: String,
        /// Its connection.
        connection: String,
        /// The child's name.
        child: String,
        /// Comes back with the outcome.
        ticket: u64,
    },
    /// Have charon put a child's trap where it should be.
    Trap {
        /// The connection.
        connection: String,
        /// The child's name.
        child: String,
    },
    /// Close a CHILD_SA by charon's number.
    CloseChild(u32),
    /// Close an IKE_SA by charon's number.
    CloseIke {
        /// The number.
        id: u32,
        /// Without waiting for the peer's word.
        force: bool,
    },
    /// Tell the agent.
    Tell(Event),
}

/// All that is known, and what is wanted. What is called a tunnel in here is a connection of one, by its
/// [key](super::Connection::key): where each lane has its own, each is brought up, tried again and followed by itself.
pub struct Machine {
    tunnels: BTreeMap<String, Tunnel>,
    link: Link,
    /// When the charon that we last spoke to had started.
    since: Option<String>,
    /// The charon before it has died, and no list of this one's SAs has come yet.
    restarted: bool,
    /// Why charon could not be reached, as last told.
    told_gone: Option<String>,
    chance: Chance,
    tickets: u64,
}

/// How we stand with charon.
enum Link {
    /// Not connected; the next attempt and the pause after it.
    Apart { retry_at: Duration, pause: Duration },
    /// Connecting.
    Reaching { pause: Duration },
    /// Connected.
    Together {
        version: String,
        /// The first snapshot has come.
        synced: bool,
        resync_at: Duration,
    },
}

impl Machine {
    /// Nothing wanted, nothing known. `seed` sets the jitter.
    pub fn new(seed: u64) -> Self {
        Self {
            tunnels: BTreeMap::new(),
            link: Link::Apart { retry_at: Duration::ZERO, pause: RECONNECT_FIRST },
            since: None,
            restarted: false,
            told_gone: None,
            chance: Chance::new(seed),
            tickets: 0,
        }
    }

    /// Takes one input; `now` never goes back.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Tick => {}
            Input::Connected { version, since } => self.connected(now, version, since, &mut actions),
            Input::Unreachable { reason } => self.unreachable(now, reason, &mut actions),
            Input::Load(load, standing) => self.load(load, standing, &mut actions),
            Input::Loaded { tunnel, ticket, result } => {
                if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
                    tunnel.loaded(now, ticket, result, &mut self.chance, &mut actions);
                }
            }
            Input::Unload(name) => self.unload(&name, &mut actions),
            Input::Sas { asked, sas } => self.snapshot(now, asked, &sas, &mut actions),
            Input::Notice(notice) => self.notice(now, notice, &mut actions),
            Input::Lacking(lanes) => {
                for tunnel in self.tunnels.values_mut() {
                    tunnel.lacking(now, &lanes, &mut actions);
                    tunnel.tell(now, &mut self.chance, &mut actions);
                }
            }
            Input::Acquired(reqid) => {
                for tunnel in self.tunnels.values_mut() {
                    tunnel.acquired(now, |lane| lane.reqid == reqid);
                }
            }
            Input::Initiated { tunnel, ticket, result } => {
                if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
                    tunnel.initiated(now, ticket, result, &mut self.chance, &mut actions);
                }
            }
        }
        self.progress(now, &mut actions);
        actions
    }

    /// When [`Input::Tick`] is due next.
    pub fn wake(&self) -> Option<Duration> {
        match &self.link {
            Link::Apart { retry_at, .. } => self.expiries().chain([*retry_at]).min(),
            Link::Reaching { .. } => self.expiries().min(),
            Link::Together { synced, resync_at, .. } => {
                let tunnels = self.tunnels.values().filter(|_| *synced);
                tunnels.filter_map(Tunnel::wake).chain([*resync_at]).min()
            }
        }
    }

    fn expiries(&self) -> impl Iterator<Item = Duration> {
        self.tunnels.values().filter_map(Tunnel::next_expiry)
    }

    /// What to load for that tunnel.
    pub fn desired(&self, tunnel: &str) -> Option<&Arc<Load>> {
        self.tunnels.get(tunnel).map(|tunnel| &tunnel.load)
    }

    /// How every tunnel is of which a list has told.
    pub fn status(&self) -> Vec<TunnelStatus> {
        self.tunnels.values().filter_map(Tunnel::status).collect()
    }

    /// Whether something was missed in one look, and another has to say whether that stays.
    pub fn is_in_doubt(&self) -> bool {
        self.tunnels.values().any(Tunnel::is_in_doubt)
    }

    /// Why charon cannot be reached, while it cannot.
    pub fn gone(&self) -> Option<&str> {
        match &self.link {
            Link::Together { .. } => None,
            Link::Apart { .. } | Link::Reaching { .. } => self.told_gone.as_deref(),
        }
    }

    fn connected(&mut self, now: Duration, version: String, since: String, actions: &mut Vec<Action>) {
        let restarted = self.since.as_ref().is_some_and(|before| *before != since);
        self.since = Some(since);
        self.restarted |= restarted;
        self.link = Link::Together { version, synced: false, resync_at: now + RESYNC };
        for tunnel in self.tunnels.values_mut() {
            tunnel.set_aside(restarted);
            self.tickets += 1;
            actions.push(tunnel.begin_load(self.tickets));
        }
        actions.push(Action::ListSas);
    }

    fn unreachable(&mut self, now: Duration, reason: String, actions: &mut Vec<Action>) {
        let pause = match &self.link {
            Link::Apart { pause, .. } | Link::Reaching { pause } => (*pause * 2).min(RECONNECT_LAST),
            Link::Together { .. } => RECONNECT_FIRST,
        };
        let retry_at = now + pause.mul_f64(0.5) + self.chance.up_to(pause.mul_f64(0.5));
        self.link = Link::Apart { retry_at, pause };
        for tunnel in self.tunnels.values_mut() {
            tunnel.forget_work();
        }
        if self.told_gone.as_ref() != Some(&reason) {
            self.told_gone = Some(reason.clone());
            actions.push(Action::Tell(Event::CharonGone { reason }));
        }
    }

    fn load(&mut self, load: Arc<Load>, standing: Standing, actions: &mut Vec<Action>) {
        let name = load.connection.key.clone();
        match self.tunnels.get_mut(&name) {
            Some(tunnel) => tunnel.replace(load, actions),
            None => {
                self.tunnels.insert(name.clone(), Tunnel::new(load, standing));
            }
        }
        if let (Link::Together { .. }, Some(tunnel)) = (&self.link, self.tunnels.get_mut(&name)) {
            self.tickets += 1;
            actions.push(tunnel.begin_load(self.tickets));
            // A tunnel that is new to us may have SAs already.
            actions.push(Action::ListSas);
        }
    }

    fn unload(&mut self, name: &str, actions: &mut Vec<Action>) {
        if let Some(mut tunnel) = self.tunnels.remove(name) {
            let connection = tunnel.load.connection.name.clone();
            let mut told = Vec::new();
            tunnel.drop_all(&mut told);
            // What another connection has brought up by now, as when lanes get connections of their own, has not fallen.
            let stands = |action: &Action| match action {
                Action::Tell(Event::LaneDown(lane)) => self.tunnels.values().any(|other| other.has_open(lane)),
                _ => false,
            };
            actions.extend(told.into_iter().filter(|action| !stands(action)));
            if matches!(self.link, Link::Together { .. }) {
                actions.push(Action::Unload { tunnel: name.to_owned(), connection });
            }
        }
    }

    fn snapshot(&mut self, now: Duration, asked: Duration, sas: &[IkeSa], actions: &mut Vec<Action>) {
        let Link::Together { version, synced, resync_at } = &mut self.link else {
            return;
        };
        *resync_at = now + RESYNC;
        let first = !std::mem::replace(synced, true);
        let restarted = std::mem::take(&mut self.restarted);
        for tunnel in self.tunnels.values_mut() {
            let name = tunnel.load.connection.name.clone();
            let ours = sas.iter().filter(|sa| sa.connection == name);
            let is_new = first || !tunnel.is_known();
            tunnel.snapshot(now, asked, ours, actions);
            if is_new {
                tunnel.hold(now, restarted);
            }
            tunnel.tell(now, &mut self.chance, actions);
        }
        if first {
            self.told_gone = None;
            actions.push(Action::Tell(Event::CharonBack { version: version.clone() }));
        }
    }

    fn notice(&mut self, now: Duration, notice: Notice, actions: &mut Vec<Action>) {
        let connection = match &notice {
            Notice::IkeUp(ike) | Notice::IkeDown(ike) | Notice::ChildUp(ike) | Notice::ChildDown(ike) => ike,
            Notice::IkeRekeyed { new, .. } => new,
            Notice::ChildRekeyed { ike, .. } => ike,
        };
        let name = connection.connection.strip_prefix(NAME_PREFIX).unwrap_or_default();
        let Some(tunnel) = self.tunnels.get_mut(name) else {
            return;
        };
        tunnel.notice(now, notice, actions);
        tunnel.tell(now, &mut self.chance, actions);
    }

    /// Does what is due.
    fn progress(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if !matches!(self.link, Link::Together { .. }) {
            for tunnel in self.tunnels.values_mut() {
                tunnel.expire(now);
                tunnel.tell(now, &mut self.chance, actions);
            }
        }
        match &mut self.link {
            Link::Apart { retry_at, pause } => {
                if *retry_at <= now {
                    self.link = Link::Reaching { pause: *pause };
                    actions.push(Action::Connect);
                }
            }
            Link::Reaching { .. } => {}
            Link::Together { synced, resync_at, .. } => {
                if *resync_at <= now {
                    *resync_at = now + RESYNC;
                    actions.push(Action::ListSas);
                }
                if *synced {
                    for tunnel in self.tunnels.values_mut() {
                        tunnel.progress(now, &mut self.tickets, &mut self.chance, actions);
                    }
                }
            }
        }
    }
}

/// Whether an IKE_SA is worth keeping in mind.
fn stands(ike: &IkeSa) -> bool {
    ike.state == IkeState::Established
}
