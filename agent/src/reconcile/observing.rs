//! Those who observe: a task that is there while there are any, with the programs that look. Nobody waits for it, and it
//! waits for none of them: what one does not take is counted, and who has gone is forgotten.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aya::maps::{MapData, RingBuf};
use lanekeeper_common::sight::{ROOM, Sight};
use log::{Level, Log, Metadata, Record};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use super::live::Live;
use super::world::lock;
use super::{Error, wan};
use crate::control::Reply;
use crate::kernel::dataplane::{self, Ears, Missed, Observer, monotonic};
use crate::observe::{Names, Pace, Sighting, Unseen, Wish};

/// Who may observe at a time.
const MOST: usize = 4;

/// Packets a second that each CPU looks at where somebody wants only some of them.
const LOOKS: u32 = 2000;

/// Between two words to the programs; well within their lease.
const TICK: Duration = Duration::from_millis(500);

/// Between two looks into the ring.
const LOOK: Duration = Duration::from_millis(20);

/// Packets that are taken out of it at a time: all that it has room for.
const BATCH: usize = ROOM as usize / size_of::<Sight>();

/// For how long, so that a word to the programs is not late where each packet takes its time.
const SLICE: Duration = Duration::from_millis(100);

/// Lines a second that the programs may log.
const LINES: u32 = 10;

/// Somebody who asks to observe.
#[derive(Debug)]
pub struct Newcomer {
    /// What.
    pub wish: Wish,
    /// Where it goes.
    pub lines: mpsc::Sender<Reply>,
    /// Whether it will.
    pub reply: oneshot::Sender<Reply>,
}

impl Newcomer {
    fn refuse(self, error: impl ToString) {
        let _ = self.reply.send(Reply::Refused { error: error.to_string() });
    }
}

/// The task, while it is there.
#[derive(Debug)]
pub struct Observing {
    bpffs: PathBuf,
    task: Option<(mpsc::Sender<Newcomer>, JoinHandle<()>)>,
}

impl Observing {
    /// Nobody yet.
    pub fn new(bpffs: &Path) -> Self {
        Self { bpffs: bpffs.to_owned(), task: None }
    }

    /// Lets one more in; the task answers.
    pub fn join(&mut self, live: &Live, newcomer: Newcomer) {
        let (before, newcomer) = match self.task.take() {
            None => (None, newcomer),
            Some((door, task)) => match door.try_send(newcomer) {
                Ok(()) => return self.task = Some((door, task)),
                Err(TrySendError::Full(newcomer)) => {
                    newcomer.refuse("others are about to observe; try again");
                    return self.task = Some((door, task));
                }
                // The last one has left.
                Err(TrySendError::Closed(newcomer)) => (Some(task), newcomer),
            },
        };
        let (door, joining) = mpsc::channel(MOST);
        if let Err(TrySendError::Full(newcomer) | TrySendError::Closed(newcomer)) = door.try_send(newcomer) {
            newcomer.refuse("nobody can observe now; try again");
        }
        self.task = Some((door, tokio::spawn(observe(live.clone(), self.bpffs.clone(), before, joining))));
    }

    /// Takes the programs off.
    pub async fn end(&mut self) {
        if let Some((_, task)) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

async fn observe(live: Live, bpffs: PathBuf, before: Option<JoinHandle<()>>, mut joining: mpsc::Receiver<Newcomer>) {
    if let Some(before) = before {
        let _ = before.await;
    }
    let mut next = joining.recv().await;
    while let Some(first) = next {
        let bpffs = bpffs.clone();
        // The verifier takes its time.
        let opened = spawn_blocking(move || Observer::open(&bpffs, Said::new()).map_err(|error| error.to_string()));
        match opened.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok((observer, ears)) => session(live.clone(), observer, ears, first, &mut joining).await,
            Err(error) => first.refuse(format!("the programs that observe cannot be loaded here: {error}")),
        }
        // Whoever came while the last one left.
        next = joining.try_recv().ok();
    }
    joining.close();
    while let Some(newcomer) = joining.recv().await {
        newcomer.refuse("the last one has just left; try again");
    }
}

/// Until the last one has left.
async fn session(
    live: Live,
    observer: Observer,
    ears: Ears<Said>,
    first: Newcomer,
    joining: &mut mpsc::Receiver<Newcomer>,
) {
    let Ears { mut sights, mut log } = ears;
    let mut session = Session { live, observer, names: None, observers: Vec::new(), begin: Instant::now() };
    let (mut tick, mut look) = (interval(TICK), interval(LOOK));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tracing::info!("somebody observes: the programs that look are loaded");
    session.admit(first);
    let outcome = loop {
        tokio::select! {
            newcomer = joining.recv() => match newcomer {
                Some(newcomer) => session.admit(newcomer),
                None => break Ok(()),
            },
            // Where others work on the tables, what has been seen waits in the ring.
            _ = look.tick() => if block_in_place(|| session.know_names()) {
                session.read(&mut sights);
            },
            _ = tick.tick() => {
                log.flush();
                if let Err(error) = block_in_place(|| session.tick()) {
                    break Err(error.to_string());
                }
                if session.observers.is_empty() {
                    match joining.try_recv() {
                        Ok(newcomer) => session.admit(newcomer),
                        Err(_) => break Ok(()),
                    }
                }
            }
        }
    };
    match outcome {
        Ok(()) => tracing::info!("nobody observes any more: the programs that look are gone"),
        Err(error) => {
            tracing::warn!("nobody can observe any more: {error}");
            session.observers.iter().for_each(|one| one.dismiss(&error));
        }
    }
}

struct Session {
    live: Live,
    observer: Observer,
    names: Option<Names>,
    observers: Vec<One>,
    begin: Instant,
}

/// One who observes.
struct One {
    wish: Wish,
    lines: mpsc::Sender<Reply>,
    pace: Pace,
    unseen: Unseen,
    /// What had been missed before.
    before: Missed,
    /// The last that was said of it.
    told: Unseen,
}

impl Session {
    fn admit(&mut self, newcomer: Newcomer) {
        self.forget();
        if self.observers.len() == MOST {
            return newcomer.refuse(format!("{MOST} observe already; end one of them, or try again"));
        }
        if let Err(error) = newcomer.wish.filter.check(&self.live.policy()) {
            return newcomer.refuse(error);
        }
        let Newcomer { wish, lines, reply } = newcomer;
        let before = self.observer.missed().unwrap_or_default();
        let pace = Pace::new(wish.rate, self.begin.elapsed());
        self.observers.push(One { wish, lines, pace, unseen: Unseen::default(), before, told: Unseen::default() });
        let outcome = block_in_place(|| self.follow().and_then(|()| self.look()));
        let _ = reply.send(match outcome {
            Ok(()) => Reply::Observing {},
            Err(error) => {
                self.observers.pop();
                Reply::Refused { error: error.to_string() }
            }
        });
    }

