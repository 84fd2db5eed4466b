//! Looks at some of the packets of a tunnel, at its device or, where it has none, where they come in. Decides on them as the
//! program behind this one is about to, and hands what it saw to the agent. It changes nothing: no mark, no counter, nothing
//! that is remembered of a flow.

use core::hint::black_box;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC, bpf_xfrm_state};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_skb_get_xfrm_state, bpf_skb_load_bytes};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::warn;
use lanekeeper_common::abi::{
    BY_DESTINATION, Candidates, ETHERNET_PORT, Flow, FragmentKey, FragmentValue, Generation, MAX_LANES, MAX_TUNNELS,
    NO_VLAN, Parsed, Record, Said, Tenant, device_flag,
};
use lanekeeper_common::behind;
use lanekeeper_common::classify::{Classified, default};
use lanekeeper_common::decide::{Arrival, Decision, Surroundings, classify_parsed, decide};
use lanekeeper_common::lane;
use lanekeeper_common::mark;
use lanekeeper_common::packet::Family;
use lanekeeper_common::rules::{Circumstances, Tables};
use lanekeeper_common::sight::{ARRIVES, LEAVES, NO_TUNNEL, ROOM, SNAP, Sight, Spell, Watch};
use lanekeeper_common::stamp::Stamp;
use lanekeeper_common::verdict::BlockReason;

use crate::cgroup;
use crate::ctx::Skb;
use crate::maps::SCRATCH;
use crate::passage::{device, ingress, ingress_of};
use crate::tables::{Live, read};

#[map]
pub static WATCH: Array<Watch> = Array::with_max_entries(1, 0);
#[map]
pub static SPELLS: PerCpuArray<Spell> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static SIGHT: PerCpuArray<Sight> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static SIGHTS: RingBuf = RingBuf::with_byte_size(ROOM, 0);

/// Nanoseconds between two lines of one CPU in the log.
const QUIET: u64 = 1_000_000_000;
/// ETH_HLEN of linux/if_ether.h.
const ETHERNET_HEADER: u32 = 14;

/// Egress.
#[inline(always)]
pub fn leaving(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    if lanekeeper_due(skb.raw(), LEAVES.into()) != 0
        && let Some(sight) = sight()
    {
        lanekeeper_report(skb.raw(), decided(&skb, sight));
    }
    TC_ACT_UNSPEC
}

/// Ingress.
#[inline(always)]
pub fn arriving(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    if lanekeeper_due(skb.raw(), ARRIVES.into()) != 0
        && let Some(sight) = sight()
        && let Some(offset) = carried(&skb, sight)
    {
        lanekeeper_report(skb.raw(), offset);
    }
    TC_ACT_UNSPEC
}

/// Ingress of a port, and of the device that ESP comes in by, where tunnels without a device are. Most of what passes there is
/// no tunnel's: only what is one's is ever due, or passed.
#[inline(always)]
pub fn passing(ctx: &TcContext) -> i32 {
    let skb = Skb(ctx);
    if WATCH.get(0).is_some_and(is_on)
        && let Some(live) = Live::read()
        && live.generation().bare != 0
        && let Some(offset) = match lanekeeper_reqid(skb.raw()) {
            0 => entering(&skb, &live),
            reqid => emerging(&skb, &live, reqid),
        }
    {
        lanekeeper_report(skb.raw(), offset);
    }
    TC_ACT_UNSPEC
}

/// 1 where a packet is due on this CPU, and this one's sight is begun. Global, as is what else can be, so that its stack is
/// not its caller's when that calls the parser.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_due(skb: *mut __sk_buff, direction: u32) -> u32 {
    let (true, Some(sight)) = (is_due(), sight()) else { return 0 };
    let skb = &Skb(&TcContext::new(skb));
    let (device, ingress, mark) = (skb.ifindex(), skb.ingress_ifindex(), skb.mark());
    *sight = Sight { at: now(), direction: direction as u8, device, ingress, mark, ..Sight::BLANK };
    1
}

