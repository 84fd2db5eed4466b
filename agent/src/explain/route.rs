//! Which tunnel a packet goes to, as far as the file tells: the kernel's own routes may say more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use lanekeeper_common::packet::{Address, Family, Packet};

use crate::policy::{Policy, Tunnel, TunnelIndex};

/// The tunnel with the longest prefix around the destination; none for a peer's own address, which such routes pass on. Where the file has but one tunnel it is that one: whatever
/// is explained is explained as it would leave by it.
pub fn tunnel(policy: &Policy, destination: Option<IpAddr>) -> Option<TunnelIndex> {
    let routes = policy.tunnels.iter().enumerate().flat_map(|(at, tunnel)| all_behind(tunnel).map(move |to| (at, to)));
    let mut around =
        routes.filter(|(_, to)| destination.is_some_and(|destination| to.contains(&destination))).peekable();
    if around.peek().is_some() && policy.tunnels.iter().any(|tunnel| Some(tunnel.remote) == destination) {
        return None;
    }
    let longest = around.max_by_key(|(_, to)| to.prefix_len()).map(|(at, _)| TunnelIndex(at));
    longest.or((policy.tunnels.len() == 1).then_some(TunnelIndex(0)))
}

/// All prefixes that lead to a tunnel: routes into its device, or what it is for without one.
fn all_behind(tunnel: &Tunnel) -> impl Iterator<Item = IpNet> {
    let behind = (!tunnel.device.kind.is_device()).then_some(&tunnel.remote_ts);
    tunnel.all_routes().chain(behind.into_iter().flatten().copied())
}

/// Where a packet goes.
pub fn destination(packet: &Packet) -> IpAddr {
    address(packet.family, packet.destination)
}

/// Where it comes from.
pub fn source(packet: &Packet) -> IpAddr {
    address(packet.family, packet.source)
}

/// An address as people write it.
pub fn address(family: Family, [upper, lower]: Address) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(lower as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(u128::from(upper) << 64 | u128::from(lower)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::policy;

    fn two() -> Policy {
        let mut policy = policy();
        let mut other = policy.tunnels[0].clone();
        other.name = "branch-8".into();
        other.routes = vec!["10.2.3.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        policy.tunnels.push(other);
        policy
    }

    fn to(policy: &Policy, destination: &str) -> Option<usize> {
        tunnel(policy, Some(destination.parse().unwrap())).map(|tunnel| tunnel.0)
    }

    #[test]
    fn the_longest_prefix_decides() {
        assert_eq!(to(&two(), "10.2.0.9"), Some(0));
        assert_eq!(to(&two(), "10.2.3.9"), Some(1));
        assert_eq!(to(&two(), "2001:db8::1"), Some(1));
    }

    #[test]
    fn a_peer_is_in_no_tunnel_whose_route_is_around_it() {
        let mut policy = two();
        policy.tunnels[1].routes.push("0.0.0.0/0".parse().unwrap());
        assert_eq!(policy.tunnels[0].remote, IpAddr::from([192, 0, 2, 2]));
        assert_eq!(to(&policy, "192.0.2.3"), Some(1));
        assert_eq!(to(&policy, "192.0.2.2"), None);
    }

    #[test]
    fn among_several_tunnels_a_stranger_has_none_and_one_tunnel_takes_all() {
        assert_eq!(to(&two(), "192.168.0.1"), None);
        assert_eq!(tunnel(&two(), None), None);
        assert_eq!(to(&policy(), "192.168.0.1"), Some(0));
    }
}
