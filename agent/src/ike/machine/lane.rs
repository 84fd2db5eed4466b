//! One lane: its CHILD_SAs, and whether it is up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HOLD;
use super::backoff::{Backoff, Chance};
use crate::ike::connection::ChildLane;
use crate::ike::sas::ChildSa;
use crate::ike::{Event, LaneStatus};

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
    up_since: Option<Duration>,
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
    Rose(Event),
    /// It had been up for long.
    Fell(Event),
    /// It had hardly risen; its backoff goes on.
    Failed(Event),
}

impl Lane {
    pub(super) fn new(lane: ChildLane) -> Self {
        Self {
            lane,
            children: BTreeMap::new(),
            held: None,
            aside: false,
            lacks_since: None,
            retry: Backoff::default(),
            doubles_since: None,
            up_since: None,
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.children.is_empty()
    }

    /// The CHILD_SA that counts: the newest, for the kernel sends by the one installed last.
    pub(super) fn newest(&self) -> Option<u32> {
        self.children.last_key_value().map(|(id, _)| *id)
    }

    pub(super) fn status(&self) -> LaneStatus {
        LaneStatus {
            lane: self.lane.lane.clone(),
            up: self.up_since.is_some(),
            spis: self.children.last_key_value().map(|(_, child)| child.spis),
        }
    }

    pub(super) fn rise(&mut self, now: Duration, ike: u32, child: &ChildSa) {
        let expires = child.life.map(|life| now + Duration::from_secs(u64::from(life)));
        self.held = None;
        self.lacks_since = None;
        self.children.insert(child.id, Child { ike, spis: child.spis, learned: now, expires });
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
    }

    /// After the first list of the new connection: what is missing in it was lost, or is held where charon has restarted. What
    /// is held already stays so for its time.
    pub(super) fn hold(&mut self, now: Duration, restarted: bool) {
        let lost = std::mem::take(&mut self.aside) && self.children.is_empty();
        if lost && restarted {
            self.held = Some(now + HOLD);
        }
    }

    /// Holds it no longer than that.
    pub(super) fn hold_until(&mut self, limit: Duration) {
        self.held = self.held.map(|until| until.min(limit));
    }

    /// That it is down, where nothing has been told of it yet.
    pub(super) fn unknown(&self) -> Option<Event> {
        self.up_since.is_none().then(|| Event::LaneDown(self.lane.lane.clone()))
    }

    /// The lane is taken away: whether it was up.
    pub(super) fn end(&mut self) -> Option<Event> {
        self.up_since.take().map(|_| Event::LaneDown(self.lane.lane.clone()))
    }

    /// Whether it rose or fell since this was asked last.
    pub(super) fn change(&mut self, now: Duration, chance: &mut Chance) -> Option<Change> {
        let up = !self.children.is_empty() || self.held.is_some() || self.aside;
        match (up, self.up_since) {
            (true, None) => {
                self.up_since = Some(now);
                Some(Change::Rose(Event::LaneUp(self.lane.lane.clone())))
            }
            (false, Some(since)) => {
                self.up_since = None;
                let event = Event::LaneDown(self.lane.lane.clone());
                if now < since + STEADY {
                    self.retry.fail(now, chance);
                    Some(Change::Failed(event))
                } else {
                    self.retry.succeed();
                    Some(Change::Fell(event))
                }
            }
            (true, Some(_)) | (false, None) => None,
        }
    }
}