/// Whether a packet is due on this CPU.
#[inline(always)]
fn is_due() -> bool {
    let (Some(watch), Some(spell)) = (WATCH.get(0), spell()) else { return false };
    if !is_on(watch) {
        return false;
    }
    let now = now();
    let due = spell.due.max(now.wrapping_sub(watch.burst));
    if due > now {
        spell.passed += 1;
        return false;
    }
    spell.due = due + watch.interval;
    true
}

/// Whether anything is looked at.
#[inline(always)]
fn is_on(watch: &Watch) -> bool {
    // SAFETY: the agent writes it with one store of eight aligned bytes.
    now() < unsafe { (&raw const watch.until).read_volatile() }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes nothing and only reads the clock.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn spell() -> Option<&'static mut Spell> {
    // SAFETY: this CPU's own; programs of tc run with softirqs off, so nothing of ours comes between, and whoever asks has no
    // other reference.
    Some(unsafe { &mut *SPELLS.get_ptr_mut(0)? })
}

/// Where a packet's sight is put together.
#[inline(always)]
fn sight() -> Option<&'static mut Sight> {
    // SAFETY: as with a spell.
    Some(unsafe { &mut *SIGHT.get_ptr_mut(0)? })
}

/// What `act::out` of the other object does, but for what that leaves behind. The offset of the IP header.
#[inline(always)]
fn decided(skb: &Skb, sight: &mut Sight) -> u32 {
    sight.blocked = BlockReason::NoTables as u8;
    let Some(live) = Live::read() else { return 0 };
    let Some(device) = device(skb) else { return 0 };
    let ingress = ingress_of(device, skb.ingress_ifindex());
    let tag = skb.tag();
    let tag = if tag == NO_VLAN { ingress.vlan } else { tag };
    let cgroup = cgroup::place(skb, &live);
    let Some(parsed) = read(skb, skb.layer(device.flags), tag, cgroup) else { return 0 };
    let stamp = live.stamp().0;
    if parsed.reason == 0 {
        lanekeeper_judge(stamp, ingress.number.into(), skb.ifindex(), skb.mark());
    }
    lanekeeper_steer(stamp, device.tunnel);
    begin(parsed, device.flags)
}

/// What `port::mark_lane` of the other object does of a packet for a tunnel without a device, where it is due; `None` for one that
/// is for none. The offset of the IP header.
#[inline(always)]
fn entering(skb: &Skb, live: &Live) -> Option<u32> {
    let ifindex = skb.ifindex();
    let ingress = ingress(ifindex);
    if ingress.port == 0 {
        return None;
    }
    let tag = skb.tag();
    let tag = if tag == NO_VLAN { ingress.vlan } else { tag };
    let flags = if ingress.port & ETHERNET_PORT != 0 { device_flag::ETHERNET } else { 0 };
    let parsed = read(skb, skb.layer(flags), tag, 0)?;
    if parsed.reason != 0 {
        return None;
    }
    let family = if parsed.family == 4 { Family::V4 } else { Family::V6 };
    let tunnel = behind::without_device(live.generation(), family, parsed.destination)?;
    if lanekeeper_due(skb.raw(), LEAVES.into()) == 0 {
        return None;
    }
    let stamp = live.stamp().0;
    lanekeeper_judge(stamp, ingress.number.into(), ifindex, skb.mark());
    lanekeeper_steer(stamp, tunnel);
    Some(parsed.network)
}

/// What the agent needs to say by which lane it came out of a tunnel without a device, where it is due. `None` for what came by
/// no lane of ours.
#[inline(always)]
fn emerging(skb: &Skb, live: &Live, reqid: u32) -> Option<u32> {
    lane::of_reqid(live.generation(), reqid)?;
    if lanekeeper_due(skb.raw(), ARRIVES.into()) == 0 {
        return None;
    }
    let sight = sight()?;
    sight.reqid = reqid;
    arrived(skb, live, sight)
}

