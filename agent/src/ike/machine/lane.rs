//! One lane: its CHILD_SAs, and whether it is up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HOLD;
use super::backoff::{Backoff, Chance};
use crate::ike::connection::ChildLane;
use crate::ike::sas::ChildSa;
use crate::ike::{Event, LaneStatus};
use crate::lane::Condition;
use crate::policy::Start;

/// A lane that falls sooner than this after it rose has failed.
const STEADY: Duration = Duration::from_secs(10);

pub(super) struct Lane {
    pub(super) lane: ChildLane,
    /// CHILD_SAs that carry traffic, by charon's number.
    pub(super) children: BTreeMap<u32, Child>,
    /// Until when it is up without one: charon's restart made charon forget its CHILD_SAs.
    pub(super) held: Option<Duration>,
    /// Had CHILD_SAs before the connection to charon broke, and no list has come since.
    aside: bool,
    /// When a look at the kernel first missed states or policies of it, with no other look since that found them.
    pub(super) lacks_since: Option<Duration>,
    pub(super) retry: Backoff,
    pub(super) doubles_since: Option<Duration>,
    /// Whether charon's list has them, too.
    pub(super) doubles: Doubles,
    /// charon has a trap for it.
    pub(super) trapped: bool,
    /// A packet has asked for it, or it was up before charon's restart: it is initiated.
    pub(super) wanted: bool,
    told: Condition,
    up_since: Duration,
}

/// How doubles of a lane are known. Of rekeys that both ends began at once charon tells each new CHILD_SA, and nothing when the
/// redundant one goes (5.9.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubles {
    /// By events alone.
    Told,
    /// Likewise, and since then a list is awaited.
    Asked(Duration),
    /// The list has them.
    Listed,
}

#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) ike: u32,
    spis: (u32, u32),
    pub(super) learned: Duration,
    expires: Option<Duration>,
}

/// What [`Lane::change`] finds.
pub(super) enum Change {
    /// It had been up for long.
    Fell(Event),
    /// Anything else.
    Other(Event),
}

impl Lane {
    /// `was_open` by what an agent before this one had charon make.
    pub(super) fn new(lane: ChildLane, was_open: bool) -> Self {
        Self {
            lane,
            children: BTreeMap::new(),
            held: None,
            aside: was_open,
            lacks_since: None,
            retry: Backoff::default(),
            doubles_since: None,
            doubles: Doubles::Told,
            trapped: false,
            wanted: false,
            told: Condition::Down,
            up_since: Duration::ZERO,
        }
    }

    /// A packet may bring it up: charon has a trap, and the last try did not fail.
    pub(super) fn is_ready(&self) -> bool {
        self.trapped && !self.retry.has_failed()
    }

    /// It has been told that packets may take it.
    pub(super) fn is_open(&self) -> bool {
        self.told.is_open()
    }

    /// It is what it should be.
    pub(super) fn is_well(&self) -> bool {
        !self.is_missing() || self.told == Condition::OnDemand
    }

    pub(super) fn is_missing(&self) -> bool {
        self.children.is_empty()
    }

    /// The CHILD_SA that counts: the newest, for the kernel sends by the one installed last (xfrm_state_look_at). Which that is
    /// charon's numbers do not tell, which it gives out as it begins: where both ends begin at once, the one of the smaller number is
    /// often there later. Of those that one list has told of it is the one that ends last.
    pub(super) fn newest(&self) -> Option<u32> {
        self.newest_child().map(|(id, _)| *id)
    }

    fn newest_child(&self) -> Option<(&u32, &Child)> {
        self.children.iter().max_by_key(|(id, child)| (child.learned, child.expires, **id))
    }

    pub(super) fn status(&self) -> LaneStatus {
        LaneStatus {
            lane: self.lane.lane.clone(),
            condition: self.told,
            spis: self.newest_child().map(|(_, child)| child.spis),
        }
    }

    pub(super) fn rise(&mut self, now: Duration, ike: u32, child: &ChildSa) {
        let expires = child.life.map(|life| now + Duration::from_secs(u64::from(life)));
        self.held = None;
        self.lacks_since = None;
        self.wanted = false;
        if self.children.insert(child.id, Child { ike, spis: child.spis, learned: now, expires }).is_none() {
            // The time of others that stood here before is not that of these: keys that change again and again would have both
            // ends close at once, each another one.
            (self.doubles_since, self.doubles) = (None, Doubles::Told);
        }
    }

    /// Drops CHILD_SAs that the kernel has removed by now, while there is no charon to tell.
    pub(super) fn expire(&mut self, now: Duration) {
        self.children.retain(|_, child| child.expires.is_none_or(|at| at > now));
    }

    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.children.values().filter_map(|child| child.expires).min()
    }

    /// A new connection to charon, perhaps to another one.
    pub(super) fn set_aside(&mut self) {
        self.aside |= !self.children.is_empty() || self.held.is_some();
        self.children.clear();
        self.trapped = false;
    }

    /// After the first list of the new connection: what is missing in it was lost, or is held where charon has restarted. What
    /// is held already stays so for its time.
    pub(super) fn hold(&mut self, now: Duration, restarted: bool) {
        let lost = std::mem::take(&mut self.aside) && self.children.is_empty();
        if lost && restarted {
            self.held = Some(now + HOLD);
            // What it had is not charon's any more, and states that stand ask for nothing.
            self.wanted = self.lane.start == Start::Trap;
        }
    }

    /// Holds it no longer than that.
    pub(super) fn hold_until(&mut self, limit: Duration) {
        self.held = self.held.map(|until| until.min(limit));
    }

    /// That it is down, where nothing has been told of it yet.
    pub(super) fn unknown(&self) -> Option<Event> {
        (self.told == Condition::Down).then(|| Event::LaneDown(self.lane.lane.clone()))
    }

    /// The lane is taken away: whether packets could take it.
    pub(super) fn end(&mut self) -> Option<Event> {
        std::mem::take(&mut self.told).is_open().then(|| Event::LaneDown(self.lane.lane.clone()))
    }

    /// What became of it since this was asked last. `reachable` is whether the peer answers, as far as is known.
    pub(super) fn change(&mut self, now: Duration, reachable: bool, chance: &mut Chance) -> Option<Change> {
        let up = !self.children.is_empty() || self.held.is_some() || self.aside;
        let fell = self.told == Condition::Up && !up;
        let failed = fell && now < self.up_since + STEADY;
        match (fell, failed) {
            (true, true) => self.retry.fail(now, chance),
            (true, false) => self.retry.succeed(),
            (false, _) => {}
        }
        // Who came up and fell at once is tried from here, with ever longer pauses, and not by every packet.
        self.wanted |= failed && self.lane.start == Start::Trap;
        let condition = match (up, reachable && self.is_ready()) {
            (true, _) => Condition::Up,
            (false, true) => Condition::OnDemand,
            (false, false) => Condition::Down,
        };
        if std::mem::replace(&mut self.told, condition) == condition {
            return None;
        }
        let lane = self.lane.lane.clone();
        let event = match condition {
            Condition::Up => {
                self.up_since = now;
                Event::LaneUp(lane)
            }
            Condition::OnDemand => Event::LaneOnDemand(lane),
            Condition::Down => Event::LaneDown(lane),
        };
        Some(if fell && !failed { Change::Fell(event) } else { Change::Other(event) })
    }
}
