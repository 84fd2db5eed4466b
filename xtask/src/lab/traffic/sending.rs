//! How fast a flow sends: by its rate, as long as what it sends does not pile up, or by its window.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use super::{Counters, Flow, HEADER};

/// How long a packet of a window is waited for: then it is lost, and its place is another's.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many packets of a slow flow may be under way before it holds back: the demo has 28 flows, and a queue takes 1,000.
const PILE: u64 = 8;

/// After so long without an arrival a flow no longer holds back.
const STILL: Duration = Duration::from_millis(250);

pub(super) fn socket(flow: &Flow) -> Result<UdpSocket> {
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

impl Counters {
    /// Whether more than a quarter of a second's packets at that rate are under way, of which some still arrive: where none do,
    /// they are lost, and no queue is in their way.
    fn pile_up(&self, rate: u32) -> bool {
        let under_way = self.sent.load(SeqCst).saturating_sub(self.behind.load(SeqCst));
        let arrived = *self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        under_way > u64::from(rate / 4).max(PILE) && arrived.is_some_and(|arrived| arrived.elapsed() < STILL)
    }
}

pub(super) struct Sending {
    number: u32,
    payload: usize,
    rate: u32,
    eager: bool,
    window: Option<u64>,
    count: u64,
    cpu: Option<usize>,
}

impl Sending {
    pub(super) fn of(number: u32, flow: &Flow) -> Self {
        Self {
            number,
            payload: flow.payload.max(HEADER),
            rate: flow.rate,
            eager: flow.eager,
            window: flow.window,
            count: flow.count.unwrap_or(u64::MAX),
            cpu: flow.cpu,
        }
    }

    pub(super) fn run(&self, socket: &UdpSocket, counters: &Counters, stop: &AtomicBool) -> Result<()> {
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
}
