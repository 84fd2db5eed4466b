//! The naive judge: reads the policy's rules one after the other, knows nothing of tables.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use lanekeeper::policy::{ClassIndex, Policy, Rule, Tenant, TenantIndex, TunnelIndex};

use super::packet::{Packet, Part};

/// Tenant, place of the rule, class.
pub type Judgement = (Option<TenantIndex>, Option<usize>, ClassIndex);

/// Addresses, identification and IPv4's protocol, which RFC 791 and RFC 8200 say belong together, and the ingress
/// interface and VLAN, by which two tenants may use the same ones.
type Datagram = (IpAddr, IpAddr, u32, Option<u8>, Option<&'static str>, Option<u16>);

/// What it remembers of first fragments, and how many later ones it judged.
#[derive(Default)]
pub struct Oracle {
    seen: HashMap<Datagram, Judgement>,
    /// By their first one.
    pub followed: u64,
    /// Without it.
    pub unseen: u64,
}

impl Oracle {
    /// The judgement, and whether it had to do without a first fragment.
    pub fn judge(&mut self, policy: &Policy, packet: &Packet) -> (Judgement, bool) {
        if packet.broken {
            return ((None, None, policy.default_class), false);
        }
        let protocol = packet.source.is_ipv4().then_some(packet.protocol);
        let datagram = |id| (packet.source, packet.destination, id, protocol, packet.ingress, packet.vlan);
        match packet.part {
            Part::Whole => (plain(policy, packet), false),
            Part::First(id) => {
                let judgement = plain(policy, packet);
                self.seen.insert(datagram(id), judgement);
                (judgement, false)
            }
            Part::Later(id) => match self.seen.get(&datagram(id)) {
                Some(judgement) => {
                    self.followed += 1;
                    (*judgement, false)
                }
                None => {
                    self.unseen += 1;
                    (plain(policy, packet), true)
                }
            },
        }
    }
}

fn plain(policy: &Policy, packet: &Packet) -> Judgement {
    let tenant = whose(policy, packet);
    let rule = policy.rules.iter().position(|rule| rule.tenant == tenant && matches(rule, packet));
    judgement(policy, tenant, rule)
}

/// That of a tenant's packet, by the first rule that matches it.
pub fn judgement(policy: &Policy, tenant: Option<TenantIndex>, rule: Option<usize>) -> Judgement {
    let default = tenant.and_then(|tenant| policy.tenants[tenant.0].default_class).unwrap_or(policy.default_class);
    (tenant, rule, rule.map_or(default, |rule| policy.rules[rule].class))
}

/// Whose packet it is.
pub fn whose(policy: &Policy, packet: &Packet) -> Option<TenantIndex> {
    for (place, tunnel) in policy.tunnels.iter().enumerate() {
        if packet.ingress == Some(&tunnel.device.name)
            && let Some(owner) = owner(policy, place)
        {
            return Some(owner);
        }
    }
    let is_its = |tenant: &Tenant| {
        let own = tenant.tunnels.iter().flat_map(|tunnel| &policy.tunnels[tunnel.0].device.addresses);
        tenant.sources.iter().any(|prefix| prefix.contains(&packet.source))
            || own.into_iter().any(|address| address.addr() == packet.source)
            || packet.ingress.is_some_and(|name| tenant.interfaces.iter().chain(&tenant.vrfs).any(|own| own == name))
            || packet.vlan.is_some_and(|vlan| tenant.vlans.contains(&vlan))
    };
    policy.tenants.iter().position(is_its).map(TenantIndex)
}

fn owner(policy: &Policy, tunnel: usize) -> Option<TenantIndex> {
    policy.tenants.iter().position(|tenant| tenant.tunnels.contains(&TunnelIndex(tunnel))).map(TenantIndex)
}

/// Whether a tenant's packets, or nobody's, may take a tunnel.
pub fn reaches(policy: &Policy, tenant: Option<TenantIndex>, tunnel: usize) -> bool {
    match owner(policy, tunnel) {
        Some(owner) => tenant == Some(owner),
        None => tenant.is_none_or(|tenant| policy.tenants[tenant.0].tunnels.is_empty()),
    }
}

/// Whether the rule matches the packet by what that has itself.
pub fn matches(rule: &Rule, packet: &Packet) -> bool {
    let within = |prefixes: &[IpNet], address| prefixes.is_empty() || prefixes.iter().any(|p| p.contains(address));
    let port = |ranges: &[(u16, u16)], port: Option<u16>| {
        ranges.is_empty() || port.is_some_and(|port| ranges.iter().any(|(low, high)| (*low..=*high).contains(&port)))
    };
    within(&rule.source, &packet.source)
        && within(&rule.destination, &packet.destination)
        && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && port(&rule.source_port, packet.ports.map(|ports| ports.0))
        && port(&rule.destination_port, packet.ports.map(|ports| ports.1))
        && (rule.dscp.is_empty() || rule.dscp.contains(&packet.dscp))
        && (rule.interface.is_empty() || packet.ingress.is_some_and(|name| rule.interface.iter().any(|i| i == name)))
        && (rule.vlan.is_empty() || packet.vlan.is_some_and(|vlan| rule.vlan.contains(&vlan)))
        && (rule.length.is_empty() || rule.length.iter().any(|(low, high)| (*low..=*high).contains(&packet.length)))
        && rule.tcp_flags.is_none_or(|(flags, mask)| packet.tcp_flags.is_some_and(|own| own & mask == flags))
        && (rule.icmp_type.is_empty() || packet.icmp_type.is_some_and(|own| rule.icmp_type.contains(&own)))
        && rule.fragment.is_none_or(|fragment| fragment != matches!(packet.part, Part::Whole))
        && rule.mark.is_none_or(|(mark, mask)| packet.mark & mask == mark)
        && (rule.cgroup.is_empty()
            || packet.cgroup.is_some_and(|own| {
                let below = |above: &String| above == "/" || own == above || own.starts_with(&format!("{above}/"));
                rule.cgroup.iter().any(below)
            }))
}
