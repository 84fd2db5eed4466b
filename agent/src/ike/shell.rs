//! Does what the machine decides. Three paths to charon, so that none waits for another: events; commands, one after the
//! other; and a connection of its own for each initiation, for that one takes as long as the peer does.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::machine::{Action, Input, Machine};
use super::request::{close, initiate, list_sas, load, terminate, trap, unload};
use super::sas::{EVENTS, Notice};
use super::{Command, Error, Event, Load, Standing};
use crate::failpoint::stop;
use crate::policy::adopt::Ends;
use crate::vici::{self, Client, Listener, Message, Timeouts};

/// An initiation holds one of charon's worker threads (16 by default) until it is done.
const AT_ONCE: usize = 4;

/// An order to the task that speaks with charon.
enum Order {
    Connect,
    Load { tunnel: String, ticket: u64, load: Arc<Load>, standing: Standing },
    Unload { connection: String, tunnel: String },
    ListSas,
    Trap { connection: String, child: String },
    CloseChild(u32),
    CloseIke { id: u32, force: bool },
}

/// What comes back from the tasks.
enum Outcome {
    Input(Input),
    Connected(Listener, Input),
    Unloaded { tunnel: String, result: Result<(), vici::Error> },
}

type Reply = oneshot::Sender<Result<(), Error>>;

/// Who waits for a load.
struct Loading {
    /// Of the load that carries it; none while there is no charon to carry it to.
    ticket: Option<u64>,
    reply: Reply,
}

struct Shell {
    machine: Machine,
    began: Instant,
    orders: mpsc::UnboundedSender<Order>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    initiations: Arc<Semaphore>,
    /// A list waits its turn: it will tell of everything up to then, so that a thousand tunnels loaded at once need one.
    list_waits: Arc<AtomicBool>,
    vici: PathBuf,
    /// Who waits for a load, by tunnel.
    loading: HashMap<String, Loading>,
    unloading: HashMap<String, Reply>,
    /// Told but not yet taken.
    outbox: VecDeque<Event>,
    listener: Option<Listener>,
}

/// See [`super::run`].
pub(super) async fn run(vici: PathBuf, mut commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    let began = Instant::now();
    let (orders, order_queue) = mpsc::unbounded_channel();
    let (outcomes, mut outcome_queue) = mpsc::unbounded_channel();
    let list_waits = Arc::new(AtomicBool::new(false));
    let worker = tokio::spawn(work(vici.clone(), began, order_queue, outcomes.clone(), list_waits.clone()));
    let mut shell = Shell {
        machine: Machine::new(seed()),
        began,
        orders,
        outcomes,
        initiations: Arc::new(Semaphore::new(AT_ONCE)),
        list_waits,
        vici,
        loading: HashMap::new(),
        unloading: HashMap::new(),
        outbox: VecDeque::new(),
        listener: None,
    };
    shell.feed(Input::Tick);
    loop {
        let wake = shell.machine.wake().map(|at| shell.began + at);
        tokio::select! {
            permit = events.reserve(), if !shell.outbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(event) = shell.outbox.pop_front() {
                        permit.send(event);
                    }
                }
                Err(_) => break,
            },
            command = commands.recv() => match command {
                Some(command) => shell.command(command),
                None => break,
            },
            Some(outcome) = outcome_queue.recv() => shell.outcome(outcome),
            event = next_event(&mut shell.listener) => match event {
                Ok((name, message)) => {
                    if let Some(notice) = Notice::read(&name, &message) {
                        debug!(?notice, "charon's event");
                        shell.feed(Input::Notice(notice));
                    }
                }
                Err(error) => shell.unreachable(error.to_string()),
            },
            () = sleep_until(wake) => shell.feed(Input::Tick),
        }
    }
    worker.abort();
}

