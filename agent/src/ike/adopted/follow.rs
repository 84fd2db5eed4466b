//! Keeps an eye on charon: whatever happens there, all is listed and bound anew, and what has changed is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::lasting::{GRACE, Lasting};
use super::{Bound, Child, Followed, Inner, Refusal};
use crate::ike::Event;
use crate::ike::sas::{EVENTS, Notice};
use crate::ike::shell::log;
use crate::lane::LaneId;
use crate::policy::Policy;
use crate::policy::adopt::{self, Ends, Learned, Traits};
use crate::rest::Rest;
use crate::vici::{Client, Error, Listener, Message, Timeouts};

/// Between two lists without an event.
const RESYNC: Duration = Duration::from_secs(15);
/// Events come in a row: a list after the last of them tells of all.
const SETTLED: Duration = Duration::from_millis(10);
/// A row of events without an end is not waited for.
const ROW: Duration = Duration::from_secs(1);
/// Between attempts to reach charon.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What has been told, and of whom.
struct Follower {
    tunnels: Vec<Followed>,
    known: Learned,
    /// What was told of each lane; nothing yet of those that are missing.
    lanes: BTreeMap<LaneId, Option<Traits>>,
    /// The reasons that were told of each tunnel.
    troubles: BTreeMap<String, String>,
    up: BTreeSet<String>,
    /// How many have each tunnel that clients share.
    clients: BTreeMap<String, usize>,
    cautions: BTreeSet<Refusal>,
    /// What was told of the inside of each tunnel that asks for it.
    insides: BTreeMap<String, Lasting>,
    gone: Option<String>,
    events: mpsc::Sender<Event>,
}

/// What charon has.
#[derive(Default)]
struct Seen {
    /// How many IKE_SAs each connection has.
    connections: BTreeMap<String, usize>,
    children: Vec<Child>,
    /// Connections that are loaded, of those without an IKE_SA.
    loaded: BTreeSet<String>,
    /// Virtual IPs that peers gave, by connection.
    virtual_ips: BTreeMap<String, BTreeSet<IpAddr>>,
}

/// What a look has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Lanes that are up, and by which CHILD_SAs.
    pub lanes: Learned,
    /// What the SAs are for inside, of each tunnel that asks for it.
    pub ends: BTreeMap<String, Ends>,
}

/// Follows the tunnels' CHILD_SAs for as long as somebody listens. `known` is what was known of them before.
pub async fn follow(vici: PathBuf, tunnels: Vec<Followed>, known: Learned, events: mpsc::Sender<Event>) {
    let mut follower = Follower {
        tunnels,
        known,
        lanes: BTreeMap::new(),
        troubles: BTreeMap::new(),
        up: BTreeSet::new(),
        clients: BTreeMap::new(),
        cautions: BTreeSet::new(),
        insides: BTreeMap::new(),
        gone: None,
        events,
    };
    let mut pause = RECONNECT.0;
    while !follower.events.is_closed() {
        let (lasted, reason) = match follower.session(&vici).await {
            Ok(()) => return,
            Err((lasted, error)) => (lasted, error.to_string()),
        };
        if lasted {
            pause = RECONNECT.0;
        }
        if follower.gone.as_ref() != Some(&reason) {
            follower.gone = Some(reason.clone());
            follower.tell(Event::CharonGone { reason }).await;
        }
        sleep(pause).await;
        pause = (pause * 2).min(RECONNECT.1);
    }
}

/// Which CHILD_SAs adopted tunnels have now.
pub async fn look(policy: &Policy) -> Result<Found, Error> {
    let tunnels = Followed::all(policy);
    if tunnels.is_empty() {
        return Ok(Found::default());
    }
    let mut client = Client::connect(&policy.vici, Timeouts::default()).await?;
    let seen = list(&mut client, &tunnels).await?;
    let lanes = tunnels.iter().flat_map(|tunnel| tunnel.bind(&seen.children, &Learned::new()).lanes).collect();
    let ends = |tunnel: &Followed| (tunnel.tunnel.clone(), seen.inner(tunnel).ends);
    Ok(Found { lanes, ends: tunnels.iter().filter(|tunnel| tunnel.follows()).map(ends).collect() })
}

impl Follower {
    /// One connection to charon; whether it was of use before it broke. Ends well when nobody listens any more.
    async fn session(&mut self, vici: &Path) -> Result<(), (bool, Error)> {
        let new = |error| (false, error);
        let mut client = Client::connect(vici, Timeouts::default()).await.map_err(new)?;
        // Events first, so that nothing happens unseen between the list and them.
        let mut listener = Listener::connect(vici, Timeouts::default(), &EVENTS).await.map_err(new)?;
        let version = client.request("version", Message::new()).await.map_err(new)?;
        let version = version.text("version").unwrap_or_default().to_owned();
        let mut back = Some(Event::CharonBack { version });
        let mut rest = Rest::new();
        loop {
            let start = Instant::now();
            let mut seen = list(&mut client, &self.tunnels).await.map_err(|error| (back.is_none(), error))?;
            if self.lacks(&seen) {
                // charon lists one IKE_SA after the other, and waits for who works on one: while it is rekeyed, a list may have
                // neither the old one nor the one that has its CHILD_SAs by then (5.9.8).
                seen = list(&mut client, &self.tunnels).await.map_err(|error| (back.is_none(), error))?;
            }
            if let Some(event) = back.take() {
                self.gone = None;
                self.tell(event).await;
            }
            self.take(&seen).await;
            rest.since(start);
            let waits = self.insides.values().any(Lasting::waits);
            let mut next = match timeout(if waits { GRACE } else { RESYNC }, listener.next()).await {
                Ok(event) => Some(event.map_err(|error| (true, error))?),
                Err(_) => None,
            };
            let first = Instant::now();
            while let Some((name, message)) = next {
                if let Some(Notice::ChildRekeyed { new, .. }) = Notice::read(&name, &message) {
                    self.rekeyed(new.reqid).await;
                }
                if first.elapsed() > ROW {
                    break;
                }
                next = match timeout(SETTLED.max(rest.left()), listener.next()).await {
                    Ok(event) => Some(event.map_err(|error| (true, error))?),
                    Err(_) => None,
                };
            }
            if self.events.is_closed() {
                return Ok(());
            }
        }
    }

