//! The devices by which ESP goes: those that have a tunnel's local address. Where a class asks for an outer DSCP, they carry
//! the program that writes it; where a tunnel has no device, that which counts what came out of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Error;
use crate::policy::{Policy, Tunnel};

/// Devices of this network namespace that need the program for outer DSCPs. A tunnel's device, by which another one's ESP leaves,
/// is one of them only if `room` is there for it beside the program that steers, which goes before.
pub fn leaving(policy: &Policy, room: bool) -> Result<BTreeSet<String>, Error> {
    let marked = |tunnel: &&Tunnel| tunnel.classes.iter().any(|class| policy.classes[class.0].outer_dscp.is_some());
    let mut devices = having(&policy.tunnels.iter().filter(marked).map(|tunnel| tunnel.local).collect())?;
    devices.retain(|device| room || !is_tunnels(policy, device));
    Ok(devices)
}

/// Those that need the program which counts what comes in. Ports count themselves, and so do tunnels' devices, whose own program
/// has the only place that there is without TCX.
pub fn arriving(policy: &Policy) -> Result<BTreeSet<String>, Error> {
    let bare = policy.tunnels.iter().filter(|tunnel| !tunnel.device.kind.is_device());
    let mut devices = having(&bare.map(|tunnel| tunnel.local).collect())?;
    devices.retain(|device| policy.ports.iter().all(|port| port.name != *device) && !is_tunnels(policy, device));
    Ok(devices)
}

/// Those where packets of tunnels without a device pass: ports, where it is decided on what is for such a tunnel, and the devices by
/// which their ESP comes in.
pub fn passing(policy: &Policy) -> Result<BTreeSet<String>, Error> {
    if policy.tunnels.iter().all(|tunnel| tunnel.device.kind.is_device()) {
        return Ok(BTreeSet::new());
    }
    let mut devices = arriving(policy)?;
    devices.extend(policy.ports.iter().map(|port| port.name.clone()));
    Ok(devices)
}

fn is_tunnels(policy: &Policy, device: &str) -> bool {
    policy.tunnels.iter().any(|tunnel| tunnel.named(device).is_some())
}

/// Those that have one of these addresses.
fn having(wanted: &BTreeSet<IpAddr>) -> Result<BTreeSet<String>, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::policy;

    #[test]
    fn nothing_of_tunnels_with_devices_passes_elsewhere() {
        let mut policy = policy();
        policy.ports.push(crate::policy::Port { name: "lan0".into(), classify: Default::default() });
        assert_eq!(passing(&policy).unwrap(), BTreeSet::new());
    }

    #[test]
    fn only_what_an_outer_dscp_asks_for_is_touched() {
        let mut policy = policy();
        policy.tunnels[0].local = "127.0.0.1".parse().unwrap();
        assert_eq!(leaving(&policy, true).unwrap(), BTreeSet::new());
        policy.classes[0].outer_dscp = Some(46);
        assert_eq!(leaving(&policy, false).unwrap(), BTreeSet::from(["lo".to_owned()]));
    }

    #[test]
    fn an_outer_dscp_never_takes_the_place_of_what_steers() {
        let mut policy = policy();
        policy.tunnels[0].local = "127.0.0.1".parse().unwrap();
        policy.classes[0].outer_dscp = Some(46);
        let mut around = policy.tunnels[0].clone();
        around.device.name = "lo".into();
        policy.tunnels.push(around);
        assert_eq!(leaving(&policy, false).unwrap(), BTreeSet::new());
        assert_eq!(leaving(&policy, true).unwrap(), BTreeSet::from(["lo".to_owned()]));
    }

    #[test]
    fn what_comes_out_of_tunnels_without_a_device_is_counted_once() {
        let mut policy = policy();
        policy.tunnels[0].local = "127.0.0.1".parse().unwrap();
        assert_eq!(arriving(&policy).unwrap(), BTreeSet::new());
        policy.tunnels[0].device.kind = crate::policy::DeviceKind::Bare;
        assert_eq!(arriving(&policy).unwrap(), BTreeSet::from(["lo".to_owned()]));
        policy.ports.push(crate::policy::Port { name: "lo".into(), classify: Default::default() });
        assert_eq!(arriving(&policy).unwrap(), BTreeSet::new());
        assert_eq!(passing(&policy).unwrap(), BTreeSet::from(["lo".to_owned()]));
        policy.ports[0].name = "lan0".into();
        assert_eq!(passing(&policy).unwrap(), BTreeSet::from(["lan0".to_owned(), "lo".to_owned()]));
        policy.ports.clear();
        let mut around = policy.tunnels[0].clone();
        around.device.kind = crate::policy::DeviceKind::Xfrm { if_id: 9 };
        around.device.name = "lo".into();
        policy.tunnels.push(around);
        assert_eq!(arriving(&policy).unwrap(), BTreeSet::new());
    }
}
