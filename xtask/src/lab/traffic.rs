//! UDP flows between namespaces with exact counts: who sent what, what arrived, in which order, after what silence.
//!
//! Each flow has a sender and a receiver thread. A packet carries the flow's number and its sequence number.

mod sending;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::netns::Ns;
use sending::Sending;

/// Flow number, sequence number.
const HEADER: usize = 4 + 8;

/// After the last sender is done, how long nothing may arrive before the receivers give up on the rest.
const SETTLE: Duration = Duration::from_millis(1500);

/// One direction of one five-tuple.
#[derive(Debug, Clone)]
pub struct Flow {
    /// What it is called in tables.
    pub name: String,
    /// Where it is sent.
    pub from: Ns,
    /// Where it is received.
    pub to: Ns,
    /// Bound by the sender.
    pub source: SocketAddr,
    /// Bound by the receiver.
    pub destination: SocketAddr,
    /// Of the inner packets.
    pub dscp: u8,
    /// UDP payload in bytes.
    pub payload: usize,
    /// Packets a second.
    pub rate: u32,
    /// Sends on while what it has sent piles up. Others hold back, as a slow machine takes its time: what overflows its queues
    /// would be lost to nothing that is tried.
    pub eager: bool,
    /// In the place of the rate: each packet as soon as no more than so many before it have not arrived, without a pause.
    pub window: Option<u64>,
    /// Packets in all; `None` until stopped.
    pub count: Option<u64>,
    /// fwmark of the sender's socket.
    pub mark: Option<u32>,
    /// The CPU that sends, and that softirqs then forward on; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
}

/// What became of one flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handed to the sender's stack.
    pub sent: u64,
    /// Arrived, each sequence number once.
    pub received: u64,
    /// Arrived after a packet that was sent later.
    pub reordered: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// The longest time between two arrivals.
    pub silence: Duration,
}

impl Tally {
    /// Sent and never seen.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Both together; the longer silence.
    pub fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            reordered: self.reordered + other.reordered,
            duplicated: self.duplicated + other.duplicated,
            silence: self.silence.max(other.silence),
        }
    }
}

/// Panics unless every flow has sent something and lost nothing of it.
pub fn assert_whole(tallies: &[Tally]) {
    assert!(tallies.iter().all(|tally| tally.sent > 0 && tally.lost() == 0), "{tallies:?}");
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
    /// One more than the highest sequence number that has arrived.
    behind: AtomicU64,
    arrived: Mutex<Option<Instant>>,
    reordered: AtomicU64,
    duplicated: AtomicU64,
    silence: AtomicU64,
}

impl Counters {
    fn tally(&self) -> Tally {
        // What has arrived first: a packet that is sent and arrives between the two would count against those that are lost.
        let received = self.received.load(SeqCst);
        Tally {
            sent: self.sent.load(SeqCst),
            received,
            reordered: self.reordered.load(Relaxed),
            duplicated: self.duplicated.load(Relaxed),
            silence: Duration::from_nanos(self.silence.load(Relaxed)),
        }
    }
}

/// Flows under way.
#[derive(Debug)]
pub struct Traffic {
    flows: Vec<Flow>,
    counters: Vec<Arc<Counters>>,
    senders: Vec<JoinHandle<Result<()>>>,
    receivers: Vec<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
}

