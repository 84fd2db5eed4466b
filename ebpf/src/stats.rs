//! Counters. Per CPU, so that counting is two additions.

use lanekeeper_common::packet::{Bytes, TCP};

use crate::ctx::Skb;
use crate::maps::COUNTERS;

/// What one skb stands for.
#[derive(Clone, Copy)]
pub struct Amount {
    packets: u64,
    bytes: u64,
}

/// Packets and bytes as the wire will see them: xfrm cuts an offloaded packet before it encrypts, so the kernel's own SA
/// counters see its segments, each with its own headers. A packet that was not read has no transport header (0).
#[inline(always)]
pub fn amount(skb: &Skb, network: u32, transport: u32, protocol: u8) -> Amount {
    let bytes = skb.len().wrapping_sub(network);
    let (segments, size) = skb.segments();
    if size == 0 || transport == 0 {
        return Amount { packets: 1, bytes: u64::from(bytes) };
    }
    let header = if protocol == TCP {
        skb.read::<1>(transport + 12).map_or(20, |[offset]| u32::from(offset >> 4) * 4)
    } else {
        8
    };
    let headers = transport.wrapping_sub(network).wrapping_add(header);
    let segments = if segments != 0 {
        u64::from(segments)
    } else {
        // Packets of untrusted origin come without a number of segments.
        u64::from(bytes.saturating_sub(headers)).div_ceil(u64::from(size)).max(1)
    };
    Amount { packets: segments, bytes: u64::from(bytes) + (segments - 1) * u64::from(headers) }
}

/// Adds to a counter.
#[inline(always)]
pub fn count(counter: u32, amount: Amount) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: a per-CPU value; programs of tc on one CPU do not interrupt each other at one hook's depth, and a
        // nested one can at worst lose an addition.
        unsafe {
            (*value).packets += amount.packets;
            (*value).bytes += amount.bytes;
        }
    }
}
