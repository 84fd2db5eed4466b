//! What rules match in a packet: protocol, ports, DSCP, VLAN, length, TCP flags, ICMP type, mark.

use super::{Kind, Reason};
use crate::config::nearest::{cure, nearest};
use crate::policy::{dscp, protocol, tcp};

/// A DSCP by name or number.
pub const DSCP: Kind<u8> =
    Kind { wanted: "a DSCP's name or number", example: "\"ef\" or 46", text: dscp_text, number: Some(dscp_number) };

/// An IP protocol by name or number.
pub const PROTOCOL: Kind<u8> = Kind {
    wanted: "a protocol's name or number",
    example: "\"udp\" or 17",
    text: protocol_text,
    number: Some(|number| range(number, 0, 255).map(|n| n as u8)),
};

/// A port or an inclusive range of ports.
pub const PORTS: Kind<(u16, u16)> = Kind {
    wanted: "a port or a range of ports",
    example: "\"16384-32767\"",
    text: ports,
    number: Some(|number| port(number).map(|port| (port, port))),
};

/// A VLAN id: 4095 is reserved (IEEE 802.1Q table 9-2), 0 is a priority tag.
pub const VLAN: Kind<u16> = Kind {
    wanted: "a VLAN id",
    example: "12",
    text: |text| {
        let number = text.parse().map_err(|_| Reason::Type {
            wanted: "a VLAN id",
            found: "a name",
            example: "12".to_owned(),
        })?;
        range(number, 0, 4094).map(|n| n as u16)
    },
    number: Some(|number| range(number, 0, 4094).map(|n| n as u16)),
};

/// A packet's length in bytes or an inclusive range of lengths.
pub const LENGTH: Kind<(u16, u16)> = Kind {
    wanted: "a length or a range of lengths",
    example: "\"0-200\"",
    text: lengths,
    number: Some(|number| length(number).map(|length| (length, length))),
};

/// The TCP flags that are set, and those that are looked at.
pub const TCP_FLAGS: Kind<(u8, u8)> =
    Kind { wanted: "TCP flags", example: "\"syn/syn,ack\"", text: tcp_flags, number: None };

/// An ICMP type as written: what a name means depends on the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IcmpType {
    /// By number.
    Number(u8),
    /// By name, not yet looked up.
    Name(String),
}

/// A type of ICMP or ICMPv6 by name or number.
pub const ICMP_TYPE: Kind<IcmpType> = Kind {
    wanted: "an ICMP type's name or number",
    example: "\"echo-request\" or 8",
    text: icmp_type,
    number: Some(icmp_number),
};

/// A mark and, where it is written, the bits of it that are looked at.
pub const MARK: Kind<(u32, Option<u32>)> = Kind {
    wanted: "a mark, or a mark and a mask",
    example: "\"0x100/0xf00\"",
    text: mark,
    number: Some(|number| mark_bits(number).map(|value| (value, None))),
};

fn range(value: i128, least: i128, most: i128) -> Result<i128, Reason> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(Reason::Range { value, least, most }) }
}

fn dscp_number(number: i128) -> Result<u8, Reason> {
    match number {
        0..=63 => Ok(number as u8),
        64.. => Err(Reason::DscpAbove { value: number }),
        _ => Err(Reason::Range { value: number, least: 0, most: 63 }),
    }
}

fn dscp_text(text: &str) -> Result<u8, Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    if let Some(number) = number(text) {
        return dscp_number(number);
    }
    dscp::value(text).ok_or_else(|| Reason::Unknown {
        value: text.to_owned(),
        cure: match nearest(text, dscp::NAMES.iter().map(|&(name, _)| name)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "names are df, le, cs0 to cs7, af11 to af43, va, ef; or write 0 to 63".to_owned(),
        },
    })
}

fn protocol_text(text: &str) -> Result<u8, Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    if let Some(number) = number(text) {
        return range(number, 0, 255).map(|n| n as u8);
    }
    protocol::number(text).ok_or_else(|| Reason::Unknown {
        value: text.to_owned(),
        cure: match nearest(text, protocol::NAMES.iter().map(|&(name, _)| name)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write its number, 0 to 255 (IANA's list of protocol numbers has it)".to_owned(),
        },
    })
}

/// `46` or `0x2e` in a string.
fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn port(number: i128) -> Result<u16, Reason> {
    match number {
        ..0 => Err(Reason::Range { value: number, least: 0, most: 65535 }),
        _ => u16::try_from(number).map_err(|_| Reason::PortAbove { value: number }),
    }
}

