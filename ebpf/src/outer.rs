//! Outer DSCP: what the ESP packet of a lane carries.
//!
//! The inner mark stays on the skb through the transform, so (outer addresses, mark) names the lane and no SPI needs to be
//! known: nothing to race with at a rekey.

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::helpers::generated::{bpf_l3_csum_replace, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use lanekeeper_common::abi::{OuterKey, device_flag};
use lanekeeper_common::dscp;
use lanekeeper_common::packet::{Bytes, Family, Fragment, UDP, parse};
use lanekeeper_common::rules::Tables;

use crate::ctx::Skb;
use crate::maps::{DEVICES, OUTER};
use crate::tables::Live;

const ESP: u8 = 50;
/// ESP in UDP (RFC 3948).
const NAT_T: u16 = 4500;

/// Writes the DSCP of the packet's lane; leaves every other packet alone.
#[inline(always)]
pub fn mark_dscp(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    let _ = rewrite(&skb);
    TC_ACT_UNSPEC
}

#[inline(always)]
fn rewrite(skb: &Skb) -> Option<()> {
    let live = Live::read()?;
    let mask = live.generation().head.mark_mask;
    let mark = skb.mark() & mask;
    if mark == 0 {
        return None;
    }
    // SAFETY: eight bytes that the agent writes whole.
    let flags = unsafe { DEVICES.get(skb.ifindex()).map_or(device_flag::ETHERNET, |device| device.flags) };
    let packet = parse(skb, skb.layer(flags), skb.tag()).ok()?;
    let encrypted = packet.protocol == ESP
        || (packet.protocol == UDP
            && packet.ports.is_some_and(|(source, destination)| source == NAT_T || destination == NAT_T));
    if !encrypted && !matches!(packet.fragment, Fragment::Later(_)) {
        return None;
    }
    let key = OuterKey { local: packet.source, remote: packet.destination, mark, mask };
    // SAFETY: four bytes that the agent writes whole.
    let wanted = unsafe { *OUTER.get(key)? } as u8;
    if wanted == packet.dscp {
        return Some(());
    }
    let network = packet.network;
    match packet.family {
        Family::V4 => {
            let [version, old] = skb.read::<2>(network)?;
            let new = dscp::put(old, wanted);
            // The checksum covers 16-bit words: version and TOS are one.
            let (from, to) = (u16::from_ne_bytes([version, old]), u16::from_ne_bytes([version, new]));
            // SAFETY: offsets within the header that was just read; the helpers check them again.
            unsafe {
                bpf_l3_csum_replace(skb.raw(), network + 10, u64::from(from), u64::from(to), 2);
                bpf_skb_store_bytes(skb.raw(), network + 1, (&raw const new).cast(), 1, 0);
            }
        }
        Family::V6 => {
            let [first, second] = skb.read::<2>(network)?;
            let class = dscp::put((first << 4) | (second >> 4), wanted);
            let new = [(first & 0xf0) | (class >> 4), (class << 4) | (second & 0x0f)];
            // SAFETY: as above; IPv6 has no header checksum.
            unsafe {
                bpf_skb_store_bytes(skb.raw(), network, new.as_ptr().cast(), 2, 0);
            }
        }
    }
    Some(())
}
