//! The identities of a lane that has an IKE_SA of its own: `CLASS.INDEX.NAME`, at both ends.

/// What stands before a colon where strongSwan is told how to take an identity.
const TYPES: [&str; 17] = [
    "ipv4",
    "ipv6",
    "ipv4net",
    "ipv6net",
    "ipv4range",
    "ipv6range",
    "rfc822",
    "email",
    "userfqdn",
    "fqdn",
    "dns",
    "asn1dn",
    "asn1gn",
    "keyid",
    "xmppaddr",
    "ip",
    "uri",
];

/// With the lane's name in front: `voice.0.moon.example`, `voice.0.joe@moon.example`, `@voice.0.moon`.
pub fn of_lane(identity: &str, label: &str) -> String {
    match identity.strip_prefix('@') {
        Some(name) => format!("@{label}.{name}"),
        None => format!("{label}.{identity}"),
    }
}

/// Whether it is a name, with one in front as well: neither a distinguished name, nor bytes in hexadecimal, nor a pattern,
/// nor of a type that is written out.
pub fn takes_lane(identity: &str) -> bool {
    let is_typed = identity.split_once(':').is_some_and(|(head, _)| TYPES.contains(&head));
    !is_typed && !identity.contains(['=', '*', '%', '#']) && !identity.starts_with("@@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lanes_name_goes_in_front() {
        for (identity, wanted) in [
            ("moon.example", "voice.0.moon.example"),
            ("joe@moon.example", "voice.0.joe@moon.example"),
            ("@moon", "@voice.0.moon"),
            ("192.0.2.1", "voice.0.192.0.2.1"),
            ("2001:db8::1", "voice.0.2001:db8::1"),
        ] {
            assert!(takes_lane(identity), "{identity}");
            assert_eq!(of_lane(identity, "voice.0"), wanted);
        }
    }

    #[test]
    fn what_is_no_name_takes_none() {
        for identity in ["C=CH, CN=moon", "@#c0ffee", "@@moon", "*.example", "%any", "fqdn:moon.example", "keyid:moon"]
        {
            assert!(!takes_lane(identity), "{identity}");
        }
    }
}
