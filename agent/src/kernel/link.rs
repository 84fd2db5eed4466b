//! Tunnels' devices by rtnetlink.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, GreIOFlags, InetDevConf, InfoData, InfoGre, InfoGre6, InfoKind, InfoVrf, InfoVti,
    InfoXfrm, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::elsewhere;
use super::netlink::{Failure, Netlink};
use crate::plan::{ALIAS, DeviceInUse, Link, LinkKind};

/// A device with our alias that was made in another namespace.
pub(super) struct Moved {
    /// The number of that.
    pub made_in: i32,
    /// That of the device.
    pub index: u32,
    pub link: Link,
}

/// Every device of the namespace.
#[derive(Default)]
pub(super) struct Devices {
    pub ours: BTreeMap<String, Link>,
    pub others: BTreeMap<String, DeviceInUse>,
    pub names: BTreeMap<u32, String>,
    /// The number of each VRF's table.
    pub vrfs: BTreeMap<String, u32>,
    /// Devices with our alias that were made in another namespace.
    pub made_in: BTreeMap<String, Moved>,
    /// What devices of ours are in, by number.
    masters: BTreeMap<String, u32>,
    /// What is below devices of ours, by number.
    underlying: BTreeMap<String, u32>,
}

pub(super) async fn dump(netlink: &Netlink) -> Result<Devices, Failure> {
    dump_in(netlink, None).await
}

/// Those of the namespace that this one knows by that number.
pub(super) async fn dump_in(netlink: &Netlink, namespace: Option<i32>) -> Result<Devices, Failure> {
    let question = message(namespace.into_iter().map(elsewhere::target).collect());
    let mut devices = netlink.dump_route_into(RouteNetlinkMessage::GetLink(question), Devices::take).await?;
    devices.name_numbers();
    Ok(devices)
}

impl Devices {
    /// Those that the messages tell of.
    pub(super) fn of(messages: &[RouteNetlinkMessage]) -> Self {
        let mut devices = Self::default();
        messages.iter().for_each(|message| devices.take(message.clone()));
        devices.name_numbers();
        devices
    }

    fn take(&mut self, message: RouteNetlinkMessage) {
        if let RouteNetlinkMessage::NewLink(message) = message {
            self.add(message);
        }
    }

