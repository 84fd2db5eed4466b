//! What rtnetlink and XFRM tell of the box for [`crate::doctor`]; values alone, nothing is judged here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_packet_xfrm::constants::XFRM_USERPOLICY_BLOCK;
use netlink_packet_xfrm::state::ModifyMessage;
use netlink_packet_xfrm::{XfrmAttrs, XfrmMessage};

use super::netlink::{Failure, Netlink};
use super::{Error, state};
use crate::doctor::{offload, routes, rules, xfrm_default};
use crate::plan::ALIAS;

/// XFRM_OFFLOAD_PACKET (include/uapi/linux/xfrm.h, Linux 6.2), which the crate has no word for.
const OFFLOAD_PACKET: u8 = 4;

/// A device, whoever's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// In bytes.
    pub mtu: u32,
    /// It has our alias.
    pub ours: bool,
    /// Number of its XDP program.
    pub xdp: Option<u32>,
}

fn failed(what: &'static str) -> impl Fn(Failure) -> Error {
    move |failure| Error::Dump { what, cause: failure.to_string() }
}

/// All devices.
pub async fn links(netlink: &Netlink) -> Result<Vec<Link>, Error> {
    let answer = netlink.dump_route(RouteNetlinkMessage::GetLink(LinkMessage::default())).await;
    let messages = answer.map_err(failed("devices"))?;
    let links = messages.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    });
    Ok(links.map(link).collect())
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link { index: message.header.index, name: String::new(), mtu: 0, ours: false, xdp: None };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::IfAlias(alias) => link.ours = alias == ALIAS,
            LinkAttribute::Xdp(parts) => {
                link.xdp = parts.iter().find_map(|part| match part {
                    LinkXdp::ProgId(id) if *id != 0 => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

/// Rules that look at marks.
pub async fn marked_rules(netlink: &Netlink) -> Result<Vec<rules::Rule>, Error> {
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RuleMessage::default();
        message.header.family = family;
        let answer = netlink.dump_route(RouteNetlinkMessage::GetRule(message)).await;
        for message in answer.map_err(failed("rules"))? {
            if let RouteNetlinkMessage::NewRule(message) = message
                && !super::rule::is_ours(&message)
            {
                rules.extend(rule(&message));
            }
        }
    }
    Ok(rules)
}

fn rule(message: &RuleMessage) -> Option<rules::Rule> {
    let (mut priority, mut mark, mut mask, mut table) = (0, 0, None, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(is) => priority = *is,
            RuleAttribute::FwMark(is) => mark = *is,
            RuleAttribute::FwMask(is) => mask = Some(*is),
            RuleAttribute::Table(is) => table = *is,
            _ => {}
        }
    }
    let action = match message.header.action {
        RuleAction::ToTable => format!("lookup {table}"),
        RuleAction::Blackhole => "blackhole".to_owned(),
        RuleAction::Unreachable => "unreachable".to_owned(),
        RuleAction::Prohibit => "prohibit".to_owned(),
        _ => String::new(),
    };
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    let v6 = message.header.family == AddressFamily::Inet6;
    // The kernel gives a mark its full mask where none was asked for.
    Some(rules::Rule { v6, priority, mark, mask: mask?, inverted, action })
}

/// The route that a packet takes, of those in a VRF if it is one's; `None` where there is none.
pub async fn taken(
    netlink: &Netlink,
    to: IpAddr,
    mark: u32,
    vrf: Option<u32>,
    names: &BTreeMap<u32, String>,
) -> Result<Option<routes::Taken>, Error> {
    let mut message = RouteMessage::default();
    let (family, bits) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header = RouteHeader { address_family: family, destination_prefix_length: bits, ..RouteHeader::default() };
    // The route itself, not what was made of it for one destination. IPv4 calls every table main unless it is asked for, and
    // IPv6 refuses to be asked (inet_rtm_getroute, inet6_rtm_valid_getroute_req).
    message.header.flags = match to {
        IpAddr::V4(_) => RouteFlags::FibMatch | RouteFlags::LookupTable,
        IpAddr::V6(_) => RouteFlags::FibMatch,
    };
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(to))];
    if mark != 0 {
        message.attributes.push(RouteAttribute::Mark(mark));
    }
    message.attributes.extend(vrf.map(RouteAttribute::Oif));
    match netlink.get_route(RouteNetlinkMessage::GetRoute(message)).await {
        Ok(answer) => Ok(answer.iter().find_map(|message| match message {
            // An address of this host is no way to anywhere.
            RouteNetlinkMessage::NewRoute(route) if route.header.kind == RouteType::Unicast => {
                read(route, names).map(|route| route.taken)
            }
            _ => None,
        })),
        Err(Failure::Errno(_)) => Ok(None),
        Err(failure) => Err(failed("the route of a packet")(failure)),
    }
}

