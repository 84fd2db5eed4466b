//! Which tunnel a packet's destination leads to, where no device alone says it: tunnels without a device have nothing that a route
//! could lead into, and are asked for before the route lookup, where packets come in; several tunnels by one device are asked for there.

use crate::abi::{Generation, MAX_TUNNELS, ON_DEVICE, Parsed};
use crate::packet::{Address, Family};

/// The number of the tunnel without a device that a destination is behind; `None` where it is behind none of them.
#[inline(always)]
pub fn without_device(generation: &Generation, family: Family, destination: Address) -> Option<u32> {
    let found = number(generation, family, destination);
    if found & ON_DEVICE == 0 { tunnel(found) } else { None }
}

/// The number of the tunnel, of those that have one device, that a packet's destination is behind; `None` also where it was not read.
#[inline(always)]
pub fn on_device(generation: &Generation, parsed: &Parsed) -> Option<u32> {
    if parsed.reason != 0 {
        return None;
    }
    let family = if parsed.family == 4 { Family::V4 } else { Family::V6 };
    let found = number(generation, family, parsed.destination);
    if found & ON_DEVICE == 0 { None } else { tunnel(found & !ON_DEVICE) }
}

#[inline(always)]
fn number(generation: &Generation, family: Family, destination: Address) -> u16 {
    match family {
        Family::V4 => generation.behind4.numbers[generation.behind4.place(destination[1] as u32)],
        Family::V6 => generation.behind6.numbers[generation.behind6.place(destination)],
    }
}

#[inline(always)]
fn tunnel(found: u16) -> Option<u32> {
    if found == 0 { None } else { Some((u32::from(found) - 1) & (MAX_TUNNELS as u32 - 1)) }
}