    fn add(&mut self, message: LinkMessage) {
        let (mut name, mut ours, mut mtu, mut kind, mut link) =
            (String::new(), false, 0, String::new(), LinkKind::default());
        let (mut disable_policy, mut source_by_mark) = (false, false);
        let (mut master, mut table, mut underlying, mut made_in) = (None, None, None, None);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(is) => name = is,
                LinkAttribute::IfAlias(alias) => ours = alias == ALIAS,
                LinkAttribute::Mtu(is) => mtu = is,
                LinkAttribute::Controller(index) => master = Some(index),
                LinkAttribute::LinkNetNsId(number) => made_in = Some(number),
                LinkAttribute::AfSpecUnspec(specs) => {
                    disable_policy = has(&specs, |conf| conf.nopolicy != 0);
                    source_by_mark = has(&specs, |conf| conf.src_vmark != 0);
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(is) => kind = is.to_string(),
                            LinkInfo::Data(InfoData::Vrf(parts)) => table = parts.iter().find_map(table_of),
                            LinkInfo::Data(data) => {
                                underlying = underlying_of(&data);
                                link = read(data);
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        self.names.insert(message.header.index, name.clone());
        self.vrfs.extend(table.map(|table| (name.clone(), table)));
        let found = Link {
            name: name.clone(),
            kind: link,
            mtu,
            up: message.header.flags.contains(LinkFlags::Up),
            disable_policy,
            source_by_mark,
            vrf: None,
            namespace: None,
            link: None,
        };
        match (ours, made_in) {
            (true, None) => {
                self.masters.extend(master.map(|master| (name.clone(), master)));
                self.underlying.extend(underlying.map(|number| (name.clone(), number)));
                self.ours.insert(name, found);
            }
            (true, Some(number)) => {
                // The agent's there.
                self.made_in.insert(name.clone(), Moved { made_in: number, index: message.header.index, link: found });
                self.others.insert(name, DeviceInUse { kind, link });
            }
            (false, _) => {
                self.others.insert(name, DeviceInUse { kind, link });
            }
        }
    }

    /// Once all names are known.
    fn name_numbers(&mut self) {
        for (name, master) in &self.masters {
            if let Some(link) = self.ours.get_mut(name) {
                link.vrf = self.names.get(master).cloned();
            }
        }
        for (name, number) in &self.underlying {
            if let Some(link) = self.ours.get_mut(name) {
                // One that is gone is none that is wanted.
                link.link = Some(self.names.get(number).cloned().unwrap_or_else(|| format!("if{number}")));
            }
        }
    }
}

/// IFLA_GRE_TOS: the outer DSCP is the inner one's.
const INHERIT_TOS: u8 = 1;
/// IFLA_GRE_FLAGS of linux/if_tunnel.h, of GRE over IPv6.
const IFLA_GRE_FLAGS: u16 = 13;
/// IP6_TNL_F_IGN_ENCAP_LIMIT, or GRE would come behind a header of destination options, and IP6_TNL_F_USE_ORIG_TCLASS: the
/// outer DSCP is the inner one's.
const INHERIT_CLASS_NO_LIMIT: u32 = 0x1 | 0x2;

/// IFLA_XFRM_COLLECT_METADATA (include/uapi/linux/if_link.h), which the crate has no word for.
const XFRM_COLLECT_METADATA: u16 = 3;

/// What a device is to be made with; `None` where no tunnel has its kind.
fn info(kind: LinkKind) -> Option<Vec<LinkInfo>> {
    let (kind, parts) = match kind {
        LinkKind::Xfrm { if_id } => (InfoKind::Xfrm, InfoData::Xfrm(vec![InfoXfrm::IfId(if_id)])),
        LinkKind::External => {
            let flag = DefaultNla::new(XFRM_COLLECT_METADATA, Vec::new());
            (InfoKind::Xfrm, InfoData::Xfrm(vec![InfoXfrm::Other(flag)]))
        }
        LinkKind::Vti { local, remote, input_key, output_key } => {
            let kind = if local.is_ipv4() { InfoKind::Vti } else { InfoKind::Vti6 };
            let keys = [InfoVti::IKey(input_key), InfoVti::OKey(output_key)];
            (kind, InfoData::Vti([InfoVti::Local(local), InfoVti::Remote(remote)].into_iter().chain(keys).collect()))
        }
        LinkKind::Gre { local: IpAddr::V4(local), remote: IpAddr::V4(remote), key, ttl, fwmark } => {
            let mut parts = vec![InfoGre::Local(local), InfoGre::Remote(remote), InfoGre::Ttl(ttl)];
            parts.extend([InfoGre::Tos(INHERIT_TOS), InfoGre::PathMTUDiscovery(true), InfoGre::FwMask(fwmark)]);
            if let Some(key) = key {
                parts.extend([InfoGre::IFlags(GreIOFlags::Key), InfoGre::OFlags(GreIOFlags::Key)]);
                parts.extend([InfoGre::IKey(key), InfoGre::OKey(key)]);
            }
            (InfoKind::GreTun, InfoData::GreTun(parts))
        }
        LinkKind::Gre { local: IpAddr::V6(local), remote: IpAddr::V6(remote), key, ttl, fwmark } => {
            let mut parts = vec![InfoGre6::Local(local), InfoGre6::Remote(remote), InfoGre6::Ttl(ttl)];
            let flags = DefaultNla::new(IFLA_GRE_FLAGS, INHERIT_CLASS_NO_LIMIT.to_ne_bytes().to_vec());
            parts.extend([InfoGre6::Other(flags), InfoGre6::FwMask(fwmark)]);
            if let Some(key) = key {
                parts.extend([InfoGre6::IFlags(GreIOFlags::Key), InfoGre6::OFlags(GreIOFlags::Key)]);
                parts.extend([InfoGre6::IKey(key), InfoGre6::OKey(key)]);
            }
            (InfoKind::GreTun6, InfoData::GreTun6(parts))
        }
        LinkKind::Gre { .. } | LinkKind::Other => return None,
    };
    Some(vec![LinkInfo::Kind(kind), LinkInfo::Data(parts)])
}

/// What a device was made with.
fn read(data: InfoData) -> LinkKind {
    match data {
        InfoData::Xfrm(parts) if parts.iter().any(is_external) => LinkKind::External,
        InfoData::Xfrm(parts) => {
            let if_id = parts.into_iter().find_map(|part| match part {
                InfoXfrm::IfId(if_id) => Some(if_id),
                _ => None,
            });
            if_id.map_or(LinkKind::Other, |if_id| LinkKind::Xfrm { if_id })
        }
        InfoData::Vti(parts) => {
            let (mut local, mut remote, mut input_key, mut output_key) = (None, None, 0, 0);
            for part in parts {
                match part {
                    InfoVti::Local(is) => local = Some(is),
                    InfoVti::Remote(is) => remote = Some(is),
                    InfoVti::IKey(is) => input_key = is,
                    InfoVti::OKey(is) => output_key = is,
                    _ => {}
                }
            }
            local.zip(remote).map_or(LinkKind::Other, |(local, remote)| LinkKind::Vti {
                local,
                remote,
                input_key,
                output_key,
            })
        }
        InfoData::GreTun(parts) => {
            let mut gre = Gre::default();
            for part in parts {
                match part {
                    InfoGre::Local(is) => gre.local = Some(is.into()),
                    InfoGre::Remote(is) => gre.remote = Some(is.into()),
                    InfoGre::OFlags(flags) => gre.has_key = flags.contains(GreIOFlags::Key),
                    InfoGre::OKey(is) => gre.key = is,
                    InfoGre::Ttl(is) => gre.ttl = is,
                    InfoGre::FwMask(is) => gre.fwmark = is,
                    _ => {}
                }
            }
            gre.link()
        }
        InfoData::GreTun6(parts) => {
            let mut gre = Gre::default();
            for part in parts {
                match part {
                    InfoGre6::Local(is) => gre.local = Some(is.into()),
                    InfoGre6::Remote(is) => gre.remote = Some(is.into()),
                    InfoGre6::OFlags(flags) => gre.has_key = flags.contains(GreIOFlags::Key),
                    InfoGre6::OKey(is) => gre.key = is,
                    InfoGre6::Ttl(is) => gre.ttl = is,
                    InfoGre6::FwMask(is) => gre.fwmark = is,
                    _ => {}
                }
            }
            gre.link()
        }
        _ => LinkKind::Other,
    }
}

/// Whether an XFRM interface has that.
pub(super) fn is_external(part: &InfoXfrm) -> bool {
    matches!(part, InfoXfrm::Other(other) if other.kind() == XFRM_COLLECT_METADATA)
}

/// What of a GRE device has been read.
#[derive(Default)]
struct Gre {
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    has_key: bool,
    key: u32,
    ttl: u8,
    fwmark: u32,
}

impl Gre {
    fn link(self) -> LinkKind {
        let Self { local: Some(local), remote: Some(remote), ttl, fwmark, .. } = self else { return LinkKind::Other };
        LinkKind::Gre { local, remote, key: self.has_key.then_some(self.key), ttl, fwmark }
    }
}

fn underlying_of(data: &InfoData) -> Option<u32> {
    let InfoData::Xfrm(parts) = data else { return None };
    parts.iter().find_map(|part| match part {
        // 0 is none.
        InfoXfrm::Link(number) => Some(*number).filter(|number| *number != 0),
        _ => None,
    })
}

fn table_of(part: &InfoVrf) -> Option<u32> {
    match part {
        InfoVrf::TableId(number) => Some(*number),
        _ => None,
    }
}

fn has(specs: &[AfSpecUnspec], what: impl Fn(&InetDevConf) -> bool) -> bool {
    specs.iter().any(|spec| match spec {
        AfSpecUnspec::Inet(parts) => parts.iter().any(|part| matches!(part, AfSpecInet::DevConf(conf) if what(conf))),
        _ => false,
    })
}

pub(super) async fn index(netlink: &Netlink, name: &str) -> Result<u32, Failure> {
    let request = RouteNetlinkMessage::GetLink(message(vec![LinkAttribute::IfName(name.to_owned())]));
    let answer = netlink.get_route(request).await?;
    let found = answer.into_iter().find_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
        _ => None,
    });
    found.ok_or(Failure::Errno(libc::ENODEV))
}

