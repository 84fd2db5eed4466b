//! The first rule that matches a packet.
//!
//! [`Rules`] is the boundary: what lies behind it may be any structure. Today it is a decomposition into bit vectors:
//! each field alone yields the set of rules that accept its value, and the first bit of their intersection is the rule.
//! Summaries of the sets skip the words in which nothing can be left, so the cost is nine lookups and then seldom more than
//! one or two words, however long the list. What it costs is memory, rules x distinct values of a field: 264 bytes a set
//! at 2,048 rules, 1.2 GB at 100,000. Intervals and direct indexes put the sets' numbers into the generation itself.

use crate::abi::{Generation, MAX_INTERFACES, MAX_TENANTS, NO_RULE, Vector, WORDS};
use crate::opaque;
use crate::packet::{Family, Packet};

/// Finds the first rule.
pub trait Rules {
    /// Number of the first rule of `tenant` that matches, or [`NO_RULE`]. `interface` is the number of the ingress
    /// interface, 0 where no rule names it.
    fn first_match(&self, packet: &Packet, tenant: u16, interface: u16) -> u16;
}

/// Where a generation and its vectors come from.
pub trait Tables {
    /// The one that this packet reads.
    fn generation(&self) -> &Generation;
    /// One of its sets of rules.
    fn vector(&self, number: u16) -> Option<&Vector>;
}

/// [`Rules`] by bit vectors.
#[derive(Debug)]
pub struct BitVectors<'a, T>(pub &'a T);

impl<T: Tables> BitVectors<'_, T> {
    #[inline(always)]
    fn search(&self, packet: &Packet, tenant: u16, interface: u16) -> Option<u16> {
        let generation = self.0.generation();
        let head = &generation.head;
        let (source, destination) = match packet.family {
            Family::V4 => (
                generation.source4.numbers[generation.source4.place(packet.source[1] as u32)],
                generation.destination4.numbers[generation.destination4.place(packet.destination[1] as u32)],
            ),
            Family::V6 => (
                generation.source6.numbers[generation.source6.place(packet.source)],
                generation.destination6.numbers[generation.destination6.place(packet.destination)],
            ),
        };
        let (source_port, destination_port) = match packet.ports {
            Some((source, destination)) => {
                (generation.source_port[source as usize], generation.destination_port[destination as usize])
            }
            None => (head.portless_source, head.portless_destination),
        };
        let protocol = generation.protocol[packet.protocol as usize];
        let dscp = generation.dscp[packet.dscp as usize & 63];
        let interface = generation.interface[interface as usize & (MAX_INTERFACES - 1)];
        let vlan = generation.vlan[packet.vlan as usize & 4095];
        let tenant = generation.tenant[tenant as usize & (MAX_TENANTS - 1)];
        let a = self.0.vector(source)?;
        let b = self.0.vector(destination)?;
        let c = self.0.vector(source_port)?;
        let d = self.0.vector(destination_port)?;
        let e = self.0.vector(protocol)?;
        let f = self.0.vector(dscp)?;
        let g = self.0.vector(interface)?;
        let h = self.0.vector(vlan)?;
        let i = self.0.vector(tenant)?;

        let mut left = a.summary & b.summary & c.summary & d.summary & e.summary;
        left &= f.summary & g.summary & h.summary & i.summary;
        for _ in 0..WORDS {
            if left == 0 {
                break;
            }
            let word = opaque(left.trailing_zeros()) as usize & (WORDS - 1);
            left &= left - 1;
            let mut bits = a.words[word] & b.words[word] & c.words[word] & d.words[word] & e.words[word];
            bits &= f.words[word] & g.words[word] & h.words[word] & i.words[word];
            if bits != 0 {
                return Some((word as u32 * 64 + opaque(bits.trailing_zeros())) as u16);
            }
        }
        None
    }
}

impl<T: Tables> Rules for BitVectors<'_, T> {
    #[inline(always)]
    fn first_match(&self, packet: &Packet, tenant: u16, interface: u16) -> u16 {
        self.search(packet, tenant, interface).unwrap_or(NO_RULE)
    }
}
