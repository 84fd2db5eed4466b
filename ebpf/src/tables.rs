//! One generation of the tables, as a packet reads them, by way of two functions that the verifier looks at by themselves.

use core::ffi::{c_long, c_void};

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_loop};
use aya_ebpf::programs::{TcContext, XdpContext};
use lanekeeper_common::abi::{
    Candidates, FIELDS, FLOWS_OF_BLOCK, Flow, FragmentKey, FragmentValue, Generation, MAX_HEADS, MAX_RECORDS,
    MAX_TENANTS, Parsed, Record, Said, Scratch, Tenant,
};
use lanekeeper_common::behind;
use lanekeeper_common::classify::{Classified, default};
use lanekeeper_common::decide::{Arrival, Surroundings, classify_parsed};
use lanekeeper_common::packet::{Fragment, Layer, Packet, parse};
use lanekeeper_common::rules::{self, Circumstances, MAX_STEPS, Tables};
use lanekeeper_common::stamp::Stamp;

use crate::ctx::{Frame, Linear, Skb};
use crate::maps::{ACTIVE, CANDIDATES, FLOWS, FRAGMENTS, GENERATIONS, HEADS, LANES_UP, RECORDS, SCRATCH, TENANTS};

/// The generation that was active when the packet came.
pub struct Live {
    stamp: Stamp,
    generation: &'static Generation,
}

impl Live {
    /// Reads which generation is active, once; `None` before the first load.
    #[inline(always)]
    pub fn read() -> Option<Self> {
        let stamp = active()?;
        if stamp == Stamp::NONE { None } else { Self::of(stamp) }
    }

    /// The generation of that stamp, if there was one.
    #[inline(always)]
    pub fn of(stamp: Stamp) -> Option<Self> {
        Some(Self { stamp, generation: GENERATIONS.get(stamp.slot())? })
    }
}

#[inline(always)]
fn active() -> Option<Stamp> {
    // SAFETY: the agent writes it with one store of eight aligned bytes; volatile keeps it one load.
    Some(Stamp(unsafe { ACTIVE.get_ptr(0)?.read_volatile() }))
}

impl Tables for Live {
    #[inline(always)]
    fn generation(&self) -> &Generation {
        self.generation
    }

    #[inline(always)]
    fn tenant(&self, number: u16) -> Option<&Tenant> {
        TENANTS.get(self.stamp.slot() * MAX_TENANTS as u32 + (u32::from(number) & (MAX_TENANTS as u32 - 1)))
    }

    #[inline(always)]
    fn candidates(&self, field: u32) -> Option<&Candidates> {
        CANDIDATES.get(self.stamp.slot() * FIELDS as u32 + field)
    }

    #[inline(always)]
    fn head(&self, chain: u32) -> u32 {
        HEADS.get(self.stamp.slot()).map_or(0, |heads| heads[chain as usize & (MAX_HEADS - 1)])
    }

    #[inline(always)]
    fn record(&self, number: u32) -> Option<&Record> {
        RECORDS.get(self.stamp.slot() * MAX_RECORDS as u32 + (number & (MAX_RECORDS as u32 - 1)))
    }
}

impl Surroundings for Live {
    #[inline(always)]
    fn stamp(&self) -> Stamp {
        self.stamp
    }

    #[inline(always)]
    fn flow(&self, place: u32) -> Option<Flow> {
        Some(FLOWS.get(place / FLOWS_OF_BLOCK as u32)?[place as usize % FLOWS_OF_BLOCK])
    }

    #[inline(always)]
    fn keep_flow(&self, place: u32, flow: &Flow) {
        if let Some(block) = FLOWS.get_ptr_mut(place / FLOWS_OF_BLOCK as u32) {
            // SAFETY: this CPU's own, and as with scratch nothing of ours comes between a write and its read.
            unsafe { (*block)[place as usize % FLOWS_OF_BLOCK] = *flow };
        }
    }

    #[inline(always)]
    fn is_edited(&self) -> bool {
        active() != Some(self.stamp)
    }

    #[inline(always)]
    fn up(&self, group: u32) -> u32 {
        LANES_UP.get(group).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: takes nothing and only reads the clock.
        (unsafe { bpf_ktime_get_ns() } / 1_000_000_000) as u32
    }

    /// The packet is the one in scratch.
    #[inline(always)]
    fn search(&self, _packet: &Parsed, of: &Circumstances) -> u32 {
        let Some(scratch) = scratch() else { return 0 };
        // SAFETY: valid for the program's run, and nobody else holds a reference to this field.
        rules::begin(unsafe { &mut (*scratch).search }, of);
        // SAFETY: `search_step` is a callback of bpf_loop's kind, and takes no context.
        unsafe { bpf_loop(MAX_STEPS, search_step as *mut c_void, core::ptr::null_mut(), 0) };
        // SAFETY: as above; the callback is done.
        unsafe { (*scratch).search.found }
    }

