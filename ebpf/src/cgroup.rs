//! The cgroup that a packet of this host comes from: that of its socket when the socket was made.
//!
//! A packet of whatever the kernel itself answers (a reset for a port that nobody listens on, an echo reply) has no socket or
//! one of the root cgroup.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_ancestor_cgroup_id;
use lanekeeper_common::abi::{MAX_CGROUP_LEVELS, MAX_CGROUPS};
use lanekeeper_common::decide::Surroundings;
use lanekeeper_common::rules::Tables;
use lanekeeper_common::stamp::Stamp;

use crate::ctx::Skb;
use crate::maps::CGROUPS;
use crate::tables::Live;

/// The place of the deepest cgroup that rules name and that the packet's own is, or is below; 0 for none. Where no rule names
/// one, and for what came in by an interface, nothing is looked up.
#[inline(always)]
pub fn place(skb: &Skb, live: &Live) -> u16 {
    if live.generation().head.asked.cgroup == 0 || skb.ingress_ifindex() != 0 {
        return 0;
    }
    lanekeeper_cgroup(skb.raw(), live.stamp().0) as u16
}

/// Global for the reason that `lanekeeper_classify` is. From the root down, as the kernel says no level of its own for a
/// cgroup, and nothing for a level below it: that is where it ends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lanekeeper_cgroup(skb: *mut __sk_buff, stamp: u64) -> u32 {
    let Some(live) = Live::of(Stamp(stamp)) else { return 0 };
    let mut found = 0;
    for level in 0..MAX_CGROUP_LEVELS as i32 {
        // SAFETY: takes the context and a number; 0 also stands for a packet without a socket.
        let id = unsafe { bpf_skb_ancestor_cgroup_id(skb, level) };
        if id == 0 {
            break;
        }
        // SAFETY: four bytes that the agent writes whole.
        if let Some(number) = unsafe { CGROUPS.get(id) } {
            let [place, _] = live.generation().cgroups[*number as usize & (MAX_CGROUPS - 1)];
            if place != 0 {
                found = place;
            }
        }
    }
    found.into()
}
