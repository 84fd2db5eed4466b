//! Sockets of cgroups that rules name: the mark of what they send, before the route lookup.
//!
//! The kernel runs these in the task's own context, which others may preempt on the same CPU: nothing here lies in
//! per-CPU scratch. A task's cgroup is asked for, as 6.1 tells none of a socket's in these hooks; so a socket is known by its
//! cookie from when it was made, and left alone in the hands of a task of another cgroup. What was made before the
//! programs came, or longer ago than [`lanekeeper_common::abi::MAX_SOCKETS`] others, is not known and left alone.
//!
//! All of them return 1: the call goes on.

use core::ffi::{c_long, c_void};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie,
    bpf_loop, bpf_setsockopt,
};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use lanekeeper_common::abi::{Guide, MAX_CGROUP_LEVELS, MAX_HINTS, Socket};
use lanekeeper_common::mark::put;
use lanekeeper_common::packet::Address;
use lanekeeper_common::socket::{Facts, Judgement, mapped, step};

use crate::maps::{CGROUPS, GUIDES, SOCKETS};

/// bits/socket.h, asm-generic/socket.h, net/tcp_states.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const SOL_SOCKET: i32 = 1;
const SO_MARK: i32 = 36;
const TCP_ESTABLISHED: u32 = 1;

/// cgroup/sock_create. One that is made with a mark has it from the kernel, and keeps it.
#[inline(always)]
pub fn create(ctx: &SockContext) -> Option<()> {
    // SAFETY: the context of this kind of program; the verifier checks every access.
    let (family, kind, protocol, now) =
        unsafe { ((*ctx.sock).family, (*ctx.sock).type_, (*ctx.sock).protocol, (*ctx.sock).mark) };
    if family != AF_INET && family != AF_INET6 {
        return None;
    }
    let (number, guide) = guide(ctx.as_ptr())?;
    // SAFETY: takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let mut socket = Socket { cgroup, mark: 0, _pad: 0 };
    if now & guide.mask == 0 {
        socket.mark = mark(number, &Facts::of_kind(family, kind, protocol));
        // SAFETY: as above; the kernel takes it for this field.
        unsafe { (*ctx.sock).mark = put(now, guide.mask, socket.mark) };
    }
    SOCKETS.insert(&cookie, &socket, 0).ok()
}

/// cgroup/connect4.
#[inline(always)]
pub fn connect4(ctx: &SockAddrContext) -> Option<()> {
    // SAFETY: as above.
    let (address, port) = unsafe { ((*ctx.sock_addr).user_ip4, (*ctx.sock_addr).user_port) };
    renew(ctx, Some((mapped(u32::from_be(address)), u16::from_be(port as u16))))
}

/// cgroup/connect6, which is also for IPv4 addresses in those of IPv6.
#[inline(always)]
pub fn connect6(ctx: &SockAddrContext) -> Option<()> {
    // SAFETY: as above; each word is read by itself, which is what the kernel allows.
    let word = |place: usize| u64::from(u32::from_be(unsafe { (*ctx.sock_addr).user_ip6[place] }));
    let address = [word(0) << 32 | word(1), word(2) << 32 | word(3)];
    // SAFETY: as above.
    let port = unsafe { (*ctx.sock_addr).user_port };
    renew(ctx, Some((address, u16::from_be(port as u16))))
}

/// cgroup/sendmsg4 and cgroup/sendmsg6, for datagrams that say where they go. The kernel has taken the mark of this one from
/// the socket before it asks (udp_sendmsg and udpv6_sendmsg): what is written here is of the next, which may go elsewhere. So it
/// is what is certain of all of them, as the rules are by now. A connected socket keeps the mark of its connection.
#[inline(always)]
pub fn sendmsg(ctx: &SockAddrContext) -> Option<()> {
    let sk = sk(ctx)?;
    // SAFETY: as above.
    if unsafe { (*sk).state } == TCP_ESTABLISHED {
        return None;
    }
    renew(ctx, None)
}

