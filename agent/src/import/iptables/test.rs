//! What a rule asks for.

use super::target;
use crate::import::condition::{Condition, MarkTest, Version, prefix, prefixes, protocol_number};
use crate::import::left_out::Reason;
use crate::import::program::Step;
use crate::policy::{dscp, icmp, protocol, tcp};

/// A rule's words, read.
#[derive(Debug, Default)]
pub struct Read {
    /// Its conditions.
    pub steps: Vec<Step>,
    /// The first thing that has no counterpart.
    pub missing: Option<Reason>,
    /// `-m comment`.
    pub comment: Option<String>,
    /// From `-j` or `-g` on.
    pub target: target::Words,
}

/// Extensions that are about earlier packets.
const MEMORY: [&str; 13] = [
    "conntrack",
    "state",
    "connmark",
    "limit",
    "hashlimit",
    "connlimit",
    "connbytes",
    "recent",
    "set",
    "quota",
    "helper",
    "statistic",
    "rateest",
];
/// Extensions that only bring their options; these are read one by one.
const KNOWN: [&str; 15] = [
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "icmpv6",
    "multiport",
    "dscp",
    "tos",
    "length",
    "mark",
    "comment",
    "iprange",
    "udplite",
    "dccp",
];

/// Reads the words behind a chain's name.
pub fn read(words: &[String], version: Version) -> Read {
    let mut read = Read::default();
    let mut reader = Reader { protocol: Vec::new() };
    let mut words = words.iter().map(String::as_str).peekable();
    let mut negated = false;
    while let Some(word) = words.next() {
        match word {
            "!" => {
                negated = true;
                continue;
            }
            "-j" | "--jump" | "-g" | "--goto" => {
                read.target.name = words.next().unwrap_or_default().to_owned();
                read.target.goes = word == "-g" || word == "--goto";
                read.target.options = words.by_ref().map(str::to_owned).collect();
            }
            "-m" | "--match" => {
                let name = words.next().unwrap_or_default();
                let what = format!("-m {name}");
                let reason = match name {
                    name if KNOWN.contains(&name) => continue,
                    name if MEMORY.contains(&name) => Reason::Memory { what },
                    _ => Reason::Field { what },
                };
                read.missing.get_or_insert(reason);
            }
            "--comment" => read.comment = words.next().map(str::to_owned),
            // iptables of old has `! ` before the value.
            _ => {
                if words.peek() == Some(&"!") {
                    words.next();
                    negated = true;
                }
                if takes_none(word) {
                    reader.flag(word, negated, &mut read);
                } else {
                    // Options of unknown extensions may have no value.
                    let value = words.next_if(|value| !value.starts_with('-') && *value != "!").unwrap_or_default();
                    let second = if word == "--tcp-flags" { words.next().unwrap_or_default() } else { "" };
                    // Of an extension that is reported already the options are nothing to add.
                    if let Err(reason) = reader.option(word, value, second, negated, &mut read.steps) {
                        read.missing.get_or_insert(reason);
                    }
                }
            }
        }
        negated = false;
    }
    let family = Condition { family: Some(version), ..Condition::default() };
    read.steps.insert(0, Step::If { any: vec![family], holds: true });
    read
}

/// Options without a value.
fn takes_none(word: &str) -> bool {
    matches!(word, "--syn" | "-f" | "--fragment")
}

struct Reader {
    /// What `-p` says, if it is not negated.
    protocol: Vec<u8>,
}

impl Reader {
    fn flag(&self, word: &str, negated: bool, read: &mut Read) {
        if word == "--syn" {
            let (set, mask) = (tcp_flag("SYN"), tcp_flag("SYN") | tcp_flag("ACK") | tcp_flag("FIN") | tcp_flag("RST"));
            self.flags(set, mask, negated, &mut read.steps);
        } else {
            read.missing.get_or_insert(Reason::Fragments);
        }
    }

    fn flags(&self, set: u8, mask: u8, negated: bool, steps: &mut Vec<Step>) {
        let asked = Condition { protocol: vec![protocol::TCP], tcp_flags: Some((set, mask)), ..Condition::default() };
        steps.push(Step::If { any: vec![asked], holds: !negated });
    }