/// From the scratch that the parser and the rules have filled to the packet's sight.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_steer(stamp: u64, tunnel: u32) -> u32 {
    let (Some(scratch), Some(sight)) = (SCRATCH.get_ptr_mut(0), sight()) else { return 0 };
    let Some(live) = Live::of(Stamp(stamp)) else { return 0 };
    // SAFETY: valid for the program's run; the functions that write it are done with it.
    let parsed = unsafe { &(*scratch).parsed };
    // All but the tunnel has been asked for by now.
    let arrival = Arrival { interface: 0, tunnel, device: 0, mark: 0 };
    let mask = live.generation().head.mark_mask;
    let Decision { parse, classified, tunnel, outcome } = decide(&Seen(live), parsed, &arrival);
    sight.stamp = stamp;
    sight.tunnel = tunnel.unwrap_or(NO_TUNNEL);
    sight.parsed = *parsed;
    sight.parse = parse as u8;
    sight.rule = classified.rule;
    sight.tenant = classified.tenant;
    sight.class = classified.class;
    match &outcome {
        Ok(taken) => {
            sight.blocked = 0;
            sight.lane = taken.lane;
            sight.mark = mark::put(sight.mark, mask, taken.mark);
            sight.fallback = (taken.fallback != 0) as u8;
        }
        Err(reason) => sight.blocked = *reason as u8,
    }
    1
}

/// What the agent needs to say by which lane it came. `None` for what came by no tunnel of ours.
#[inline(always)]
fn carried(skb: &Skb, sight: &mut Sight) -> Option<u32> {
    let (device, live) = (device(skb)?, Live::read()?);
    let generation = live.generation();
    let tunnel = &generation.tunnels[device.tunnel as usize & (MAX_TUNNELS - 1)];
    if tunnel.only != 0 {
        sight.lane = (tunnel.only - 1) & (MAX_LANES as u16 - 1);
    } else {
        sight.reqid = reqid(skb)?;
    }
    // Of several the lane says it.
    sight.tunnel = if tunnel.present == BY_DESTINATION { NO_TUNNEL } else { device.tunnel };
    arrived(skb, &live, sight)
}

/// Whatever it came by.
#[inline(always)]
fn arrived(skb: &Skb, live: &Live, sight: &mut Sight) -> Option<u32> {
    let flags = skb.arrived();
    let parsed = read(skb, skb.layer(flags), skb.tag(), 0)?;
    sight.stamp = live.stamp().0;
    sight.parsed = *parsed;
    sight.parse = parsed.reason;
    Some(begin(parsed, flags))
}

/// Where IP begins; of a packet that was not read where it should.
#[inline(always)]
fn begin(parsed: &Parsed, flags: u32) -> u32 {
    if parsed.reason == 0 {
        parsed.network
    } else if flags & device_flag::ETHERNET != 0 {
        ETHERNET_HEADER
    } else {
        0
    }
}

/// [`reqid`], or 0; global as [`lanekeeper_due`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_reqid(skb: *mut __sk_buff) -> u32 {
    reqid(&Skb(&TcContext::new(skb))).unwrap_or(0)
}

#[inline(always)]
fn reqid(skb: &Skb) -> Option<u32> {
    // SAFETY: all integers; the helper fills it or fails. Index 0 is the outermost transform of the inbound path.
    unsafe {
        let mut state: bpf_xfrm_state = core::mem::zeroed();
        let size = size_of::<bpf_xfrm_state>() as u32;
        if bpf_skb_get_xfrm_state(skb.raw(), 0, &mut state, size, 0) == 0 { Some(state.reqid) } else { None }
    }
}

/// Adds the packet's first bytes to its sight and lets the agent have it all.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_report(skb: *mut __sk_buff, offset: u32) -> u32 {
    let (Some(sight), Some(spell)) = (sight(), spell()) else { return 0 };
    let ctx = &TcContext::new(skb);
    let length = ctx.len().saturating_sub(offset);
    sight.length = length;
    // The last byte's place, as the compiler drops or turns every test that would tell the verifier that a number of bytes
    // is neither 0 nor too large.
    let last = black_box(length.wrapping_sub(1));
    let last = if last < SNAP as u32 { last } else { SNAP as u32 - 1 };
    // SAFETY: the helper writes so many bytes, no more than there is room for, or fails, as it does where there are none.
    if unsafe { bpf_skb_load_bytes(skb.cast(), offset, sight.bytes.as_mut_ptr().cast(), last + 1) } == 0 {
        sight.captured = last + 1;
    }
    if sight.blocked == BlockReason::NoTables as u8 && is_time(spell, sight.at) {
        warn!(ctx, "device {}: no tables are loaded for it, its packets are dropped", sight.device);
    }
    if SIGHTS.output::<Sight>(&*sight, 0).is_err() {
        spell.full += 1;
        if is_time(spell, sight.at) {
            warn!(ctx, "what is observed is not read fast enough: {} packets lost on one CPU", spell.full);
        }
    }
    1
}

