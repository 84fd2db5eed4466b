//! Routes of our protocol id by rtnetlink.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteLwEnCapType, RouteLwTunnelEncap, RouteMessage, RouteProtocol,
    RouteScope, RouteType, RouteXfrmTunnel,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::Devices;
use super::netlink::{Failure, Netlink};
use crate::plan::{PROTOCOL, Route, RouteVia, Table};

pub(super) async fn dump(netlink: &Netlink) -> Result<Vec<RouteNetlinkMessage>, Failure> {
    let mut messages = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        match netlink.dump_route(RouteNetlinkMessage::GetRoute(filter(family))).await {
            // The table comes to be with its first route.
            Err(failure) if failure.is(libc::ENOENT) => {}
            answer => messages.extend(answer?),
        }
    }
    Ok(messages)
}

pub(super) fn read_all(messages: &[RouteNetlinkMessage], devices: &Devices) -> BTreeSet<Route> {
    let of = |message: &RouteNetlinkMessage| match message {
        RouteNetlinkMessage::NewRoute(message) => read(message, devices),
        _ => None,
    };
    messages.iter().filter_map(of).collect()
}

pub(super) async fn add(netlink: &Netlink, route: &Route, index: Option<u32>) -> Result<(), Failure> {
    let mut message = message(route, index);
    message.header.scope = match route.via {
        RouteVia::Device(_) | RouteVia::External { .. } => RouteScope::Link,
        RouteVia::Unreachable | RouteVia::Throw => RouteScope::Universe,
    };
    netlink.route(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL).await
}

pub(super) async fn remove(netlink: &Netlink, route: &Route, index: Option<u32>) -> Result<(), Failure> {
    let mut message = message(route, index);
    // "Any", where a route is taken away.
    message.header.scope = RouteScope::NoWhere;
    netlink.route(RouteNetlinkMessage::DelRoute(message), 0).await
}

fn filter(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message
}

fn message(route: &Route, index: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let address = route.destination.addr();
    message.header.address_family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.kind = match route.via {
        RouteVia::Device(_) | RouteVia::External { .. } => RouteType::Unicast,
        RouteVia::Unreachable => RouteType::Unreachable,
        RouteVia::Throw => RouteType::Throw,
    };
    message.attributes = vec![
        RouteAttribute::Destination(address.into()),
        RouteAttribute::Priority(route.metric),
        RouteAttribute::Table(route.table.number()),
    ];
    message.attributes.extend(index.map(RouteAttribute::Oif));
    if let RouteVia::External { if_id, .. } = route.via {
        let encap = vec![RouteLwTunnelEncap::Xfrm(RouteXfrmTunnel::IfId(if_id))];
        message.attributes.extend([RouteAttribute::EncapType(RouteLwEnCapType::Xfrm), RouteAttribute::Encap(encap)]);
    }
    message
}

/// `None` for what no route of ours looks like.
fn read(message: &RouteMessage, devices: &Devices) -> Option<Route> {
    // The kernel filters dumps only where it is strict.
    if message.header.protocol != RouteProtocol::Other(PROTOCOL) {
        return None;
    }
    let mut address = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut metric, mut device, mut table, mut if_id) = (0, None, u32::from(message.header.table), None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => address = (*ip).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => address = (*ip).into(),
            RouteAttribute::Priority(is) => metric = *is,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => device = devices.names.get(index).cloned(),
            RouteAttribute::Encap(parts) => if_id = parts.iter().find_map(if_id_of),
            _ => {}
        }
    }
    let via = match message.header.kind {
        RouteType::Unicast => match if_id {
            Some(if_id) => RouteVia::External { device: device?, if_id },
            None => RouteVia::Device(device?),
        },
        RouteType::Unreachable => RouteVia::Unreachable,
        RouteType::Throw => RouteVia::Throw,
        _ => return None,
    };
    let destination = IpNet::new(address, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, via, metric, table: Table::of_number(table) })
}

fn if_id_of(part: &RouteLwTunnelEncap) -> Option<u32> {
    match part {
        RouteLwTunnelEncap::Xfrm(RouteXfrmTunnel::IfId(if_id)) => Some(*if_id),
        _ => None,
    }
}