    /// Whether a lane that was told to be up has no CHILD_SA there.
    fn lacks(&self, seen: &Seen) -> bool {
        self.tunnels.iter().any(|tunnel| {
            let now = tunnel.bind(&seen.children, &self.known).lanes;
            tunnel.lanes().any(|lane| matches!(self.lanes.get(&lane), Some(Some(_))) && !now.contains_key(&lane))
        })
    }

    /// Tells what is otherwise than it was told last.
    async fn take(&mut self, seen: &Seen) {
        for tunnel in self.tunnels.clone() {
            let name = &tunnel.tunnel;
            let Bound { lanes, mut refusals, mut cautions } = tunnel.bind(&seen.children, &self.known);
            if tunnel.follows() {
                let inner = seen.inner(&tunnel);
                refusals.extend(inner.refusals);
                cautions.extend(inner.cautions);
                let lasting = self.insides.entry(name.clone()).or_default();
                if let Some(ends) = lasting.take(inner.ends, Instant::now()) {
                    self.tell(Event::Inside(name.clone(), ends)).await;
                }
            }
            let clients = seen.clients(&tunnel);
            if tunnel.shared && self.clients.insert(name.clone(), clients) != Some(clients) {
                self.tell(Event::Clients(name.clone(), clients)).await;
            }
            let up = clients > 0;
            if !up && !seen.loaded.iter().any(|name| tunnel.has(name)) {
                refusals.push(Refusal::NoConnection { connection: tunnel.connection.0.clone() });
            }
            match (up, self.up.contains(name)) {
                (true, false) => {
                    self.up.insert(name.clone());
                    self.tell(Event::TunnelUp(name.clone())).await;
                }
                (false, true) => {
                    self.up.remove(name);
                    self.tell(Event::TunnelDown(name.clone())).await;
                }
                (true, true) | (false, false) => {}
            }
            for lane in tunnel.lanes() {
                let now = lanes.get(&lane).cloned();
                if self.lanes.get(&lane) == Some(&now) {
                    continue;
                }
                self.lanes.insert(lane.clone(), now.clone());
                match now {
                    Some(traits) => {
                        adopt::take(&mut self.known, &lane, &traits);
                        self.tell(Event::Adopted(lane, traits)).await;
                    }
                    None => self.tell(Event::LaneDown(lane)).await,
                }
            }
            for caution in cautions {
                if self.cautions.insert(caution.clone()) {
                    warn!(tunnel = %name, "{caution}");
                }
            }
            self.complain(name, &refusals).await;
        }
    }

    async fn complain(&mut self, tunnel: &str, refusals: &[Refusal]) {
        let reason = refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let tunnel = tunnel.to_owned();
        let before = if reason.is_empty() {
            self.troubles.remove(&tunnel)
        } else {
            self.troubles.insert(tunnel.clone(), reason.clone())
        };
        match (before, reason.is_empty()) {
            (None, true) => {}
            (Some(_), true) => self.tell(Event::Sound(tunnel)).await,
            (Some(before), false) if before == reason => {}
            (Some(_) | None, false) => self.tell(Event::Unfit { tunnel, reason }).await,
        }
    }

    async fn rekeyed(&self, reqid: u32) {
        let has = |traits: &Option<Traits>| traits.as_ref().is_some_and(|traits| traits.has(reqid));
        if let Some((lane, _)) = self.lanes.iter().find(|(_, traits)| has(traits)) {
            self.tell(Event::Rekeyed(lane.clone())).await;
        }
    }

    async fn tell(&self, event: Event) {
        log(&event);
        if self.events.send(event).await.is_err() {
            debug!("nobody listens to what charon does");
        }
    }
}

impl Seen {
    /// Takes the section of an IKE_SA.
    fn add(&mut self, connection: &str, section: &Message) {
        if matches!(section.text("state"), Some("ESTABLISHED" | "REKEYING")) {
            *self.connections.entry(connection.to_owned()).or_default() += 1;
            let given = section.list("local-vips").filter_map(|address| address.parse::<IpAddr>().ok());
            self.virtual_ips.entry(connection.to_owned()).or_default().extend(given);
        }
        self.children.extend(Child::read_all(connection, section));
    }

    fn inner(&self, tunnel: &Followed) -> Inner {
        let own = self.virtual_ips.iter().filter(|(connection, _)| tunnel.has(connection));
        tunnel.inner(&self.children, own.flat_map(|(_, given)| given).copied())
    }

    /// How many IKE_SAs the tunnel has.
    fn clients(&self, tunnel: &Followed) -> usize {
        self.connections.iter().filter(|(connection, _)| tunnel.has(connection)).map(|(_, count)| count).sum()
    }
}

async fn list(client: &mut Client, tunnels: &[Followed]) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    let within = Timeouts::default().answer;
    client
        .stream("list-sas", "list-sa", Message::new(), within, |message| {
            message.sections().for_each(|(connection, section)| seen.add(connection, section));
        })
        .await?;
    if tunnels.iter().any(|tunnel| seen.clients(tunnel) == 0) {
        client
            .stream("list-conns", "list-conn", Message::new(), within, |message| {
                seen.loaded.extend(message.sections().map(|(name, _)| name.to_owned()));
            })
            .await?;
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
