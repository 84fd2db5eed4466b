//! What an expression looks at, and the condition that a value of it makes.

use serde_json::{Value, json};

use super::value::{Span, address, span};
use crate::import::condition::{Condition, MarkTest, Version, protocol_number};
use crate::import::left_out::Reason;
use crate::policy::{dscp, icmp, protocol, tcp};

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// `ip saddr`, `meta l4proto`: protocol or `meta`, and field.
    Field(String, String),
    /// Some bits of it.
    Masked(Box<Key>, Value),
    /// Several.
    Joined(Vec<Key>),
}

impl Key {
    /// Reads it.
    pub fn read(value: &Value) -> Result<Self, Reason> {
        let unknown = || Reason::Unknown { what: value.to_string() };
        let text = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(meta) = value.get("meta") {
            return Ok(Self::Field("meta".to_owned(), text(meta, "key").ok_or_else(unknown)?));
        }
        // How nft 1.0 writes `ip dscp` as the key of a map of marks: the byte behind an IPv4 header's first.
        if let Some([byte, shift]) = value.get(">>").and_then(Value::as_array).map(Vec::as_slice)
            && *byte == json!({"&": [{"payload": {"base": "nh", "offset": 8, "len": 8}}, 252]})
            && *shift == json!(2)
        {
            return Ok(Self::Field("nh".to_owned(), "dscp".to_owned()));
        }
        if let Some(payload) = value.get("payload") {
            if payload.get("tunnel").is_some() {
                return Err(Reason::Field { what: "headers within a tunnel".to_owned() });
            }
            let both = text(payload, "protocol").zip(text(payload, "field"));
            let (protocol, field) = both.ok_or_else(|| Reason::Field { what: "raw bytes (payload)".to_owned() })?;
            return Ok(Self::Field(protocol, field));
        }
        if let Some([key, mask]) = value.get("&").and_then(Value::as_array).map(Vec::as_slice) {
            return Ok(Self::Masked(Box::new(Self::read(key)?), mask.clone()));
        }
        if let Some(keys) = value.get("concat").and_then(Value::as_array) {
            return Ok(Self::Joined(keys.iter().map(Self::read).collect::<Result<_, _>>()?));
        }
        let kind = value.as_object().and_then(|object| object.keys().next().cloned()).ok_or_else(unknown)?;
        let of = value.get(&kind).and_then(|of| text(of, "key").or_else(|| text(of, "name"))).unwrap_or_default();
        let what = format!("{kind} {of}").trim_end().to_owned();
        Err(match kind.as_str() {
            "ct" | "numgen" | "socket" => Reason::Memory { what },
            "exthdr" if of == "frag" => Reason::Fragments,
            "xt" => Reason::Compat { what: "a match".to_owned() },
            "exthdr" | "tcp option" | "fib" | "rt" | "osf" | "jhash" | "symhash" | "ipsec" => Reason::Field { what },
            _ => Reason::Unknown { what },
        })
    }

    /// What nft asks for before it looks there, without saying so.
    pub fn needs(&self) -> Condition {
        let any = Condition::default();
        match self {
            Self::Masked(key, _) => key.needs(),
            Self::Joined(keys) => keys.iter().fold(any, |all, key| all.and(&key.needs()).unwrap_or(all)),
            Self::Field(name, _) => match name.as_str() {
                "ip" => Condition { family: Some(Version::V4), ..any },
                "ip6" => Condition { family: Some(Version::V6), ..any },
                "meta" | "th" | "nh" => any,
                name => {
                    let family = match name {
                        "icmp" => Some(Version::V4),
                        "icmpv6" => Some(Version::V6),
                        _ => None,
                    };
                    Condition { family, protocol: protocol_number(name).into_iter().collect(), ..any }
                }
            },
        }
    }

    /// The number that a value of it stands for.
    pub fn number(&self, value: &Value) -> Option<u64> {
        match (self, value) {
            (Self::Field(_, field), Value::String(name)) if field == "dscp" => nft_dscp(name).map(u64::from),
            _ => value.as_u64(),
        }
    }

    /// Whether it is the mark, as a whole or in part.
    pub fn is_mark(&self) -> bool {
        match self {
            Self::Field(protocol, field) => protocol == "meta" && field == "mark",
            Self::Masked(key, _) => key.is_mark(),
            Self::Joined(_) => false,
        }
    }

    fn is_flags(&self) -> bool {
        matches!(self, Self::Field(protocol, field) if protocol == "tcp" && field == "flags")
    }

