//! A traffic selector, as `list-sas` writes it: `10.2.0.0/16`, `10.2.0.5..10.2.0.9`, with `[udp/5060]` behind it where it is for a
//! protocol or for ports alone.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// Addresses, and whether all packets to them are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The fewest prefixes that are those addresses and no others, without host bits.
    pub prefixes: Vec<IpNet>,
    /// All protocols and ports.
    pub whole: bool,
}

impl Selector {
    /// `None` for what names no addresses: `dynamic`, before they are known.
    pub fn read(text: &str) -> Option<Self> {
        let (addresses, rest) = text.split_at(text.find('[').unwrap_or(text.len()));
        let prefixes = match addresses.split_once("..") {
            Some((first, last)) => split(first.parse().ok()?, last.parse().ok()?)?,
            None => vec![addresses.parse::<IpNet>().ok()?.trunc()],
        };
        Some(Self { prefixes, whole: rest.is_empty() })
    }
}

/// A range of addresses, both ends included; `None` where there is none between them.
fn split(first: IpAddr, last: IpAddr) -> Option<Vec<IpNet>> {
    if first > last {
        return None;
    }
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()),
        (IpAddr::V6(first), IpAddr::V6(last)) => Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn prefixes(text: &str) -> Vec<String> {
        let selector = Selector::read(text).unwrap_or_else(|| panic!("{text}"));
        selector.prefixes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_prefix_is_itself_in_either_family() {
        for text in ["10.2.0.0/16", "10.2.0.1/32", "0.0.0.0/0", "2001:db8::/32", "::/0"] {
            assert_eq!(prefixes(text), [text]);
        }
        // What host bits say there is nothing to a route.
        assert_eq!(prefixes("10.2.3.4/16"), ["10.2.0.0/16"]);
    }

    #[test]
    fn a_range_is_the_fewest_prefixes_that_make_it() {
        assert_eq!(prefixes("10.2.0.5..10.2.0.9"), ["10.2.0.5/32", "10.2.0.6/31", "10.2.0.8/31"]);
        assert_eq!(prefixes("10.2.0.0..10.2.255.255"), ["10.2.0.0/16"]);
        assert_eq!(prefixes("0.0.0.0..255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(prefixes("2001:db8::1..2001:db8::2"), ["2001:db8::1/128", "2001:db8::2/128"]);
        assert_eq!(prefixes("10.2.0.5..10.2.0.5"), ["10.2.0.5/32"]);
    }

    #[test]
    fn one_for_a_protocol_or_for_ports_is_not_for_all() {
        for (text, whole) in [
            ("10.2.0.0/16", true),
            ("10.2.0.0/16[tcp]", false),
            ("10.2.0.0/16[udp/sip]", false),
            ("10.2.0.5..10.2.0.9[udp/1024-65535]", false),
            ("::/0[ipv6-icmp/8]", false),
            ("10.2.0.0/16[80]", false),
        ] {
            let selector = Selector::read(text).unwrap();
            assert_eq!((selector.whole, selector.prefixes.is_empty()), (whole, false), "{text}");
        }
    }

    #[test]
    fn what_names_no_addresses_is_none() {
        for text in
            ["dynamic", "dynamic[gre]", "", "[tcp]", "10.2.0.9..10.2.0.5", "10.2.0.5..::1", "10.2.0.0/33", "a/8"]
        {
            assert_eq!(Selector::read(text), None, "{text}");
        }
    }

    proptest! {
        /// Against counting: every address of the range is in one of its prefixes, and none beside it is in any.
        #[test]
        fn a_range_has_each_of_its_addresses_once(first in 0u32..3000, more in 0u32..600) {
            let base = u32::from(Ipv4Addr::new(10, 2, 0, 0));
            let (first, last) = (base + first, base + first + more);
            let text = format!("{}..{}", Ipv4Addr::from(first), Ipv4Addr::from(last));
            let prefixes = Selector::read(&text).unwrap().prefixes;
            for address in first.saturating_sub(70)..last + 70 {
                let address = IpAddr::from(Ipv4Addr::from(address));
                let holders = prefixes.iter().filter(|prefix| prefix.contains(&address)).count();
                let inside = (first..=last).contains(&u32::from_be_bytes(match address {
                    IpAddr::V4(v4) => v4.octets(),
                    IpAddr::V6(_) => unreachable!("made of four bytes"),
                }));
                prop_assert_eq!(holders, usize::from(inside), "{} {:?}", address, prefixes);
            }
        }
    }
}
