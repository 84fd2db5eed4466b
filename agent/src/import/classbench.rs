//! ClassBench's filter sets (Taylor and Turner, "ClassBench: A Packet Classification Benchmark", 2007): a line a filter, the
//! first match counts.
//!
//! ```text
//! @SOURCE/LEN  DESTINATION/LEN  PORT : PORT  PORT : PORT  PROTOCOL/MASK  [FLAGS/MASK]
//! ```
//!
//! A filter says nothing about what becomes of its packets, so filters are dealt to `class-1` to `class-N` in turn. The last
//! column, which not all sets have, is the flags of TCP in the upper byte of sixteen bits.

use super::condition::{Condition, Version, prefix};
use super::file::{self, DEFAULT, Rule};
use super::left_out::{Effect, LeftOut, Reason};
use super::{Error, Imported};
use crate::policy::protocol;

/// How many classes filters are dealt to without a say.
pub const CLASSES: usize = 4;

/// Reads a filter set; `name` is what messages call it.
pub fn import(name: &str, text: &str, classes: usize) -> Result<Imported, Error> {
    let (mut rules, mut left_out, mut filters) = (Vec::new(), Vec::new(), 0);
    for (number, line) in text.lines().enumerate().map(|(place, line)| (place + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let filter = Filter::parse(line).map_err(|(found, wanted)| Error::Line {
            file: name.to_owned(),
            line: number,
            found,
            wanted,
        })?;
        let place = format!("{name}:{number}");
        match filter.condition() {
            Ok(when) => {
                let class = format!("class-{}", filters % classes + 1);
                rules.push(Rule { when, class, comment: format!("{place}  {line}"), name: None });
            }
            Err(reason) => {
                left_out.push(LeftOut { place, rule: line.to_owned(), reason, effect: Effect::Unmatched });
            }
        }
        filters += 1;
    }
    if filters == 0 {
        let (what, cure) = ("filter", "a filter set has lines that begin with @SOURCE/LENGTH");
        return Err(Error::Nothing { file: name.to_owned(), what, cure });
    }
    let mut all: Vec<(String, String)> = (1..=classes.min(filters))
        .map(|class| {
            (format!("class-{class}"), format!("every filter whose number leaves {} by {classes}", class % classes))
        })
        .collect();
    all.push((DEFAULT.to_owned(), "packets that no filter matches".to_owned()));
    let head = format!(
        "Made from the ClassBench filter set {name}: {filters} filters, dealt to {} classes in turn (`--classes`).",
        classes.min(filters)
    );
    Ok(Imported { file: file::write(&head, &all, &rules), left_out })
}

/// A line as it stands.
struct Filter<'a> {
    source: ipnet::IpNet,
    destination: ipnet::IpNet,
    ports: [(u16, u16); 2],
    protocol: (u16, u16),
    flags: Option<(u16, u16)>,
    flags_text: &'a str,
}

type Wrong = (String, &'static str);

impl<'a> Filter<'a> {
    fn parse(line: &'a str) -> Result<Self, Wrong> {
        let mut words = line.split_whitespace().filter(|word| *word != ":");
        let mut next = |wanted| words.next().ok_or((format!("the line ends where {wanted} is wanted"), FORM));
        let net = |word: &str| prefix(word).ok_or((format!("\"{word}\" is no prefix"), FORM));
        let source = next("@SOURCE/LENGTH")?;
        let source = source.strip_prefix('@').ok_or((format!("\"{source}\" does not begin with @"), FORM))?;
        let source = net(source)?;
        let destination = net(next("DESTINATION/LENGTH")?)?;
        let mut ports = [(0, 0); 2];
        for span in &mut ports {
            let mut port = |wanted| {
                let word = next(wanted)?;
                word.parse::<u16>().map_err(|_| (format!("\"{word}\" is no port"), FORM))
            };
            *span = (port("the lowest port")?, port("the highest port")?);
            if span.0 > span.1 {
                return Err((format!("{} : {} is an empty range of ports", span.0, span.1), FORM));
            }
        }
        let protocol = bits(next("PROTOCOL/MASK")?)?;
        if source.addr().is_ipv4() != destination.addr().is_ipv4() {
            return Err((format!("{source} and {destination} are of different families"), FORM));
        }
        let flags_text = words.next().unwrap_or_default();
        let flags = if flags_text.is_empty() { None } else { Some(bits(flags_text)?) };
        Ok(Self { source, destination, ports, protocol, flags, flags_text })
    }

    fn condition(&self) -> Result<Condition, Reason> {
        let (value, mask) = self.protocol;
        let protocols: Vec<u8> = (0..=255u8).filter(|&own| u16::from(own) & mask == value & mask).collect();
        let ports = self.ports.map(|span| if span == (0, u16::MAX) { Vec::new() } else { vec![span] });
        let [source_port, destination_port] = ports;
        let mut when = Condition {
            family: Some(if self.source.addr().is_ipv4() { Version::V4 } else { Version::V6 }),
            source: vec![self.source],
            destination: vec![self.destination],
            protocol: if protocols.len() == 256 { Vec::new() } else { protocols },
            source_port,
            destination_port,
            ..Condition::default()
        };
        // A packet of any protocol has these ports only if it has ports.
        if !when.protocol.is_empty()
            && let Some(protocol) = when.foreign_ports()
        {
            return Err(Reason::Ports { protocol });
        }
        if let Some((set, mask)) = self.flags.filter(|(_, mask)| *mask != 0) {
            if when.protocol != [protocol::TCP] || mask & 0xff != 0 {
                return Err(Reason::Flags { flags: self.flags_text.to_owned() });
            }
            when.tcp_flags = Some((((set & mask) >> 8) as u8, (mask >> 8) as u8));
        }
        Ok(when)
    }
}

const FORM: &str = "a line is \"@SOURCE/LEN DESTINATION/LEN PORT : PORT PORT : PORT PROTOCOL/MASK FLAGS/MASK\"";

/// `0x06/0xFF`.
fn bits(word: &str) -> Result<(u16, u16), Wrong> {
    let half = |text: &str| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        match digits {
            Some(digits) => u16::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    };
    let pair = word.split_once('/').and_then(|(value, mask)| Some((half(value)?, half(mask)?)));
    pair.ok_or((format!("\"{word}\" is no value with a mask"), FORM))
}
