//! XFRM policies by netlink.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_xfrm::constants::{
    AF_INET, AF_INET6, XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, XFRM_POLICY_BLOCK, XFRM_POLICY_FWD, XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
};
use netlink_packet_xfrm::policy::{DelGetMessage, ModifyMessage};
use netlink_packet_xfrm::{Selector as WireSelector, UserTemplate, XfrmAttrs, XfrmMessage};

use super::netlink::{Failure, Netlink};
use super::state::{ip, wire_mark};
use crate::plan::{
    Mark, Observed, PolicyDirection, REQIDS, Selector, Treatment, XfrmPolicy, XfrmPolicyId, is_our_priority,
};
use crate::policy::Mode;

/// What [`add_to`] makes of all.
pub(super) async fn dump(netlink: &Netlink) -> Result<Observed, Failure> {
    netlink.dump_xfrm_into(XfrmMessage::GetPolicy(DelGetMessage::default()), add_to).await
}

/// Sorts one with a request id of ours in its template, charon's included.
pub(super) fn add_to(observed: &mut Observed, message: XfrmMessage) {
    if let XfrmMessage::AddPolicy(message) = message {
        read(&message).into_iter().for_each(|policy| observed.add_policy(policy));
    }
}

pub(super) async fn add(netlink: &Netlink, policy: &XfrmPolicy) -> Result<(), Failure> {
    netlink.xfrm(XfrmMessage::AddPolicy(message(policy)), 0).await
}

pub(super) async fn update(netlink: &Netlink, policy: &XfrmPolicy) -> Result<(), Failure> {
    netlink.xfrm(XfrmMessage::UpdatePolicy(message(policy)), 0).await
}

pub(super) async fn remove(netlink: &Netlink, id: &XfrmPolicyId) -> Result<(), Failure> {
    let selector = wire_selector(&id.selector);
    delete(netlink, selector, wire_direction(id.direction), id.mark, id.if_id).await
}

/// Those of one lane that are not ours, whatever their selectors.
pub(super) async fn flush(netlink: &Netlink, reqid: u32, if_id: u32) -> Result<(), Failure> {
    for message in dump_raw(netlink).await? {
        let found = Parts::of(&message);
        let theirs = !is_our_priority(message.user_policy_info.priority);
        if theirs && found.template.is_some_and(|template| template.reqid == reqid) && found.if_id == if_id {
            let info = &message.user_policy_info;
            match delete(netlink, info.selector, info.direction, found.mark, if_id).await {
                Err(failure) if failure.is(libc::ENOENT) => {}
                answer => answer?,
            }
        }
    }
    Ok(())
}

/// All, ours and others'.
pub(super) async fn dump_raw(netlink: &Netlink) -> Result<Vec<ModifyMessage>, Failure> {
    let policy = |all: &mut Vec<ModifyMessage>, message| {
        if let XfrmMessage::AddPolicy(message) = message {
            all.push(message);
        }
    };
    netlink.dump_xfrm_into(XfrmMessage::GetPolicy(DelGetMessage::default()), policy).await
}

async fn delete(
    netlink: &Netlink,
    selector: WireSelector,
    direction: u8,
    mark: Option<Mark>,
    if_id: u32,
) -> Result<(), Failure> {
    let mut message = DelGetMessage::default();
    message.user_policy_id.selector = selector;
    message.user_policy_id.direction = direction;
    message.nlas.extend(mark.map(wire_mark));
    message.nlas.push(XfrmAttrs::IfId(if_id));
    netlink.xfrm(XfrmMessage::DeletePolicy(message), 0).await
}

fn message(policy: &XfrmPolicy) -> ModifyMessage {
    let mut message = ModifyMessage::default();
    let info = &mut message.user_policy_info;
    info.selector = wire_selector(&policy.id.selector);
    info.direction = wire_direction(policy.id.direction);
    info.priority = policy.priority;
    if policy.treatment == Treatment::Block {
        info.action = XFRM_POLICY_BLOCK;
    }
    let mut template = UserTemplate::default();
    template.source(&policy.source);
    template.destination(&policy.destination);
    template.protocol(libc::IPPROTO_ESP as u8);
    template.mode(match policy.treatment {
        Treatment::Encrypt(Mode::Transport) => XFRM_MODE_TRANSPORT,
        Treatment::Encrypt(Mode::Tunnel) | Treatment::Block => XFRM_MODE_TUNNEL,
    });
    template.reqid(policy.reqid);
    message.nlas.push(XfrmAttrs::Template(vec![template]));
    message.nlas.push(XfrmAttrs::IfId(policy.id.if_id));
    message.nlas.extend(policy.id.mark.map(wire_mark));
    message
}

