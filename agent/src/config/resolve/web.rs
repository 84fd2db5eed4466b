//! What stands between the listener and whoever reaches it.

use std::net::SocketAddr;

use crate::config::Facts;
use crate::config::caution::Caution;
use crate::config::document::Document;
use crate::config::findings::Findings;
use crate::web::{Found, Guards};

/// Says what is wrong with the web-config file, and what is odd about a listener that others reach.
pub fn check(document: &Document, facts: &Facts, listen: Option<SocketAddr>, findings: &mut Findings<'_>) {
    if let Some(Found { errors, cautions, .. }) = &facts.web {
        findings.elsewhere(errors, cautions);
    }
    let Some(metrics) = &document.metrics else { return };
    let (Some(address), Some(written)) = (listen, &metrics.listen) else { return };
    if address.ip().is_loopback() {
        return;
    }
    let guards = match (&facts.web, &metrics.web_config) {
        (Some(found), _) if !found.errors.is_empty() => return,
        (Some(found), _) => found.guards,
        // There is one, and nothing is known of it.
        (None, Some(_)) => return,
        (None, None) => Guards::default(),
    };
    if !guards.certificates && !guards.passwords {
        findings.caution(written.spot, Caution::MetricsOpen { address });
    } else if !guards.tls {
        findings.caution(written.spot, Caution::MetricsClear { address });
    }
}
