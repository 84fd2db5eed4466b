//! Decisions of `lanekeeper_common` carried out: mark, drop, count.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_xfrm_state};
use aya_ebpf::helpers::generated::bpf_skb_get_xfrm_state;
use aya_ebpf::programs::TcContext;
use lanekeeper_common::abi::{MAX_LANES, MAX_TUNNELS, NO_LANE, NO_VLAN, Parsed, Passage, counter, device_flag};
use lanekeeper_common::classify;
use lanekeeper_common::decide::{Arrival, Decision, Surroundings, decide};
use lanekeeper_common::lane;
use lanekeeper_common::mark;
use lanekeeper_common::packet::Family;
use lanekeeper_common::rules::Tables;
use lanekeeper_common::verdict::BlockReason;

use crate::cgroup;
use crate::ctx::Skb;
use crate::passage::{device, passage};
use crate::stats::{amount, count};
use crate::tables::{Live, read};

/// Egress: classify, then mark or drop. What cannot be decided is dropped: cleartext is no fallback.
#[inline(always)]
pub fn out(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    let Some(live) = Live::read() else { return unready(&skb) };
    let Some(Passage { device, ingress, .. }) = passage(&skb, live.stamp()) else { return unready(&skb) };
    let tag = skb.tag();
    let tag = if tag == NO_VLAN { ingress.vlan } else { tag };
    let cgroup = cgroup::place(&skb, &live);
    let Some(parsed) = read(&skb, skb.layer(device.flags), tag, cgroup) else { return unready(&skb) };
    let arrival = Arrival { interface: ingress.number, tunnel: device.tunnel, device: skb.ifindex(), mark: skb.mark() };
    let decision = decide(&live, parsed, &arrival);
    if device.flags & device_flag::TRACE != 0 {
        trace(ctx, &decision);
    }
    carry_out(&skb, &live, parsed, &decision)
}

#[inline(always)]
fn unready(skb: &Skb) -> i32 {
    count(counter::BLOCKED + BlockReason::NoTables as u32, amount(skb, 0, 0, 0));
    TC_ACT_SHOT
}

#[inline(always)]
pub fn carry_out(skb: &Skb, live: &Live, parsed: &Parsed, decision: &Decision) -> i32 {
    let generation = live.generation();
    let classified = &decision.classified;
    let amount = amount(skb, parsed.network, parsed.transport, parsed.protocol);
    if decision.parse != 0 {
        count(counter::PARSE + (decision.parse & 7), amount);
    }
    let class = classify::counters(live, classified.tenant, classified.class);
    if classified.counter != 0 {
        count(classified.counter, amount);
    }
    match &decision.outcome {
        Ok(taken) => {
            skb.0.set_mark(mark::put(skb.mark(), generation.head.mark_mask, taken.mark));
            count(class + counter::CLASS_OUT, amount);
            count(taken.counters + counter::LANE_OUT, amount);
            if taken.fallback != 0 {
                count(taken.fallback, amount);
            }
            TC_ACT_UNSPEC
        }
        Err(reason) => {
            count(class + counter::CLASS_BLOCKED + *reason as u32, amount);
            TC_ACT_SHOT
        }
    }
}

/// For test runs: what was decided, in the control block that comes back with the packet.
#[inline(always)]
fn trace(ctx: &TcContext, decision: &Decision) {
    let (lane, blocked) = match &decision.outcome {
        Ok(taken) => (taken.lane, 0),
        Err(reason) => (NO_LANE, *reason as u32),
    };
    let classified = &decision.classified;
    // SAFETY: the five words of the control block are the program's to write.
    unsafe {
        let cb = &mut (*ctx.skb.skb).cb;
        cb[0] = classified.rule;
        cb[1] = u32::from(classified.tenant) << 16 | u32::from(classified.class);
        cb[2] = u32::from(lane);
        cb[3] = decision.parse << 16 | blocked;
        cb[4] = classified.hash;
    }
}

/// Ingress: count what came out of a lane, by the request id of the state that decrypted it, or by the device where that has
/// one lane and the skb no longer knows the state.
#[inline(always)]
pub fn count_in(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    let (Some(device), Some(live)) = (device(&skb), Live::read()) else { return TC_ACT_UNSPEC };
    let generation = live.generation();
    let tunnel = &generation.tunnels[device.tunnel as usize & (MAX_TUNNELS - 1)];
    let lane = if tunnel.only != 0 {
        &generation.lanes[(tunnel.only - 1) as usize & (MAX_LANES - 1)]
    } else {
        let Some(lane) = reqid(&skb).and_then(|reqid| lane::of_reqid(generation, reqid)) else { return TC_ACT_UNSPEC };
        lane
    };
    let Some(parsed) = read(&skb, skb.layer(skb.arrived()), skb.tag(), 0) else { return TC_ACT_UNSPEC };
    let amount = amount(&skb, parsed.network, parsed.transport, parsed.protocol);
    let tenant = if tunnel.owner != 0 {
        tunnel.owner
    } else if parsed.reason == 0 {
        // Whose `sources` hold the destination: what a tenant gets is its own.
        let family = if parsed.family == 4 { Family::V4 } else { Family::V6 };
        classify::tenant(generation, family, parsed.destination, 0, NO_VLAN)
    } else {
        0
    };
    count(lane.counters + counter::LANE_IN, amount);
    count(classify::counters(&live, tenant, lane.class) + counter::CLASS_IN, amount);
    TC_ACT_UNSPEC
}

/// Ingress of the device that ESP comes in by: count what came out of a lane that has no device, which is let in there once
/// more. Such a tunnel is nobody's own.
#[inline(always)]
pub fn count_arrived(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    if let Some(live) = Live::read()
        && let Some(reqid) = reqid(&skb)
    {
        count_bare(&skb, &live, reqid);
    }
    TC_ACT_UNSPEC
}

/// The same of a packet that came in by the state of that request id.
#[inline(always)]
pub fn count_bare(skb: &Skb, live: &Live, reqid: u32) {
    let generation = live.generation();
    let Some(lane) = lane::of_reqid(generation, reqid) else { return };
    let Some(parsed) = read(skb, skb.layer(skb.arrived()), skb.tag(), 0) else { return };
    let amount = amount(skb, parsed.network, parsed.transport, parsed.protocol);
    let tenant = if parsed.reason == 0 {
        let family = if parsed.family == 4 { Family::V4 } else { Family::V6 };
        classify::tenant(generation, family, parsed.destination, 0, NO_VLAN)
    } else {
        0
    };
    count(lane.counters + counter::LANE_IN, amount);
    count(classify::counters(live, tenant, lane.class) + counter::CLASS_IN, amount);
}

/// Of the state that decrypted it, if one did.
#[inline(always)]
pub fn reqid(skb: &Skb) -> Option<u32> {
    // SAFETY: all integers; the helper fills it or fails. Index 0 is the outermost transform of the inbound path.
    unsafe {
        let mut state: bpf_xfrm_state = core::mem::zeroed();
        let size = size_of::<bpf_xfrm_state>() as u32;
        if bpf_skb_get_xfrm_state(skb.raw(), 0, &mut state, size, 0) == 0 { Some(state.reqid) } else { None }
    }
}