/// The best route to an address that leads to none of `avoid`, in that table or else in the main one.
pub async fn beside(
    netlink: &Netlink,
    to: IpAddr,
    table: u32,
    avoid: &BTreeSet<String>,
    names: &BTreeMap<u32, String>,
) -> Result<Option<routes::Beside>, Error> {
    let mut message = RouteMessage::default();
    message.header.address_family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let answer = netlink.dump_route(RouteNetlinkMessage::GetRoute(message)).await.map_err(failed("routes"))?;
    let all = answer.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) if route.header.kind == RouteType::Unicast => read(route, names),
        _ => None,
    });
    let fits = |route: &Read| route.taken.prefix.contains(&to) && !avoid.contains(&route.taken.device);
    let fitting: Vec<Read> = all.filter(fits).collect();
    let best = |table: u32| {
        let of_table = fitting.iter().filter(|route| route.taken.table == table);
        of_table.max_by_key(|route| route.taken.prefix.prefix_len())
    };
    let found = best(table).or_else(|| best(u32::from(RouteHeader::RT_TABLE_MAIN)));
    Ok(found.map(|route| routes::Beside { via: route.via, device: route.taken.device.clone() }))
}

struct Read {
    taken: routes::Taken,
    via: Option<IpAddr>,
}

fn read(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<Read> {
    let mut address = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut table, mut index, mut via) = (u32::from(message.header.table), None, None);
    let mut hop = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(is) => index = Some(*is),
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => via = Some(IpAddr::V4(*ip)),
        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => via = Some(IpAddr::V6(*ip)),
        RouteAttribute::Via(RouteVia::Inet6(ip)) => via = Some(IpAddr::V6(*ip)),
        _ => {}
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => address = IpAddr::V4(*ip),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => address = IpAddr::V6(*ip),
            RouteAttribute::Table(is) => table = *is,
            // Of several ways the first stands for all.
            RouteAttribute::MultiPath(hops) => {
                if let Some(first) = hops.first() {
                    hop(&RouteAttribute::Oif(first.interface_index));
                    first.attributes.iter().for_each(&mut hop);
                }
            }
            other => hop(other),
        }
    }
    let prefix = IpNet::new(address, message.header.destination_prefix_length).ok()?;
    let device = names.get(&index?)?.clone();
    Some(Read { taken: routes::Taken { prefix, device, table }, via })
}

/// What becomes of packets that no policy matches; all pass where the kernel does not know the question (before 5.16).
pub async fn xfrm_default(netlink: &Netlink) -> Result<xfrm_default::Default, Error> {
    let answer = match netlink.get_xfrm(XfrmMessage::GetPolicyDefault(Default::default())).await {
        Err(Failure::Errno(libc::EINVAL)) => return Ok(xfrm_default::Default::default()),
        answer => answer.map_err(failed("the XFRM policy default"))?,
    };
    let found = answer.into_iter().find_map(|message| match message {
        XfrmMessage::GetPolicyDefault(default) => Some(default.user_policy),
        _ => None,
    });
    let blocks = |action: u8| action == XFRM_USERPOLICY_BLOCK;
    Ok(found.map_or_else(xfrm_default::Default::default, |is| xfrm_default::Default {
        input: blocks(is.input),
        forward: blocks(is.forward),
        output: blocks(is.output),
    }))
}

/// SAs that a card has as a whole.
pub async fn offloaded(netlink: &Netlink, names: &BTreeMap<u32, String>) -> Result<Vec<offload::Sa>, Error> {
    let on_card = |attribute: &XfrmAttrs| match attribute {
        XfrmAttrs::OffloadDevice(is) if is.flags & OFFLOAD_PACKET != 0 => u32::try_from(is.ifindex).ok(),
        _ => None,
    };
    let of = |state: ModifyMessage| {
        let index = state.nlas.iter().find_map(on_card)?;
        let device = names.get(&index).cloned().unwrap_or_else(|| format!("if{index}"));
        Some(offload::Sa { device, spi: state.user_sa_info.id.spi })
    };
    state::dump_without_keys(netlink, of).await.map_err(failed("XFRM states"))
}
