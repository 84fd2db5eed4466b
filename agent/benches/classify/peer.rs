//! The engines that a gateway would use instead, and a list of rules in their words.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use ipnet::IpNet;
use lanekeeper::policy::Rule;

use crate::lists::Kind;
use crate::stage::Stage;

/// An engine that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A rule of nftables for each rule.
    NftList,
    /// One lookup in a map of intervals over addresses, protocol and ports.
    NftMap,
    /// A rule of the mangle table for each rule. MARK does not end the chain: every rule is looked at, and where rules
    /// overlap the last one wins.
    Iptables,
    /// One lookup in a set over destination, protocol and destination port. It has no ranges and no sources.
    Ipset,
}

/// Where an engine sits. Each is measured empty too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// tc ingress, by TCX: a program.
    Tc,
    /// nftables in prerouting: a chain.
    Nft,
    /// iptables-legacy in prerouting: the mangle table.
    Iptables,
}

/// The mark that each of them sets.
const MARK: u32 = 7;

impl Peer {
    /// All of them.
    pub const ALL: [Peer; 4] = [Peer::NftList, Peer::NftMap, Peer::Iptables, Peer::Ipset];

    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Peer::NftList => "nft list",
            Peer::NftMap => "nft map",
            Peer::Iptables => "iptables-legacy",
            Peer::Ipset => "ipset",
        }
    }

    /// Where it sits.
    pub fn hook(self) -> Hook {
        match self {
            Peer::NftList | Peer::NftMap => Hook::Nft,
            Peer::Iptables | Peer::Ipset => Hook::Iptables,
        }
    }

    /// The list that it can take.
    pub fn kind(self) -> Kind {
        match self {
            Peer::NftList | Peer::NftMap | Peer::Iptables => Kind::Disjoint,
            Peer::Ipset => Kind::Exact,
        }
    }

    /// The longest list that it is measured with: those that look at one rule after the other would take minutes for a
    /// round of 100,000.
    pub fn most_rules(self) -> usize {
        match self {
            Peer::NftList | Peer::Iptables => 10_000,
            Peer::NftMap | Peer::Ipset => 100_000,
        }
    }

    /// Gives it one rule more; how long until it is in effect, a program's start and end included.
    pub fn add(self, stage: &Stage, six: bool, rule: &Rule) -> Result<Duration> {
        let rules = std::slice::from_ref(rule);
        let ip = family(six);
        match self {
            Peer::NftList => stage.feed("nft", &["-f", "-"], &format!("add rule {ip} l c {}\n", statement(ip, rule))),
            Peer::NftMap => {
                stage.feed("nft", &["-f", "-"], &format!("add element {ip} m m {{ {} }}\n", elements(six, rules)))
            }
            Peer::Iptables => stage.feed(restore(six), &["--noflush"], &iptables(rules)),
            Peer::Ipset => stage.feed("ipset", &["restore"], &members(rules)),
        }
    }

    /// Gives it the rules; how long it took to take them.
    pub fn install(self, stage: &Stage, six: bool, rules: &[Rule]) -> Result<Duration> {
        match self {
            Peer::NftList => stage.feed("nft", &["-f", "-"], &nft_list(six, rules)),
            Peer::NftMap => stage.feed("nft", &["-f", "-"], &nft_map(six, rules)),
            Peer::Iptables => stage.feed(restore(six), &[], &iptables(rules)),
            Peer::Ipset => {
                let took = stage.feed("ipset", &["restore"], &ipset(six, rules))?;
                let lookup = "*mangle\n-A PREROUTING -j SET --map-set s dst,dst --map-mark\nCOMMIT\n";
                Ok(took + stage.feed(restore(six), &[], lookup)?)
            }
        }
    }
}

fn family(six: bool) -> &'static str {
    if six { "ip6" } else { "ip" }
}

fn restore(six: bool) -> &'static str {
    if six { "ip6tables-legacy-restore" } else { "iptables-legacy-restore" }
}

/// The only port, or the ends of the only range with this between them.
fn ports(ranges: &[(u16, u16)], between: char) -> Option<String> {
    ranges.first().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}{between}{last}"),
    })
}

/// The rules one after the other.
pub fn nft_list(six: bool, rules: &[Rule]) -> String {
    let ip = family(six);
    let mut text = format!("table {ip} l {{\nchain c {{\ntype filter hook prerouting priority mangle\n");
    for rule in rules {
        let _ = writeln!(text, "{}", statement(ip, rule));
    }
    text + "}\n}\n"
}

