//! The file that is printed: classes, rules and the default; a tunnel to be filled in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use ipnet::IpNet;

use super::condition::{Condition, Version, everything};
use super::decision::Ruling;
use super::{Error, LeftOut, Traffic};
use crate::policy::{dscp, icmp, protocol, tcp};

/// Longest name of a rule.
const NAME_MOST: usize = 63;
/// Longest number behind a name, ` (100000)` and more.
const TAIL_MOST: usize = 12;
/// Longest part of an origin's text in a comment.
const TEXT_MOST: usize = 160;
/// The class of packets that the origin leaves alone.
pub const DEFAULT: &str = "default";

/// Packets, and their class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which.
    pub when: Condition,
    /// The class's name.
    pub class: String,
    /// `PLACE  TEXT` of where it comes from.
    pub comment: String,
    /// Its name in the origin.
    pub name: Option<String>,
}

/// The class of a mark.
pub fn class(mark: u32) -> String {
    if mark == 0 { DEFAULT.to_owned() } else { format!("mark-{mark:#x}") }
}

/// An error where there is neither a mark nor anything to say about it.
pub fn some_mark(name: &str, rulings: &[Ruling], left_out: &[LeftOut]) -> Result<(), Error> {
    if left_out.is_empty() && rulings.iter().all(|ruling| ruling.mark == 0) {
        let (what, cure) = ("rule that sets a mark", "marks are what rules of it become classes by");
        return Err(Error::Nothing { file: name.to_owned(), what, cure });
    }
    Ok(())
}

/// Rules of rulings; those at the end that say what the default says are not needed.
pub fn rules(rulings: Vec<Ruling>) -> Vec<Rule> {
    let needed = rulings.iter().rposition(|ruling| ruling.mark != 0).map_or(0, |last| last + 1);
    let rule = |ruling: Ruling| Rule {
        when: ruling.when,
        class: class(ruling.mark),
        comment: match &ruling.origin {
            Some(origin) => format!("{}  {}", origin.place, origin.text),
            None => "packets that no rule of the origin marks".to_owned(),
        },
        name: ruling.origin.and_then(|origin| origin.name.clone()),
    };
    rulings.into_iter().take(needed).map(rule).collect()
}

/// What the file is, and what it rests on.
pub fn head(name: &str, tool: &str, traffic: Traffic) -> String {
    let whose = match traffic {
        Traffic::Forwarded => "forwarded packets",
        Traffic::Host => "the host's own packets",
    };
    format!(
        "Made from {name} ({tool}), of the rules that set marks: a class for each mark, for {whose} that come without\n\
         a mark. Later fragments of a datagram go by its first one."
    )
}

/// The whole file. `head` says what it is, `classes` are in the order of the file, with a comment each.
pub fn write(head: &str, classes: &[(String, String)], rules: &[Rule]) -> String {
    let mut out = String::new();
    for line in head.lines() {
        let _ = writeln!(out, "# {line}");
    }
    let list: Vec<String> = classes.iter().map(|(name, _)| quoted(name)).collect();
    let _ =
        write!(out, "\n# Each class needs a tunnel that carries it. Here or in the file that includes this one:\n#\n");
    for line in [
        "[[tunnel]]",
        "name = \"branch-1\"",
        "local = \"192.0.2.1\"",
        "remote = \"192.0.2.2\"",
        &format!("classes = [{}]", list.join(", ")),
        "device = { type = \"xfrm\", name = \"lk-branch1\", if-id = 1 }",
        "routes = [\"10.2.0.0/16\"]",
        "[tunnel.ike]",
        "auth = { psk-file = \"/etc/lanekeeper/branch-1.psk\" }",
    ] {
        let _ = writeln!(out, "# {line}");
    }
    for (name, comment) in classes {
        let _ = write!(out, "\n# {}\n[[class]]\nname = {}\n", comment_of(comment), quoted(name));
    }
    let mut names = Names::default();
    for rule in rules {
        let comment = comment_of(&rule.comment);
        for when in written(&rule.when) {
            let _ = write!(out, "\n# {comment}\n[[rule]]\n");
            if let Some(name) = rule.name.as_deref().and_then(|name| names.unique(name)) {
                let _ = writeln!(out, "name = {}", quoted(&name));
            }
            let _ = writeln!(out, "class = {}", quoted(&rule.class));
            fields(&mut out, &when);
        }
    }
    let _ = write!(out, "\n[default]\nclass = {}\n", quoted(DEFAULT));
    out
}

/// The classes of rules: the marks in order, then the default.
pub fn classes_of_marks(rulings: &[Ruling]) -> Vec<(String, String)> {
    let mut marks: BTreeMap<u32, usize> = BTreeMap::new();
    for ruling in rulings.iter().filter(|ruling| ruling.mark != 0) {
        *marks.entry(ruling.mark).or_default() += 1;
    }
    let mut classes: Vec<_> = marks.keys().map(|&mark| (class(mark), format!("packets of mark {mark:#x}"))).collect();
    classes.push((DEFAULT.to_owned(), "all others".to_owned()));
    classes
}

