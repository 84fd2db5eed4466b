//! Tenants.

use crate::config::document::Document;
use crate::config::findings::Findings;
use crate::config::problem::Problem;
use crate::policy::Tenant;

/// Every tenant; one without traffic is an error.
pub fn resolve(document: &Document, findings: &mut Findings<'_>) -> Vec<Tenant> {
    let mut tenants = Vec::with_capacity(document.tenants.len());
    for tenant in &document.tenants {
        if tenant.bare {
            findings.problem(tenant.spot, Problem::EmptyTenant { object: tenant.object.clone() });
        }
        tenants.push(Tenant {
            name: tenant.name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
            interfaces: tenant.interfaces.iter().map(|interface| interface.value.clone()).collect(),
            sources: tenant.sources.iter().map(|source| source.value).collect(),
        });
    }
    tenants
}
