//! Rules that are added to a policy that stands.

use super::names::Names;
use super::{reach, rules};
use crate::config::document::Document;
use crate::config::findings::{Findings, Spot};
use crate::config::problem::Problem;
use crate::config::source::Place;
use crate::policy::{Policy, Rule};

/// The rules of a document, which may have nothing else; of no use if `findings` has a problem afterwards.
pub fn added(document: &Document, policy: &Policy, findings: &mut Findings<'_>) -> Vec<Rule> {
    for (key, spot) in others(document) {
        findings.problem(spot, Problem::OnlyRules { key });
    }
    if document.rules.is_empty() {
        findings.problem(Spot::default(), Problem::NoRules);
    }
    let classes = Names::known(policy.classes.iter().map(|class| class.name.as_str()));
    let tenants = Names::known(policy.tenants.iter().map(|tenant| tenant.name.as_str()));
    let rules = rules::resolve(document, &classes, &tenants, policy.mark_mask, findings);
    for (rule, entry) in rules.iter().zip(&document.rules) {
        let object = || entry.object.clone();
        match &entry.name {
            None => findings.problem(entry.spot, Problem::Unnamed { object: object() }),
            Some(name) => {
                let other = policy.rules.iter().find(|other| other.name == rule.name && other.tenant == rule.tenant);
                if let Some(other) = other {
                    findings
                        .problem(name.spot, Problem::NameTaken { object: object(), first: Place::whole(&other.place) });
                }
            }
        }
    }
    reach::check_rules(document, &rules, policy, findings);
    rules
}

/// What stands in it beside rules.
fn others(document: &Document) -> Vec<(&'static str, Spot)> {
    let settings = [
        ("include", document.include.first().map(|include| include.spot)),
        ("mark", document.mark.as_ref().map(|mark| mark.spot)),
        ("metrics", document.metrics.as_ref().map(|metrics| metrics.spot)),
        ("ike", document.ike.as_ref().map(|ike| ike.spot)),
        ("limits", document.limits.as_ref().map(|limits| limits.spot)),
        ("default", document.default.as_ref().map(|default| default.spot)),
        ("class", document.classes.first().map(|class| class.spot)),
        ("tunnel", document.tunnels.first().map(|tunnel| tunnel.spot)),
        ("tenant", document.tenants.first().map(|tenant| tenant.spot)),
    ];
    settings.into_iter().filter_map(|(key, spot)| Some((key, spot?))).collect()
}
