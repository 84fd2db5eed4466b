//! Tunnels without a device -> which destinations lead to them.

use lanekeeper_common::abi::Generation;

use super::intervals::{self, Cover};
use super::registry::{Key, Registry};
use super::{Error, bounds};
use crate::policy::Policy;

/// Fills in what is behind each; the tunnels are in the registry.
pub fn place(policy: &Policy, registry: &Registry, generation: &mut Generation) -> Result<(), Error> {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for tunnel in policy.tunnels.iter().filter(|tunnel| !tunnel.device.kind.is_device()) {
        let number = registry.get(&Key::Tunnel(tunnel.name.clone())).map_or(0, |number| number as u16 + 1);
        generation.bare += 1;
        for prefix in &tunnel.remote_ts {
            let (first, last) = bounds(prefix);
            let covers = if prefix.addr().is_ipv4() { &mut four } else { &mut six };
            covers.push(Cover { first, last, number });
        }
    }
    let what = "intervals between the ends of remote-ts of tunnels without a device";
    intervals::fill4(&mut generation.bare4, &four, what)?;
    intervals::fill6(&mut generation.bare6, &six, what)
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::bare;
    use lanekeeper_common::packet::Family;

    use super::*;
    use crate::compile::{compile, halves};
    use crate::policy::DeviceKind;

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
        assert_eq!(bare::tunnel(&tables.generation, Family::V4, [0, 0x0a03_0001]), None);

        policy.tunnels.push(other);
        let tables = compile(&policy, &mut registry).unwrap();
        assert_eq!(tables.generation.bare, 1);
        let number = registry.get(&Key::Tunnel("bare".into()));
        for (address, behind) in [
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
            let found = match address.parse().unwrap() {
                std::net::IpAddr::V4(four) => {
                    bare::tunnel(&tables.generation, Family::V4, halves(u32::from(four).into()))
                }
                std::net::IpAddr::V6(six) => bare::tunnel(&tables.generation, Family::V6, halves(six.into())),
            };
            assert_eq!(found, number.filter(|_| behind), "{address}");
        }
    }
}