/// Writes the mark anew, unless the socket's is its program's own.
#[inline(always)]
fn renew(ctx: &SockAddrContext, destination: Option<(Address, u16)>) -> Option<()> {
    // SAFETY: takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let known = SOCKETS.get_ptr_mut(&cookie)?;
    // SAFETY: of the map, and read field by field; another call for the same socket at worst writes its own.
    let (cgroup, written) = unsafe { ((*known).cgroup, (*known).mark) };
    // SAFETY: takes nothing.
    if cgroup != unsafe { bpf_get_current_cgroup_id() } {
        return None;
    }
    let (number, guide) = guide(ctx.as_ptr())?;
    // SAFETY: as above.
    let now = unsafe { (*sk(ctx)?).mark };
    let ours = now & guide.mask;
    if ours != 0 && ours != written {
        return None;
    }
    // SAFETY: as above.
    let (family, kind, protocol) =
        unsafe { ((*ctx.sock_addr).family, (*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    let facts = Facts::of_kind(family, kind, protocol);
    let facts = match destination {
        Some((address, port)) => facts.to(address, port),
        None => facts,
    };
    let wanted = mark(number, &facts);
    if wanted != ours {
        let mut value = put(now, guide.mask, wanted);
        let option = (&raw mut value).cast::<c_void>();
        // SAFETY: takes the context and four bytes of this stack.
        if unsafe { bpf_setsockopt(ctx.as_ptr(), SOL_SOCKET, SO_MARK, option, size_of::<u32>() as i32) } != 0 {
            return None;
        }
    }
    // SAFETY: as above.
    unsafe { (*known).mark = wanted };
    Some(())
}

#[inline(always)]
fn sk(ctx: &SockAddrContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context's only pointer, which the verifier knows.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    if sk.is_null() { None } else { Some(sk) }
}

/// That of the deepest cgroup above the task's, or of its own, with its number; none in another network namespace than the
/// agent's.
#[inline(always)]
fn guide(ctx: *mut c_void) -> Option<(u32, &'static Guide)> {
    let number = lanekeeper_guide();
    // SAFETY: the agent replaces values whole, and the old one stays until this program is done.
    let guide: &Guide = unsafe { GUIDES.get(number)? };
    // SAFETY: takes the context.
    if unsafe { bpf_get_netns_cookie(ctx) } == guide.namespace { Some((number, guide)) } else { None }
}

/// Global for the reason that `lanekeeper_classify` is. 0 is no cgroup's number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_guide() -> u32 {
    let mut found = 0;
    for level in 0..MAX_CGROUP_LEVELS as i32 {
        // SAFETY: takes a number.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if id == 0 {
            break;
        }
        // SAFETY: four bytes that the agent writes whole.
        if let Some(number) = unsafe { CGROUPS.get(id) } {
            // SAFETY: as in `guide`.
            if unsafe { GUIDES.get(number) }.is_some() {
                found = *number;
            }
        }
    }
    found
}

#[inline(always)]
fn mark(number: u32, facts: &Facts) -> u32 {
    let kind = u32::from(facts.protocol) << 8 | u32::from(facts.family);
    match facts.destination {
        Some(([upper, lower], port)) => lanekeeper_mark(number, kind, upper, lower, port.into()),
        None => lanekeeper_mark(number, kind, 0, 0, NOWHERE),
    }
}

/// In the place of a port: it is not settled where packets go.
const NOWHERE: u32 = 1 << 16;

/// Facts and what has come of them, for [`mark_step`].
struct Judging {
    guide: &'static Guide,
    facts: Facts,
    judgement: Judgement,
}

/// [`lanekeeper_common::socket::mark`] of plain numbers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_mark(number: u32, kind: u32, upper: u64, lower: u64, port: u32) -> u32 {
    // SAFETY: as in `guide`.
    let Some(guide) = (unsafe { GUIDES.get(number) }) else { return 0 };
    let destination = if port == NOWHERE { None } else { Some(([upper, lower], port as u16)) };
    let facts = Facts { family: kind as u8, protocol: (kind >> 8) as u16, destination };
    let mut judging = Judging { guide, facts, judgement: Judgement::begin(guide) };
    let context = (&raw mut judging).cast::<c_void>();
    // SAFETY: `mark_step` is a callback of bpf_loop's kind, and takes what lies on this stack until it returns.
    unsafe { bpf_loop(MAX_HINTS as u32, mark_step as *mut c_void, context, 0) };
    judging.judgement.mark
}

/// Returns 1 to end the loop.
#[inline(never)]
extern "C" fn mark_step(place: u32, context: *mut c_void) -> c_long {
    // SAFETY: what `lanekeeper_mark` passes, which waits.
    let judging = unsafe { &mut *context.cast::<Judging>() };
    if step(judging.guide, &judging.facts, place, &mut judging.judgement) { 0 } else { 1 }
}