/// Whether a line may be logged.
#[inline(always)]
fn is_time(spell: &mut Spell, now: u64) -> bool {
    let is_time = now.wrapping_sub(spell.logged) >= QUIET;
    if is_time {
        spell.logged = now;
    }
    is_time
}

/// The tables as [`Live`] has them, to somebody who leaves nothing behind and goes by no flow that is remembered.
struct Seen(Live);

impl Tables for Seen {
    #[inline(always)]
    fn generation(&self) -> &Generation {
        self.0.generation()
    }

    #[inline(always)]
    fn tenant(&self, number: u16) -> Option<&Tenant> {
        self.0.tenant(number)
    }

    #[inline(always)]
    fn candidates(&self, field: u32) -> Option<&Candidates> {
        self.0.candidates(field)
    }

    #[inline(always)]
    fn head(&self, chain: u32) -> u32 {
        self.0.head(chain)
    }

    #[inline(always)]
    fn record(&self, number: u32) -> Option<&Record> {
        self.0.record(number)
    }
}

impl Surroundings for Seen {
    #[inline(always)]
    fn stamp(&self) -> Stamp {
        self.0.stamp()
    }

    #[inline(always)]
    fn is_edited(&self) -> bool {
        self.0.is_edited()
    }

    #[inline(always)]
    fn up(&self, group: u32) -> u32 {
        self.0.up(group)
    }

    #[inline(always)]
    fn flow(&self, _place: u32) -> Option<Flow> {
        None
    }

    #[inline(always)]
    fn keep_flow(&self, _place: u32, _flow: &Flow) {}

    #[inline(always)]
    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue> {
        self.0.recall(key)
    }

    #[inline(always)]
    fn remember(&self, _key: &FragmentKey, _value: &FragmentValue) {}

    #[inline(always)]
    fn now(&self) -> u32 {
        self.0.now()
    }

    #[inline(always)]
    fn search(&self, packet: &Parsed, of: &Circumstances) -> u32 {
        self.0.search(packet, of)
    }

    #[inline(always)]
    fn behind(&self, parsed: &Parsed) -> Option<u32> {
        self.0.behind(parsed)
    }

    /// What [`lanekeeper_judge`] said, which comes before.
    #[inline(always)]
    fn classify_parsed(&self, _parsed: &Parsed, _arrival: &Arrival) -> (Classified, u32) {
        // SAFETY: valid for the program's run; the function that writes it has returned.
        let Some(said) = SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { (*scratch).said }) else {
            return (default(self, 0, 0), 0);
        };
        let Said { tenant, rule, counter, class, hash, parse, .. } = said;
        (Classified { tenant, rule, counter, class, hash }, parse)
    }
}

/// What `lanekeeper_classify` is to the programs that steer, and a function of its own for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_judge(stamp: u64, interface: u32, device: u32, mark: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    let Some(live) = Live::of(Stamp(stamp)) else { return 0 };
    let arrival = Arrival { interface: interface as u16, tunnel: NO_TUNNEL, device, mark };
    // SAFETY: valid for the program's run; the parser is done with it.
    let (classified, parse) = classify_parsed(&Seen(live), unsafe { &(*scratch).parsed }, &arrival);
    let Classified { tenant, rule, counter, class, hash } = classified;
    // SAFETY: as above; nobody else holds a reference to this field.
    unsafe { (*scratch).said = Said { rule, counter, tenant, class, hash, parse, _pad: 0 } };
    1
}