impl Traffic {
    /// Binds every receiver, then starts to send.
    pub fn start(flows: &[Flow]) -> Result<Self> {
        let mut traffic = Self {
            flows: flows.to_vec(),
            counters: flows.iter().map(|_| Arc::default()).collect(),
            senders: Vec::new(),
            receivers: Vec::new(),
            stop: Arc::default(),
            drained: Arc::default(),
        };
        for (number, flow) in (0u32..).zip(flows) {
            let socket = flow.to.run(|| receiver(flow)).with_context(|| format!("receiver of flow {}", flow.name))?;
            let (counters, drained) = (Arc::clone(&traffic.counters[number as usize]), Arc::clone(&traffic.drained));
            traffic.receivers.push(thread::spawn(move || receive(&socket, number, &counters, &drained)));
        }
        for (number, flow) in (0u32..).zip(flows) {
            let socket =
                flow.from.run(|| sending::socket(flow)).with_context(|| format!("sender of flow {}", flow.name))?;
            let (counters, stop) = (Arc::clone(&traffic.counters[number as usize]), Arc::clone(&traffic.stop));
            let sending = Sending::of(number, flow);
            traffic.senders.push(thread::spawn(move || sending.run(&socket, &counters, &stop)));
        }
        Ok(traffic)
    }

    /// Sends all of `flows`, each of which has a count, and waits for what arrives.
    pub fn run(flows: &[Flow]) -> Result<Vec<Tally>> {
        Self::start(flows)?.finish()
    }

    /// The flows, in the order of every list of tallies.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// How it stands.
    pub fn tallies(&self) -> Vec<Tally> {
        self.counters.iter().map(|counters| counters.tally()).collect()
    }

    /// Has every flow sent its count?
    pub fn is_sent(&self) -> bool {
        self.senders.iter().all(JoinHandle::is_finished)
    }

    /// Ends the senders now and waits for what is still under way.
    pub fn stop(self) -> Result<Vec<Tally>> {
        self.stop.store(true, Relaxed);
        self.finish()
    }

    /// Waits until every flow has sent its count and nothing more arrives.
    pub fn finish(mut self) -> Result<Vec<Tally>> {
        for sender in self.senders.drain(..) {
            sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        let mut last = (self.tallies(), Instant::now());
        while last.1.elapsed() < SETTLE && self.tallies().iter().any(|tally| tally.lost() > 0) {
            thread::sleep(Duration::from_millis(20));
            let now = self.tallies();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        // A duplicate may still be under way behind the last packet.
        thread::sleep(Duration::from_millis(50));
        self.drained.store(true, Relaxed);
        for receiver in self.receivers.drain(..) {
            receiver.join().map_err(|_| anyhow::anyhow!("a receiver panicked"))??;
        }
        Ok(self.tallies())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.drained.store(true, Relaxed);
    }
}

fn receiver(flow: &Flow) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(flow.destination).with_context(|| format!("bind {}", flow.destination))?;
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).context("SO_RCVBUFFORCE")?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(socket)
}

fn receive(socket: &UdpSocket, number: u32, counters: &Counters, drained: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 65536];
    let mut seen = Bits::default();
    let mut highest = None;
    let mut last: Option<Instant> = None;
    while !drained.load(Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Some((flow, sequence)) = header(&buffer[..length]) else { continue };
        if flow != number {
            continue;
        }
        if !seen.insert(sequence) {
            counters.duplicated.fetch_add(1, Relaxed);
            continue;
        }
        let now = Instant::now();
        if let Some(before) = last.replace(now) {
            counters.silence.fetch_max(nanos(now - before), Relaxed);
        }
        if highest.is_some_and(|highest| sequence < highest) {
            counters.reordered.fetch_add(1, Relaxed);
        }
        highest = highest.max(Some(sequence));
        counters.behind.fetch_max(sequence + 1, SeqCst);
        *counters.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        counters.received.fetch_add(1, SeqCst);
    }
    Ok(())
}

fn header(packet: &[u8]) -> Option<(u32, u64)> {
    let flow = u32::from_be_bytes(packet.get(..4)?.try_into().ok()?);
    let sequence = u64::from_be_bytes(packet.get(4..12)?.try_into().ok()?);
    Some((flow, sequence))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A set of sequence numbers.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// False where it was there already.
    fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut bits = Bits::default();
        assert_eq!([bits.insert(0), bits.insert(64), bits.insert(64), bits.insert(0)], [true, true, false, false]);
    }
}
