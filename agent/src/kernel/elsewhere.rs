//! Devices of ours that somebody has taken to another network namespace: made here, they still encrypt here (`xfrmi_get_link_net`,
//! `ip_tunnel_get_link_net`).

use std::collections::BTreeMap;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::netlink::{Failure, Netlink};
use super::{Error, link};

/// IFLA_TARGET_NETNSID (include/uapi/linux/if_link.h), which the crate has no word for.
const TARGET_NETNSID: u16 = 46;

/// By name, with the number by which this namespace knows the one that they are in (`ip netns list-id`). What others made has our
/// alias there, too, if they are agents; what may not be looked into has none.
pub async fn elsewhere(netlink: &Netlink) -> Result<BTreeMap<String, i32>, Error> {
    let failed = |failure: Failure| Error::Dump { what: "network namespaces", cause: failure.to_string() };
    let known = netlink.dump_route(RouteNetlinkMessage::GetNsId(NsidMessage::default())).await.map_err(failed)?;
    let mut found = Vec::new();
    for number in known.iter().filter_map(number_of) {
        // It may have gone meanwhile.
        let Ok(devices) = link::dump_in(netlink, Some(number)).await else { continue };
        found.extend(devices.made_in.into_iter().map(|(name, made_in)| (name, made_in, number)));
    }
    // It has one once a device has told that it was made here: not before.
    let here = own_number(netlink).await.map_err(failed)?;
    let ours = found.into_iter().filter(|(_, made_in, _)| Some(*made_in) == here);
    Ok(ours.map(|(name, _, number)| (name, number)).collect())
}

/// Removes a device there; fine where it is gone.
pub(super) async fn remove(netlink: &Netlink, name: &str, number: i32) -> Result<(), Failure> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), target(number)];
    match netlink.route(RouteNetlinkMessage::DelLink(message), 0).await {
        // The namespace is gone, with all that was in it.
        Err(failure) if [libc::ENODEV, libc::EINVAL].iter().any(|errno| failure.is(*errno)) => Ok(()),
        other => other,
    }
}

/// Has a request be about the devices of another namespace.
pub(super) fn target(number: i32) -> LinkAttribute {
    LinkAttribute::Other(DefaultNla::new(TARGET_NETNSID, number.to_ne_bytes().to_vec()))
}

/// The number by which this namespace knows itself.
async fn own_number(netlink: &Netlink) -> Result<Option<i32>, Failure> {
    let mut question = NsidMessage::default();
    question.attributes = vec![NsidAttribute::Pid(std::process::id())];
    let answer = netlink.get_route(RouteNetlinkMessage::GetNsId(question)).await?;
    Ok(answer.iter().find_map(number_of))
}

/// `None` for what says that there is none yet.
fn number_of(message: &RouteNetlinkMessage) -> Option<i32> {
    let RouteNetlinkMessage::NewNsId(message) = message else { return None };
    message.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(number) => Some(*number).filter(|number| *number >= 0),
        _ => None,
    })
}