    /// Those who have gone, and what they wanted.
    fn forget(&mut self) {
        self.observers.retain(|one| !one.lines.is_closed());
    }

    /// Has the programs where packets of what runs now pass.
    fn follow(&mut self) -> Result<(), Error> {
        Ok(self.observer.follow(&wan::passing(&self.live.policy())?)?)
    }

    fn look(&mut self) -> Result<(), Error> {
        let of = |one: &One| if one.wish.filter.is_empty() { one.wish.rate } else { LOOKS };
        Ok(self.observer.look(self.observers.iter().map(of).max().unwrap_or(1))?)
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.forget();
        self.follow()?;
        self.look()?;
        let missed = self.observer.missed()?;
        for one in &mut self.observers {
            one.unseen.passed = missed.passed - one.before.passed;
            one.unseen.ring_full = missed.full - one.before.full;
            if one.unseen != one.told && one.lines.try_send(Reply::Unseen { unseen: one.unseen }).is_ok() {
                one.told = one.unseen;
            }
        }
        Ok(())
    }

    /// Makes sure that the names are those of the tables that packets go by. False where others work on these.
    fn know_names(&mut self) -> bool {
        let policy = self.live.policy();
        let Ok(dataplane) = self.live.dataplane().try_lock() else { return false };
        let known = dataplane.stamp().and_then(|stamp| match &self.names {
            Some(names) if names.are_of(stamp, &policy) => Ok(()),
            Some(_) | None => {
                let naming = dataplane.naming(&policy)?;
                self.names = naming.map(|naming| Names::new(stamp, Arc::clone(&policy), naming));
                Ok(())
            }
        });
        if let Err(error) = known {
            tracing::debug!("no names for what is observed: {error}");
            self.names = None;
        }
        true
    }

    /// Takes packets from the ring and hands them round.
    fn read(&mut self, sights: &mut RingBuf<MapData>) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Duration::from_nanos(monotonic());
        let begin = Instant::now();
        for _ in 0..BATCH {
            if begin.elapsed() > SLICE {
                return;
            }
            let Some(item) = sights.next() else { return };
            let seen = Sight::read(&item);
            drop(item);
            let Some(seen) = seen else { continue };
            let at = since_1970.saturating_sub(now.saturating_sub(Duration::from_nanos(seen.at)));
            let named = self.names.as_ref().and_then(|names| names.name(&seen, at, dataplane::device_name));
            let time = self.begin.elapsed();
            for one in &mut self.observers {
                one.show(named.as_ref(), time);
            }
        }
    }
}

impl One {
    fn show(&mut self, named: Option<&Sighting>, now: Duration) {
        let Some(seen) = named else {
            self.unseen.stale += 1;
            return;
        };
        if !self.wish.filter.admits(seen) {
            return;
        }
        if !self.pace.admits(now) {
            self.unseen.beyond_rate += 1;
            return;
        }
        let bytes = seen.bytes.clone().filter(|_| self.wish.bytes);
        if self.lines.try_send(Reply::Seen { seen: Box::new(Sighting { bytes, ..seen.clone() }) }).is_err() {
            self.unseen.not_taken += 1;
        }
    }

    fn dismiss(&self, error: &str) {
        let _ = self.lines.try_send(Reply::Refused { error: error.to_owned() });
    }
}

/// What the programs say through aya-log, into our own log, and no more of it than is good for that. The `log` crate's own
/// way is closed: netlink crates write keys there.
struct Said {
    pace: Mutex<Pace>,
    begin: Instant,
}

impl Said {
    fn new() -> Self {
        Self { pace: Mutex::new(Pace::new(LINES, Duration::ZERO)), begin: Instant::now() }
    }
}

impl Log for Said {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if !lock(&self.pace).admits(self.begin.elapsed()) {
            return;
        }
        let said = record.args();
        match record.level() {
            Level::Error => tracing::error!("program in the kernel: {said}"),
            Level::Warn => tracing::warn!("program in the kernel: {said}"),
            Level::Info => tracing::info!("program in the kernel: {said}"),
            Level::Debug | Level::Trace => tracing::debug!("program in the kernel: {said}"),
        }
    }

    fn flush(&self) {}
}
