//! What rules match in a packet: protocol, ports, DSCP, VLAN.

use super::{Kind, Reason};
use crate::config::nearest::nearest;
use crate::policy::{dscp, protocol};

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

fn ports(text: &str) -> Result<(u16, u16), Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let port = |word: &str| -> Result<u16, Reason> {
        let word = word.trim();
        let number = if word.bytes().all(|b| b.is_ascii_digit()) { word.parse().ok() } else { None };
        port(number.ok_or_else(|| Reason::NotPorts { value: text.to_owned() })?)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last { Err(Reason::PortsEmpty { first, last }) } else { Ok((first, last)) }
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
}
