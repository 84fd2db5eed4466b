//! The questions, and all policies and states as they are found.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_packet_xfrm::XfrmAttrs;
use netlink_packet_xfrm::constants::{XFRM_MODE_TRANSPORT, XFRM_POLICY_BLOCK, XFRM_POLICY_OUT};
use netlink_packet_xfrm::policy::ModifyMessage as PolicyMessage;
use netlink_packet_xfrm::state::ModifyMessage as StateMessage;

use super::{Flow, Outbound, Sa, Template, Way, Xfrm};
use crate::kernel::netlink::{Failure, Netlink};
use crate::kernel::{Error, state, xfrm_policy};
use crate::plan::Mark;
use crate::policy::Mode;

/// Policies and states, ours and others'.
pub async fn xfrm(netlink: &Netlink) -> Result<Xfrm, Error> {
    let failed = |what| move |failure: Failure| Error::Dump { what, cause: failure.to_string() };
    let policies = xfrm_policy::dump_raw(netlink).await.map_err(failed("XFRM policies"))?;
    let states = state::dump_without_keys(netlink, Some).await.map_err(failed("XFRM states"))?;
    Ok(Xfrm {
        // The kernel lists the youngest first (xfrm_policy_insert and __xfrm_state_insert add to the front).
        policies: policies.iter().rev().filter_map(outbound).collect(),
        states: states.iter().rev().map(sa).filter(|sa| sa.spi != 0).collect(),
    })
}

fn outbound(message: &PolicyMessage) -> Option<Outbound> {
    let info = &message.user_policy_info;
    if info.direction != XFRM_POLICY_OUT {
        return None;
    }
    let (mut mark, mut if_id, mut template) = (None, 0, None);
    for attribute in &message.nlas {
        match attribute {
            XfrmAttrs::Mark(is) => mark = Some(Mark { value: is.value, mask: is.mask }),
            XfrmAttrs::IfId(is) => if_id = *is,
            XfrmAttrs::Template(templates) => {
                template = templates.first().map(|first| Template {
                    source: state::ip(&first.saddr, first.family),
                    destination: state::ip(&first.id.daddr, first.family),
                    reqid: first.reqid,
                    mode: if first.mode == XFRM_MODE_TRANSPORT { Mode::Transport } else { Mode::Tunnel },
                });
            }
            _ => {}
        }
    }
    let wire = &info.selector;
    let port = |value: u16, mask: u16| (u16::from_be(value), u16::from_be(mask));
    Some(Outbound {
        priority: info.priority,
        source: IpNet::new(state::ip(&wire.saddr, wire.family), wire.prefixlen_s).ok()?,
        destination: IpNet::new(state::ip(&wire.daddr, wire.family), wire.prefixlen_d).ok()?,
        protocol: wire.proto,
        ports: [port(wire.sport, wire.sport_mask), port(wire.dport, wire.dport_mask)],
        mark,
        if_id,
        block: info.action == XFRM_POLICY_BLOCK,
        template,
    })
}

fn sa(message: &StateMessage) -> Sa {
    let info = &message.user_sa_info;
    let (mut mark, mut if_id) = (None, 0);
    for attribute in &message.nlas {
        match attribute {
            XfrmAttrs::Mark(is) => mark = Some(Mark { value: is.value, mask: is.mask }),
            XfrmAttrs::IfId(is) => if_id = *is,
            _ => {}
        }
    }
    Sa {
        spi: info.id.spi,
        source: state::ip(&info.saddr, info.family),
        destination: state::ip(&info.id.daddr, info.family),
        reqid: info.reqid,
        if_id,
        mark,
        added: info.lifetime_cur.add_time,
    }
}

/// RTM_GETROUTE for one packet.
pub async fn way(netlink: &Netlink, flow: &Flow, mark: u32) -> Result<Way, Error> {
    let ingress = flow.ingress.as_deref().and_then(|name| nix::net::if_::if_nametoindex(name).ok());
    let answer = match netlink.get_route(RouteNetlinkMessage::GetRoute(question(flow, mark, ingress))).await {
        Ok(answer) => answer,
        Err(failure @ Failure::Errno(_)) => return Ok(Way::Nowhere(failure.to_string())),
        Err(failure) => return Err(Error::Dump { what: "the route of a packet", cause: failure.to_string() }),
    };
    let out = answer.iter().find_map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) => route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        }),
        _ => None,
    });
    let name = out.and_then(|index| nix::net::if_::if_indextoname(index).ok()).and_then(|name| name.into_string().ok());
    Ok(name.map_or_else(|| Way::Nowhere("its route names no device".to_owned()), Way::Device))
}

fn question(flow: &Flow, mark: u32, ingress: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, bits) = match flow.destination {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header = RouteHeader { address_family: family, destination_prefix_length: bits, ..RouteHeader::default() };
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(flow.destination))];
    if let Some(ingress) = ingress {
        // A source without an ingress interface would have to be one of the host's own addresses.
        message.header.source_prefix_length = bits;
        message.attributes.push(RouteAttribute::Source(RouteAddress::from(flow.source)));
        message.attributes.push(RouteAttribute::Iif(ingress));
    }
    if mark != 0 {
        message.attributes.push(RouteAttribute::Mark(mark));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_asked_for_with_its_interface_alone() {
        let flow = Flow {
            source: "2001:db8:1::5".parse().unwrap(),
            destination: "2001:db8:2::9".parse().unwrap(),
            protocol: 17,
            ports: (1, 2),
            ingress: Some("lan0".into()),
        };
        let host = question(&flow, 0, None);
        assert_eq!((host.header.source_prefix_length, host.attributes.len()), (0, 1));
        let forwarded = question(&flow, 7, Some(3));
        assert_eq!((forwarded.header.destination_prefix_length, forwarded.header.source_prefix_length), (128, 128));
        assert!(forwarded.attributes.contains(&RouteAttribute::Iif(3)));
        assert!(forwarded.attributes.contains(&RouteAttribute::Mark(7)));
    }
}
