//! Which packets somebody wants to see: of each kind of condition one must hold, and all kinds that are asked for.

use ipnet::IpNet;
use lanekeeper_common::verdict::{BlockReason, ParseReason};
use serde::{Deserialize, Serialize};

use super::Sighting;
use crate::config::nearest;
use crate::explain::line::rule_name;
use crate::policy::Policy;

/// The reason of what takes another class's lane.
const FALLBACK: &str = "fallback";
/// Any reason for which a packet is dropped.
const BLOCKED: &str = "blocked";
/// Any reason for which one was not wholly read.
const UNPARSED: &str = "unparsed";

/// Names as the file has them; all packets without any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of the packet's own class, before any fallback.
    pub class: Vec<String>,
    /// Whose it is.
    pub tenant: Vec<String>,
    /// Into which it goes, or out of which it comes.
    pub tunnel: Vec<String>,
    /// What decided: a name, or a place.
    pub rule: Vec<String>,
    /// `fallback`, `blocked`, `unparsed`, or the name of a reason for one of the latter two.
    pub reason: Vec<String>,
    /// Around its source.
    pub from: Vec<IpNet>,
    /// Around its destination.
    pub to: Vec<IpNet>,
}

/// All that [`Filter::reason`] takes.
fn reasons() -> impl Iterator<Item = &'static str> + Clone {
    let blocked = BlockReason::ALL.into_iter().map(BlockReason::name);
    let unparsed = ParseReason::ALL.into_iter().map(ParseReason::name);
    [FALLBACK, BLOCKED, UNPARSED].into_iter().chain(blocked).chain(unparsed)
}

impl Filter {
    /// Whether it lets everything pass.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of it the policy does not have, with the cure.
    pub fn check(&self, policy: &Policy) -> Result<(), String> {
        let rules: Vec<String> = match self.rule.is_empty() {
            true => Vec::new(),
            false => policy.rules.iter().map(rule_name).collect(),
        };
        let classes: Vec<&str> = policy.classes.iter().map(|class| class.name.as_str()).collect();
        let tenants: Vec<&str> = policy.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
        let tunnels: Vec<&str> = policy.tunnels.iter().map(|tunnel| tunnel.name.as_str()).collect();
        known("class", "classes", &self.class, &classes)?;
        known("tenant", "tenants", &self.tenant, &tenants)?;
        known("tunnel", "tunnels", &self.tunnel, &tunnels)?;
        known("rule", "rules", &self.rule, &rules.iter().map(String::as_str).collect::<Vec<_>>())?;
        known("reason", "reasons", &self.reason, &reasons().collect::<Vec<_>>())
    }

    /// Whether it is one of those.
    pub fn admits(&self, seen: &Sighting) -> bool {
        let one_of = |wanted: &[String], has: &Option<String>| {
            wanted.is_empty() || has.as_ref().is_some_and(|has| wanted.contains(has))
        };
        let within = |wanted: &[IpNet], has: Option<std::net::IpAddr>| {
            wanted.is_empty() || has.is_some_and(|has| wanted.iter().any(|prefix| prefix.contains(&has)))
        };
        let for_reason = |wanted: &String| match wanted.as_str() {
            FALLBACK => seen.fallback.is_some(),
            BLOCKED => seen.blocked.is_some(),
            UNPARSED => seen.unparsed.is_some(),
            reason => [&seen.blocked, &seen.unparsed].into_iter().flatten().any(|has| has == reason),
        };
        one_of(&self.class, &seen.class)
            && one_of(&self.tenant, &seen.tenant)
            && one_of(&self.tunnel, &seen.tunnel)
            && one_of(&self.rule, &seen.rule)
            && (self.reason.is_empty() || self.reason.iter().any(for_reason))
            && within(&self.from, seen.source)
            && within(&self.to, seen.destination)
    }
}

