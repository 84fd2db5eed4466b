//! What the kernel counts against each SA of ours.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::netlink::Netlink;
use super::{Error, state};
use crate::plan::REQIDS;

/// What went wrong on one SA since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaErrors {
    /// With the SPI, its name.
    pub destination: IpAddr,
    /// In host byte order.
    pub spi: u32,
    /// Its lane's.
    pub reqid: u32,
    /// Packets that the anti-replay window had passed, or seen before.
    pub replay: u32,
    /// Packets that did not authenticate.
    pub integrity: u32,
}

/// Of every SA with a request id of ours, charon's included, or with one of the `adopted`.
pub async fn sa_errors(netlink: &Netlink, adopted: &BTreeSet<u32>) -> Result<Vec<SaErrors>, Error> {
    let messages = state::dump_without_keys(netlink).await;
    let messages = messages.map_err(|failure| Error::Dump { what: "XFRM states", cause: failure.to_string() })?;
    let mut found = Vec::new();
    for message in messages {
        let info = &message.user_sa_info;
        if REQIDS.contains(&info.reqid) || adopted.contains(&info.reqid) {
            found.push(SaErrors {
                destination: state::ip(&info.id.daddr, info.family),
                spi: info.id.spi,
                reqid: info.reqid,
                // linux/xfrm.h: too old for the window, and seen before within it.
                replay: info.stats.replay_window.wrapping_add(info.stats.replay),
                integrity: info.stats.integrity_failed,
            });
        }
    }
    Ok(found)
}
