//! The WAN: a router between the gateways, with a bottleneck and strict priority where asked for.

use anyhow::Result;

use super::netns::Ns;

/// Kilobit a second, a queue for what is not urgent, EF before all else.
#[derive(Debug, Clone, Copy)]
pub struct Bottleneck {
    /// Rate of the link.
    pub kilobits: u32,
    /// Packets that the queue of everything but EF holds.
    pub queue: u32,
}

/// The side of `facts.md`'s experiment: packets of EF overtake up to 300 others.
pub const STRICT_PRIORITY: Bottleneck = Bottleneck { kilobits: 4000, queue: 300 };

/// What a bottleneck did since it was set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Packets that went through.
    pub sent: u64,
    /// Packets dropped because the queue was full.
    pub dropped: u64,
}

impl Bottleneck {
    /// Puts it on `device` in `router`, in place of whatever was there.
    pub fn set_up(self, router: &Ns, device: &str) -> Result<()> {
        let Self { kilobits, queue } = self;
        router.sh(&format!(
            "tc qdisc replace dev {device} root handle 1: htb default 20
             tc class add dev {device} parent 1: classid 1:1 htb rate {kilobits}kbit ceil {kilobits}kbit burst 3k cburst 3k
             tc class add dev {device} parent 1:1 classid 1:10 htb rate {kilobits}kbit prio 0 burst 3k cburst 3k
             tc class add dev {device} parent 1:1 classid 1:20 htb rate 8kbit ceil {kilobits}kbit prio 1 burst 3k cburst 3k
             tc qdisc add dev {device} parent 1:10 handle 10: pfifo limit 1000
             tc qdisc add dev {device} parent 1:20 handle 20: pfifo limit {queue}
             tc filter add dev {device} parent 1: protocol ip prio 1 u32 match ip dsfield 0xb8 0xfc flowid 1:10
             tc filter add dev {device} parent 1: protocol ipv6 prio 2 u32 match ip6 priority 0xb8 0xfc flowid 1:10"
        ))?;
        Ok(())
    }
}

/// Takes the bottleneck away.
pub fn clear(router: &Ns, device: &str) -> Result<()> {
    router.sh(&format!("tc qdisc del dev {device} root"))?;
    Ok(())
}

/// Counters of the queue (`handle` of the qdisc, `20:` for everything but EF).
pub fn queue(router: &Ns, device: &str, handle: &str) -> Result<Queue> {
    Ok(parse(&router.sh(&format!("tc -s qdisc show dev {device}"))?, handle))
}

/// Reads `tc -s qdisc show`.
fn parse(text: &str, handle: &str) -> Queue {
    let mut lines = text.lines().skip_while(|line| line.split_whitespace().nth(2) != Some(handle)).skip(1);
    let words: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let before = |word: &str| {
        let at = words.iter().position(|w| w.trim_end_matches(',') == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    let after = |word: &str| words.get(words.iter().position(|w| *w == word)? + 1)?.trim_end_matches(',').parse().ok();
    Queue { sent: before("pkt").unwrap_or_default(), dropped: after("(dropped").unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_counters_are_read_from_tc() {
        let text = "qdisc htb 1: root refcnt 2 r2q 10 default 0x20 direct_packets_stat 0\n Sent 9 bytes 3 pkt (dropped 1, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n\
                    qdisc pfifo 20: parent 1:20 limit 300p\n Sent 5120 bytes 42 pkt (dropped 7, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n";
        assert_eq!(parse(text, "20:"), Queue { sent: 42, dropped: 7 });
        assert_eq!(parse(text, "1:"), Queue { sent: 3, dropped: 1 });
    }
}
