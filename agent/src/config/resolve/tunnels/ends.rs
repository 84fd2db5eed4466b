//! A tunnel's outer addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::document::Tunnel;
use crate::config::findings::Findings;
use crate::config::problem::Problem;

/// Local and remote, with errors where they cannot be the ends of one tunnel.
pub fn resolve(tunnel: &Tunnel, findings: &mut Findings<'_>) -> (IpAddr, IpAddr) {
    for (key, end) in [("local", &tunnel.local), ("remote", &tunnel.remote)] {
        if let Some(end) = end
            && let Some(what) = nobodys(end.value)
        {
            let (object, address) = (tunnel.object.clone(), end.value.to_string());
            findings.problem(end.spot, Problem::NotEndpoint { object, key, address, what });
        }
    }
    if let (Some(local), Some(remote)) = (&tunnel.local, &tunnel.remote) {
        let object = tunnel.object.clone();
        if local.value.is_ipv4() != remote.value.is_ipv4() {
            let (local, remote_text) = (local.value.to_string(), remote.value.to_string());
            findings.problem(remote.spot, Problem::Families { object, local, remote: remote_text });
        } else if local.value == remote.value {
            findings.problem(remote.spot, Problem::SameEnds { object, address: local.value.to_string() });
        }
    }
    if let Some(spot) = tunnel.any.filter(|_| tunnel.adopt.is_none()) {
        findings.problem(spot, Problem::AnyPeer { object: tunnel.object.clone() });
    }
    let none = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let local = tunnel.local.as_ref().map_or(none, |at| at.value);
    let any = if local.is_ipv4() { none } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    (local, tunnel.remote.as_ref().map_or(any, |at| at.value))
}

/// What an address is that no gateway has.
fn nobodys(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_loopback() => Some("a loopback address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}
