//! Counters. Per CPU, so that counting is two additions.

use lanekeeper_common::abi::COUNTERS_TOGETHER;
use lanekeeper_common::packet::{Bytes, SCTP, TCP};

use crate::ctx::Skb;
use crate::maps::COUNTERS;

const UDP_HEADER: u32 = 8;
/// The common header, without chunks (RFC 9260 section 3.1).
const SCTP_HEADER: u32 = 12;
/// linux/skbuff.h: the gso_size of SCTP, whose segments are as long as their chunks.
const GSO_BY_FRAGS: u32 = 0xffff;

/// What one skb stands for.
#[derive(Clone, Copy)]
pub struct Amount {
    packets: u64,
    bytes: u64,
}

/// Packets and bytes as the wire will see them: xfrm cuts an offloaded packet before it encrypts, so the kernel's own SA
/// counters see its segments, each with its own headers. A packet that was not read has no transport header (0).
///
/// Headers are counted up to the outermost transport's: of a tunnel's offloaded packet (VXLAN, GRE) the segments are
/// right, but their bytes lack the inner headers that the second one and those after it repeat.
#[inline(always)]
pub fn amount(skb: &Skb, network: u32, transport: u32, protocol: u8) -> Amount {
    let bytes = skb.len().wrapping_sub(network);
    let (segments, size) = skb.segments();
    if size == 0 || transport == 0 {
        return Amount { packets: 1, bytes: u64::from(bytes) };
    }
    let header = match protocol {
        TCP => skb.read::<1>(transport + 12).map_or(20, |[offset]| u32::from(offset >> 4) * 4),
        SCTP => SCTP_HEADER,
        _ => UDP_HEADER,
    };
    let headers = transport.wrapping_sub(network).wrapping_add(header);
    let segments = if segments != 0 {
        u64::from(segments)
    } else if size == GSO_BY_FRAGS {
        // Only the list of its fragments tells, which no program can read.
        1
    } else {
        // Packets of untrusted origin come without a number of segments.
        u64::from(bytes.saturating_sub(headers)).div_ceil(u64::from(size)).max(1)
    };
    Amount { packets: segments, bytes: u64::from(bytes) + (segments - 1) * u64::from(headers) }
}

/// Adds to a counter.
#[inline(always)]
pub fn count(counter: u32, amount: Amount) {
    if let Some(values) = COUNTERS.get_ptr_mut(counter / COUNTERS_TOGETHER as u32) {
        // SAFETY: a per-CPU value; programs of tc on one CPU do not interrupt each other at one hook's depth, and a
        // nested one can at worst lose an addition.
        unsafe {
            let value = &mut (*values)[counter as usize & (COUNTERS_TOGETHER - 1)];
            value.packets += amount.packets;
            value.bytes += amount.bytes;
        }
    }
}
