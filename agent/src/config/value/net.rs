//! Addresses and prefixes.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Kind, Reason};

/// A prefix without host bits; a bare address is the prefix of that host.
pub const PREFIX: Kind<IpNet> = Kind { wanted: "a prefix", example: "\"10.1.0.0/16\"", text: prefix, number: None };

/// A device's own address with its prefix length, host bits being the point of it; or `virtual`, which is `None`: those that the
/// peer gives.
pub const DEVICE_ADDRESS: Kind<Option<IpNet>> = Kind {
    wanted: "an address with a prefix length, or \"virtual\"",
    example: "\"10.255.0.1/30\"",
    text: |text| if text == VIRTUAL { Ok(None) } else { or_word(text, net(text), VIRTUAL) },
    number: None,
};

/// What is routed into a tunnel: a prefix, or `selectors`, which is `None`: what its SAs are for.
pub const ROUTE: Kind<Option<IpNet>> = Kind {
    wanted: "a prefix, or \"selectors\"",
    example: "\"10.1.0.0/16\"",
    text: |text| if text == SELECTORS { Ok(None) } else { or_word(text, prefix(text), SELECTORS) },
    number: None,
};

/// Among the routes of a tunnel: what the SAs of an adopted connection are for.
pub const SELECTORS: &str = "selectors";

/// Among the addresses of its device: those that the peer of an adopted connection gives.
pub const VIRTUAL: &str = "virtual";

/// An outer address.
pub const ADDRESS: Kind<IpAddr> =
    Kind { wanted: "an IP address", example: "\"192.0.2.1\"", text: address, number: None };

/// The peer's outer address, or `any`, which is `None`: clients come from anywhere.
pub const REMOTE: Kind<Option<IpAddr>> = Kind {
    wanted: "an IP address, or \"any\"",
    example: "\"192.0.2.2\"",
    text: |text| if text == ANY { Ok(None) } else { address(text).map(Some) },
    number: None,
};

/// In the place of a peer's address: clients of an adopted connection share the tunnel.
pub const ANY: &str = "any";

/// Where to listen, or `off`.
pub const LISTEN: Kind<Option<SocketAddr>> =
    Kind { wanted: "an address and a port", example: "\"127.0.0.1:9738\"", text: listen, number: None };

fn address(text: &str) -> Result<IpAddr, Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let address: IpAddr = text.parse().map_err(|_| {
        let cure = match text.split_once('/') {
            Some((host, _)) if host.parse::<IpAddr>().is_ok() => format!("did you mean \"{host}\"?"),
            _ if text.starts_with('%') => {
                "write the address; the peer of an adopted connection may be \"any\"".to_owned()
            }
            _ => "write it like \"192.0.2.1\" or \"2001:db8::1\"; names are not resolved".to_owned(),
        };
        Reason::NotAddress { value: text.to_owned(), cure }
    })?;
    match address.to_canonical() {
        plain if plain != address => Err(Reason::Mapped { value: text.to_owned(), plain: plain.to_string() }),
        _ => Ok(address),
    }
}

fn net(text: &str) -> Result<IpNet, Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return unmapped(text, net);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return unmapped(text, IpNet::from(address));
    }
    let cure = match text.split_once('/').map(|(host, length)| (host.parse::<IpAddr>(), length)) {
        Some((Ok(IpAddr::V4(_)), length)) if length.parse::<u32>().is_ok() => {
            "the length of an IPv4 prefix goes from 0 to 32".to_owned()
        }
        Some((Ok(IpAddr::V6(_)), length)) if length.parse::<u32>().is_ok() => {
            "the length of an IPv6 prefix goes from 0 to 128".to_owned()
        }
        Some((Ok(IpAddr::V4(host)), mask)) => match mask.parse().map(|mask| ipnet::ip_mask_to_prefix(IpAddr::V4(mask)))
        {
            Ok(Ok(length)) => format!("did you mean \"{host}/{length}\"?"),
            _ => HOW.to_owned(),
        },
        _ => HOW.to_owned(),
    };
    Err(Reason::NotPrefix { value: text.to_owned(), cure })
}