fn length(number: i128) -> Result<u16, Reason> {
    range(number, 0, 65535).map(|length| length as u16)
}

fn ports(text: &str) -> Result<(u16, u16), Reason> {
    span(text, "port", port, |value| Reason::NotPorts { value })
}

fn lengths(text: &str) -> Result<(u16, u16), Reason> {
    span(text, "length", length, |value| Reason::NotLengths { value })
}

/// `5060` or `16384-32767`.
fn span(
    text: &str,
    what: &'static str,
    of_number: fn(i128) -> Result<u16, Reason>,
    neither: fn(String) -> Reason,
) -> Result<(u16, u16), Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let end = |word: &str| -> Result<u16, Reason> {
        let word = word.trim();
        let number = if word.bytes().all(|b| b.is_ascii_digit()) { word.parse().ok() } else { None };
        of_number(number.ok_or_else(|| neither(text.to_owned()))?)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (end(first)?, end(last)?),
        None => (end(text)?, end(text)?),
    };
    if first > last { Err(Reason::RangeEmpty { what, first, last }) } else { Ok((first, last)) }
}

fn tcp_flags(text: &str) -> Result<(u8, u8), Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let (set, mask) = match text.split_once('/') {
        Some((set, mask)) => (flags(set)?, flags(mask)?),
        None => (flags(text)?, flags(text)?),
    };
    if mask == 0 {
        let cure = "say which flags to look at: \"none/syn,ack\" is neither of the two";
        return Err(Reason::MaskEmpty { value: text.to_owned(), cure });
    }
    let outside = set & !mask;
    if outside != 0 {
        let show = |set, mask| format!("{}/{}", tcp::show(set), tcp::show(mask));
        let (less, more) = (show(set & mask, mask), show(set, mask | set));
        return Err(Reason::OutsideMask { value: text.to_owned(), outside: tcp::show(outside), less, more });
    }
    Ok((set, mask))
}

/// `syn,ack`; `none` or nothing is no flag.
fn flags(list: &str) -> Result<u8, Reason> {
    let list = list.trim();
    if list.is_empty() || list.eq_ignore_ascii_case("none") {
        return Ok(0);
    }
    list.split(',').map(str::trim).try_fold(0, |flags, name| match tcp::flag(name) {
        Some(flag) => Ok(flags | flag),
        None => Err(Reason::Unknown {
            value: name.to_owned(),
            cure: cure(name, "flags", tcp::FLAGS.iter().map(|&(name, _)| name)),
        }),
    })
}

fn icmp_number(number: i128) -> Result<IcmpType, Reason> {
    range(number, 0, 255).map(|number| IcmpType::Number(number as u8))
}

fn icmp_type(text: &str) -> Result<IcmpType, Reason> {
    match number(text) {
        _ if text.is_empty() => Err(Reason::Empty),
        Some(number) => icmp_number(number),
        None => Ok(IcmpType::Name(text.to_owned())),
    }
}

fn mark_bits(number: i128) -> Result<u32, Reason> {
    range(number, 0, u32::MAX.into()).map(|bits| bits as u32)
}

