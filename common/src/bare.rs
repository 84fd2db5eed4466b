//! Tunnels without a device: which one a packet's destination leads to. They have nothing that a route could lead into, so it is
//! asked before the route lookup, where packets come in.

use crate::abi::{Generation, MAX_TUNNELS};
use crate::packet::{Address, Family};

/// The number of the tunnel that a destination is behind; `None` where it is behind none of them.
#[inline(always)]
pub fn tunnel(generation: &Generation, family: Family, destination: Address) -> Option<u32> {
    let found = match family {
        Family::V4 => generation.bare4.numbers[generation.bare4.place(destination[1] as u32)],
        Family::V6 => generation.bare6.numbers[generation.bare6.place(destination)],
    };
    if found == 0 { None } else { Some((u32::from(found) - 1) & (MAX_TUNNELS as u32 - 1)) }
}