fn known(what: &str, all: &str, wanted: &[String], known: &[&str]) -> Result<(), String> {
    match wanted.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("no {what} {name:?}: {}", nearest::cure(name, all, known.iter().copied()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sighting::tests::sighting;
    use super::*;
    use crate::status::tests::policy;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn without_conditions_all_is_seen() {
        assert!(Filter::default().is_empty() && Filter::default().admits(&sighting()));
    }

    #[test]
    fn one_of_each_kind_must_hold_and_all_kinds() {
        let voice = Filter { class: words(&["video", "voice"]), ..Filter::default() };
        assert!(voice.admits(&sighting()) && !voice.is_empty());
        for (other, admits) in [
            (Filter { class: words(&["video"]), ..Filter::default() }, false),
            (Filter { rule: words(&["sip"]), ..voice.clone() }, true),
            (Filter { rule: words(&["rtp"]), ..voice.clone() }, false),
            (Filter { tunnel: words(&["branch-7"]), ..voice.clone() }, true),
            (Filter { tunnel: words(&["branch-8"]), ..voice.clone() }, false),
            (Filter { tenant: words(&["acme"]), ..voice.clone() }, false),
            (Filter { from: vec!["10.1.0.0/16".parse().unwrap()], ..voice.clone() }, true),
            (Filter { from: vec!["10.2.0.0/16".parse().unwrap()], ..voice.clone() }, false),
            (
                Filter { to: vec!["10.1.0.0/16".parse().unwrap(), "10.2.0.9/32".parse().unwrap()], ..voice.clone() },
                true,
            ),
            (Filter { to: vec!["2001:db8::/32".parse().unwrap()], ..voice.clone() }, false),
        ] {
            assert_eq!(other.admits(&sighting()), admits, "{other:?}");
        }
    }

    #[test]
    fn reasons_are_the_verdicts_own_and_three_for_many() {
        let seen = |fallback: Option<&str>, blocked: Option<&str>, unparsed: Option<&str>| Sighting {
            fallback: fallback.map(str::to_owned),
            blocked: blocked.map(str::to_owned),
            unparsed: unparsed.map(str::to_owned),
            ..sighting()
        };
        let of = |reason: &str| Filter { reason: words(&[reason]), ..Filter::default() };
        let fallen = seen(Some("no_lane"), None, None);
        let dropped = seen(None, Some("no_lane"), None);
        let broken = seen(None, None, Some("truncated"));
        let by = |reason: &str| [&fallen, &dropped, &broken].map(|seen| of(reason).admits(seen));
        assert_eq!(by("fallback"), [true, false, false]);
        assert_eq!(by("blocked"), [false, true, false]);
        assert_eq!(by("no_lane"), [false, true, false]);
        assert_eq!(by("tenant"), [false; 3]);
        assert_eq!(by("unparsed"), [false, false, true]);
        assert_eq!(by("truncated"), [false, false, true]);
        assert!(!of("fallback").admits(&sighting()));
        assert_eq!(reasons().count(), 12);
    }

    #[test]
    fn a_name_that_is_not_there_is_said_with_its_cure() {
        let check = |filter: Filter| filter.check(&policy());
        let class = Filter { class: words(&["voice", "vioce"]), ..Filter::default() };
        assert_eq!(check(class), Err("no class \"vioce\": did you mean \"voice\"?".to_owned()));
        let tenant = Filter { tenant: words(&["acme"]), ..Filter::default() };
        assert_eq!(check(tenant), Err("no tenant \"acme\": there are no tenants".to_owned()));
        let tunnel = Filter { tunnel: words(&["nowhere"]), ..Filter::default() };
        assert_eq!(check(tunnel), Err("no tunnel \"nowhere\": tunnels: branch-7".to_owned()));
        let rule = Filter { rule: words(&["sip"]), ..Filter::default() };
        assert_eq!(check(rule), Err("no rule \"sip\": there are no rules".to_owned()));
        let reason = Filter { reason: words(&["no-lane"]), ..Filter::default() };
        assert_eq!(check(reason), Err("no reason \"no-lane\": did you mean \"no_lane\"?".to_owned()));
        assert_eq!(check(Filter { reason: words(&["fallback", "no_lane"]), ..Filter::default() }), Ok(()));
    }
}
