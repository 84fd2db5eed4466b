//! From the file's shape to a [`Policy`]: names become indices, and everything that has to fit together is checked.
//!
//! Each check goes on with what is sound, so that one error does not hide another; the policy is used only if there was
//! none.

mod added;
mod classes;
mod files;
mod host;
mod mark;
mod names;
mod ports;
mod reach;
mod rules;
mod tenants;
mod tunnels;
mod web;

use std::path::PathBuf;

use super::document::Document;
use super::findings::{Findings, Spot};
use super::problem::Problem;
use super::{Facts, Source};
use crate::policy::{ClassIndex, Policy};
pub use added::added;
use names::Names;

/// What the operator wants; of no use if `findings` has a problem afterwards.
pub fn resolve(document: &Document, sources: &[Source], facts: &Facts, findings: &mut Findings<'_>) -> Policy {
    let class_names = Names::gather(document.classes.iter().map(|class| (&class.name, &class.object)), findings);
    let tenant_names = Names::gather(document.tenants.iter().map(|tenant| (&tenant.name, &tenant.object)), findings);
    let tunnel_names = Names::gather(document.tunnels.iter().map(|tunnel| (&tunnel.name, &tunnel.object)), findings);
    let mark_mask = mark::resolve(document, findings);
    let mark_outer = mark::outer(document, mark_mask, findings);
    let classes = classes::resolve(document, &class_names, findings);
    let tenants = tenants::resolve(document, &class_names, &tunnel_names, findings);
    let default_class = default_class(document, &class_names, findings);
    let rules = rules::resolve(document, &class_names, &tenant_names, mark_mask, findings);
    let tunnels = tunnels::resolve(document, &class_names, &classes, mark_mask, sources, findings);
    let ports = ports::resolve(document, mark_mask, findings);
    let mark_sockets = host::mark_sockets(document, mark_mask, findings);
    files::check(document, sources, facts, findings);
    let metrics_listen = match &document.metrics {
        Some(metrics) => metrics.listen.as_ref().map_or(Some(METRICS), |listen| listen.value),
        None => Some(METRICS),
    };
    web::check(document, facts, metrics_listen, findings);
    let policy = Policy {
        mark_mask,
        mark_outer,
        metrics_listen,
        web_config: document.web_config().map(|file| files::resolve(sources, file)),
        latency_every: document
            .metrics
            .as_ref()
            .and_then(|metrics| metrics.latency_every.as_ref())
            .map(|every| every.value),
        vici: match document.ike.as_ref().and_then(|ike| ike.vici.as_ref()) {
            Some(vici) => files::resolve(sources, vici),
            None => PathBuf::from(VICI),
        },
        memory_limit: document.limits.as_ref().and_then(|limits| limits.memory.as_ref()).map(|memory| memory.value),
        mark_sockets,
        missing: host::missing(document),
        classes,
        tunnels,
        rules,
        default_class: default_class.unwrap_or_default(),
        tenants,
        ports,
    };
    reach::check(document, &policy, default_class, findings);
    policy
}

/// Where `/metrics` and the page are served unless the file says otherwise.
const METRICS: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9738);

/// Where charon listens unless the file says otherwise.
const VICI: &str = crate::policy::DEFAULT_VICI;

fn default_class(document: &Document, names: &Names<'_>, findings: &mut Findings<'_>) -> Option<ClassIndex> {
    match &document.default {
        Some(default) => {
            let class = default.class.as_ref()?;
            names.find(class, "[default]", "class", "classes", findings).map(ClassIndex)
        }
        None => match names.index("default") {
            Some(index) => Some(ClassIndex(index)),
            None => {
                findings.problem(Spot::default(), Problem::NoDefault);
                None
            }
        },
    }
}
