//! What of ours is in the kernel.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_xfrm::XfrmMessage;

use super::link::Devices;
use super::netlink::{Failure, Netlink};
use super::{Error, address, link, route, rule, state, xfrm_policy};
use crate::plan::Observed;

/// Everything of ours that netlink shows, and the names of the devices that are not. Data path and charon are left empty.
pub async fn snapshot(netlink: &Netlink) -> Result<Observed, Error> {
    let failed = |what| move |failure: Failure| Error::Dump { what, cause: failure.to_string() };
    let mut messages = link::dump(netlink).await.map_err(failed("devices"))?;
    messages.extend(address::dump(netlink).await.map_err(failed("addresses"))?);
    messages.extend(route::dump(netlink).await.map_err(failed("routes"))?);
    messages.extend(rule::dump(netlink).await.map_err(failed("rules"))?);
    let mut observed = gather(&messages);
    drop(messages);
    // Each has its own half of what XFRM says.
    let states = state::dump(netlink).await.map_err(failed("XFRM states"))?;
    let policies = xfrm_policy::dump(netlink).await.map_err(failed("XFRM policies"))?;
    observed.states = states.states;
    observed.policies = policies.policies;
    for (lane, traces) in states.charon.into_iter().chain(policies.charon) {
        observed.charon.entry(lane).or_default().add(traces);
    }
    Ok(observed)
}

/// The same of messages that are there already: answers to dumps of links, addresses, routes and rules, and of XFRM's states
/// and policies.
pub fn read(route: &[RouteNetlinkMessage], xfrm: Vec<XfrmMessage>) -> Observed {
    let mut observed = gather(route);
    for message in xfrm {
        match message {
            XfrmMessage::AddPolicy(_) => xfrm_policy::add_to(&mut observed, message),
            message => state::add_to(&mut observed, message),
        }
    }
    observed
}

fn gather(messages: &[RouteNetlinkMessage]) -> Observed {
    let devices = Devices::of(messages);
    let (addresses, other_addresses) = address::read_all(messages, &devices);
    Observed {
        addresses,
        other_addresses,
        routes: route::read_all(messages, &devices),
        rules: rule::read_all(messages),
        links: devices.ours,
        others: devices.others,
        vrfs: devices.vrfs,
        ..Observed::default()
    }
}
