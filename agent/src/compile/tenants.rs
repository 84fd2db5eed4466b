//! Tenants -> which packets are whose: by source, in elementary intervals, by ingress interface and by VLAN. And what each
//! has of its own.

use std::collections::BTreeSet;

use ipnet::IpNet;
use lanekeeper_common::abi::{Generation, MAX_INTERVALS, OWN_TUNNEL, Tenant, counter};

use super::registry::{Key, Registry};
use super::series::{ALL_CLASSES, counts_by_class};
use super::{Error, bounds, halves, limit};
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
    // IPv4 addresses end where a search over 32 bits does.
    let mut four = sweep(&covers(policy, true));
    four.retain(|(first, _)| *first <= u32::MAX.into());
    let six = sweep(&covers(policy, false));
    for intervals in [&four, &six] {
        limit("intervals between the ends of tenants' source prefixes", intervals.len(), MAX_INTERVALS)?;
    }
    // A search for the last address may stop at any unused place: there it finds what the last interval has.
    let filled = |intervals: &[Interval]| intervals.last().map_or(0, |(_, tenant)| *tenant);
    generation.tenants4.starts.fill(u32::MAX);
    generation.tenants4.numbers.fill(filled(&four));
    for (place, (first, tenant)) in four.iter().enumerate() {
        generation.tenants4.starts[place] = *first as u32;
        generation.tenants4.numbers[place] = *tenant;
    }
    generation.tenants6.starts.fill([u64::MAX; 2]);
    generation.tenants6.numbers.fill(filled(&six));
    for (place, (first, tenant)) in six.iter().enumerate() {
        generation.tenants6.starts[place] = halves(*first);
        generation.tenants6.numbers[place] = *tenant;
    }
    Ok(())
}

/// An inclusive range of addresses and the tenant whose it is.
#[derive(Debug, Clone, Copy)]
struct Cover {
    first: u128,
    last: u128,
    tenant: u16,
}

fn covers(policy: &Policy, v4: bool) -> Vec<Cover> {
    let mut covers = Vec::new();
    for (place, tenant) in policy.tenants.iter().enumerate() {
        let addresses = tenant.tunnels.iter().flat_map(|tunnel| policy.tunnels[tunnel.0].all_addresses());
        let own = addresses.map(|address| IpNet::from(address.addr()));
        for prefix in tenant.sources.iter().copied().chain(own).filter(|prefix| matches!(prefix, IpNet::V4(_)) == v4) {
            let (first, last) = bounds(&prefix);
            covers.push(Cover { first, last, tenant: place as u16 + 1 });
        }
    }
    covers
}

/// Where an interval begins, and its first tenant or 0.
type Interval = (u128, u16);

/// Cuts the addresses from 0 up where anything begins or ends.
fn sweep(covers: &[Cover]) -> Vec<Interval> {
    // (where, begins?, cover): only the state after all events of a place counts.
    let mut events: Vec<(u128, bool, usize)> = Vec::new();
    for (number, cover) in covers.iter().enumerate() {
        events.push((cover.first, true, number));
        if let Some(after) = cover.last.checked_add(1) {
            events.push((after, false, number));
        }
    }
    events.sort_unstable();
    let mut open: BTreeSet<(u16, usize)> = BTreeSet::new();
    let mut intervals: Vec<Interval> = vec![(0, 0)];
    for (place, (at, begins, number)) in events.iter().enumerate() {
        let of = (covers[*number].tenant, *number);
        if *begins {
            open.insert(of)
        } else {
            open.remove(&of)
        };
        if events.get(place + 1).is_some_and(|next| next.0 == *at) {
            continue;
        }
        let tenant = open.first().map_or(0, |(tenant, _)| *tenant);
        match intervals.last_mut() {
            Some(last) if last.0 == *at => last.1 = tenant,
            Some(last) if last.1 == tenant => {}
            _ => intervals.push((*at, tenant)),
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::{MAX_TENANT_CLASSES, MAX_TENANTS};

    use super::*;

    fn cover(first: u128, last: u128, tenant: u16) -> Cover {
        Cover { first, last, tenant }
    }

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

    #[test]
    fn nothing_is_one_interval() {
        assert_eq!(sweep(&[]), [(0, 0)]);
    }

    #[test]
    fn the_first_tenant_wins_where_several_cover() {
        assert_eq!(
            sweep(&[cover(0, 100, 2), cover(10, 20, 1), cover(15, 18, 1)]),
            [(0, 2), (10, 1), (21, 2), (101, 0)]
        );
    }

    #[test]
    fn a_tenant_that_covers_twice_ends_with_the_last() {
        assert_eq!(sweep(&[cover(0, 10, 1), cover(5, 20, 1), cover(21, 22, 1)]), [(0, 1), (23, 0)]);
    }

    #[test]
    fn the_last_address_of_all_is_covered() {
        assert_eq!(sweep(&[cover(u128::MAX, u128::MAX, 1)]), [(0, 0), (u128::MAX, 1)]);
    }
}