/// Down, with our alias, and in its VRF from the first moment.
pub(super) async fn add(netlink: &Netlink, link: &Link) -> Result<(), Failure> {
    let mut infos = info(link.kind).ok_or(Failure::Errno(libc::EOPNOTSUPP))?;
    if let Some(underlying) = &link.link {
        let number = index(netlink, underlying).await?;
        for info in &mut infos {
            if let LinkInfo::Data(InfoData::Xfrm(parts)) = info {
                parts.push(InfoXfrm::Link(number));
            }
        }
    }
    let mut message = message(vec![
        LinkAttribute::IfName(link.name.clone()),
        LinkAttribute::Mtu(link.mtu),
        LinkAttribute::LinkInfo(infos),
    ]);
    if let Some(vrf) = &link.vrf {
        message.attributes.push(LinkAttribute::Controller(index(netlink, vrf).await?));
    }
    if matches!(link.kind, LinkKind::Gre { .. }) {
        // Routing protocols are what it is taken for.
        message.header.flags = LinkFlags::Multicast;
        message.header.change_mask = LinkFlags::Multicast;
    }
    netlink.route(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await?;
    // The kernel takes no alias at creation.
    let marked = set(netlink, &link.name, vec![LinkAttribute::IfAlias(ALIAS.to_owned())], false).await;
    if marked.is_err() {
        remove(netlink, &link.name).await?;
    }
    marked
}

pub(super) async fn set_mtu(netlink: &Netlink, name: &str, mtu: u32) -> Result<(), Failure> {
    set(netlink, name, vec![LinkAttribute::Mtu(mtu)], false).await
}

/// Master 0 is none.
pub(super) async fn set_vrf(netlink: &Netlink, name: &str, vrf: Option<&str>) -> Result<(), Failure> {
    let master = match vrf {
        Some(vrf) => index(netlink, vrf).await?,
        None => 0,
    };
    set(netlink, name, vec![LinkAttribute::Controller(master)], false).await
}

/// Takes it up there, too: nobody who is here can do that later. What has no such file is not there.
pub(super) async fn set_namespace(netlink: &Netlink, name: &str, namespace: &str) -> Result<(), Failure> {
    let file = elsewhere::open(namespace)?;
    set(netlink, name, vec![LinkAttribute::NetNsFd(file.as_raw_fd())], true).await
}

/// Sets net.ipv4.conf.DEVICE.disable_policy; values of zero are left out of the request, and so stay what they are.
pub(super) async fn disable_policy(netlink: &Netlink, name: &str) -> Result<(), Failure> {
    let mut conf = InetDevConf::default();
    conf.nopolicy = 1;
    set_conf(netlink, name, conf).await
}

/// Sets net.ipv4.conf.DEVICE.src_valid_mark likewise.
pub(super) async fn source_by_mark(netlink: &Netlink, name: &str) -> Result<(), Failure> {
    let mut conf = InetDevConf::default();
    conf.src_vmark = 1;
    set_conf(netlink, name, conf).await
}

async fn set_conf(netlink: &Netlink, name: &str, conf: InetDevConf) -> Result<(), Failure> {
    let spec = AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)]);
    set(netlink, name, vec![LinkAttribute::AfSpecUnspec(vec![spec])], false).await
}

