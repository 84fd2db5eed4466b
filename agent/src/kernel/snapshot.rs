//! What of ours is in the kernel.

use std::collections::BTreeSet;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_xfrm::XfrmMessage;

use super::link::Devices;
use super::netlink::{Failure, Netlink};
use super::{Error, address, link, route, rule, state, xfrm_policy};
use crate::plan::{Address, Observed, Route, Rule};

/// Everything of ours that netlink shows, and the names of the devices that are not. Data path and charon are left empty.
pub async fn snapshot(netlink: &Netlink) -> Result<Observed, Error> {
    let failed = |what| move |failure: Failure| Error::Dump { what, cause: failure.to_string() };
    let devices = link::dump(netlink).await.map_err(failed("devices"))?;
    // One kind after the other: all messages at once are more than what is kept of them.
    let addresses = address::read_all(&address::dump(netlink).await.map_err(failed("addresses"))?, &devices);
    let routes = route::read_all(&route::dump(netlink).await.map_err(failed("routes"))?, &devices);
    let rules = rule::read_all(&rule::dump(netlink).await.map_err(failed("rules"))?);
    let mut observed = gather(devices, addresses, routes, rules);
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
pub fn read(messages: &[RouteNetlinkMessage], xfrm: Vec<XfrmMessage>) -> Observed {
    let devices = Devices::of(messages);
    let (addresses, routes) = (address::read_all(messages, &devices), route::read_all(messages, &devices));
    let mut observed = gather(devices, addresses, routes, rule::read_all(messages));
    for message in xfrm {
        match message {
            XfrmMessage::AddPolicy(_) => xfrm_policy::add_to(&mut observed, message),
            message => state::add_to(&mut observed, message),
        }
    }
    observed
}

fn gather(
    devices: Devices,
    (addresses, other_addresses): (BTreeSet<Address>, BTreeSet<Address>),
    routes: BTreeSet<Route>,
    rules: BTreeSet<Rule>,
) -> Observed {
    Observed {
        addresses,
        other_addresses,
        routes,
        rules,
        links: devices.ours,
        others: devices.others,
        vrfs: devices.vrfs,
        ..Observed::default()
    }
}
