//! How long a packet waits between a tunnel's device and the wire: for encryption, and in the queue of the device that ESP
//! leaves by.
//!
//! Some packets get a timestamp, by which they are known again: a departure time, which XFRM interfaces leave on the skb where
//! they take off the time of an arrival (skb_clear_tstamp; 5.18 and later tell the two apart). Xfrm, VTI and GRE leave it too while
//! all of them are in one network namespace (skb_scrub_packet). Segments and fragments get a copy: the first of them that is sent
//! ends the wait. fq holds a packet until its departure time; this one has passed.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC};
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_skb_set_tstamp,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap};
use aya_ebpf::programs::{RawTracePointContext, TcContext};
use lanekeeper_common::latency::{
    Delays, MAX_LANES, MAX_STACKED, MAX_STAMPS, MAX_WAYS, Sampling, Stamped, Way, bucket, timestamp,
};

/// bpf.h: the time is one of the monotonic clock, when the packet may leave.
const BPF_SKB_TSTAMP_DELIVERY_MONO: u32 = 1;

/// bpf.h; what is large and seldom full.
const BPF_F_NO_PREALLOC: u32 = 1;

#[map]
pub static SAMPLING: Array<Sampling> = Array::with_max_entries(1, 0);
#[map]
pub static TURNS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static WAYS: HashMap<Way, u32> = HashMap::with_max_entries(MAX_WAYS, BPF_F_NO_PREALLOC);
#[map]
pub static STACKED: HashMap<u32, u32> = HashMap::with_max_entries(MAX_STACKED, BPF_F_NO_PREALLOC);
#[map]
pub static STAMPS: LruHashMap<u64, Stamped> = LruHashMap::with_max_entries(MAX_STAMPS, 0);
#[map]
pub static DELAYS: PerCpuHashMap<u32, Delays> = PerCpuHashMap::with_max_entries(MAX_LANES, BPF_F_NO_PREALLOC);

/// Stamps the packet if its turn has come.
#[inline(always)]
pub fn begin(ctx: &TcContext) -> i32 {
    let _ = stamp(ctx.skb.skb);
    TC_ACT_UNSPEC
}

#[inline(always)]
fn stamp(skb: *mut __sk_buff) -> Option<()> {
    // SAFETY: here and below, the verifier turns what is read of the context's fields, and written, into the skb's.
    if unsafe { (*skb).tstamp } != 0 {
        // The sender's own departure time, by which fq paces it. The next packet is as good.
        return None;
    }
    let turn = TURNS.get_ptr_mut(0)?;
    // SAFETY: this CPU's own; programs of tc run with softirqs off, so nothing of ours comes between.
    let left = unsafe { *turn };
    if left > 1 {
        // SAFETY: as above.
        unsafe { *turn = left - 1 };
        return None;
    }
    let sampling = SAMPLING.get(0)?;
    // SAFETY: as above.
    unsafe { *turn = gap(sampling.every) };
    let (device, mark) = unsafe { ((*skb).ifindex, (*skb).mark & sampling.mask) };
    // SAFETY: four bytes that the agent writes whole.
    let lane = unsafe { *WAYS.get(Way { device, mark })? };
    let at = now();
    // SAFETY: the agent writes it with one store of eight aligned bytes.
    if at >= unsafe { (&raw const sampling.until).read_volatile() } {
        return None;
    }
    // SAFETY: takes nothing and only tells a number.
    let stamp = timestamp(at, unsafe { bpf_get_smp_processor_id() });
    STAMPS.insert(stamp, Stamped { at, lane, device }, 0).ok()?;
    // SAFETY: the helper writes two fields of the skb, or refuses what is no IP.
    unsafe { bpf_skb_set_tstamp(skb, stamp, BPF_SKB_TSTAMP_DELIVERY_MONO) };
    Some(())
}

/// Packets to the next one that is stamped, that one included: `every` on average, and never in step with what comes at
/// regular distances.
#[inline(always)]
fn gap(every: u32) -> u64 {
    let every = u64::from(every.max(1));
    // SAFETY: takes nothing and only tells a number.
    1 + u64::from(unsafe { bpf_get_prandom_u32() }) % (2 * every - 1)
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes nothing and only reads the clock.
    unsafe { bpf_ktime_get_ns() }
}

/// Counts how long the packet has waited, if it was stamped and no device below will have it in its own queue.
#[inline(always)]
pub fn end(ctx: &RawTracePointContext) -> i32 {
    let _ = count(ctx);
    0
}

#[inline(always)]
fn count(ctx: &RawTracePointContext) -> Option<()> {
    let sampling = SAMPLING.get(0)?;
    let (skb, device): (*const u8, *const u8) = argument(ctx);
    let stamp: u64 = read(skb, sampling.tstamp)?;
    if stamp == 0 {
        return None;
    }
    // SAFETY: written whole before the packet was given its timestamp; one that is thrown out meanwhile may be another's by
    // now, whose numbers are as good.
    let stamped = unsafe { *STAMPS.get(stamp)? };
    let ifindex: u32 = read(device, sampling.ifindex)?;
    if ifindex == stamped.device || STACKED.get_ptr(ifindex).is_some() {
        return None;
    }
    let _ = STAMPS.remove(stamp);
    let waited = now().saturating_sub(stamped.at);
    let delays = DELAYS.get_ptr_mut(stamped.lane)?;
    // SAFETY: this CPU's own; packets are sent with softirqs off, so nothing of ours comes between.
    unsafe {
        if let Some(packets) = (*delays).buckets.get_mut(bucket(waited)) {
            *packets += 1;
        }
        (*delays).sum += waited;
    }
    Some(())
}

/// The skb and the device that the tracepoint is given.
#[inline(always)]
fn argument(ctx: &RawTracePointContext) -> (*const u8, *const u8) {
    let arguments = ctx.as_ptr().cast::<u64>();
    // SAFETY: the tracepoint has two (include/trace/events/net.h), which the verifier checks.
    unsafe { (arguments.read() as *const u8, arguments.add(1).read() as *const u8) }
}

/// A field of a structure of the kernel's.
#[inline(always)]
fn read<T>(of: *const u8, offset: u32) -> Option<T> {
    // SAFETY: the helper reads any address, and fails where there is nothing.
    unsafe { bpf_probe_read_kernel(of.wrapping_add(offset as usize).cast::<T>()).ok() }
}
