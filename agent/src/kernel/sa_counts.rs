//! What the kernel counts of each SA of ours.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_xfrm::XfrmAttrs;
use netlink_packet_xfrm::constants::XFRM_STATE_ESN;
use netlink_packet_xfrm::state::ModifyMessage;

use super::netlink::Netlink;
use super::{Error, state};
use crate::plan::REQIDS;

/// What has happened on one SA since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaCounts {
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
    /// The last sequence number sent, or the highest one received.
    pub sequence: u64,
    /// Whether there are 2^64 of them rather than 2^32 (RFC 4304).
    pub extended: bool,
}

impl SaCounts {
    /// How much of its sequence numbers is used, 0 to 1. The last is never sent twice: what comes after it is dropped.
    pub fn used(&self) -> f64 {
        self.sequence as f64 / if self.extended { 2f64.powi(64) } else { 2f64.powi(32) }
    }
}

/// Of every SA with a request id of ours, charon's included, or with one of the `adopted`.
pub async fn sa_counts(netlink: &Netlink, adopted: &BTreeSet<u32>) -> Result<Vec<SaCounts>, Error> {
    let counts = |message: ModifyMessage| {
        let info = &message.user_sa_info;
        let extended = info.flags & XFRM_STATE_ESN != 0;
        let is_wanted = REQIDS.contains(&info.reqid) || adopted.contains(&info.reqid);
        is_wanted.then(|| SaCounts {
            destination: state::ip(&info.id.daddr, info.family),
            spi: info.id.spi,
            reqid: info.reqid,
            // linux/xfrm.h: too old for the window, and seen before within it.
            replay: info.stats.replay_window.wrapping_add(info.stats.replay),
            integrity: info.stats.integrity_failed,
            sequence: message.nlas.iter().map(|attribute| sequence(attribute, extended)).max().unwrap_or(0),
            extended,
        })
    };
    let found = state::dump_without_keys(netlink, counts).await;
    found.map_err(|failure| Error::Dump { what: "XFRM states", cause: failure.to_string() })
}

/// An SA goes one way: one of the two is 0. The upper half means nothing where numbers are not extended.
fn sequence(attribute: &XfrmAttrs, extended: bool) -> u64 {
    match attribute {
        XfrmAttrs::ReplayState(replay) => replay.oseq.max(replay.seq).into(),
        XfrmAttrs::ReplayStateEsn(replay) => {
            let whole =
                |high: u32, low: u32| if extended { u64::from(high) << 32 | u64::from(low) } else { low.into() };
            whole(replay.oseq_hi, replay.oseq).max(whole(replay.seq_hi, replay.seq))
        }
        // All others say something else.
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_xfrm::{Replay, ReplayEsn};

    use super::*;

    #[test]
    fn the_sequence_number_is_that_of_the_way_that_an_sa_goes() {
        let small = |oseq, seq| XfrmAttrs::ReplayState(Replay { oseq, seq, bitmap: 0 });
        assert_eq!(sequence(&small(7, 0), false), 7);
        assert_eq!(sequence(&small(0, 9), false), 9);
        let large = XfrmAttrs::ReplayStateEsn(ReplayEsn { oseq: 5, oseq_hi: 2, ..ReplayEsn::default() });
        assert_eq!(sequence(&large, false), 5);
        assert_eq!(sequence(&large, true), (2 << 32) + 5);
        assert_eq!(sequence(&XfrmAttrs::ReplayThreshold(3), true), 0);
    }

    #[test]
    fn what_is_used_is_a_share_of_all_that_there_are() {
        let sa = |sequence, extended| SaCounts {
            destination: "192.0.2.1".parse().unwrap(),
            spi: 1,
            reqid: 1,
            replay: 0,
            integrity: 0,
            sequence,
            extended,
        };
        assert_eq!(sa(1 << 31, false).used(), 0.5);
        assert_eq!(sa(1 << 63, true).used(), 0.5);
        assert!(sa(1 << 31, true).used() < 1e-9);
        assert_eq!(sa(0, false).used(), 0.0);
    }
}
