//! Rules that name an interface or a cgroup which this machine has not: a slip, unless the file says that they come later.

use std::collections::BTreeSet;

use super::Error;
use crate::config::nearest::nearest;
use crate::config::{Errors, Finding, Place};
use crate::kernel::cgroups::Hierarchy;
use crate::policy::{Missing, Policy, Rule};

/// Refuses rules that are to be put in place now, where `missing` of `[host]` does.
pub fn check(policy: &Policy, rules: &[Rule]) -> Result<(), Error> {
    match policy.missing {
        Missing::Wait => Ok(()),
        Missing::Refuse => {
            let found = absent(policy, rules, &There::look(rules)?);
            if found.0.is_empty() { Ok(()) } else { Err(Error::Config(found)) }
        }
    }
}

/// What this machine has of what rules may name.
#[derive(Debug, Default)]
struct There {
    interfaces: BTreeSet<String>,
    /// Of those that rules name.
    cgroups: BTreeSet<String>,
}

impl There {
    fn look(rules: &[Rule]) -> Result<Self, Error> {
        let all = nix::net::if_::if_nameindex().map_err(Error::Interfaces)?;
        let interfaces = all.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect();
        let named: BTreeSet<&String> = rules.iter().flat_map(|rule| &rule.cgroup).collect();
        let hierarchy = if named.is_empty() { None } else { Hierarchy::find() };
        let is_there = |path: &&String| hierarchy.as_ref().is_some_and(|hierarchy| hierarchy.id(path).is_some());
        Ok(Self { interfaces, cgroups: named.into_iter().filter(is_there).cloned().collect() })
    }
}

/// Every rule that names something else, at its place. Devices of tunnels are made with the list.
fn absent(policy: &Policy, rules: &[Rule], there: &There) -> Errors {
    let mut own: BTreeSet<String> = policy.tunnels.iter().map(|tunnel| tunnel.device.name.clone()).collect();
    own.extend(policy.tunnels.iter().flat_map(|tunnel| tunnel.devices()).map(|(name, _)| name));
    let has = |interface: &str| there.interfaces.contains(interface) || own.contains(interface);
    let mut errors = Vec::new();
    for rule in rules {
        let mut report = |what: &str, name: &str, cure: String| {
            let message = format!("{}: {what} {name:?} is not on this machine", rule.label());
            let help =
                format!("{cure}; or write missing = \"wait\" in [host]: then nothing matches it until it is there");
            errors.push(Finding { place: Place::read(&rule.place), message, help: Some(help) });
        };
        for name in rule.interface.iter().filter(|name| !has(name)) {
            let known = there.interfaces.iter().map(String::as_str).chain(own.iter().map(String::as_str));
            let cure = match nearest(name, known) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "make it first; `ip link` lists what is there".to_owned(),
            };
            report("interface", name, cure);
        }
        for path in rule.cgroup.iter().filter(|path| !there.cgroups.contains(*path)) {
            report("cgroup", path, "start what it belongs to first; `systemd-cgls` lists what is there".to_owned());
        }
    }
    Errors(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const FILE: &str = r#"
        [[class]]
        name = "default"
        [[tunnel]]
        name = "branch-7"
        local = "192.0.2.1"
        remote = "192.0.2.2"
        classes = ["default"]
        device = { type = "xfrm", name = "lk-branch7", if-id = 42 }
        ike = { local-id = "a", remote-id = "b", auth = { psk-file = "psk" } }
        [[rule]]
        name = "phones"
        class = "default"
        interface = ["lan0", "lk-branch7", "lan00", "ppp0"]
        [[rule]]
        class = "default"
        cgroup = ["/", "/backup.service"]
    "#;

    fn there() -> There {
        There { interfaces: ["lan0".to_owned()].into(), cgroups: ["/".to_owned()].into() }
    }

    #[test]
    fn what_is_not_there_is_said_at_its_rule_with_the_way_out() {
        let policy = config::parse_text("gw.toml", FILE).unwrap().policy;
        let found = absent(&policy, &policy.rules, &there());
        let wait = "; or write missing = \"wait\" in [host]: then nothing matches it until it is there";
        let said = format!(
            "gw.toml:11:9: error: rule \"phones\": interface \"lan00\" is not on this machine\n    did you mean \"lan0\"?{wait}\n\
             gw.toml:11:9: error: rule \"phones\": interface \"ppp0\" is not on this machine\n    \
             make it first; `ip link` lists what is there{wait}\n\
             gw.toml:15:9: error: this rule: cgroup \"/backup.service\" is not on this machine\n    \
             start what it belongs to first; `systemd-cgls` lists what is there{wait}"
        );
        assert_eq!(found.to_string().trim_end(), said);
    }

    #[test]
    fn a_file_may_wait_for_them() {
        for (missing, refused) in [("", true), ("missing = \"refuse\"", true), ("missing = \"wait\"", false)] {
            let file = format!("{FILE}[host]\n{missing}\n");
            let policy = config::parse_text("gw.toml", &file).unwrap().policy;
            assert_eq!(check(&policy, &policy.rules).is_err(), refused, "{missing}");
        }
    }
}
