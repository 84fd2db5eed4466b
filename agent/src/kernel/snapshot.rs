//! What of ours is in the kernel.

use super::netlink::{Failure, Netlink};
use super::{Error, address, link, route, rule, state, xfrm_policy};
use crate::plan::Observed;

/// Everything of ours that netlink shows, and the names of the devices that are not. Data path and charon are left empty.
pub async fn snapshot(netlink: &Netlink) -> Result<Observed, Error> {
    let failed = |what| move |failure: Failure| Error::Dump { what, cause: failure.to_string() };
    let devices = link::dump(netlink).await.map_err(failed("devices"))?;
    let (addresses, other_addresses) = address::dump(netlink, &devices).await.map_err(failed("addresses"))?;
    let routes = route::dump(netlink, &devices).await.map_err(failed("routes"))?;
    let rules = rule::dump(netlink).await.map_err(failed("rules"))?;
    let mut observed = Observed {
        links: devices.ours,
        others: devices.others,
        vrfs: devices.vrfs,
        addresses,
        other_addresses,
        routes,
        rules,
        ..Observed::default()
    };
    for (state, tagged) in state::dump(netlink).await.map_err(failed("XFRM states"))? {
        observed.add_state(state, tagged);
    }
    for policy in xfrm_policy::dump(netlink).await.map_err(failed("XFRM policies"))? {
        observed.add_policy(policy);
    }
    Ok(observed)
}
