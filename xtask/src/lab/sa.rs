//! What the kernel says of its SAs: counters of each state, and the namespace's XFRM errors.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};

use super::netns::Ns;

/// One SA of the kernel. Keys are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sa {
    /// Outer source.
    pub source: IpAddr,
    /// Outer destination.
    pub destination: IpAddr,
    /// SPI, host order.
    pub spi: u32,
    /// Request id.
    pub reqid: u32,
    /// XFRMA_MARK: value and mask.
    pub mark: (u32, u32),
    /// XFRMA_IF_ID.
    pub if_id: u32,
    /// Packets since it was added.
    pub packets: u64,
    /// Bytes since it was added.
    pub bytes: u64,
    /// Dropped by the replay window.
    pub replay: u64,
    /// Failed their integrity check.
    pub failed: u64,
}

/// Every SA of the namespace.
pub fn list(ns: &Ns) -> Result<Vec<Sa>> {
    parse(&ns.sh("ip -s xfrm state list nokeys")?)
}

/// /proc/net/xfrm_stat of the namespace.
pub fn errors(ns: &Ns) -> Result<BTreeMap<String, u64>> {
    let text = ns.sh("cat /proc/net/xfrm_stat")?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(char::is_whitespace)?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect())
}

/// Reads `ip -s xfrm state list nokeys`.
fn parse(text: &str) -> Result<Vec<Sa>> {
    let mut states = Vec::new();
    for block in blocks(text) {
        states.push(state(&block).with_context(|| format!("read from ip xfrm state:\n{}", block.join("\n")))?);
    }
    Ok(states)
}

/// A state begins with an unindented line.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match blocks.last_mut() {
            Some(block) if line.starts_with(char::is_whitespace) => block.push(line),
            _ => blocks.push(vec![line]),
        }
    }
    blocks
}

fn state(block: &[&str]) -> Option<Sa> {
    let words: Vec<&str> = block.iter().flat_map(|line| line.split_whitespace()).collect();
    let after = |word: &str| words.get(words.iter().position(|w| *w == word)? + 1).copied();
    let mark = match after("mark") {
        Some(mark) => {
            let (value, mask) = mark.split_once('/')?;
            (number(value)?, number(mask)?)
        }
        None => (0, 0),
    };
    // `lifetime current:` and `stats:` head one line each of counters.
    let below = |head: &str| block.get(block.iter().position(|line| line.trim() == head)? + 1).copied();
    let current: Vec<&str> = below("lifetime current:")?.split_whitespace().collect();
    let stats: Vec<&str> = below("stats:")?.split_whitespace().collect();
    let stat = |word: &str| stats.get(stats.iter().position(|w| *w == word)? + 1)?.parse().ok();
    Some(Sa {
        source: after("src")?.parse().ok()?,
        destination: after("dst")?.parse().ok()?,
        spi: number(after("spi")?.split('(').next()?)?,
        reqid: number(after("reqid")?.split('(').next()?)?,
        mark,
        if_id: after("if_id").and_then(number).unwrap_or(0),
        bytes: current.first()?.split('(').next()?.parse().ok()?,
        packets: current.get(1)?.split('(').next()?.parse().ok()?,
        replay: stat("replay")?,
        failed: stat("failed")?,
    })
}

/// Decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_read_from_ip() {
        let text = "src 198.51.100.2 dst 203.0.113.2\n\tproto esp spi 0xc1a20f01(3248623361) reqid 1280000001(0x4c4b4001) mode tunnel\n\
                    \treplay-window 32 seq 0x00000000 flag af-unspec (0x00100000)\n\tmark 0x2/0xff\n\
                    \taead rfc4106(gcm(aes)) <<Keys hidden>> 128\n\tanti-replay context: seq 0x0, oseq 0x7, bitmap 0x00000000\n\
                    \tif_id 0x2a\n\tlifetime config:\n\t  limit: soft (INF)(bytes), hard (INF)(bytes)\n\
                    \tlifetime current:\n\t  588(bytes), 7(packets)\n\t  add 2026-11-23 10:00:00 use -\n\
                    \tstats:\n\t  replay-window 0 replay 3 failed 1\n";
        let states = parse(text).unwrap();
        assert_eq!(
            states,
            [Sa {
                source: [198, 51, 100, 2].into(),
                destination: [203, 0, 113, 2].into(),
                spi: 0xc1a2_0f01,
                reqid: 1_280_000_001,
                mark: (2, 0xff),
                if_id: 42,
                packets: 7,
                bytes: 588,
                replay: 3,
                failed: 1,
            }]
        );
    }
}
