//! Ports: what comes in is classified before the route lookup, and its class written into the mark.
//!
//! XDP classifies where it can and leaves the verdict in front of the packet; tc ingress of the same device takes it from
//! there, or classifies by itself. A port drops nothing and counts no class: what leads to a tunnel is decided and counted
//! at the tunnel's device.
//!
//! A tunnel without a device is decided on and counted here: what is for its destinations gets the mark of its lane, or none of
//! ours, and is then the kernel's policies to drop.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::programs::{TcContext, XdpContext};
use lanekeeper_common::abi::{ETHERNET_PORT, Handed, NO_VLAN, counter, device_flag};
use lanekeeper_common::behind;
use lanekeeper_common::decide::{Arrival, Surroundings, classify, decide};
use lanekeeper_common::mark;
use lanekeeper_common::packet::Family;
use lanekeeper_common::rules::Tables;
use lanekeeper_common::stamp::Stamp;

use crate::act::{carry_out, count_bare, reqid};
use crate::ctx::{Skb, hand};
use crate::passage::port;
use crate::stats::{amount, count};
use crate::tables::{Live, read, read_frame};

/// tc ingress: writes the mark of the packet's class. Where none can be said our bits are cleared; before the first tables
/// nobody has said which those are.
#[inline(always)]
pub fn mark_class(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    let Some(live) = Live::read() else { return TC_ACT_UNSPEC };
    let mask = live.generation().head.mark_mask;
    if live.generation().bare != 0 {
        return mark_lane(&skb, &live, mask);
    }
    let ours = match class(&skb, &live, mask) {
        Some(class) => mark::of_class(mask, class),
        None => 0,
    };
    skb.0.set_mark(mark::put(skb.mark(), mask, ours));
    TC_ACT_UNSPEC
}

/// The same where tunnels without a device are, each packet by its destination. XDP's verdict is no help: it tells no flow. What
/// came out of such a tunnel has the mark of its lane, by which the kernel lets it in.
#[inline(always)]
fn mark_lane(skb: &Skb, live: &Live, mask: u32) -> i32 {
    let reqid = lanekeeper_reqid(skb.raw());
    if reqid != 0 {
        count_bare(skb, live, reqid);
        return TC_ACT_UNSPEC;
    }
    let ours = lane_or_class(skb, live, mask);
    if let Some(ours) = ours {
        skb.0.set_mark(mark::put(skb.mark(), mask, ours));
    }
    TC_ACT_UNSPEC
}

/// [`reqid`], or 0. Global, so that its stack is not its caller's when that calls the parser.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_reqid(skb: *mut __sk_buff) -> u32 {
    reqid(&Skb(&TcContext::new(skb))).unwrap_or(0)
}

/// Our bits of the mark; `None` where they are written already.
#[inline(always)]
fn lane_or_class(skb: &Skb, live: &Live, mask: u32) -> Option<u32> {
    let ifindex = skb.ifindex();
    let Some(ingress) = port(ifindex, live.stamp()) else { return Some(0) };
    let tag = skb.tag();
    let tag = if tag == NO_VLAN { ingress.vlan } else { tag };
    let layer = skb.layer(if ingress.port & ETHERNET_PORT != 0 { device_flag::ETHERNET } else { 0 });
    let Some(parsed) = read(skb, layer, tag, 0) else { return Some(0) };
    // One packet for each skb, whatever the device has merged into it.
    count((ingress.port & !ETHERNET_PORT) + counter::PORT_TC, amount(skb, 0, 0, 0));
    let family = if parsed.family == 4 { Family::V4 } else { Family::V6 };
    let behind =
        if parsed.reason == 0 { behind::without_device(live.generation(), family, parsed.destination) } else { None };
    let tunnel = behind.unwrap_or(0);
    let arrival = Arrival { interface: ingress.number, tunnel, device: ifindex, mark: skb.mark() };
    if behind.is_none() {
        let (classified, _) = classify(live, parsed, &arrival);
        return Some(mark::of_class(mask, classified.class));
    }
    if carry_out(skb, live, parsed, &decide(live, parsed, &arrival)) == TC_ACT_SHOT { Some(0) } else { None }
}

#[inline(always)]
fn class(skb: &Skb, live: &Live, mask: u32) -> Option<u16> {
    let ifindex = skb.ifindex();
    let ingress = port(ifindex, live.stamp())?;
    let tag = skb.tag();
    let tag = if tag == NO_VLAN { ingress.vlan } else { tag };
    let counters = ingress.port & !ETHERNET_PORT;
    // One packet for each skb, whatever the device has merged into it.
    let amount = amount(skb, 0, 0, 0);
    if skb.mark() & !mask == 0
        && let Some(handed) = skb.handed()
        && is_of(&handed, live.stamp(), ifindex, tag)
    {
        count(counters + counter::PORT_XDP, amount);
        return Some(handed.class as u16);
    }
    let layer = skb.layer(if ingress.port & ETHERNET_PORT != 0 { device_flag::ETHERNET } else { 0 });
    // What comes in is no cgroup's.
    let parsed = read(skb, layer, tag, 0)?;
    let arrival = Arrival { interface: ingress.number, tunnel: 0, device: ifindex, mark: skb.mark() };
    let (classified, _) = classify(live, parsed, &arrival);
    count(counters + counter::PORT_TC, amount);
    Some(classified.class)
}

/// Whether it was made from what tc would decide by.
#[inline(always)]
fn is_of(handed: &Handed, stamp: Stamp, ifindex: u32, tag: u16) -> bool {
    handed.stamp == halves(stamp) && handed.port == ifindex && handed.vlan == u32::from(tag)
}

#[inline(always)]
fn halves(stamp: Stamp) -> [u32; 2] {
    [(stamp.0 >> 32) as u32, stamp.0 as u32]
}

/// XDP: leaves the verdict in front of the packet, which goes on in any case.
#[inline(always)]
pub fn hand_over(ctx: &XdpContext) -> u32 {
    if let Some(handed) = verdict(ctx) {
        hand(ctx, &handed);
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn verdict(ctx: &XdpContext) -> Option<Handed> {
    let live = Live::read()?;
    let ifindex = ctx.ingress_ifindex() as u32;
    let ingress = port(ifindex, live.stamp())?;
    let parsed = read_frame(ctx, ingress.vlan)?;
    let arrival = Arrival { interface: ingress.number, tunnel: 0, device: ifindex, mark: 0 };
    let (classified, _) = classify(&live, parsed, &arrival);
    Some(Handed {
        magic: Handed::MAGIC,
        stamp: halves(live.stamp()),
        port: ifindex,
        vlan: parsed.vlan.into(),
        class: classified.class.into(),
    })
}