    #[inline(always)]
    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue> {
        // SAFETY: values are written whole by `remember`; one torn by a concurrent insert of the same datagram's key
        // holds the same generation and so at worst another class of that generation.
        unsafe { FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn remember(&self, key: &FragmentKey, value: &FragmentValue) {
        // A full map evicts; failing that, the later fragments are counted as unseen.
        let _ = FRAGMENTS.insert(key, value, 0);
    }

    /// Of what [`read`] left in scratch, which is what it gave back.
    #[inline(always)]
    fn classify_parsed(&self, _parsed: &Parsed, arrival: &Arrival) -> (Classified, u32) {
        let said = match lanekeeper_classify(self.stamp.0, arrival.interface.into(), arrival.device, arrival.mark) {
            0 => None,
            // SAFETY: valid for the program's run; the function that writes it has returned.
            _ => scratch().map(|scratch| unsafe { (*scratch).said }),
        };
        let Some(Said { tenant, rule, counter, class, hash, parse, .. }) = said else {
            return (default(self, 0, 0), 0);
        };
        (Classified { tenant, rule, counter, class, hash }, parse)
    }

    /// Of what [`read`] left in scratch, too.
    #[inline(always)]
    fn behind(&self, _parsed: &Parsed) -> Option<u32> {
        lanekeeper_behind(self.stamp.0).checked_sub(1)
    }
}

/// This CPU's scratch. Programs of tc and XDP run with softirqs off, so nothing of ours comes between a write and its read.
#[inline(always)]
fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(0)
}

/// One more than [`behind::on_device`] of what is in scratch, or 0. Global as [`lanekeeper_classify`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_behind(stamp: u64) -> u32 {
    let (Some(scratch), Some(live)) = (scratch(), Live::of(Stamp(stamp))) else { return 0 };
    // SAFETY: valid for the program's run; the parser is done with it.
    behind::on_device(live.generation, unsafe { &(*scratch).parsed }).map_or(0, |tunnel| tunnel + 1)
}

/// Parses the packet; the verdict stays in scratch, with the place of its cgroup.
#[inline(always)]
pub fn read(skb: &Skb, layer: Layer, tag: u16, cgroup: u16) -> Option<&'static Parsed> {
    let (layer, tag) = (layer.number().into(), tag.into());
    if lanekeeper_parse_plain(skb.raw(), layer, tag) == 0 && lanekeeper_parse(skb.raw(), layer, tag) == 0 {
        return None;
    }
    let scratch = scratch()?;
    // SAFETY: valid for the program's run; written by the functions above and here alone, once a packet.
    unsafe {
        (*scratch).parsed.cgroup = cgroup;
        Some(&(*scratch).parsed)
    }
}

/// [`parse`] into scratch where all headers lie together and none is an extension: nearly always, and without a call for
/// each piece. Global for the reason that [`lanekeeper_classify`] is: there are some hundred ways through the parser, and
/// what comes after would be followed once for each. Returns 1 where it left something.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_parse_plain(skb: *mut __sk_buff, layer: u32, tag: u32) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    let ctx = TcContext::new(skb);
    let linear = Linear::new(&ctx);
    match parse(&linear, Layer::network(layer as u16), tag as u16) {
        Ok(packet) if !linear.missed() => {
            // SAFETY: valid for the program's run, and no reference to it is out yet.
            unsafe { (*scratch).parsed = Packet::flatten(Ok(packet)) };
            1
        }
        Ok(_) | Err(_) => 0,
    }
}

/// The same for every packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_parse(skb: *mut __sk_buff, layer: u32, tag: u32) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    let ctx = TcContext::new(skb);
    // SAFETY: as above.
    unsafe { (*scratch).parsed = Packet::flatten(parse(&Skb(&ctx), Layer::network(layer as u16), tag as u16)) };
    1
}

/// Parses what XDP sees of a packet; `None` for one with extension headers, for a fragment, and for what cannot be read.
#[inline(always)]
pub fn read_frame(xdp: &XdpContext, tag: u16) -> Option<&'static Parsed> {
    if lanekeeper_parse_frame(xdp.ctx, tag.into()) == 0 {
        return None;
    }
    // SAFETY: as in `read`.
    Some(unsafe { &(*scratch()?).parsed })
}

/// As [`lanekeeper_parse_plain`], for XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_parse_frame(xdp: *mut xdp_md, tag: u32) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    let ctx = XdpContext::new(xdp);
    match parse(&Frame(&ctx), Layer::ETHERNET, tag as u16) {
        Ok(packet) if matches!(packet.fragment, Fragment::Whole) => {
            // SAFETY: as above.
            unsafe { (*scratch).parsed = Packet::flatten(Ok(packet)) };
            1
        }
        Ok(_) | Err(_) => 0,
    }
}

/// [`classify_parsed`] from scratch to scratch. Being global and of plain numbers it is verified by itself, for any
/// numbers (kernel commit 51c39bb1d5d1): the verifier of 6.1 walks more than it may if it follows the rules behind each
/// way through the parser. Returns 1 where it said something.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_classify(stamp: u64, interface: u32, device: u32, mark: u32) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    let Some(live) = Live::of(Stamp(stamp)) else { return 0 };
    let arrival = Arrival { interface: interface as u16, tunnel: 0, device, mark };
    // SAFETY: valid for the program's run; the parser is done with it.
    let (classified, parse) = classify_parsed(&live, unsafe { &(*scratch).parsed }, &arrival);
    let Classified { tenant, rule, counter, class, hash } = classified;
    // SAFETY: as in `search`.
    unsafe { (*scratch).said = Said { rule, counter, tenant, class, hash, parse, _pad: 0 } };
    1
}

/// [`rules::step`] for bpf_loop, from scratch to scratch: what lies in a map is nothing to the verifier, so all steps are
/// alike to it. Returns 1 to end the loop.
#[inline(never)]
extern "C" fn search_step(_step: u32, _context: *mut c_void) -> c_long {
    let Some(scratch) = scratch() else { return 1 };
    // SAFETY: valid for the program's run; `search` and the parser are the others that write these two, and wait.
    let (parsed, search) = unsafe { (&(*scratch).parsed, &mut (*scratch).search) };
    let Some(live) = Live::of(Stamp(search.stamp)) else { return 1 };
    if rules::step(&live, parsed, search) { 0 } else { 1 }
}
