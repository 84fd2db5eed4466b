//! How packets come to a tunnel's device: by which interface, and what the agent says of the two.
//!
//! With the helpers' calls two lookups in hash maps take as long as all the rest of a packet whose verdict is remembered. So
//! what they said is remembered too, per CPU and tagged with the stamp of the tables: whoever changes one of the maps writes the next.

use lanekeeper_common::abi::{Device, Ingress, MAX_PASSAGES, Passage, device_flag};
use lanekeeper_common::stamp::Stamp;

use crate::ctx::Skb;
use crate::maps::{DEVICES, INTERFACES, PASSAGES};

/// What the agent says of a device; `None` for one that leads to no tunnel.
#[inline(always)]
pub fn device(skb: &Skb) -> Option<Device> {
    // SAFETY: eight bytes that the agent writes whole.
    unsafe { DEVICES.get(skb.ifindex()).copied() }
}

/// What it says of an interface that packets come in by.
#[inline(always)]
pub fn ingress(ifindex: u32) -> Ingress {
    // SAFETY: eight bytes that the agent writes whole, and the next stamp behind them.
    unsafe { INTERFACES.get(ifindex).copied().unwrap_or(Ingress::UNKNOWN) }
}

/// The same, of one of the namespace that a device is in.
#[inline(always)]
pub fn ingress_of(device: Device, ifindex: u32) -> Ingress {
    if device.flags & device_flag::ELSEWHERE == 0 { ingress(ifindex) } else { Ingress::UNKNOWN }
}

/// The device that a packet leaves by and the interface that it came in by; `None` where the device leads to no tunnel.
#[inline(always)]
pub fn passage(skb: &Skb, stamp: Stamp) -> Option<&'static Passage> {
    let (to, from) = (skb.ifindex(), skb.ingress_ifindex());
    remembered(to, from, stamp, || device(skb))
}

/// The port where packets come in; `None` where the agent knows no port.
#[inline(always)]
pub fn port(ifindex: u32, stamp: Stamp) -> Option<&'static Ingress> {
    // No device has the number 0.
    let ingress = &remembered(0, ifindex, stamp, || Some(Device::default()))?.ingress;
    if ingress.port == 0 { None } else { Some(ingress) }
}

#[inline(always)]
fn remembered(to: u32, from: u32, stamp: Stamp, device: impl FnOnce() -> Option<Device>) -> Option<&'static Passage> {
    // Interfaces are numbered one after the other.
    let place = to.wrapping_mul(61).wrapping_add(from) as usize % MAX_PASSAGES;
    // SAFETY: this CPU's own; programs of tc and XDP run with softirqs off, so nothing of ours comes between.
    let known = unsafe { &mut (*PASSAGES.get_ptr_mut(0)?)[place] };
    if known.stamp != stamp.0 || known.to != to || known.from != from {
        let device = device()?;
        *known = Passage { stamp: stamp.0, to, from, device, ingress: ingress_of(device, from) };
    }
    Some(known)
}
