//! The naive oracle for long lists and many packets. It, too, goes through the rules in their order and takes the first
//! that matches. Which of them it reads at all, columns of plain integers say, of which a processor compares several at
//! once: rules whose one source or one destination is another than the packet's are passed over.

use std::net::IpAddr;

use ipnet::IpNet;
use lanekeeper::policy::{Policy, Rule};

use super::oracle::{Judgement, judgement, matches, whose};
use super::packet::Packet;

/// Rules that are compared in one go.
const TOGETHER: usize = 16;
/// Rules after which it is the next packet's turn: their columns stay in the nearest cache while all packets pass.
const BLOCK: usize = 1024;

/// Words of an address that have columns: the upper 64 bits.
const WORDS: usize = 2;

/// One word of the rules' prefixes, by place in the list.
#[derive(Debug, Clone, Default)]
struct Column {
    values: Vec<u32>,
    masks: Vec<u32>,
    /// Bits that some rule asks for.
    asked: u32,
}

/// The addresses of a list, the source's words and then the destination's.
#[derive(Debug, Clone, Default)]
pub struct Columns([Column; 2 * WORDS]);

impl Columns {
    pub fn new(rules: &[Rule]) -> Self {
        let mut columns = Self::default();
        rules.iter().enumerate().for_each(|(place, rule)| columns.insert(place, rule));
        columns
    }

    /// A rule comes to that place of the list.
    pub fn insert(&mut self, place: usize, rule: &Rule) {
        let sides = [prefix(&rule.source), prefix(&rule.destination)];
        for (column, (value, mask)) in self.0.iter_mut().zip(sides.into_iter().flatten()) {
            column.values.insert(place, value);
            column.masks.insert(place, mask);
            column.asked |= mask;
        }
    }

    /// The rule of that place goes.
    pub fn remove(&mut self, place: usize) {
        for column in &mut self.0 {
            column.values.remove(place);
            column.masks.remove(place);
        }
    }

    /// The judgements on whole packets; the rules are those that the columns were made of.
    pub fn judge(&self, policy: &Policy, packets: &[Packet]) -> Vec<Judgement> {
        let sought: Vec<Sought<'_>> = packets.iter().map(|packet| Sought::new(policy, packet)).collect();
        let mut rules = vec![None; packets.len()];
        for from in (0..policy.rules.len()).step_by(BLOCK) {
            let to = policy.rules.len().min(from + BLOCK);
            for (sought, rule) in sought.iter().zip(&mut rules).filter(|(_, rule)| rule.is_none()) {
                *rule = self.first(&policy.rules[..to], from, sought);
            }
        }
        sought.iter().zip(rules).map(|(sought, rule)| judgement(policy, sought.tenant, rule)).collect()
    }

    /// The first rule from that place on that matches.
    fn first(&self, rules: &[Rule], from: usize, sought: &Sought<'_>) -> Option<usize> {
        let is_it = |place: &usize| {
            let rule = rules.get(*place);
            rule.is_some_and(|rule| rule.tenant == sought.tenant && matches(rule, sought.packet))
        };
        (from..rules.len()).step_by(TOGETHER).find_map(|from| {
            let mut differ = [0u32; TOGETHER];
            for (column, word) in self.0.iter().zip(sought.words).filter(|(column, _)| column.asked != 0) {
                let (values, masks) = (together(&column.values[from..]), together(&column.masks[from..]));
                for place in 0..TOGETHER {
                    differ[place] |= (values[place] ^ word) & masks[place];
                }
            }
            // Without a branch for each, so that they are compared together.
            if !differ.iter().fold(false, |any, differs| any | (*differs == 0)) {
                return None;
            }
            (0..TOGETHER).filter(|place| differ[*place] == 0).map(|place| from + place).find(is_it)
        })
    }
}

/// A packet, and what of it is compared with columns.
struct Sought<'a> {
    packet: &'a Packet,
    tenant: Option<lanekeeper::policy::TenantIndex>,
    words: [u32; 2 * WORDS],
}

impl<'a> Sought<'a> {
    fn new(policy: &Policy, packet: &'a Packet) -> Self {
        let ([a, b], [c, d]) = (words(packet.source), words(packet.destination));
        Self { packet, tenant: whose(policy, packet), words: [a, b, c, d] }
    }
}

/// As many as are compared in one go; behind the end of the list, zeros.
fn together(column: &[u32]) -> [u32; TOGETHER] {
    column.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; TOGETHER];
        padded[..column.len()].copy_from_slice(column);
        padded
    })
}

/// Value and mask by word. Of several prefixes any may be the packet's: nothing is said before the rule is read.
fn prefix(prefixes: &[IpNet]) -> [(u32, u32); WORDS] {
    match prefixes {
        [one] => {
            let (values, masks) = (words(one.network()), words(one.netmask()));
            std::array::from_fn(|word| (values[word], masks[word]))
        }
        _ => Default::default(),
    }
}

fn words(address: IpAddr) -> [u32; WORDS] {
    match address {
        IpAddr::V4(address) => [address.to_bits(), 0],
        IpAddr::V6(address) => [(address.to_bits() >> 96) as u32, (address.to_bits() >> 64) as u32],
    }
}
