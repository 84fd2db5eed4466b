//! Tenants.

use crate::config::caution::Caution;
use crate::config::document::{self, Document};
use crate::config::findings::Findings;
use crate::config::problem::Problem;
use crate::policy::Tenant;

/// Every tenant; one without traffic is an error.
pub fn resolve(document: &Document, findings: &mut Findings<'_>) -> Vec<Tenant> {
    let mut tenants = Vec::with_capacity(document.tenants.len());
    for (at, tenant) in document.tenants.iter().enumerate() {
        warn_shadowed(&document.tenants[..at], tenant, findings);
        if tenant.bare {
            findings.problem(tenant.spot, Problem::EmptyTenant { object: tenant.object.clone() });
        }
        tenants.push(Tenant {
            name: tenant.name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
            interfaces: tenant.interfaces.iter().map(|interface| interface.value.clone()).collect(),
            sources: tenant.sources.iter().map(|source| source.value).collect(),
            ..Tenant::default()
        });
    }
    tenants
}

/// Warns of interfaces and sources that an earlier tenant has whole.
fn warn_shadowed(before: &[document::Tenant], tenant: &document::Tenant, findings: &mut Findings<'_>) {
    let mut caution = |spot, what: String, first: &document::Tenant| {
        let (object, before) = (tenant.object.clone(), first.object.clone());
        findings.caution(spot, Caution::TenantShadowed { object, what, before });
    };
    for interface in &tenant.interfaces {
        let has = |other: &&document::Tenant| other.interfaces.iter().any(|theirs| theirs.value == interface.value);
        if let Some(first) = before.iter().find(has) {
            caution(interface.spot, format!("interface {}", interface.value), first);
        }
    }
    for source in &tenant.sources {
        let has = |other: &&document::Tenant| other.sources.iter().any(|theirs| theirs.value.contains(&source.value));
        if let Some(first) = before.iter().find(has) {
            caution(source.spot, format!("source {}", source.value), first);
        }
    }
}