/// The attributes that matter.
struct Parts<'a> {
    mark: Option<Mark>,
    if_id: u32,
    template: Option<&'a UserTemplate>,
}

impl<'a> Parts<'a> {
    fn of(message: &'a ModifyMessage) -> Self {
        let mut parts = Self { mark: None, if_id: 0, template: None };
        for attribute in &message.nlas {
            match attribute {
                XfrmAttrs::Mark(is) => parts.mark = Some(Mark { value: is.value, mask: is.mask }),
                XfrmAttrs::IfId(is) => parts.if_id = *is,
                XfrmAttrs::Template(templates) => {
                    parts.template = templates.iter().find(|template| REQIDS.contains(&template.reqid));
                }
                _ => {}
            }
        }
        parts
    }
}

/// `None` for a policy without a request id of ours.
fn read(message: &ModifyMessage) -> Option<XfrmPolicy> {
    let info = &message.user_policy_info;
    let parts = Parts::of(message);
    let template = parts.template?;
    let direction = match info.direction {
        XFRM_POLICY_IN => PolicyDirection::In,
        XFRM_POLICY_OUT => PolicyDirection::Out,
        XFRM_POLICY_FWD => PolicyDirection::Fwd,
        _ => return None,
    };
    let wire = &info.selector;
    let selector = Selector {
        source: IpNet::new(ip(&wire.saddr, wire.family), wire.prefixlen_s).ok()?,
        destination: IpNet::new(ip(&wire.daddr, wire.family), wire.prefixlen_d).ok()?,
        protocol: wire.proto,
        // The kernel has them in the place of ports (xfrm_flowi_sport), of which ours have none.
        icmp: (wire.sport_mask != 0).then_some((wire.sport as u8, wire.dport as u8)),
    };
    let treatment = match (info.action, template.mode) {
        (XFRM_POLICY_BLOCK, _) => Treatment::Block,
        (_, XFRM_MODE_TRANSPORT) => Treatment::Encrypt(Mode::Transport),
        (_, _) => Treatment::Encrypt(Mode::Tunnel),
    };
    Some(XfrmPolicy {
        id: XfrmPolicyId { direction, selector, mark: parts.mark, if_id: parts.if_id },
        priority: info.priority,
        source: ip(&template.saddr, template.family),
        destination: ip(&template.id.daddr, template.family),
        reqid: template.reqid,
        treatment,
    })
}

fn wire_selector(selector: &Selector) -> WireSelector {
    let mut wire = WireSelector::default();
    wire.source_prefix(&selector.source.addr(), selector.source.prefix_len());
    wire.destination_prefix(&selector.destination.addr(), selector.destination.prefix_len());
    wire.proto = selector.protocol;
    if let Some((kind, code)) = selector.icmp {
        (wire.sport, wire.sport_mask) = (kind.into(), u16::MAX);
        (wire.dport, wire.dport_mask) = (code.into(), u16::MAX);
    }
    wire.family = match selector.source.addr() {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    wire
}

fn wire_direction(direction: PolicyDirection) -> u8 {
    match direction {
        PolicyDirection::In => XFRM_POLICY_IN,
        PolicyDirection::Fwd => XFRM_POLICY_FWD,
        PolicyDirection::Out => XFRM_POLICY_OUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let tunnel = Treatment::Encrypt(Mode::Tunnel);
        for (source, destination, protocol, icmp, treatment) in [
            ("0.0.0.0/0", "10.2.0.0/16", 0, None, tunnel),
            ("2001:db8:1::/48", "::/0", 0, None, tunnel),
            ("192.0.2.1/32", "192.0.2.2/32", 47, None, Treatment::Encrypt(Mode::Transport)),
            ("192.0.2.1/32", "192.0.2.2/32", 47, None, Treatment::Block),
            ("192.0.2.1/32", "192.0.2.2/32", 1, Some((3, 4)), Treatment::Block),
        ] {
            for direction in [PolicyDirection::In, PolicyDirection::Fwd, PolicyDirection::Out] {
                let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
                let selector = Selector { source, destination, protocol, icmp };
                let policy = XfrmPolicy {
                    id: XfrmPolicyId { direction, selector, mark: Some(Mark::new(2, 0xff)), if_id: 42 },
                    priority: crate::plan::POLICY_PRIORITY,
                    source: "192.0.2.1".parse().unwrap(),
                    destination: "192.0.2.2".parse().unwrap(),
                    reqid: *REQIDS.end(),
                    treatment,
                };
                assert_eq!(read(&message(&policy)), Some(policy));
            }
        }
    }
}
