//! Packet -> tenant, rule, class, and the hash that keeps a flow together.

use crate::abi::{Generation, MAX_INTERFACES, MAX_TENANT_CLASSES, NO_RULE, OWN_TUNNEL};
use crate::blur;
use crate::packet::{Address, Family, Packet};
use crate::rules::Tables;

/// What the rules say of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// 0 for none.
    pub tenant: u16,
    /// [`NO_RULE`] where the default applied.
    pub rule: u32,
    /// The rule's counter; 0 for none.
    pub counter: u32,
    /// Its class.
    pub class: u16,
    /// Equal for all packets of a flow.
    pub hash: u32,
}

/// The first tenant, in the file's order, that names the interface or the VLAN or whose sources hold the address; 0 for
/// none. What comes in by a tunnel that is a tenant's own is that tenant's, whatever address it bears.
#[inline(always)]
pub fn tenant(generation: &Generation, family: Family, source: Address, interface: u16, vlan: u16) -> u16 {
    let by_source = match family {
        Family::V4 => generation.tenants4.numbers[generation.tenants4.place(source[1] as u32)],
        Family::V6 => generation.tenants6.numbers[generation.tenants6.place(source)],
    };
    let by_interface = generation.interface_tenant[interface as usize & (MAX_INTERFACES - 1)];
    let by_vlan = generation.vlan_tenant[vlan as usize & 4095];
    let tenant = if by_interface & OWN_TUNNEL != 0 {
        by_interface & !OWN_TUNNEL
    } else {
        first(first(by_source, by_interface), by_vlan)
    };
    blur(generation.head.zero, tenant.into()) as u16
}

/// The lower of two numbers, of which 0 is none.
#[inline(always)]
fn first(a: u16, b: u16) -> u16 {
    if a == 0 || (b != 0 && b < a) { b } else { a }
}

/// What a search says that has ended with the record `found`, or 0.
#[inline(always)]
pub fn conclude<T: Tables>(tables: &T, tenant: u16, found: u32, hash: u32) -> Classified {
    let record = if found == 0 { None } else { tables.record(found) };
    match record {
        Some(record) => Classified { tenant, rule: record.rule, counter: record.counter, class: record.class, hash },
        None => default(tables, tenant, hash),
    }
}

/// What no rule is said to match.
#[inline(always)]
pub fn default<T: Tables>(tables: &T, tenant: u16, hash: u32) -> Classified {
    let class = tables.tenant(tenant).map_or(0, |of| of.default_class);
    Classified { tenant, rule: NO_RULE, counter: 0, class, hash }
}

/// The first counter of a tenant's class. As a rule the tenant alone says it: a table for all of them would be one memory
/// miss more where many tenants send.
#[inline(always)]
pub fn counters<T: Tables>(tables: &T, tenant: u16, class: u16) -> u32 {
    let Some(of) = tables.tenant(tenant) else { return 0 };
    let class = u32::from(class);
    if of.scattered == 0 {
        of.counters.wrapping_add(u32::from(of.step) * class)
    } else {
        tables.generation().class_counters[of.counters.wrapping_add(class) as usize & (MAX_TENANT_CLASSES - 1)]
    }
}

/// A hash of addresses, protocol and ports.
#[inline(always)]
pub fn flow_hash(packet: &Packet) -> u32 {
    let (source_port, destination_port) = packet.ports.unwrap_or((0, 0));
    let ports = u64::from(source_port) << 16 | u64::from(destination_port);
    let mut hash = mix(packet.source[0], packet.source[1]);
    hash = mix(hash ^ packet.destination[0], packet.destination[1]);
    hash = mix(hash, ports << 8 | u64::from(packet.protocol));
    (hash >> 32) as u32
}

/// One round: multiply by an odd constant (2^64 over the golden ratio), fold the upper half down.
#[inline(always)]
pub(crate) const fn mix(state: u64, value: u64) -> u64 {
    let product = (state.rotate_left(29) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product ^ (product >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}
