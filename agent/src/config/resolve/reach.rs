//! Classes that packets get, against the tunnels that they may take: a tenant that has tunnels of its own takes those, all
//! others take the ones that are nobody's own.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::document::Document;
use crate::config::findings::{Findings, Spot};
use crate::config::problem::Problem;
use crate::policy::{ClassIndex, Fallback, Policy, Rule, TenantIndex, TunnelIndex};

/// Those whose tunnels are the same ones: a tenant with its own, or everybody else.
type Realm = Option<TenantIndex>;

struct Reach<'p> {
    policy: &'p Policy,
    tunnels: BTreeMap<Realm, Vec<TunnelIndex>>,
}

/// Rules and defaults lead to classes that some tunnel in reach carries; a tunnel that drops them is worth a warning.
pub fn check(document: &Document, policy: &Policy, default_class: Option<ClassIndex>, findings: &mut Findings<'_>) {
    // Where a tunnel names a class that does not exist, its list says nothing for sure; the same for a tenant's tunnels.
    let known = |tunnel: usize| document.tunnels[tunnel].classes.len() == policy.tunnels[tunnel].classes.len();
    let tied = |tenant: usize| document.tenants[tenant].tunnels.len() == policy.tenants[tenant].tunnels.len();
    if !(0..policy.tunnels.len()).all(known) || !(0..policy.tenants.len()).all(tied) {
        return;
    }
    let reach = Reach::of(policy);
    let mut used: BTreeMap<Realm, BTreeSet<ClassIndex>> = BTreeMap::new();
    let mut lead = |spot: Spot, object: &str, realm: Realm, class: ClassIndex| {
        if reach.carries(realm, class) {
            used.entry(realm).or_default().insert(class);
        } else if let Some(problem) = reach.lacks(object, realm, class) {
            findings.problem(spot, problem);
        }
    };
    for (rule, entry) in policy.rules.iter().zip(&document.rules) {
        let Some(class) = &entry.class else { continue };
        // An unknown class has been reported, and stands as the first one here.
        if policy.classes.get(rule.class.0).is_some_and(|known| known.name == class.value) {
            lead(class.spot, &entry.object, reach.realm(rule.tenant), rule.class);
        }
    }
    // Realms that [default] is for.
    let mut plain = BTreeSet::from([None]);
    for (at, (tenant, entry)) in policy.tenants.iter().zip(&document.tenants).enumerate() {
        let realm = reach.realm(Some(TenantIndex(at)));
        match (tenant.default_class, &entry.default) {
            (Some(class), Some(written)) => lead(written.spot, &entry.object, realm, class),
            (_, _) => {
                plain.insert(realm);
            }
        }
    }
    if let Some(class) = default_class {
        let at = document.default.as_ref().and_then(|default| default.class.as_ref());
        let by_name = || document.classes.get(class.0).map(|class| class.spot).unwrap_or_default();
        if plain.iter().any(|realm| reach.carries(*realm, class)) {
            for realm in plain {
                used.entry(realm).or_default().insert(class);
            }
        } else if policy.tunnels.is_empty() || plain.iter().any(|realm| reach.tunnels.contains_key(realm)) {
            lead(at.map_or_else(by_name, |at| at.spot), "[default]", None, class);
        }
    }
    for (realm, classes) in &used {
        for tunnel in reach.tunnels.get(realm).into_iter().flatten() {
            super::tunnels::warn_blocked(document, policy, *tunnel, classes, findings);
        }
    }
}

/// Rules that are added to the policy lead to classes that some tunnel in reach carries.
pub fn check_rules(document: &Document, rules: &[Rule], policy: &Policy, findings: &mut Findings<'_>) {
    let reach = Reach::of(policy);
    for (rule, entry) in rules.iter().zip(&document.rules) {
        let Some(class) = &entry.class else { continue };
        // An unknown class has been reported, and stands as the first one here.
        let known = policy.classes.get(rule.class.0).is_some_and(|known| known.name == class.value);
        let realm = reach.realm(rule.tenant);
        if known
            && !reach.carries(realm, rule.class)
            && let Some(problem) = reach.lacks(&entry.object, realm, rule.class)
        {
            findings.problem(class.spot, problem);
        }
    }
}

impl<'p> Reach<'p> {
    fn of(policy: &'p Policy) -> Self {
        let owners = policy.owners();
        let mut tunnels: BTreeMap<Realm, Vec<TunnelIndex>> = BTreeMap::new();
        for tunnel in (0..policy.tunnels.len()).map(TunnelIndex) {
            tunnels.entry(owners.get(&tunnel).copied()).or_default().push(tunnel);
        }
        Self { policy, tunnels }
    }

    fn realm(&self, tenant: Option<TenantIndex>) -> Realm {
        tenant.filter(|tenant| !self.policy.tenants[tenant.0].tunnels.is_empty())
    }

    /// Itself or by a class that it falls back to: a tunnel of one lane carries all of them in this way.
    fn carries(&self, realm: Realm, class: ClassIndex) -> bool {
        let has = |class: ClassIndex| {
            let mut tunnels = self.tunnels.get(&realm).into_iter().flatten();
            tunnels.any(|tunnel| self.policy.tunnels[tunnel.0].classes.contains(&class))
        };
        let next = |class: &ClassIndex| match self.policy.classes.get(class.0)?.fallback {
            Fallback::Class(next) => Some(next),
            Fallback::Block | Fallback::Clear => None,
        };
        // A circle has been reported; it is at most as long as there are classes.
        std::iter::successors(Some(class), next).take(self.policy.classes.len() + 1).any(has)
    }

    /// What is said where they do not carry it; nothing of a class that has been reported.
    fn lacks(&self, object: &str, realm: Realm, class: ClassIndex) -> Option<Problem> {
        let class = self.policy.classes.get(class.0)?.name.clone();
        let whose = match realm {
            Some(tenant) => format!(" of tenant \"{}\"", self.policy.tenants[tenant.0].name),
            None if self.tunnels.keys().any(Option::is_some) => " that is no tenant's own".to_owned(),
            None => String::new(),
        };
        let named = |tunnel: &TunnelIndex| format!("\"{}\"", self.policy.tunnels[tunnel.0].name);
        let tunnels = self.tunnels.get(&realm).into_iter().flatten().map(named).collect();
        Some(Problem::NotCarried { object: object.to_owned(), class, whose, tunnels })
    }
}
