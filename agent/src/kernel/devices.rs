//! XFRM, VTI and GRE devices of this network namespace by rtnetlink, whoever made them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    GreIOFlags, InfoData, InfoGre, InfoGre6, InfoKind, InfoPortKind, InfoVti, InfoXfrm, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};

use super::Error;
use super::link::is_external;
use super::netlink::{Failure, Netlink};
use crate::devices::{Count, Device, State};
use crate::plan::ALIAS;

/// All of them.
pub async fn devices(netlink: &Netlink) -> Result<Vec<Device>, Error> {
    let failed = |failure: Failure| Error::Dump { what: "devices", cause: failure.to_string() };
    let answer = netlink.dump_route(RouteNetlinkMessage::GetLink(LinkMessage::default())).await.map_err(failed)?;
    let links: Vec<_> = answer
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })
        .collect();
    Ok(of(&links))
}

fn of(links: &[LinkMessage]) -> Vec<Device> {
    let named = |link: &LinkMessage| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some((link.header.index, name.clone())),
            _ => None,
        })
    };
    let names: BTreeMap<u32, String> = links.iter().filter_map(named).collect();
    links.iter().filter_map(|link| device(link, &names)).collect()
}

/// `None` for a device of another kind.
fn device(link: &LinkMessage, names: &BTreeMap<u32, String>) -> Option<Device> {
    let infos = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos.as_slice()),
        _ => None,
    })?;
    let mut ends = Ends::default();
    let (mut kind, mut in_vrf) = (None, false);
    for info in infos {
        match info {
            LinkInfo::Kind(
                is @ (InfoKind::Xfrm
                | InfoKind::Vti
                | InfoKind::Vti6
                | InfoKind::GreTun
                | InfoKind::GreTap
                | InfoKind::GreTun6
                | InfoKind::GreTap6),
            ) => kind = Some(is.to_string()),
            LinkInfo::Data(data) => ends.read(data),
            LinkInfo::PortKind(kind) => in_vrf = *kind == InfoPortKind::Vrf,
            _ => {}
        }
    }
    let flags = link.header.flags;
    let mut device = Device {
        name: names.get(&link.header.index).cloned().unwrap_or_default(),
        index: link.header.index,
        kind: kind?,
        state: match (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::LowerUp)) {
            (false, _) => State::Down,
            (true, false) => State::NoCarrier,
            (true, true) => State::Up,
        },
        mtu: 0,
        if_id: ends.if_id,
        ikey: ends.ikey(),
        okey: ends.okey(),
        local: ends.local,
        remote: ends.remote,
        underlying: None,
        fwmark: ends.fwmark,
        external: ends.external,
        link_netns: None,
        master: None,
        master_is_vrf: in_vrf,
        owner: None,
        tunnel: None,
        inbound: Count::default(),
        outbound: Count::default(),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::IfAlias(alias) if alias == ALIAS => device.owner = Some(ALIAS.to_owned()),
            LinkAttribute::Controller(index) => device.master = Some(name_of(names, *index)),
            LinkAttribute::LinkNetNsId(id) => device.link_netns = Some(*id),
            LinkAttribute::Stats64(is) => {
                let count = |packets, bytes, errors, dropped| Count { packets, bytes, errors, dropped };
                device.inbound = count(is.rx_packets, is.rx_bytes, is.rx_errors, is.rx_dropped);
                device.outbound = count(is.tx_packets, is.tx_bytes, is.tx_errors, is.tx_dropped);
            }
            _ => {}
        }
    }
    // A number of another namespace may be that of any device here.
    device.underlying = ends.link.filter(|index| *index != 0).map(|index| match device.link_netns {
        Some(_) => number(index),
        None => name_of(names, index),
    });
    Some(device)
}

fn name_of(names: &BTreeMap<u32, String>, index: u32) -> String {
    names.get(&index).cloned().unwrap_or_else(|| number(index))
}

/// As `ip link` says it.
fn number(index: u32) -> String {
    format!("if{index}")
}

/// What IFLA_INFO_DATA says, whatever the kind.
#[derive(Default)]
struct Ends {
    link: Option<u32>,
    if_id: Option<u32>,
    /// Key, and whether GRE packets have one; VTI has one unless it is 0.
    ikey: (u32, Option<bool>),
    okey: (u32, Option<bool>),
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    fwmark: Option<u32>,
    external: bool,
}

impl Ends {
    fn read(&mut self, data: &InfoData) {
        match data {
            InfoData::Xfrm(parts) => parts.iter().for_each(|part| self.xfrm(part)),
            InfoData::Vti(parts) => parts.iter().for_each(|part| self.vti(part)),
            InfoData::GreTun(parts) | InfoData::GreTap(parts) => parts.iter().for_each(|part| self.gre(part)),
            InfoData::GreTun6(parts) | InfoData::GreTap6(parts) => parts.iter().for_each(|part| self.gre6(part)),
            _ => {}
        }
    }