    /// The condition that it has this value; `known` is what the rule has asked for before.
    pub fn equals(&self, value: &Value, known: &Condition) -> Result<Vec<Condition>, Reason> {
        match self {
            Self::Joined(keys) => {
                let wrong = || Reason::Value { what: "element".to_owned(), value: value.to_string() };
                let values = value.get("concat").and_then(Value::as_array).filter(|values| values.len() == keys.len());
                let values = values.ok_or_else(wrong)?;
                let mut all = vec![Condition::any()];
                for (key, value) in keys.iter().zip(values) {
                    // An earlier part may be the protocol of a later one's ports.
                    let known = all.first().and_then(|own| own.and(known)).unwrap_or_default();
                    let own = key.equals(value, &known)?;
                    all = all.iter().flat_map(|one| own.iter().filter_map(|other| one.and(other))).collect();
                }
                Ok(all)
            }
            Self::Masked(key, mask) if key.is_mark() => {
                let both = span(value, &mark).and_then(Span::single).zip(mark_of(mask));
                let (value, mask) = both.ok_or_else(|| self.wrong(value))?;
                let marks = vec![MarkTest { value, mask, equal: true }];
                Ok(vec![Condition { marks, ..Condition::default() }])
            }
            Self::Masked(key, mask) if key.is_flags() => {
                let (set, mask) = flags(value).zip(flags(mask)).ok_or_else(|| self.wrong(value))?;
                let asked = Condition { protocol: vec![protocol::TCP], ..Condition::default() };
                Ok(match (set & !mask, mask) {
                    (0, 0) => vec![asked],
                    (0, _) => vec![Condition { tcp_flags: Some((set, mask)), ..asked }],
                    _ => Vec::new(),
                })
            }
            Self::Masked(key, _) => Err(match &**key {
                Self::Field(_, field) if field == "frag-off" => Reason::Fragments,
                key => Reason::Field { what: format!("some bits of {key}") },
            }),
            Self::Field(protocol, field) => self.field(protocol, field, value, known),
        }
    }

    fn field(&self, family: &str, field: &str, value: &Value, known: &Condition) -> Result<Vec<Condition>, Reason> {
        let wrong = || self.wrong(value);
        let any = Condition::default();
        let version = match family {
            "ip" => Some(Version::V4),
            "ip6" => Some(Version::V6),
            _ => None,
        };
        let of = Condition { family: version, ..any.clone() };
        let number = |least: u32, most: u32, name: &dyn Fn(&str) -> Option<u32>| {
            let span = span(value, name).ok_or_else(wrong)?;
            span.within(least, most).ok_or_else(wrong)
        };
        let bytes = |name: &dyn Fn(&str) -> Option<u32>| {
            let (low, high) = number(0, 255, name)?;
            Ok((low as u8..=high as u8).collect::<Vec<u8>>())
        };
        let words = |low: u32, high: u32| vec![(low as u16, high as u16)];
        let none: &dyn Fn(&str) -> Option<u32> = &|_| None;
        let icmp_names = |number: u8| {
            move |name: &str| icmp::number(number, name).or_else(|| icmpv6_name(number, name)).map(u32::from)
        };
        let one = match (family, field) {
            ("ip" | "ip6", "saddr") => Condition { source: address(value).ok_or_else(wrong)?, ..of },
            ("ip" | "ip6", "daddr") => Condition { destination: address(value).ok_or_else(wrong)?, ..of },
            ("ip", "protocol") | ("meta", "l4proto") => {
                Condition { protocol: bytes(&|name| protocol_number(name).map(u32::from))?, ..of }
            }
            ("ip6", "nexthdr") => return Err(Reason::NextHeader),
            ("ip" | "ip6", "dscp") => {
                let (low, high) = number(0, 63, &|name| nft_dscp(name).map(u32::from))?;
                Condition { dscp: (low as u8..=high as u8).collect(), ..of }
            }
            ("nh", "dscp") if known.family == Some(Version::V4) => return self.field("ip", field, value, known),
            ("ip", "length") | ("meta", "length") => {
                let span = span(value, none).ok_or_else(wrong)?;
                // No packet is longer, but a rule may ask for it.
                match span.within(0, u16::MAX.into()) {
                    Some((low, high)) => Condition { length: words(low, high), ..of },
                    None => return Ok(Vec::new()),
                }
            }
            ("ip", "frag-off") => return Err(Reason::Fragments),
            ("tcp" | "udp" | "sctp" | "th", "sport" | "dport") => {
                let (low, high) = number(0, u16::MAX.into(), none)?;
                let protocol = match family {
                    "th" => known.protocol.clone(),
                    name => protocol_number(name).into_iter().collect(),
                };
                let mut asked = Condition { protocol, ..any };
                match field {
                    "sport" => asked.source_port = words(low, high),
                    _ => asked.destination_port = words(low, high),
                }
                if let Some(protocol) = asked.foreign_ports() {
                    return Err(Reason::Ports { protocol });
                }
                asked
            }
            (name @ ("udplite" | "dccp"), "sport" | "dport") => {
                return Err(Reason::Ports { protocol: name.to_owned() });
            }
            ("tcp", "flags") => {
                let set = flags(value).ok_or_else(wrong)?;
                Condition { protocol: vec![protocol::TCP], tcp_flags: Some((set, 0xff)), ..any }
            }
            ("icmp", "type") => Condition { icmp_type: bytes(&icmp_names(protocol::ICMP))?, ..self.needs() },
            ("icmpv6", "type") => Condition { icmp_type: bytes(&icmp_names(protocol::ICMPV6))?, ..self.needs() },
            ("icmp" | "icmpv6", "code") => return Err(Reason::IcmpCode),
            ("meta", "nfproto") => Condition { family: Some(nfproto(value).ok_or_else(wrong)?), ..any },
            ("meta", "protocol") => Condition { family: Some(nfproto(value).ok_or_else(wrong)?), ..any },
            ("meta", "iifname" | "iif") => {
                let name = value.as_str().ok_or_else(wrong)?;
                if name.ends_with('*') {
                    return Err(Reason::Pattern { value: name.to_owned() });
                }
                Condition { interface: vec![name.to_owned()], ..any }
            }
            ("meta", "mark") => {
                let value = span(value, &mark).and_then(Span::single).ok_or_else(wrong)?;
                Condition { marks: vec![MarkTest { value, mask: u32::MAX, equal: true }], ..any }
            }
            _ => return Err(Reason::Field { what: self.to_string() }),
        };
        Ok(vec![one])
    }

