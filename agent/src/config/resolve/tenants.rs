//! Tenants.

use std::collections::HashMap;
use std::hash::Hash;

use ipnet::IpNet;

use super::names::Names;
use super::rules::{no_twice, values};
use crate::config::caution::Caution;
use crate::config::document::{self, Document};
use crate::config::findings::{At, Findings};
use crate::config::problem::Problem;
use crate::policy::{ClassIndex, Tenant, TunnelIndex};

/// Every tenant; one without traffic is an error.
pub fn resolve(
    document: &Document,
    classes: &Names<'_>,
    tunnels: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Tenant> {
    let mut tenants = Vec::with_capacity(document.tenants.len());
    let (mut taken, mut owners) = (Taken::default(), HashMap::new());
    for tenant in &document.tenants {
        taken.warn(tenant, findings);
        if tenant.bare {
            findings.problem(tenant.spot, Problem::EmptyTenant { object: tenant.object.clone() });
        }
        tenants.push(Tenant {
            name: tenant.name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
            interfaces: values(&tenant.interfaces),
            vlans: values(&tenant.vlans),
            vrfs: values(&tenant.vrfs),
            sources: values(&tenant.sources),
            default_class: {
                let name = tenant.default.as_ref();
                let find = |name| classes.find(name, &tenant.object, "class", "classes", findings);
                name.and_then(find).map(ClassIndex)
            },
            tunnels: own_tunnels(tenant, tunnels, &mut owners, findings),
        });
    }
    tenants
}

/// The tunnels of one tenant; `owners` has those of the tenants before it.
fn own_tunnels<'d>(
    tenant: &'d document::Tenant,
    names: &Names<'_>,
    owners: &mut HashMap<usize, (&'d At<String>, &'d str)>,
    findings: &mut Findings<'_>,
) -> Vec<TunnelIndex> {
    no_twice(&tenant.tunnels, &tenant.object, "tunnels", String::clone, findings);
    let mut own = Vec::new();
    for name in &tenant.tunnels {
        let Some(tunnel) = names.find(name, &tenant.object, "tunnel", "tunnels", findings) else { continue };
        match owners.get(&tunnel) {
            Some((first, other)) if *other != tenant.object => {
                let (object, tunnel) = (tenant.object.clone(), name.value.clone());
                let (other, first) = ((*other).to_owned(), findings.place(first.spot));
                findings.problem(name.spot, Problem::TunnelOwned { object, tunnel, other, first });
            }
            Some(_) => {}
            None => {
                owners.insert(tunnel, (name, &tenant.object));
                own.push(TunnelIndex(tunnel));
            }
        }
    }
    own
}

/// What the tenants before have, each with the first of them.
#[derive(Default)]
struct Taken<'d> {
    interfaces: HashMap<&'d str, &'d str>,
    vlans: HashMap<u16, &'d str>,
    vrfs: HashMap<&'d str, &'d str>,
    sources: HashMap<IpNet, &'d str>,
}

impl<'d> Taken<'d> {
    /// Warns of what an earlier tenant has whole, and adds the rest.
    fn warn(&mut self, tenant: &'d document::Tenant, findings: &mut Findings<'_>) {
        let mut found = Vec::new();
        let own = tenant.object.as_str();
        for interface in &tenant.interfaces {
            let before = take(&mut self.interfaces, interface.value.as_str(), own);
            found.push((interface.spot, before, format!("interface {}", interface.value)));
        }
        for vlan in &tenant.vlans {
            found.push((vlan.spot, take(&mut self.vlans, vlan.value, own), format!("vlan {}", vlan.value)));
        }
        for vrf in &tenant.vrfs {
            let before = take(&mut self.vrfs, vrf.value.as_str(), own);
            found.push((vrf.spot, before, format!("vrf {}", vrf.value)));
        }
        for source in &tenant.sources {
            let around = std::iter::successors(Some(source.value), |prefix| prefix.supernet());
            let before = around.filter_map(|prefix| self.sources.get(&prefix).copied()).find(|before| *before != own);
            self.sources.entry(source.value).or_insert(own);
            found.push((source.spot, before, format!("source {}", source.value)));
        }
        for (spot, before, what) in found {
            if let Some(before) = before {
                let (object, before) = (tenant.object.clone(), before.to_owned());
                findings.caution(spot, Caution::TenantShadowed { object, what, before });
            }
        }
    }
}

/// Who has it, unless that is oneself from now on.
fn take<'d, K: Eq + Hash>(taken: &mut HashMap<K, &'d str>, key: K, own: &'d str) -> Option<&'d str> {
    Some(*taken.entry(key).or_insert(own)).filter(|owner| *owner != own)
}
