//! The names of ICMP types that people write in rules; every other one goes by its number (IANA's registries "ICMP Type
//! Numbers" and "ICMPv6 type Numbers"). One name can have a number in each of the two protocols.

use super::protocol;

/// ICMP's types (RFC 792, 950 and 1256).
const V4: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// ICMPv6's types (RFC 4443, 2710, 4861 and 3810).
const V6: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("multicast-listener-query", 130),
    ("multicast-listener-report", 131),
    ("multicast-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbor-solicitation", 135),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("multicast-listener-report-v2", 143),
];

/// Every name of a protocol's types, with its number; `None` for a protocol that is neither ICMP nor ICMPv6.
pub fn names(protocol: u8) -> Option<&'static [(&'static str, u8)]> {
    match protocol {
        protocol::ICMP => Some(V4),
        protocol::ICMPV6 => Some(V6),
        _ => None,
    }
}

/// The number of a type's name in one of the two protocols, in either case.
pub fn number(protocol: u8, name: &str) -> Option<u8> {
    names(protocol)?.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, number)| number)
}

/// The name of a type in a protocol that has such a name, or its number.
pub fn show(protocol: Option<u8>, number: u8) -> String {
    let known = protocol.and_then(names).unwrap_or_default();
    let name = known.iter().find(|&&(_, known)| known == number).map(|&(name, _)| name);
    name.map_or_else(|| number.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_number_in_each_protocol() {
        assert_eq!((number(1, "echo-request"), number(58, "Echo-Request")), (Some(8), Some(128)));
        assert_eq!((number(1, "packet-too-big"), number(58, "packet-too-big")), (None, Some(2)));
        assert_eq!(number(17, "echo-request"), None);
    }

    #[test]
    fn a_number_is_shown_by_its_name_where_it_has_one() {
        assert_eq!(
            (show(Some(1), 8), show(Some(58), 8), show(None, 8)),
            ("echo-request".into(), "8".into(), "8".into())
        );
    }

    #[test]
    fn no_name_and_no_number_is_there_twice() {
        for table in [V4, V6] {
            let names: std::collections::BTreeSet<_> = table.iter().map(|(name, _)| name).collect();
            let numbers: std::collections::BTreeSet<_> = table.iter().map(|(_, number)| number).collect();
            assert_eq!((names.len(), numbers.len()), (table.len(), table.len()));
        }
    }
}
