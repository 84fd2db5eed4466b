//! UDP flows between namespaces with exact counts: who sent what, what arrived, in which order, after what silence.
//!
//! Each flow has a sender and a receiver thread. A packet carries the flow's number and its sequence number.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use super::netns::Ns;

/// Flow number, sequence number.
const HEADER: usize = 4 + 8;

/// How long a packet of a window is waited for: then it is lost, and its place is another's.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many packets of a slow flow may be under way before it holds back: the demo has 28 flows, and a queue takes 1,000.
const PILE: u64 = 8;

/// After so long without an arrival a flow no longer holds back.
const STILL: Duration = Duration::from_millis(250);

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

    /// Whether more than a quarter of a second's packets at that rate are under way, of which some still arrive: where none do,
    /// they are lost, and no queue is in their way.
    fn pile_up(&self, rate: u32) -> bool {
        let under_way = self.sent.load(SeqCst).saturating_sub(self.behind.load(SeqCst));
        let arrived = *self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        under_way > u64::from(rate / 4).max(PILE) && arrived.is_some_and(|arrived| arrived.elapsed() < STILL)
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
            let socket = flow.from.run(|| sender(flow)).with_context(|| format!("sender of flow {}", flow.name))?;
            let (counters, stop) = (Arc::clone(&traffic.counters[number as usize]), Arc::clone(&traffic.stop));
            let sending = Sending {
                number,
                payload: flow.payload.max(HEADER),
                rate: flow.rate,
                eager: flow.eager,
                window: flow.window,
                count: flow.count.unwrap_or(u64::MAX),
                cpu: flow.cpu,
            };
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

fn sender(flow: &Flow) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(flow.source).with_context(|| format!("bind {}", flow.source))?;
    let tos = i32::from(flow.dscp) << 2;
    match flow.source {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4Tos, &tos).context("IP_TOS")?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6TClass, &tos).context("IPV6_TCLASS")?,
    }
    if let Some(mark) = flow.mark {
        setsockopt(&socket, sockopt::Mark, &mark).context("SO_MARK")?;
    }
    socket.connect(flow.destination).with_context(|| format!("connect to {}", flow.destination))?;
    Ok(socket)
}

struct Sending {
    number: u32,
    payload: usize,
    rate: u32,
    eager: bool,
    window: Option<u64>,
    count: u64,
    cpu: Option<usize>,
}

impl Sending {
    fn run(&self, socket: &UdpSocket, counters: &Counters, stop: &AtomicBool) -> Result<()> {
        if let Some(cpu) = self.cpu {
            let mut set = CpuSet::new();
            set.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("send on CPU {cpu}"))?;
        }
        let least = Duration::from_secs(1) / self.rate.max(1);
        let mut gap = least;
        let mut packet = vec![0; self.payload];
        packet[..4].copy_from_slice(&self.number.to_be_bytes());
        let mut due = Instant::now();
        let (mut sequence, mut written_off) = (0, 0);
        while sequence < self.count && !stop.load(Relaxed) {
            match self.window {
                Some(window) => wait_for_room(window, &mut written_off, sequence, counters, stop),
                None => {
                    let now = Instant::now();
                    if due > now {
                        thread::sleep(due - now);
                    }
                    gap = (gap - gap / 64).max(least);
                    while !self.eager && counters.pile_up(self.rate) && !stop.load(Relaxed) {
                        // Slower from then on, for a while: others want the processor, too.
                        gap = (2 * gap).min(8 * least);
                        thread::sleep(gap);
                        due = Instant::now();
                    }
                    due += gap;
                }
            }
            packet[4..12].copy_from_slice(&sequence.to_be_bytes());
            // Before it can have arrived.
            counters.sent.store(sequence + 1, SeqCst);
            match socket.send(&packet) {
                // That is the ICMP answer to an earlier packet; this one was not sent.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => counters.sent.store(sequence, SeqCst),
                // What this stack refuses (blocked by policy, unreachable) counts as sent and lost.
                Ok(_) | Err(_) => sequence += 1,
            }
        }
        Ok(())
    }
}

/// Returns when fewer than `window` packets of those sent so far are under way. One that never comes is written off.
fn wait_for_room(window: u64, written_off: &mut u64, sent: u64, counters: &Counters, stop: &AtomicBool) {
    let begin = Instant::now();
    while sent - *written_off >= window + counters.received.load(SeqCst) {
        if stop.load(Relaxed) {
            return;
        }
        if begin.elapsed() > PATIENCE {
            *written_off += 1;
            return;
        }
        thread::yield_now();
    }
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
    fn a_packet_that_never_comes_is_waited_for_once() {
        let (counters, stop, mut written_off) = (Counters::default(), AtomicBool::new(false), 0);
        counters.received.store(4, SeqCst);
        // Fewer than two of six are under way only when one of them is given up.
        wait_for_room(2, &mut written_off, 5, &counters, &stop);
        assert_eq!(written_off, 0);
        wait_for_room(2, &mut written_off, 6, &counters, &stop);
        wait_for_room(2, &mut written_off, 6, &counters, &stop);
        assert_eq!(written_off, 1);
    }

    #[test]
    fn a_flow_holds_back_while_packets_pile_up_and_still_arrive() {
        let counters = Counters::default();
        counters.sent.store(100, SeqCst);
        assert!(!counters.pile_up(40), "none has ever arrived");
        *counters.arrived.lock().unwrap() = Some(Instant::now());
        assert!(counters.pile_up(40));
        assert!(!counters.pile_up(400), "that is less than a quarter of a second");
        counters.behind.store(90, SeqCst);
        assert!(!counters.pile_up(40), "what was overtaken is lost");
        counters.behind.store(0, SeqCst);
        *counters.arrived.lock().unwrap() = Instant::now().checked_sub(STILL);
        assert!(!counters.pile_up(40), "none arrives any longer");
    }

    #[test]
    fn a_number_is_new_once() {
        let mut bits = Bits::default();
        assert_eq!([bits.insert(0), bits.insert(64), bits.insert(64), bits.insert(0)], [true, true, false, false]);
    }
}