    /// The condition that some of these flags are set, which is how nft reads a comparison with `in`.
    pub fn has_some(&self, value: &Value) -> Result<Vec<Condition>, Reason> {
        if !self.is_flags() {
            return Err(Reason::Field { what: format!("some bits of {self}") });
        }
        let set = flags(value).ok_or_else(|| self.wrong(value))?;
        let asked =
            |flag| Condition { protocol: vec![protocol::TCP], tcp_flags: Some((flag, flag)), ..Condition::default() };
        Ok((0..8).map(|bit| 1 << bit).filter(|flag| set & flag != 0).map(asked).collect())
    }

    fn wrong(&self, value: &Value) -> Reason {
        Reason::Value { what: self.to_string(), value: value.to_string() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(protocol, field) => write!(f, "{protocol} {field}"),
            Self::Masked(key, mask) => write!(f, "{key} & {mask}"),
            Self::Joined(keys) => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                f.write_str(&keys.join(" . "))
            }
        }
    }
}

fn nfproto(value: &Value) -> Option<Version> {
    match value.as_str()? {
        "ipv4" | "ip" => Some(Version::V4),
        "ipv6" | "ip6" => Some(Version::V6),
        _ => None,
    }
}

fn mark(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A number, or what is one in a string.
pub fn mark_of(value: &Value) -> Option<u32> {
    span(value, &mark)?.single()
}

/// nft's names are those of the standards, and `lephb`.
fn nft_dscp(name: &str) -> Option<u8> {
    if name == "lephb" { Some(1) } else { dscp::value(name) }
}

/// `"syn"`, a list of names, or names joined by `|`.
fn flags(value: &Value) -> Option<u8> {
    match value {
        Value::String(name) => {
            name.split('|').map(|name| tcp::flag(nft_flag(name.trim()))).try_fold(0, |all, flag| Some(all | flag?))
        }
        Value::Number(number) => u8::try_from(number.as_u64()?).ok(),
        Value::Array(list) => list.iter().try_fold(0, |all, one| Some(all | flags(one)?)),
        Value::Object(object) => flags(object.get("|")?),
        Value::Null | Value::Bool(_) => None,
    }
}

fn nft_flag(name: &str) -> &str {
    if name == "ecn" { "ece" } else { name }
}

/// nft's names of its own for ICMPv6.
fn icmpv6_name(number: u8, name: &str) -> Option<u8> {
    let value = match name {
        "mld-listener-query" => 130,
        "mld-listener-report" => 131,
        "mld-listener-done" | "mld-listener-reduction" => 132,
        "nd-router-solicit" => 133,
        "nd-router-advert" => 134,
        "nd-neighbor-solicit" => 135,
        "nd-neighbor-advert" => 136,
        "nd-redirect" => 137,
        "router-renumbering" => 138,
        "ind-neighbor-solicit" => 141,
        "ind-neighbor-advert" => 142,
        "mld2-listener-report" => 143,
        _ => return None,
    };
    (number == protocol::ICMPV6).then_some(value)
}
