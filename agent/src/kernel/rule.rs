//! Rules of our protocol id by rtnetlink.

use std::collections::BTreeSet;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::{Failure, Netlink};
use crate::plan::{AROUND_RULES, Asks, Mark, PROTOCOL, Rule, Table};

pub(super) async fn dump(netlink: &Netlink) -> Result<Vec<RouteNetlinkMessage>, Failure> {
    let mut messages = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RuleMessage::default();
        message.header.family = family;
        match netlink.dump_route(RouteNetlinkMessage::GetRule(message)).await {
            // A kernel without policy routing has none.
            Err(failure) if failure.is(libc::EOPNOTSUPP) => {}
            answer => messages.extend(answer?),
        }
    }
    Ok(messages)
}

pub(super) fn read_all(messages: &[RouteNetlinkMessage]) -> BTreeSet<Rule> {
    let of = |message: &RouteNetlinkMessage| match message {
        RouteNetlinkMessage::NewRule(message) => read(message),
        _ => None,
    };
    messages.iter().filter_map(of).collect()
}

pub(super) async fn add(netlink: &Netlink, rule: Rule) -> Result<(), Failure> {
    netlink.route(RouteNetlinkMessage::NewRule(message(rule)), NLM_F_CREATE | NLM_F_EXCL).await
}

pub(super) async fn remove(netlink: &Netlink, rule: Rule) -> Result<(), Failure> {
    netlink.route(RouteNetlinkMessage::DelRule(message(rule)), 0).await
}

/// Whether it is ours.
pub(super) fn is_ours(message: &RuleMessage) -> bool {
    message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)))
}

fn message(rule: Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority()),
        RuleAttribute::Table(rule.table().number()),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    match rule.asks {
        Asks::Longer | Asks::LongerThanMarked => {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(rule.length.into()));
        }
        Asks::Table { but: 0 } => {}
        Asks::Table { but } => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.extend([RuleAttribute::FwMark(but), RuleAttribute::FwMask(but)]);
        }
        Asks::Marked { mark, .. } => {
            message.attributes.extend([RuleAttribute::FwMark(mark.value), RuleAttribute::FwMask(mark.mask)]);
        }
    }
    message
}

/// `None` for what no rule of ours looks like.
fn read(message: &RuleMessage) -> Option<Rule> {
    let ipv4 = match message.header.family {
        AddressFamily::Inet => true,
        AddressFamily::Inet6 => false,
        _ => return None,
    };
    if !is_ours(message) || message.header.action != RuleAction::ToTable {
        return None;
    }
    let (mut table, mut suppress, mut priority) = (u32::from(message.header.table), None, 0);
    let mut mark = Mark::default();
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::SuppressPrefixLen(length) => suppress = u8::try_from(*length).ok(),
            RuleAttribute::Priority(is) => priority = *is,
            RuleAttribute::FwMark(is) => mark.value = *is,
            RuleAttribute::FwMask(is) => mark.mask = *is,
            _ => {}
        }
    }
    let (length, asks) = match (Table::of_number(table), suppress) {
        (Table::Main, Some(length)) if priority < AROUND_RULES => (length, Asks::LongerThanMarked),
        (Table::Main, Some(length)) => (length, Asks::Longer),
        (Table::Marked { class, length }, _) => (length, Asks::Marked { mark, class }),
        (Table::Around(length), _) if mark == Mark::default() => (length, Asks::Table { but: 0 }),
        (Table::Around(length), _) if inverted && mark.value == mark.mask => (length, Asks::Table { but: mark.value }),
        (Table::Around(_), _) => return None,
        (Table::Main, None) | (Table::Vrf(_), _) => return None,
    };
    Some(Rule { ipv4, length, asks }).filter(|rule| length <= 128 && rule.priority() == priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (ipv4, longest) in [(true, 32), (false, 128)] {
            for length in [0, 1, 8, longest] {
                let marked = Asks::Marked { mark: Mark::new(0x300, 0xff00), class: 3 };
                for asks in
                    [Asks::Longer, Asks::Table { but: 0 }, Asks::Table { but: 0x3000 }, Asks::LongerThanMarked, marked]
                {
                    let rule = Rule { ipv4, length, asks };
                    assert_eq!(read(&message(rule)), Some(rule));
                }
            }
        }
    }

    #[test]
    fn a_rule_of_another_program_is_not_ours() {
        let mut other = message(Rule { ipv4: true, length: 0, asks: Asks::Table { but: 0 } });
        other.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Protocol(_)));
        assert_eq!(read(&other), None);
    }
}
