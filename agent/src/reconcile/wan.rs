//! The devices by which ESP leaves: those that have a tunnel's local address. Where a class asks for an outer DSCP, they
//! carry the program that writes it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Error;
use crate::policy::Policy;

/// Devices of this network namespace that need the program.
pub fn devices(policy: &Policy) -> Result<BTreeSet<String>, Error> {
    let wanted = locals(policy);
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let addresses = nix::ifaddrs::getifaddrs().map_err(Error::Interfaces)?;
    let has = |storage: &nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    };
    let ours = addresses.filter(|entry| entry.address.as_ref().and_then(has).is_some_and(|at| wanted.contains(&at)));
    Ok(ours.map(|entry| entry.interface_name).collect())
}

/// Local ends of the tunnels that carry a class with an outer DSCP.
fn locals(policy: &Policy) -> BTreeSet<IpAddr> {
    let marked = |tunnel: &&crate::policy::Tunnel| {
        tunnel.classes.iter().any(|class| policy.classes[class.0].outer_dscp.is_some())
    };
    policy.tunnels.iter().filter(marked).map(|tunnel| tunnel.local).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::policy;

    #[test]
    fn only_what_an_outer_dscp_asks_for_is_touched() {
        let mut policy = policy();
        policy.tunnels[0].local = "127.0.0.1".parse().unwrap();
        assert_eq!(devices(&policy).unwrap(), BTreeSet::new());
        policy.classes[0].outer_dscp = Some(46);
        assert_eq!(devices(&policy).unwrap(), BTreeSet::from(["lo".to_owned()]));
    }
}