impl Shell {
    fn feed(&mut self, input: Input) {
        for action in self.machine.step(self.began.elapsed(), input) {
            self.perform(action);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Load(load, standing, reply) => {
                let tunnel = load.connection.key.clone();
                self.loading.insert(tunnel.clone(), Loading { ticket: None, reply });
                self.feed(Input::Load(load, standing));
                if let Some(reason) = self.machine.gone()
                    && let Some(Loading { reply, .. }) = self.loading.remove(&tunnel)
                {
                    drop(reply.send(Err(Error::Waiting { tunnel, reason: reason.to_owned() })));
                }
            }
            Command::Unload(tunnel, reply) => {
                let known = self.machine.desired(&tunnel).is_some();
                match self.machine.gone() {
                    Some(reason) => {
                        drop(reply.send(Err(Error::Waiting { tunnel: tunnel.clone(), reason: reason.to_owned() })));
                    }
                    None if known => drop(self.unloading.insert(tunnel.clone(), reply)),
                    None => drop(reply.send(Ok(()))),
                }
                self.feed(Input::Unload(tunnel));
            }
            Command::Lacking(lanes, reply) => {
                self.feed(Input::Lacking(lanes));
                let _ = reply.send(self.machine.is_in_doubt());
            }
            Command::Acquired(reqid) => self.feed(Input::Acquired(reqid)),
            Command::Status(reply) => drop(reply.send(self.machine.status())),
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Connected(listener, input) => {
                self.listener = Some(listener);
                self.feed(input);
            }
            Outcome::Unloaded { tunnel, result } => {
                if let Some(reply) = self.unloading.remove(&tunnel) {
                    drop(reply.send(result.map_err(Error::Vici)));
                }
            }
            Outcome::Input(Input::Unreachable { reason }) => self.unreachable(reason),
            Outcome::Input(Input::Loaded { tunnel, ticket, result }) => {
                // The outcome of an older load is no answer to a newer one.
                let waiting = self.loading.get(&tunnel).is_some_and(|loading| loading.ticket == Some(ticket));
                let reply = if waiting { self.loading.remove(&tunnel).map(|loading| loading.reply) } else { None };
                self.feed(Input::Loaded { tunnel: tunnel.clone(), ticket, result: result.clone() });
                // What comes of it is told first.
                if let Some(reply) = reply {
                    drop(reply.send(result.map_err(|reason| Error::Load { tunnel, reason })));
                }
            }
            Outcome::Input(input) => self.feed(input),
        }
    }

    fn unreachable(&mut self, reason: String) {
        self.listener = None;
        let loading = self.loading.drain().map(|(tunnel, loading)| (tunnel, loading.reply));
        for (tunnel, reply) in loading.chain(self.unloading.drain()) {
            drop(reply.send(Err(Error::Waiting { tunnel, reason: reason.clone() })));
        }
        self.feed(Input::Unreachable { reason });
    }

    fn perform(&mut self, action: Action) {
        let order = match action {
            Action::Tell(event) => {
                log(&event);
                self.outbox.push_back(event);
                return;
            }
            Action::Initiate { tunnel, connection, child, ticket } => {
                let (vici, outcomes, permits) = (self.vici.clone(), self.outcomes.clone(), self.initiations.clone());
                debug!(%connection, %child, "initiating");
                tokio::spawn(async move {
                    let Ok(_permit) = permits.acquire_owned().await else { return };
                    stop("charon to initiate");
                    let result = initiate(&vici, &connection, &child).await;
                    let _ = outcomes.send(Outcome::Input(Input::Initiated { tunnel, ticket, result }));
                });
                return;
            }
            Action::Connect => Order::Connect,
            Action::Load { tunnel, ticket, standing } => {
                if let Some(loading) = self.loading.get_mut(&tunnel) {
                    loading.ticket = Some(ticket);
                }
                match self.machine.desired(&tunnel) {
                    Some(load) => Order::Load { tunnel, ticket, load: Arc::clone(load), standing },
                    None => return,
                }
            }
            Action::Unload { connection, tunnel } => Order::Unload { connection, tunnel },
            Action::ListSas if self.list_waits.swap(true, Ordering::SeqCst) => return,
            Action::ListSas => Order::ListSas,
            Action::Trap { connection, child } => Order::Trap { connection, child },
            Action::CloseChild(id) => Order::CloseChild(id),
            Action::CloseIke { id, force } => Order::CloseIke { id, force },
        };
        // The worker ends after this task only.
        let _ = self.orders.send(order);
    }
}

/// Carries orders out one by one.
async fn work(
    vici: PathBuf,
    began: Instant,
    mut orders: mpsc::UnboundedReceiver<Order>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    list_waits: Arc<AtomicBool>,
) {
    let mut client: Option<Client> = None;
    while let Some(order) = orders.recv().await {
        if let Order::ListSas = order {
            list_waits.store(false, Ordering::SeqCst);
        }
        if let Order::Connect = order {
            client = None;
            match connect(&vici).await {
                Ok((connected, listener, input)) => {
                    client = Some(connected);
                    let _ = outcomes.send(Outcome::Connected(listener, input));
                }
                Err(error) => {
                    let _ = outcomes.send(Outcome::Input(Input::Unreachable { reason: error.to_string() }));
                }
            }
            continue;
        }
        // Orders of before the connection broke: the machine asks anew when it stands again.
        let Some(connected) = client.as_mut() else { continue };
        match carry_out(connected, began, order).await {
            Ok(Some(outcome)) => drop(outcomes.send(outcome)),
            Ok(None) => {}
            Err(error) => {
                client = None;
                let _ = outcomes.send(Outcome::Input(Input::Unreachable { reason: error.to_string() }));
            }
        }
    }
}