/// A word that is not the one which may stand there.
fn or_word(text: &str, read: Result<IpNet, Reason>, word: &str) -> Result<Option<IpNet>, Reason> {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic() || c == '-');
    match read {
        Err(Reason::NotPrefix { value, .. }) if is_word => {
            Err(Reason::NotPrefix { value, cure: format!("the one word that may stand here is \"{word}\"") })
        }
        read => read.map(Some),
    }
}

const HOW: &str = "write it like \"10.1.0.0/16\" or \"2001:db8::/32\"; names are not resolved";

/// `::ffff:10.0.0.0/104` and the like are written by programs, and match nothing that arrives.
fn unmapped(text: &str, net: IpNet) -> Result<IpNet, Reason> {
    let IpNet::V6(v6) = net else { return Ok(net) };
    match v6.addr().to_ipv4_mapped() {
        Some(v4) if v6.prefix_len() >= 96 => {
            Err(Reason::Mapped { value: text.to_owned(), plain: format!("{v4}/{}", v6.prefix_len() - 96) })
        }
        _ => Ok(net),
    }
}

fn prefix(text: &str) -> Result<IpNet, Reason> {
    let net = net(text)?;
    if net.addr() == net.network() {
        return Ok(net);
    }
    let host = IpNet::from(net.addr());
    Err(Reason::HostBits { value: text.to_owned(), network: net.trunc().to_string(), host: host.to_string() })
}

fn listen(text: &str) -> Result<Option<SocketAddr>, Reason> {
    match text {
        "" => Err(Reason::Empty),
        "off" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| Reason::NotSocket { value: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cure<T: std::fmt::Debug>(result: Result<T, Reason>) -> String {
        result.expect_err("a refusal").cure().expect("a cure")
    }

    #[test]
    fn a_bare_address_is_its_host() {
        assert_eq!(prefix("10.1.0.5").map(|p| p.to_string()), Ok("10.1.0.5/32".to_owned()));
        assert_eq!(prefix("2001:db8::1").map(|p| p.to_string()), Ok("2001:db8::1/128".to_owned()));
    }

    #[test]
    fn host_bits_name_the_network_and_the_host() {
        assert_eq!(cure(prefix("10.1.0.5/16")), "did you mean \"10.1.0.0/16\", or \"10.1.0.5/32\" for that one host?");
        assert!(matches!(prefix("2001:db8::1/32"), Err(Reason::HostBits { .. })));
        assert!(prefix("0.0.0.0/0").is_ok());
        assert!(net("10.255.0.1/30").is_ok());
    }

    #[test]
    fn a_bad_prefix_says_how_to_write_it() {
        assert_eq!(cure(prefix("10.1.0.0/33")), "the length of an IPv4 prefix goes from 0 to 32");
        assert_eq!(cure(prefix("2001:db8::/129")), "the length of an IPv6 prefix goes from 0 to 128");
        assert_eq!(cure(prefix("10.1.0.0/255.255.0.0")), "did you mean \"10.1.0.0/16\"?");
        assert_eq!(cure(prefix("branch")), HOW);
    }

    #[test]
    fn mapped_addresses_are_named_as_ipv4() {
        assert_eq!(cure(prefix("::ffff:10.0.0.0/104")), "did you mean \"10.0.0.0/8\"?");
        assert_eq!(cure(address("::ffff:192.0.2.1")), "did you mean \"192.0.2.1\"?");
        assert!(prefix("::/0").is_ok());
    }

    #[test]
    fn an_address_takes_no_length() {
        assert_eq!(cure(address("192.0.2.1/24")), "did you mean \"192.0.2.1\"?");
    }

    #[test]
    fn metrics_can_be_off() {
        assert_eq!(listen("off"), Ok(None));
        assert_eq!(listen("[::1]:9738"), Ok(Some("[::1]:9738".parse().expect("a literal"))));
        assert!(matches!(listen("localhost:9738"), Err(Reason::NotSocket { .. })));
    }
}