fn mark(text: &str) -> Result<(u32, Option<u32>), Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let bits = |word: &str| -> Result<u32, Reason> {
        let word = word.trim();
        let number = if word.bytes().all(|b| b.is_ascii_alphanumeric()) { number(word) } else { None };
        mark_bits(number.ok_or_else(|| Reason::NotMark { value: text.to_owned() })?)
    };
    let Some((value, mask)) = text.split_once('/') else { return Ok((bits(text)?, None)) };
    let (value, mask) = (bits(value)?, bits(mask)?);
    if mask == 0 {
        let cure = "say which bits to look at: \"0/0xf00\" is none of these four";
        return Err(Reason::MaskEmpty { value: text.to_owned(), cure });
    }
    let outside = value & !mask;
    if outside != 0 {
        let (less, more) = (format!("{:#x}/{mask:#x}", value & mask), format!("{value:#x}/{:#x}", mask | value));
        return Err(Reason::OutsideMask { value: text.to_owned(), outside: format!("{outside:#x}"), less, more });
    }
    Ok((value, Some(mask)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(ports("5060"), Ok((5060, 5060)));
        assert_eq!(ports("16384 - 32767"), Ok((16384, 32767)));
        assert_eq!(ports("0-65535"), Ok((0, 65535)));
        assert_eq!(ports("7-7"), Ok((7, 7)));
    }

    #[test]
    fn a_reversed_range_is_empty() {
        let reason = ports("32767-16384").expect_err("an empty range");
        assert_eq!(reason.to_string(), "\"32767-16384\" is an empty port range: 32767 is above 16384");
        assert_eq!(reason.cure().as_deref(), Some("did you mean \"16384-32767\"?"));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["-", "5060-", "-5060", "sip", "1,2", "+5", "5-6-7"] {
            assert_eq!(ports(text), Err(Reason::NotPorts { value: text.to_owned() }), "{text}");
        }
        assert!(matches!(ports("65536"), Err(Reason::PortAbove { .. })));
    }

    #[test]
    fn dscp_takes_names_and_numbers() {
        assert_eq!(dscp_text("EF"), Ok(46));
        assert_eq!(dscp_text("46"), Ok(46));
        assert_eq!(dscp_text("0x2e"), Ok(46));
        assert_eq!(dscp_number(63), Ok(63));
        assert!(matches!(dscp_number(-1), Err(Reason::Range { .. })));
    }

    #[test]
    fn a_tos_byte_is_recognised() {
        let reason = dscp_number(184).expect_err("above 63");
        assert_eq!(reason.cure().as_deref(), Some("DSCP goes from 0 to 63; 184 as a TOS byte is dscp 46 (ef)"));
    }

    #[test]
    fn a_near_miss_is_named() {
        assert_eq!(dscp_text("af44").expect_err("no such").cure().as_deref(), Some("did you mean \"af41\"?"));
        assert_eq!(protocol_text("upd").expect_err("no such").cure().as_deref(), Some("did you mean \"udp\"?"));
    }

    #[test]
    fn lengths_are_one_or_a_range() {
        assert_eq!(lengths("0-200"), Ok((0, 200)));
        assert_eq!(lengths("65535"), Ok((65535, 65535)));
        assert_eq!(lengths("65536"), Err(Reason::Range { value: 65536, least: 0, most: 65535 }));
        for text in ["-", "200-", "short", "0x20", "1,2"] {
            assert_eq!(lengths(text), Err(Reason::NotLengths { value: text.to_owned() }), "{text}");
        }
    }

    #[test]
    fn flags_are_those_set_and_those_looked_at() {
        assert_eq!(tcp_flags("syn/syn,ack"), Ok((0x02, 0x12)));
        assert_eq!(tcp_flags("syn"), Ok((0x02, 0x02)));
        assert_eq!(tcp_flags("SYN, ack"), Ok((0x12, 0x12)));
        assert_eq!(tcp_flags("none/syn,ack"), Ok((0, 0x12)));
        assert_eq!(tcp_flags("/syn"), Ok((0, 0x02)));
        assert_eq!(tcp_flags("none/fin,syn,rst,psh,ack,urg,ece,cwr"), Ok((0, 0xff)));
    }

    #[test]
    fn flags_without_a_meaning_are_refused() {
        for text in ["none", "/", "syn/", "none/none"] {
            assert!(matches!(tcp_flags(text), Err(Reason::MaskEmpty { .. })), "{text}");
        }
        for text in ["syn,,ack", "none,syn", "syn/ack/rst", "0x02"] {
            assert!(matches!(tcp_flags(text), Err(Reason::Unknown { .. })), "{text}");
        }
        let reason = tcp_flags("syn/ack").expect_err("syn is not looked at");
        assert_eq!(reason.cure().as_deref(), Some("did you mean \"none/ack\" or \"syn/syn,ack\"?"));
    }

    #[test]
    fn a_mark_has_a_mask_or_none() {
        assert_eq!(mark("0x100/0xf00"), Ok((0x100, Some(0xf00))));
        assert_eq!(mark("256 / 3840"), Ok((0x100, Some(0xf00))));
        assert_eq!(mark("0xffffffff/0xffffffff"), Ok((u32::MAX, Some(u32::MAX))));
        assert_eq!(mark("0x100"), Ok((0x100, None)));
        assert_eq!(mark("0/0xf00"), Ok((0, Some(0xf00))));
    }

    #[test]
    fn marks_without_a_meaning_are_refused() {
        for text in ["/", "0x100/", "/0xf00", "1/2/3", "0xg", "+1", "-1"] {
            assert_eq!(mark(text), Err(Reason::NotMark { value: text.to_owned() }), "{text}");
        }
        assert!(matches!(mark("0x100000000/0xf00"), Err(Reason::Range { .. })));
        assert!(matches!(mark("0x100/0"), Err(Reason::MaskEmpty { .. })));
        let reason = mark("0x1ff/0xf00").expect_err("the lower bits are not looked at");
        assert_eq!(reason.cure().as_deref(), Some("did you mean \"0x100/0xf00\" or \"0x1ff/0xfff\"?"));
    }
}
