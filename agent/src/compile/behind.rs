//! Tunnels without a device, and those that have one with others -> which destinations lead to them.

use std::collections::BTreeSet;

use ipnet::IpNet;
use lanekeeper_common::abi::{BY_DESTINATION, Generation, ON_DEVICE, TunnelEntry};

use super::intervals::{self, Cover};
use super::registry::{Key, Registry};
use super::{Error, bounds, limit};
use crate::policy::{Policy, Tunnel};

/// Fills in what is behind each, and an entry for each device that several have; the tunnels are in the registry.
pub fn place(policy: &Policy, registry: &mut Registry, generation: &mut Generation) -> Result<(), Error> {
    let mut behind: Vec<(IpNet, u16)> = Vec::new();
    let mut devices = BTreeSet::new();
    for tunnel in &policy.tunnels {
        let number = registry.get(&Key::Tunnel(tunnel.name.clone())).map_or(0, |number| number as u16 + 1);
        if !tunnel.device.kind.is_device() {
            generation.bare += 1;
            behind.extend(tunnel.remote_ts.iter().map(|prefix| (*prefix, number)));
        } else if tunnel.device.joint {
            devices.insert(Tunnel::name_of_device(&tunnel.device.name));
            behind.extend(tunnel.routes.iter().map(|prefix| (*prefix, number | ON_DEVICE)));
        }
    }
    for device in devices {
        let number = registry.number(Key::Tunnel(device))?;
        generation.tunnels[number as usize] = TunnelEntry { present: BY_DESTINATION, ..TunnelEntry::default() };
    }
    // Of prefixes around an address the longest has it; of equal ones that without a device, which is asked for first.
    behind.sort_by_key(|(prefix, number)| (std::cmp::Reverse(prefix.prefix_len()), *number));
    let what = "intervals between the ends of what a destination leads to";
    limit(what, behind.len(), u16::MAX.into())?;
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for (place, (prefix, _)) in behind.iter().enumerate() {
        let (first, last) = bounds(prefix);
        let covers = if prefix.addr().is_ipv4() { &mut four } else { &mut six };
        covers.push(Cover { first, last, number: place as u16 + 1 });
    }
    intervals::fill4(&mut generation.behind4, &four, what)?;
    intervals::fill6(&mut generation.behind6, &six, what)?;
    let numbers = generation.behind4.numbers.iter_mut().chain(&mut generation.behind6.numbers);
    for number in numbers.filter(|number| **number != 0) {
        *number = behind[usize::from(*number) - 1].1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::{MAX_TUNNELS, Parsed};
    use lanekeeper_common::behind;
    use lanekeeper_common::packet::Family;

    use super::*;
    use crate::compile::{compile, halves};
    use crate::policy::DeviceKind;

    /// The tunnels that an address leads to: of those without a device, and of those that have one with others.
    fn behind(generation: &Generation, address: &str) -> [Option<u32>; 2] {
        let (family, number, destination) = match address.parse().unwrap() {
            std::net::IpAddr::V4(four) => (Family::V4, 4, halves(u32::from(four).into())),
            std::net::IpAddr::V6(six) => (Family::V6, 6, halves(six.into())),
        };
        let parsed = Parsed { family: number, destination, ..Parsed::default() };
        assert_eq!(behind::on_device(generation, &Parsed { reason: 1, ..parsed }), None);
        [behind::without_device(generation, family, destination), behind::on_device(generation, &parsed)]
    }

    #[test]
    fn a_destination_leads_to_the_tunnel_without_a_device_that_it_is_behind() {
        let mut policy = crate::status::tests::policy();
        let mut other = policy.tunnels[0].clone();
        other.name = "bare".into();
        other.device.kind = DeviceKind::Bare;
        other.remote_ts = vec!["10.3.0.0/16".parse().unwrap(), "2001:db8:3::/48".parse().unwrap()];
        let mut registry = Registry::default();
        let tables = compile(&policy, &mut registry).unwrap();
        assert_eq!(tables.generation.bare, 0);
        assert_eq!(behind(&tables.generation, "10.3.0.1"), [None; 2]);

        policy.tunnels.push(other);
        let tables = compile(&policy, &mut registry).unwrap();
        assert_eq!(tables.generation.bare, 1);
        let number = registry.get(&Key::Tunnel("bare".into()));
        for (address, is_behind) in [
            ("10.2.255.255", false),
            ("10.3.0.0", true),
            ("10.3.255.255", true),
            ("10.4.0.0", false),
            ("255.255.255.255", false),
            ("2001:db8:3::", true),
            ("2001:db8:3:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db8:4::", false),
            ("::", false),
        ] {
            assert_eq!(behind(&tables.generation, address), [number.filter(|_| is_behind), None], "{address}");
        }
    }

    #[test]
    fn of_tunnels_with_one_device_the_longest_prefix_says_which() {
        let mut policy = crate::status::tests::policy();
        policy.tunnels[0].device.joint = true;
        policy.tunnels[0].routes = vec!["0.0.0.0/0".parse().unwrap(), "2001:db8:3::/48".parse().unwrap()];
        let another = |of: &Tunnel, name: &str, behind: u32| {
            let mut tunnel = Tunnel { name: name.into(), ..of.clone() };
            tunnel.lanes.iter_mut().for_each(|lane| lane.reqid += behind);
            tunnel
        };
        let mut second = another(&policy.tunnels[0], "second", 100);
        second.routes = vec!["10.3.0.0/16".parse().unwrap(), "10.4.1.0/24".parse().unwrap()];
        let mut bare = another(&policy.tunnels[0], "bare", 200);
        bare.device.kind = DeviceKind::Bare;
        bare.remote_ts = vec!["10.3.7.0/24".parse().unwrap()];
        let first = policy.tunnels[0].name.clone();
        policy.tunnels.extend([second, bare]);
        let mut registry = Registry::default();
        let tables = compile(&policy, &mut registry).unwrap();
        let number = |name: &str| registry.get(&Key::Tunnel(name.into()));
        let [first, second, bare] = [&first[..], "second", "bare"].map(number);
        assert!(first.is_some() && second.is_some() && bare.is_some());
        for (address, expected) in [
            ("9.9.9.9", [None, first]),
            ("10.3.0.1", [None, second]),
            ("10.3.7.1", [bare, None]),
            ("10.3.8.0", [None, second]),
            ("10.4.0.255", [None, first]),
            ("10.4.1.0", [None, second]),
            ("255.255.255.255", [None, first]),
            ("2001:db8:3::1", [None, first]),
            ("2001:db8:4::", [None; 2]),
        ] {
            assert_eq!(behind(&tables.generation, address), expected, "{address}");
        }
        let name = Tunnel::name_of_device(&policy.tunnels[0].device.name);
        let entry = number(&name).map(|number| tables.generation.tunnels[number as usize % MAX_TUNNELS]);
        assert_eq!(entry, Some(TunnelEntry { present: BY_DESTINATION, ..TunnelEntry::default() }));
    }
}