fn statement(ip: &str, rule: &Rule) -> String {
    let mut text = String::new();
    for (field, prefix) in [("saddr", rule.source.first()), ("daddr", rule.destination.first())] {
        if let Some(prefix) = prefix {
            let _ = write!(text, "{ip} {field} {prefix} ");
        }
    }
    let transport = if rule.protocol == Some(6) { "tcp" } else { "udp" };
    let fields = [("sport", &rule.source_port), ("dport", &rule.destination_port)];
    // A rule with ports has a protocol with ports, and nft's word for the field asks for that too.
    if let (Some(protocol), true) = (rule.protocol, fields.iter().all(|(_, ranges)| ranges.is_empty())) {
        let _ = write!(text, "meta l4proto {protocol} ");
    }
    for (field, ranges) in fields {
        if let Some(ports) = ports(ranges, '-') {
            let _ = write!(text, "{transport} {field} {ports} ");
        }
    }
    text + &format!("meta mark set {MARK} accept")
}

/// The rules as elements of a map; none may overlap an earlier one. Destinations come first: they alone tell the rules
/// apart, and the kernel goes on with every element that fits the fields so far. With sources first, of which half are any
/// in `fw3`, a packet cost 176 us among 100,000 rules there, and 8 us like this.
pub fn nft_map(six: bool, rules: &[Rule]) -> String {
    let (ip, protocol) = if six { ("ip6", "meta l4proto") } else { ("ip", "ip protocol") };
    let key = format!("{ip} daddr . {ip} saddr . {protocol} . th sport . th dport");
    format!(
        "table {ip} m {{\nmap m {{\ntypeof {key} : meta mark\nflags interval\nelements = {{\n{}}}\n}}\nchain c {{\n\
         type filter hook prerouting priority mangle\nmeta mark set {key} map @m\n}}\n}}\n",
        elements(six, rules)
    )
}

/// Rules in the order of the map's key, one on a line.
fn elements(six: bool, rules: &[Rule]) -> String {
    let mut text = String::new();
    for rule in rules {
        let anywhere = if six { "::/0" } else { "0.0.0.0/0" };
        let prefix = |of: &[IpNet]| of.first().map_or(anywhere.to_owned(), IpNet::to_string);
        let range = |of| ports(of, '-').unwrap_or("0-65535".to_owned());
        let protocol = rule.protocol.map_or("0-255".to_owned(), |number| number.to_string());
        let (source, destination) = (prefix(&rule.source), prefix(&rule.destination));
        let (from, to) = (range(&rule.source_port), range(&rule.destination_port));
        let _ = writeln!(text, "{destination} . {source} . {protocol} . {from} . {to} : {MARK},");
    }
    text
}

/// The rules for iptables-legacy-restore.
pub fn iptables(rules: &[Rule]) -> String {
    let mut text = "*mangle\n".to_owned();
    for rule in rules {
        text.push_str("-A PREROUTING");
        for (option, prefix) in [("-s", rule.source.first()), ("-d", rule.destination.first())] {
            if let Some(prefix) = prefix {
                let _ = write!(text, " {option} {prefix}");
            }
        }
        if let Some(protocol) = rule.protocol {
            let _ = write!(text, " -p {protocol}");
        }
        let (from, to) = (ports(&rule.source_port, ':'), ports(&rule.destination_port, ':'));
        if from.is_some() || to.is_some() {
            let _ = write!(text, " -m {}", if rule.protocol == Some(6) { "tcp" } else { "udp" });
        }
        for (option, ports) in [("--sport", from), ("--dport", to)] {
            if let Some(ports) = ports {
                let _ = write!(text, " {option} {ports}");
            }
        }
        let _ = writeln!(text, " -j MARK --set-xmark {MARK}");
    }
    text + "COMMIT\n"
}

/// The rules as elements of a set; each must have a destination, a protocol with ports, and one destination port.
pub fn ipset(six: bool, rules: &[Rule]) -> String {
    let inet = if six { "inet6" } else { "inet" };
    let create = format!("create s hash:net,port family {inet} skbinfo hashsize 65536 maxelem 1000000\n");
    create + &members(rules)
}

fn members(rules: &[Rule]) -> String {
    let mut text = String::new();
    for rule in rules {
        let protocol = if rule.protocol == Some(6) { "tcp" } else { "udp" };
        for (destination, (port, _)) in rule.destination.iter().zip(&rule.destination_port) {
            let _ = writeln!(text, "add s {destination},{protocol}:{port} skbmark {MARK:#x}/0xffffffff");
        }
    }
    text
}