    fn option(
        &mut self,
        word: &str,
        value: &str,
        second: &str,
        negated: bool,
        steps: &mut Vec<Step>,
    ) -> Result<(), Reason> {
        let wrong = || Reason::Value { what: word.to_owned(), value: value.to_owned() };
        let asked = Condition::default();
        let any = match word {
            "-s" | "--source" | "-d" | "--destination" => {
                let nets: Option<Vec<_>> = value.split(',').map(prefix).collect();
                let nets = nets.ok_or_else(wrong)?;
                match word {
                    "-s" | "--source" => vec![Condition { source: nets, ..asked }],
                    _ => vec![Condition { destination: nets, ..asked }],
                }
            }
            "--src-range" | "--dst-range" => {
                let (first, last) = value.split_once('-').unwrap_or((value, value));
                let nets = first.parse().ok().zip(last.parse().ok()).and_then(|(first, last)| prefixes(first, last));
                let nets = nets.ok_or_else(wrong)?;
                match word {
                    "--src-range" => vec![Condition { source: nets, ..asked }],
                    _ => vec![Condition { destination: nets, ..asked }],
                }
            }
            "-p" | "--protocol" => {
                let number = protocol_number(value).or_else(|| value.parse().ok());
                match number {
                    _ if value == "all" => vec![asked],
                    // iptables takes 0 for all.
                    Some(0) => vec![asked],
                    Some(number) => {
                        if !negated {
                            self.protocol = vec![number];
                        }
                        vec![Condition { protocol: vec![number], ..asked }]
                    }
                    None => return Err(wrong()),
                }
            }
            "-i" | "--in-interface" => {
                if value.ends_with('+') {
                    return Err(Reason::Pattern { value: value.to_owned() });
                }
                vec![Condition { interface: vec![value.to_owned()], ..asked }]
            }
            "-o" | "--out-interface" => {
                return Err(Reason::Field { what: "-o, the interface that it leaves by".to_owned() });
            }
            "--sport" | "--source-port" | "--sports" | "--source-ports" => {
                self.with_ports(Condition { source_port: spans(value).ok_or_else(wrong)?, ..asked })?
            }
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                self.with_ports(Condition { destination_port: spans(value).ok_or_else(wrong)?, ..asked })?
            }
            "--ports" => {
                let spans = spans(value).ok_or_else(wrong)?;
                let mut either = self.with_ports(Condition { source_port: spans.clone(), ..asked.clone() })?;
                either.extend(self.with_ports(Condition { destination_port: spans, ..asked })?);
                either
            }
            "--tcp-flags" => {
                let list = |list: &str| match list {
                    "NONE" => Some(0),
                    // The six of RFC 793.
                    "ALL" => Some(0x3f),
                    _ => list.split(',').map(tcp::flag).try_fold(0, |all, flag| Some(all | flag?)),
                };
                let (mask, set) = list(value).zip(list(second)).ok_or_else(wrong)?;
                let asked = Condition { protocol: vec![protocol::TCP], ..asked };
                match (set & !mask, mask) {
                    (0, 0) => vec![asked],
                    (0, _) => vec![Condition { tcp_flags: Some((set, mask)), ..asked }],
                    // Flags that are not looked at are never set.
                    _ => Vec::new(),
                }
            }
            "--icmp-type" | "--icmpv6-type" => {
                let number = if word == "--icmp-type" { protocol::ICMP } else { protocol::ICMPV6 };
                let asked = Condition { protocol: vec![number], ..asked };
                match value.parse().ok().or_else(|| icmp::number(number, value)) {
                    _ if value == "any" || (value == "255" && number == protocol::ICMP) => vec![asked],
                    Some(kind) => vec![Condition { icmp_type: vec![kind], ..asked }],
                    None if value.contains('/') => return Err(Reason::IcmpCode),
                    None => return Err(wrong()),
                }
            }
            "--dscp" => {
                let value = number(value).and_then(|value| u8::try_from(value).ok()).filter(|value| *value < 64);
                vec![Condition { dscp: vec![value.ok_or_else(wrong)?], ..asked }]
            }
            "--dscp-class" => vec![Condition { dscp: vec![dscp::value(value).ok_or_else(wrong)?], ..asked }],
            "--tos" => {
                let (bits, mask) = value.split_once('/').unwrap_or((value, "0xff"));
                let (bits, mask) = number(bits).zip(number(mask)).ok_or_else(wrong)?;
                if mask & 3 != 0 {
                    return Err(Reason::Ecn);
                }
                let values: Vec<u8> = (0..64u8).filter(|own| u32::from(*own << 2) & mask == bits).collect();
                match values.len() {
                    0 => Vec::new(),
                    64 => vec![asked],
                    _ => vec![Condition { dscp: values, ..asked }],
                }
            }
            "--length" => {
                let (low, high) = value.split_once(':').unwrap_or((value, value));
                let bound = |text: &str, default| if text.is_empty() { Some(default) } else { text.parse().ok() };
                vec![Condition { length: vec![bound(low, 0).zip(bound(high, u16::MAX)).ok_or_else(wrong)?], ..asked }]
            }
            "--mark" => {
                let (bits, mask) = match value.split_once('/') {
                    Some((bits, mask)) => (number(bits), number(mask)),
                    None => (number(value), Some(u32::MAX)),
                };
                let (value, mask) = bits.zip(mask).ok_or_else(wrong)?;
                let test = MarkTest { value, mask, equal: !negated };
                steps.push(Step::If { any: vec![Condition { marks: vec![test], ..asked }], holds: true });
                return Ok(());
            }
            _ => return Err(Reason::Unknown { what: word.to_owned() }),
        };
        steps.push(Step::If { any, holds: !negated });
        Ok(())
    }

    /// Ports are those of the protocol that the rule asks for.
    fn with_ports(&self, asked: Condition) -> Result<Vec<Condition>, Reason> {
        let asked = Condition { protocol: self.protocol.clone(), ..asked };
        match asked.foreign_ports() {
            Some(protocol) => Err(Reason::Ports { protocol }),
            None => Ok(vec![asked]),
        }
    }
}

fn tcp_flag(name: &str) -> u8 {
    tcp::flag(name).unwrap_or_default()
}

/// `53`, `1024:65535`, `:1023` or a list of those.
fn spans(text: &str) -> Option<Vec<(u16, u16)>> {
    let span = |text: &str| {
        let bound = |text: &str, default| if text.is_empty() { Some(default) } else { text.parse::<u16>().ok() };
        let (low, high) = text
            .split_once(':')
            .map_or((bound(text, 0), bound(text, 0)), |(low, high)| (bound(low, 0), bound(high, u16::MAX)));
        low.zip(high).filter(|(low, high)| low <= high)
    };
    text.split(',').map(span).collect()
}

/// `46` or `0x2e`.
pub fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
