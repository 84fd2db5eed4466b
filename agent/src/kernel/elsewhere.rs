//! Devices of ours that somebody has taken to another network namespace: made here, they still encrypt here (`xfrmi_get_link_net`,
//! `ip_tunnel_get_link_net`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::link::Moved;
use super::netlink::{Failure, Netlink};
use super::{Error, link};
use crate::plan::Link;

/// IFLA_TARGET_NETNSID (include/uapi/linux/if_link.h), which the crate has no word for.
const TARGET_NETNSID: u16 = 46;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The number by which this namespace knows the one that it is in (`ip netns list-id`).
    pub namespace: i32,
    /// Its own number there.
    pub index: u32,
    /// What it is.
    pub link: Link,
}

/// All of them, by name. What others made has our alias there, too, if they are agents; what may not be looked into has none.
pub async fn elsewhere(netlink: &Netlink) -> Result<BTreeMap<String, Taken>, Error> {
    let known = netlink.dump_route(RouteNetlinkMessage::GetNsId(NsidMessage::default())).await.map_err(failed)?;
    let mut found = Vec::new();
    for namespace in known.iter().filter_map(number_of) {
        // It may have gone meanwhile.
        let Ok(devices) = link::dump_in(netlink, Some(namespace)).await else { continue };
        found.extend(devices.made_in.into_values().map(|moved| (namespace, moved)));
    }
    made_here(netlink, found).await
}

/// Those in the namespace of that number.
pub async fn taken_to(netlink: &Netlink, namespace: i32) -> Result<BTreeMap<String, Taken>, Error> {
    let devices = link::dump_in(netlink, Some(namespace)).await.map_err(failed)?;
    made_here(netlink, devices.made_in.into_values().map(|moved| (namespace, moved)).collect()).await
}

async fn made_here(netlink: &Netlink, found: Vec<(i32, Moved)>) -> Result<BTreeMap<String, Taken>, Error> {
    // This namespace has a number once a device has told that it was made here: not before.
    let here = own_number(netlink).await.map_err(failed)?;
    let ours = found.into_iter().filter(|(_, moved)| Some(moved.made_in) == here);
    let taken =
        |(namespace, Moved { index, link, .. }): (i32, Moved)| (link.name.clone(), Taken { namespace, index, link });
    Ok(ours.map(taken).collect())
}

fn failed(failure: Failure) -> Error {
    Error::Dump { what: "network namespaces", cause: failure.to_string() }
}

/// The number by which this namespace knows that one, given now if there is none; `None` where it is not there.
pub async fn namespace(netlink: &Netlink, name: &str) -> Result<Option<i32>, Error> {
    let Ok(file) = open(name) else { return Ok(None) };
    let by_file = |more: Option<NsidAttribute>| {
        let mut message = NsidMessage::default();
        message.attributes = [NsidAttribute::Fd(file.as_raw_fd() as u32)].into_iter().chain(more).collect();
        message
    };
    let ask = async || netlink.get_route(RouteNetlinkMessage::GetNsId(by_file(None))).await;
    // What is mounted there may be no namespace.
    let Ok(answer) = ask().await else { return Ok(None) };
    if let Some(number) = answer.iter().find_map(number_of) {
        return Ok(Some(number));
    }
    let any = by_file(Some(NsidAttribute::Id(-1)));
    match netlink.route(RouteNetlinkMessage::NewNsId(any), 0).await {
        Err(failure) if !failure.is(libc::EEXIST) => return Err(failed(failure)),
        _ => {}
    }
    Ok(ask().await.map_err(failed)?.iter().find_map(number_of))
}

/// As ip-netns(8) has them.
pub(super) fn open(namespace: &str) -> Result<File, Failure> {
    let file = File::open(Path::new("/run/netns").join(namespace));
    file.map_err(|error: io::Error| Failure::Errno(error.raw_os_error().unwrap_or(libc::ENOENT)))
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
