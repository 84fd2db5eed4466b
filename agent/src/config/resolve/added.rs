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
    for (key, spot) in document.others() {
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
