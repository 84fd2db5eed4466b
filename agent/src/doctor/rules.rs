//! Others' `ip rule`s that look at marks.

use super::{Finding, Scope};

/// A rule with a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Of IPv6.
    pub v6: bool,
    /// Its preference.
    pub priority: u32,
    /// FRA_FWMARK.
    pub mark: u32,
    /// FRA_FWMASK.
    pub mask: u32,
    /// It is for all other marks.
    pub inverted: bool,
    /// What it does: `lookup 100`, `unreachable`.
    pub action: String,
}

impl Rule {
    /// Whether it fits these of our bits, whatever the others are.
    fn hits(&self, mark: u32, ours: u32) -> bool {
        (mark ^ self.mark) & self.mask & ours == 0
    }
}

/// ESP packets carry their lane's mark through the outer route lookup: a rule for one of our marks sends that lane's packets
/// elsewhere. Where there are ports, rules on our bits alone are the operator's own way to choose by class.
pub fn findings(rules: &[Rule], scope: &Scope) -> Vec<Finding> {
    let Some(ours) = scope.mask else { return Vec::new() };
    let meant = |rule: &Rule| !scope.ports.is_empty() && rule.mask & !ours == 0;
    let marks = || scope.tunnels.iter().flat_map(|tunnel| &tunnel.marks);
    let diverts = |rule: &&Rule| marks().any(|mark| rule.hits(*mark, ours) != rule.hits(0, ours));
    let clashing = rules.iter().filter(diverts).filter(|rule| !meant(rule));
    clashing
        .map(|rule| {
            let Rule { v6, priority, mark, mask, inverted, action } = rule;
            let (family, not) = (if *v6 { "-6" } else { "-4" }, if *inverted { "not " } else { "" });
            let problem = format!(
                "`ip {family} rule` {priority}, {not}fwmark {mark:#x}/{mask:#x} {action}, looks at bits of our mask {ours:#x}: ESP \
                 packets carry the mark of their lane, and go by it"
            );
            // A shell takes what follows the command for a remark.
            let cure = format!(
                "ip {family} rule del pref {priority} {not}fwmark {mark:#x}/{mask:#x} {action} # if it is needed, give it, or \
                 [mark] mask, other bits"
            );
            Finding::run("rule", problem, cure)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{said, scope};
    use super::*;

    fn rule(mark: u32, mask: u32) -> Rule {
        Rule { v6: false, priority: 100, mark, mask, inverted: false, action: "lookup 7".into() }
    }

    #[test]
    fn a_rule_on_our_bits_is_said_with_what_deletes_it() {
        let rules = [
            rule(0x2, 0xff),
            rule(0x100, 0xf00),
            Rule { v6: true, inverted: true, ..rule(0x1, 0x1) },
            rule(0x80, 0x80),
            rule(0x0, 0xf00),
        ];
        let said = said(&findings(&rules, &scope()));
        assert_eq!(said.len(), 2);
        assert_eq!(
            said[0],
            "`ip -4 rule` 100, fwmark 0x2/0xff lookup 7, looks at bits of our mask 0xff: ESP packets carry the mark of their \
             lane, and go by it -> ip -4 rule del pref 100 fwmark 0x2/0xff lookup 7 # if it is needed, give it, or [mark] mask, \
             other bits"
        );
        assert!(said[1].contains("-> ip -6 rule del pref 100 not fwmark 0x1/0x1 lookup 7 #"), "{}", said[1]);
    }

    #[test]
    fn where_ports_mark_by_class_rules_on_our_bits_alone_are_meant() {
        let with_port = Scope { ports: vec![("lan0".into(), false)], ..scope() };
        assert_eq!(findings(&[rule(2, 0xff)], &with_port), []);
        assert_eq!(findings(&[rule(2, 0xffff_ffff)], &with_port).len(), 1);
        assert_eq!(findings(&[rule(2, 0xff)], &Scope { mask: None, ..scope() }), []);
    }
}
