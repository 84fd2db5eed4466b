//! Tenants -> which packets are whose: by source, in elementary intervals, by ingress interface and by VLAN. And what each
//! has of its own.

use ipnet::IpNet;
use lanekeeper_common::abi::{Generation, OWN_TUNNEL, Tenant, counter};

use super::intervals::{self, Cover};
use super::registry::{Key, Registry};
use super::series::{ALL_CLASSES, counts_by_class};
use super::{Error, bounds};
use crate::policy::Policy;

/// The tenants, still without tuples; fills in whose a packet is, and counters that are scattered.
pub fn tenants(policy: &Policy, registry: &mut Registry, generation: &mut Generation) -> Result<Vec<Tenant>, Error> {
    belongings(policy, registry, generation)?;
    let nobody = crate::policy::Tenant::default();
    let mut next = 0;
    let mut tenants = Vec::with_capacity(policy.tenants.len() + 1);
    for (number, of) in std::iter::once(&nobody).chain(&policy.tenants).enumerate() {
        let mut tenant = Tenant {
            default_class: of.default_class.unwrap_or(policy.default_class).0 as u16,
            tied: (!of.tunnels.is_empty()).into(),
            ..Tenant::default()
        };
        let mut first = |class: &str| registry.number(Key::Class { tenant: of.name.clone(), class: class.to_owned() });
        if counts_by_class(number, policy.classes.len()) {
            let numbers: Vec<u32> = policy.classes.iter().map(|class| first(&class.name)).collect::<Result<_, _>>()?;
            tenant.step = counter::CLASS_BLOCK as u16;
            if numbers.windows(2).all(|pair| pair[1] == pair[0] + counter::CLASS_BLOCK) {
                tenant.counters = numbers.first().copied().unwrap_or_default();
            } else {
                (tenant.counters, tenant.scattered) = (next as u32, 1);
                generation.class_counters[next..next + numbers.len()].copy_from_slice(&numbers);
                next += numbers.len();
            }
        } else {
            tenant.counters = first(ALL_CLASSES)?;
        }
        tenants.push(tenant);
    }
    Ok(tenants)
}

fn belongings(policy: &Policy, registry: &mut Registry, generation: &mut Generation) -> Result<(), Error> {
    for (place, tenant) in policy.tenants.iter().enumerate().rev() {
        // The kernel has a packet come in by the VRF once it is there, no more by its interface.
        for name in tenant.interfaces.iter().chain(&tenant.vrfs) {
            let number = registry.number(Key::Interface(name.clone()))?;
            generation.interface_tenant[number as usize] = place as u16 + 1;
        }
        for vlan in &tenant.vlans {
            generation.vlan_tenant[usize::from(*vlan) & 4095] = place as u16 + 1;
        }
    }
    for (tunnel, owner) in policy.owners() {
        let number = registry.number(Key::Interface(policy.tunnels[tunnel.0].device.name.clone()))?;
        generation.interface_tenant[number as usize] = OWN_TUNNEL | (owner.0 as u16 + 1);
    }
    let what = "intervals between the ends of tenants' source prefixes";
    intervals::fill4(&mut generation.tenants4, &covers(policy, true), what)?;
    intervals::fill6(&mut generation.tenants6, &covers(policy, false), what)
}

fn covers(policy: &Policy, v4: bool) -> Vec<Cover> {
    let mut covers = Vec::new();
    for (place, tenant) in policy.tenants.iter().enumerate() {
        let addresses = tenant.tunnels.iter().flat_map(|tunnel| policy.tunnels[tunnel.0].all_addresses());
        let own = addresses.map(|address| IpNet::from(address.addr()));
        for prefix in tenant.sources.iter().copied().chain(own).filter(|prefix| matches!(prefix, IpNet::V4(_)) == v4) {
            let (first, last) = bounds(&prefix);
            covers.push(Cover { first, last, number: place as u16 + 1 });
        }
    }
    covers
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::{MAX_TENANT_CLASSES, MAX_TENANTS};

    use super::*;

    #[test]
    fn tenants_behind_the_bound_have_one_set_of_counters() {
        let mut policy = crate::status::tests::policy();
        let classes = policy.classes.len();
        let name = |number: usize| crate::policy::Tenant { name: format!("t{number}"), ..Default::default() };
        policy.tenants = (1..=MAX_TENANT_CLASSES / classes).map(name).collect();
        let (mut registry, mut generation) = (Registry::default(), Generation::zeroed());
        let tenants = tenants(&policy, &mut registry, &mut generation).unwrap();
        let [.., before, last] = &tenants[..] else { panic!("there are many") };
        assert_eq!((before.step, last.step), (counter::CLASS_BLOCK as u16, 0));
        let key = Key::Class { tenant: format!("t{}", policy.tenants.len()), class: ALL_CLASSES.into() };
        assert_eq!(registry.get(&key), Some(last.counters));
    }

    #[test]
    fn a_class_that_comes_later_has_counters_where_there_is_room() {
        let mut policy = crate::status::tests::policy();
        let name = |name: &str| crate::policy::Tenant { name: name.into(), ..Default::default() };
        policy.tenants = vec![name("a"), name("b")];
        let mut registry = Registry::default();
        tenants(&policy, &mut registry, &mut Generation::zeroed()).unwrap();
        policy.classes.insert(1, crate::policy::Class { name: "late".into(), ..policy.classes[0].clone() });
        let tables = crate::compile::compile(&policy, &mut registry).unwrap();
        let model = crate::model::Model::new(&tables);
        for (number, tenant) in ["", "a", "b"].into_iter().enumerate() {
            for (class, of) in policy.classes.iter().enumerate() {
                let key = Key::Class { tenant: tenant.into(), class: of.name.clone() };
                let found = lanekeeper_common::classify::counters(&model, number as u16, class as u16);
                assert_eq!(registry.get(&key), Some(found), "{key:?}");
            }
        }
        assert!(tables.tenants.iter().all(|tenant| tenant.scattered == 1));
    }

    #[test]
    fn as_many_tenants_as_there_may_be_have_a_source_each() {
        let mut policy = crate::status::tests::policy();
        let own = |number: u32| crate::policy::Tenant {
            name: format!("t{number}"),
            sources: vec![
                IpNet::new(std::net::Ipv4Addr::from(number << 9).into(), 24).unwrap(),
                IpNet::new(std::net::Ipv6Addr::from(u128::from(number) << 81).into(), 48).unwrap(),
            ],
            ..Default::default()
        };
        policy.tenants = (1..MAX_TENANTS as u32).map(own).collect();
        let mut generation = Generation::zeroed();
        tenants(&policy, &mut Registry::default(), &mut generation).unwrap();
        let number = |address: u32| generation.tenants4.numbers[generation.tenants4.place(address)];
        let last = MAX_TENANTS as u32 - 1;
        assert_eq!([0, 1 << 9, last << 9, (last << 9) + 255].map(number), [0, 1, last as u16, last as u16]);
        assert_eq!([(1 << 9) - 1, (1 << 9) + 256, (last << 9) + 256, u32::MAX].map(number), [0; 4]);
        assert_eq!(generation.tenants6.numbers[generation.tenants6.place([u64::from(last) << 17, 7])], last as u16);
    }
}