/// Events first, so that nothing happens unseen between the list and them.
async fn connect(vici: &Path) -> Result<(Client, Listener, Input), vici::Error> {
    let mut client = Client::connect(vici, Timeouts::default()).await?;
    let version = client.check_version().await?;
    let listener = Listener::connect(vici, Timeouts::default(), &EVENTS).await?;
    let stats = client.request("stats", Message::new()).await?;
    let since = stats.section("uptime").and_then(|uptime| uptime.text("since")).unwrap_or_default().to_owned();
    Ok((client, listener, Input::Connected { version, since }))
}

/// One order. An error means that the connection is of no use any more; charon's own refusals are outcomes.
async fn carry_out(client: &mut Client, began: Instant, order: Order) -> Result<Option<Outcome>, vici::Error> {
    match order {
        Order::Connect => Ok(None),
        Order::Load { tunnel, ticket, load: wanted, standing } => {
            stop("charon to load");
            let result = match load(client, &wanted.connection, &wanted.credentials).await {
                Ok(()) => {
                    stop("charon has loaded");
                    if standing == Standing::Close {
                        close(client, &wanted.connection.name).await?;
                    }
                    Ok(())
                }
                Err(error @ (vici::Error::Refused { .. } | vici::Error::Encode(_))) => {
                    Err(format!("connection {}: {error}", wanted.connection.name))
                }
                Err(error) => return Err(error),
            };
            Ok(Some(Outcome::Input(Input::Loaded { tunnel, ticket, result })))
        }
        Order::Unload { connection, tunnel } => match unload(client, &connection).await {
            Ok(()) => Ok(Some(Outcome::Unloaded { tunnel, result: Ok(()) })),
            Err(error @ vici::Error::Refused { .. }) => Ok(Some(Outcome::Unloaded { tunnel, result: Err(error) })),
            Err(error) => Err(error),
        },
        Order::ListSas => {
            let asked = began.elapsed();
            let sas = list_sas(client).await?;
            Ok(Some(Outcome::Input(Input::Sas { asked, sas })))
        }
        Order::Trap { connection, child } => {
            trap(client, &connection, &child).await?;
            Ok(None)
        }
        Order::CloseChild(id) => {
            terminate(client, Message::new().with("child-id", id.to_string())).await?;
            Ok(None)
        }
        Order::CloseIke { id, force } => {
            let selector = Message::new().with("ike-id", id.to_string());
            terminate(client, selector.with("force", if force { "yes" } else { "no" })).await?;
            Ok(None)
        }
    }
}

async fn next_event(listener: &mut Option<Listener>) -> Result<(String, Message), vici::Error> {
    match listener {
        Some(listener) => listener.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Different at each start and on each gateway, for jitter alone.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32)
}

/// The first few of a list, and how many more there are.
fn words<T: ToString>(list: &BTreeSet<T>) -> String {
    const FEW: usize = 16;
    let few = list.iter().take(FEW).map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if list.len() > FEW { format!("{few} and {} more", list.len() - FEW) } else { few }
}

pub(super) fn log(event: &Event) {
    match event {
        Event::LaneUp(lane) => info!(%lane, "lane up"),
        Event::Adopted(lane, traits) if traits.reqid == 0 => {
            debug!(%lane, mark = format_args!("{:#x}", traits.mark), clients = traits.clients.len(), "shared lane up");
        }
        Event::Adopted(lane, traits) => {
            info!(%lane, mark = format_args!("{:#x}", traits.mark), reqid = traits.reqid, "adopted lane up");
        }
        Event::LaneDown(lane) => warn!(%lane, "lane down"),
        Event::LaneOnDemand(lane) => info!(%lane, "lane waits for a packet"),
        Event::Rekeyed(lane) => debug!(%lane, "lane rekeyed"),
        Event::TunnelUp(tunnel) => info!(%tunnel, "tunnel up"),
        Event::TunnelDown(tunnel) => warn!(%tunnel, "tunnel down"),
        Event::CharonGone { reason } => warn!(%reason, "charon gone"),
        Event::CharonBack { version } => info!(%version, "charon back"),
        Event::Trouble { tunnel, reason } => warn!(%tunnel, %reason, "trouble"),
        Event::Inside(tunnel, Ends { routes, addresses, devices }) => {
            let (routes, addresses) = (words(routes), words(addresses));
            let devices = devices.len();
            info!(%tunnel, %routes, %addresses, devices, "inside of adopted SAs");
        }
        Event::Clients(tunnel, clients) => info!(%tunnel, clients, "clients"),
        Event::Unfit { tunnel, reason } => warn!(%tunnel, %reason, "not steered"),
        Event::Sound(tunnel) => info!(%tunnel, "trouble over"),
    }
}