/// As rules of ours can say it: one protocol each, and a family by an address.
fn written(when: &Condition) -> Vec<Condition> {
    let mut when = when.clone();
    let (source, destination) = (family(&when.source), family(&when.destination));
    match when.family {
        Some(version) if source.is_none() && destination.is_none() => when.source = vec![everything(version)],
        Some(_) | None => {}
    }
    // A prefix that every address of a family has says nothing beside another one.
    for version in [Version::V4, Version::V6] {
        let all = [everything(version)];
        if when.source == all && destination == Some(version) && when.destination != all {
            when.source.clear();
        } else if when.destination == all && family(&when.source) == Some(version) {
            when.destination.clear();
        }
    }
    let ports = !when.source_port.is_empty() || !when.destination_port.is_empty();
    when.protocol.sort_unstable();
    if ports && when.protocol == [6, 17, 132] {
        when.protocol.clear();
    }
    match when.protocol.as_slice() {
        [] => vec![when],
        protocols => protocols.iter().map(|&own| Condition { protocol: vec![own], ..when.clone() }).collect(),
    }
}

/// The family of all the prefixes.
fn family(list: &[IpNet]) -> Option<Version> {
    let v4 = list.iter().filter(|net| matches!(net, IpNet::V4(_))).count();
    match v4 {
        _ if list.is_empty() => None,
        0 => Some(Version::V6),
        all if all == list.len() => Some(Version::V4),
        _ => None,
    }
}

fn fields(out: &mut String, when: &Condition) {
    let nets = |nets: &[IpNet]| nets.iter().map(|net| quoted(&net.to_string())).collect::<Vec<_>>();
    let spans = |spans: &[(u16, u16)]| {
        let span =
            |&(low, high): &(u16, u16)| if low == high { low.to_string() } else { quoted(&format!("{low}-{high}")) };
        spans.iter().map(span).collect::<Vec<_>>()
    };
    let proto = when.protocol.first().copied();
    let numbered = |number: u8| protocol::name(number).map_or_else(|| number.to_string(), quoted);
    let dscps = when.dscp.iter().map(|&value| dscp::name(value).map_or_else(|| value.to_string(), quoted));
    let known = proto.and_then(icmp::names).unwrap_or_default();
    let kind = |value: u8| {
        known.iter().find(|(_, own)| *own == value).map_or_else(|| value.to_string(), |(name, _)| quoted(name))
    };
    for (key, values) in [
        ("source", nets(&when.source)),
        ("destination", nets(&when.destination)),
        ("source-port", spans(&when.source_port)),
        ("destination-port", spans(&when.destination_port)),
        ("dscp", dscps.collect()),
        ("interface", when.interface.iter().map(|name| quoted(name)).collect()),
        ("length", spans(&when.length)),
        ("icmp-type", when.icmp_type.iter().map(|&value| kind(value)).collect()),
    ] {
        if key == "source-port"
            && let Some(number) = proto
        {
            let _ = writeln!(out, "protocol = {}", numbered(number));
        }
        if !values.is_empty() {
            let _ = writeln!(out, "{key} = [{}]", values.join(", "));
        }
    }
    if let Some((set, mask)) = when.tcp_flags {
        let _ = writeln!(out, "tcp-flags = {}", quoted(&format!("{}/{}", tcp::show(set), tcp::show(mask))));
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// One line without control characters, of some length.
fn comment_of(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(TEXT_MOST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// Names of rules, each there once.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// The number that the next rule of a name has, so that rules of one name are not counted anew for each of them.
    next: HashMap<String, usize>,
}

impl Names {
    /// A name that a rule may have and that no other one has yet; `None` of what cannot be one.
    fn unique(&mut self, name: &str) -> Option<String> {
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let name = name.trim();
        if name.is_empty() {
            return None;
        }
        let whole = cut(name, NAME_MOST).to_owned();
        if self.taken.insert(whole.clone()) {
            return Some(whole);
        }
        let stem = cut(name, NAME_MOST - TAIL_MOST);
        let next = self.next.entry(stem.to_owned()).or_insert(2);
        loop {
            let numbered = format!("{stem} ({next})");
            *next += 1;
            // A rule may come with such a name of its own.
            if self.taken.insert(numbered.clone()) {
                return Some(numbered);
            }
        }
    }
}

/// The beginning of a text, of so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_one_name_are_numbered_past_those_that_have_a_number_of_their_own() {
        let mut names = Names::default();
        let given = ["web (3)", "web", "web", "web", "web", "\u{7} ", "web (3)"].map(|name| names.unique(name));
        let wanted = ["web (3)", "web", "web (2)", "web (4)", "web (5)", "", "web (3) (2)"];
        assert_eq!(given.map(Option::unwrap_or_default), wanted);
    }

    /// Counted anew for each of them they would take minutes.
    #[test]
    fn a_hundred_thousand_rules_of_one_name_have_one_each() {
        let mut names = Names::default();
        let long = "ö".repeat(NAME_MOST);
        let all: HashSet<String> =
            (0..100_000).filter_map(|rule| names.unique(&format!("{long} {}", rule % 2))).collect();
        assert_eq!(all.len(), 100_000);
        assert!(all.iter().all(|name| name.len() <= NAME_MOST));
    }
}
