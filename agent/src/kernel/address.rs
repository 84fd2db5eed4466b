//! Addresses of our devices by rtnetlink. Ours carry our protocol id in IFA_PROTO (kernel 5.18).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::Devices;
use super::netlink::{Failure, Netlink};
use crate::plan::{Address, PROTOCOL};

pub(super) async fn dump(netlink: &Netlink) -> Result<Vec<RouteNetlinkMessage>, Failure> {
    netlink.dump_route(RouteNetlinkMessage::GetAddress(AddressMessage::default())).await
}

/// On our devices: ours, and those that others put there. The kernel's own link-local ones are neither.
pub(super) fn read_all(messages: &[RouteNetlinkMessage], devices: &Devices) -> (BTreeSet<Address>, BTreeSet<Address>) {
    let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
    for message in messages {
        let RouteNetlinkMessage::NewAddress(message) = message else { continue };
        let Some(device) = devices.names.get(&message.header.index).filter(|name| devices.ours.contains_key(*name))
        else {
            continue;
        };
        let (mut address, mut local, mut protocol) = (None, None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(is) => address = Some(*is),
                AddressAttribute::Local(is) => local = Some(*is),
                AddressAttribute::Protocol(is) => protocol = Some(*is),
                _ => {}
            }
        }
        if protocol == Some(AddressProtocol::LinkLocal) {
            continue;
        }
        let net = local.or(address).and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok());
        let Some(address) = net.map(|address| Address { device: device.clone(), address }) else { continue };
        if protocol == Some(AddressProtocol::Other(PROTOCOL)) {
            ours.insert(address);
        } else {
            others.insert(address);
        }
    }
    (ours, others)
}

pub(super) async fn add(netlink: &Netlink, address: &Address, index: u32) -> Result<(), Failure> {
    let mut message = message(address, index);
    // Nobody else is on a tunnel: no duplicate to look for.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    netlink.route(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await
}

pub(super) async fn remove(netlink: &Netlink, address: &Address, index: u32) -> Result<(), Failure> {
    netlink.route(RouteNetlinkMessage::DelAddress(message(address, index)), 0).await
}

fn message(address: &Address, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    let ip = address.address.addr();
    message.header.family = match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = address.address.prefix_len();
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    message
}