    fn xfrm(&mut self, part: &InfoXfrm) {
        match part {
            InfoXfrm::Link(index) => self.link = Some(*index),
            // An external interface has none.
            InfoXfrm::IfId(if_id) => self.if_id = Some(*if_id).filter(|if_id| *if_id != 0),
            other => self.external |= is_external(other),
        }
    }

    fn vti(&mut self, part: &InfoVti) {
        match part {
            InfoVti::Link(index) => self.link = Some(*index),
            InfoVti::IKey(key) => self.ikey = (*key, None),
            InfoVti::OKey(key) => self.okey = (*key, None),
            InfoVti::Local(address) => self.local = given(*address),
            InfoVti::Remote(address) => self.remote = given(*address),
            InfoVti::FwMark(mark) => self.fwmark = marked(*mark),
            _ => {}
        }
    }

    fn gre(&mut self, part: &InfoGre) {
        match part {
            InfoGre::Link(index) => self.link = Some(*index),
            InfoGre::IFlags(flags) => self.ikey.1 = Some(flags.contains(GreIOFlags::Key)),
            InfoGre::OFlags(flags) => self.okey.1 = Some(flags.contains(GreIOFlags::Key)),
            InfoGre::IKey(key) => self.ikey.0 = *key,
            InfoGre::OKey(key) => self.okey.0 = *key,
            InfoGre::Local(address) => self.local = given((*address).into()),
            InfoGre::Remote(address) => self.remote = given((*address).into()),
            // The crate's name for IFLA_GRE_FWMARK.
            InfoGre::FwMask(mark) => self.fwmark = marked(*mark),
            InfoGre::CollectMetadata => self.external = true,
            _ => {}
        }
    }

    fn gre6(&mut self, part: &InfoGre6) {
        match part {
            InfoGre6::Link(index) => self.link = Some(*index),
            InfoGre6::IFlags(flags) => self.ikey.1 = Some(flags.contains(GreIOFlags::Key)),
            InfoGre6::OFlags(flags) => self.okey.1 = Some(flags.contains(GreIOFlags::Key)),
            InfoGre6::IKey(key) => self.ikey.0 = *key,
            InfoGre6::OKey(key) => self.okey.0 = *key,
            InfoGre6::Local(address) => self.local = given((*address).into()),
            InfoGre6::Remote(address) => self.remote = given((*address).into()),
            InfoGre6::FwMask(mark) => self.fwmark = marked(*mark),
            InfoGre6::CollectMetadata => self.external = true,
            _ => {}
        }
    }

    fn ikey(&self) -> Option<u32> {
        key(self.ikey)
    }

    fn okey(&self) -> Option<u32> {
        key(self.okey)
    }
}

fn key((key, is_set): (u32, Option<bool>)) -> Option<u32> {
    is_set.unwrap_or(key != 0).then_some(key)
}

fn given(address: IpAddr) -> Option<IpAddr> {
    Some(address).filter(|address| !address.is_unspecified())
}

fn marked(mark: u32) -> Option<u32> {
    Some(mark).filter(|mark| *mark != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, more: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        link.attributes.extend(more);
        link
    }

    fn xfrm(underlying: u32, more: Vec<LinkAttribute>) -> Vec<LinkAttribute> {
        let data = InfoData::Xfrm(vec![InfoXfrm::Link(underlying), InfoXfrm::IfId(42)]);
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Xfrm), LinkInfo::Data(data)]);
        [vec![info], more].concat()
    }

    #[test]
    fn only_the_alias_makes_a_device_ours() {
        let alias = |alias: &str| vec![LinkAttribute::IfAlias(alias.to_owned())];
        let links = [
            link(2, "wan0", Vec::new()),
            link(3, "a", xfrm(2, alias(ALIAS))),
            link(4, "lk-b", xfrm(2, alias("lanekeepers"))),
            link(5, "lk-c", xfrm(2, Vec::new())),
        ];
        let found = of(&links);
        let said: Vec<_> = found.iter().map(|device| (device.name.as_str(), device.owner.as_deref())).collect();
        assert_eq!(said, [("a", Some("lanekeeper")), ("lk-b", None), ("lk-c", None)]);
    }

    #[test]
    fn a_device_of_another_namespace_has_a_number_and_no_name() {
        let links = [
            link(2, "wan0", Vec::new()),
            link(3, "a", xfrm(2, Vec::new())),
            link(4, "b", xfrm(2, vec![LinkAttribute::LinkNetNsId(0)])),
        ];
        let said: Vec<_> = of(&links).into_iter().map(|device| device.underlying.unwrap()).collect();
        assert_eq!(said, ["wan0", "if2"]);
    }

    #[test]
    fn a_gre_key_is_there_by_its_flag_and_a_vti_key_unless_it_is_zero() {
        assert_eq!([(0, None), (5, None), (0, Some(true)), (5, Some(false))].map(key), [None, Some(5), Some(0), None]);
    }
}
