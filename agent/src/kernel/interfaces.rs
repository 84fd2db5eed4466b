//! The devices by which packets come in, as rules and tenants name them.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoPortKind, InfoVlan, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage,
};

use super::netlink::{Failure, Netlink};
use super::{Error, dataplane::Interface};

/// All devices of this network namespace.
pub async fn interfaces(netlink: &Netlink) -> Result<Vec<Interface>, Error> {
    let failed = |failure: Failure| Error::Dump { what: "devices", cause: failure.to_string() };
    let take = |found: &mut Found, message| {
        if let RouteNetlinkMessage::NewLink(link) = message {
            found.add(link);
        }
    };
    let found = netlink.dump_route_into(RouteNetlinkMessage::GetLink(LinkMessage::default()), take).await;
    Ok(found.map_err(failed)?.whole())
}

/// What has come of links so far.
#[derive(Default)]
struct Found {
    interfaces: Vec<Interface>,
    /// The VRF that each is in, by number.
    vrfs: Vec<Option<u32>>,
    /// A bond, a bridge or a VRF is above its ports.
    masters: BTreeSet<u32>,
}

impl Found {
    fn add(&mut self, link: LinkMessage) {
        let ifindex = link.header.index;
        let mut interface = Interface {
            ifindex,
            name: String::new(),
            vlan: None,
            vrf: None,
            ethernet: link.header.link_layer_type == LinkLayerType::Ether,
            stacked: is_above(&link),
        };
        let (mut master, mut in_vrf) = (None, false);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Controller(number) => {
                    self.masters.insert(number);
                    master = Some(number);
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Data(InfoData::Vlan(parts)) => {
                                interface.vlan = parts.into_iter().find_map(|part| match part {
                                    InfoVlan::Id(id) => Some(id),
                                    _ => None,
                                });
                            }
                            LinkInfo::PortKind(kind) => in_vrf = kind == InfoPortKind::Vrf,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        self.vrfs.push(master.filter(|_| in_vrf));
        self.interfaces.push(interface);
    }

    /// Once all names are known.
    fn whole(self) -> Vec<Interface> {
        let Self { mut interfaces, vrfs, masters } = self;
        let wanted: BTreeSet<u32> = vrfs.iter().flatten().copied().collect();
        let named = interfaces.iter().filter(|interface| wanted.contains(&interface.ifindex));
        let names: BTreeMap<u32, String> = named.map(|interface| (interface.ifindex, interface.name.clone())).collect();
        for (interface, vrf) in interfaces.iter_mut().zip(vrfs) {
            interface.stacked |= masters.contains(&interface.ifindex);
            interface.vrf = vrf.and_then(|vrf| names.get(&vrf).cloned());
        }
        interfaces
    }
}

/// Whether it names a device of this namespace that is below it, as a VLAN does. A veth names its other end.
fn is_above(link: &LinkMessage) -> bool {
    let mut below = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(number) => below = *number != 0 && *number != link.header.index,
            LinkAttribute::LinkNetNsId(_) => return false,
            LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Veth)) => return false,
            _ => {}
        }
    }
    below
}

#[cfg(test)]
mod tests {

    use super::*;

    fn of(links: impl IntoIterator<Item = LinkMessage>) -> Vec<Interface> {
        let mut found = Found::default();
        links.into_iter().for_each(|link| found.add(link));
        found.whole()
    }

    fn link(index: u32, name: &str, mut more: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        link.attributes.append(&mut more);
        link
    }

    fn port_of(master: u32, kind: InfoPortKind) -> Vec<LinkAttribute> {
        vec![LinkAttribute::Controller(master), LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(kind)])]
    }

    #[test]
    fn a_vlan_device_says_what_it_strips_and_a_port_what_vrf_it_is_in() {
        let vlan = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(12)]))];
        let links = [
            link(1, "lo", Vec::new()),
            link(2, "eth0.12", vec![LinkAttribute::LinkInfo(vlan)]),
            link(3, "eth1", port_of(5, InfoPortKind::Vrf)),
            link(4, "eth2", port_of(6, InfoPortKind::Bridge)),
            link(5, "blue", vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vrf)])]),
            link(6, "br0", Vec::new()),
            // Its VRF is of another namespace, or went between two messages.
            link(7, "eth3", port_of(99, InfoPortKind::Vrf)),
        ];
        let found = of(links);
        let said: Vec<_> =
            found.iter().map(|port| (port.ifindex, port.name.as_str(), port.vlan, port.vrf.as_deref())).collect();
        assert_eq!(
            said,
            [
                (1, "lo", None, None),
                (2, "eth0.12", Some(12), None),
                (3, "eth1", None, Some("blue")),
                (4, "eth2", None, None),
                (5, "blue", None, None),
                (6, "br0", None, None),
                (7, "eth3", None, None),
            ]
        );
    }

    #[test]
    fn what_hands_packets_on_is_told_from_what_sends_them() {
        let kind = |kind: InfoKind, below: u32| {
            vec![LinkAttribute::Link(below), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])]
        };
        let mut elsewhere = kind(InfoKind::MacVlan, 2);
        elsewhere.push(LinkAttribute::LinkNetNsId(0));
        let links = [
            link(1, "lo", Vec::new()),
            link(2, "eth0", port_of(4, InfoPortKind::Bond)),
            link(3, "bond0.7", kind(InfoKind::Vlan, 4)),
            link(4, "bond0", Vec::new()),
            link(5, "wan", kind(InfoKind::Veth, 6)),
            link(6, "peer", kind(InfoKind::Veth, 5)),
            link(7, "mac", elsewhere),
        ];
        let stacked = of(links).into_iter().filter(|one| one.stacked).map(|one| one.name);
        assert_eq!(stacked.collect::<Vec<_>>(), ["bond0.7", "bond0"]);
    }
}
