//! The names of IP protocols that people write in rules; every other one goes by its number (IANA's registry
//! "Assigned Internet Protocol Numbers").

/// ICMP, of IPv4.
pub const ICMP: u8 = 1;

/// TCP.
pub const TCP: u8 = 6;

/// ICMPv6.
pub const ICMPV6: u8 = 58;

/// GRE.
pub const GRE: u8 = 47;

/// Every name, with its number. Where a number has several names the first is the one that is shown.
pub const NAMES: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("icmp6", 58),
    ("ipv6-icmp", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
    ("mpls", 137),
];

/// The number of a name, in either case.
pub fn number(name: &str) -> Option<u8> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, number)| number)
}

/// The name of a number, where it is a known one.
pub fn name(number: u8) -> Option<&'static str> {
    NAMES.iter().find(|&&(_, known)| known == number).map(|&(name, _)| name)
}

/// The name of a protocol, or its number.
pub fn show(number: u8) -> String {
    name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// Whether rules can match its ports: TCP, UDP and SCTP.
pub fn has_ports(number: u8) -> bool {
    matches!(number, 6 | 17 | 132)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_either_case() {
        assert_eq!(number("UDP"), Some(17));
        assert_eq!(number("ipv6-icmp"), Some(58));
        assert_eq!(number("nonsense"), None);
    }

    #[test]
    fn the_first_name_is_shown() {
        assert_eq!(show(58), "icmpv6");
        assert_eq!(show(253), "253");
    }

    #[test]
    fn only_tcp_udp_and_sctp_have_ports() {
        let with: Vec<u8> = (0..=255).filter(|&p| has_ports(p)).collect();
        assert_eq!(with, [6, 17, 132]);
    }
}