pub(super) async fn up(netlink: &Netlink, name: &str) -> Result<(), Failure> {
    set(netlink, name, Vec::new(), true).await
}

pub(super) async fn remove(netlink: &Netlink, name: &str) -> Result<(), Failure> {
    let message = message(vec![LinkAttribute::IfName(name.to_owned())]);
    netlink.route(RouteNetlinkMessage::DelLink(message), 0).await
}

async fn set(netlink: &Netlink, name: &str, mut attributes: Vec<LinkAttribute>, up: bool) -> Result<(), Failure> {
    attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut message = message(attributes);
    if up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
    netlink.route(RouteNetlinkMessage::SetLink(message), 0).await
}

fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = attributes;
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let (v4, v6) = (["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]);
        let vti = |[local, remote]: [&str; 2]| LinkKind::Vti {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            input_key: 0x0102_0304,
            output_key: 42,
        };
        let gre = |[local, remote]: [&str; 2], key| LinkKind::Gre {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            key,
            ttl: 32,
            fwmark: 0x100,
        };
        let gres = [gre(v4, None), gre(v4, Some(42)), gre(v6, None), gre(v6, Some(42))];
        for kind in [LinkKind::Xfrm { if_id: 42 }, LinkKind::External, vti(v4), vti(v6)].into_iter().chain(gres) {
            let data = info(kind).unwrap().into_iter().find_map(|info| match info {
                LinkInfo::Data(data) => Some(data),
                _ => None,
            });
            assert_eq!(data.map(read), Some(kind));
        }
        assert!(info(LinkKind::Other).is_none());
    }
}
