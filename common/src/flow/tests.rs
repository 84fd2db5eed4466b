use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::cell::RefCell;

use super::*;
use crate::abi::{Candidates, FragmentKey, FragmentValue, Generation, NO_ICMP, NO_TCP, NO_VLAN, Tenant};
use crate::decide::decide;
use crate::packet::{TCP, UDP};
use crate::rules::Tables;
use crate::stamp::Stamp;

/// Tables without rules, whose default class tells them apart.
struct Plain<'a> {
    stamp: Stamp,
    generation: Box<Generation>,
    tenant: Tenant,
    flows: &'a RefCell<BTreeMap<u32, Flow>>,
}

impl<'a> Plain<'a> {
    fn new(stamp: Stamp, class: u16, flows: &'a RefCell<BTreeMap<u32, Flow>>) -> Self {
        let tenant = Tenant { default_class: class, ..Tenant::default() };
        Self { stamp, generation: Generation::zeroed(), tenant, flows }
    }

    fn class(&self, parsed: &Parsed) -> u16 {
        decide(self, parsed, &ARRIVAL).classified.class
    }
}

impl Tables for Plain<'_> {
    fn generation(&self) -> &Generation {
        &self.generation
    }

    fn tenant(&self, _number: u16) -> Option<&Tenant> {
        Some(&self.tenant)
    }

    fn candidates(&self, _field: u32) -> Option<&Candidates> {
        None
    }

    fn head(&self, _chain: u32) -> u32 {
        0
    }

    fn record(&self, _number: u32) -> Option<&Record> {
        None
    }
}

impl Surroundings for Plain<'_> {
    fn stamp(&self) -> Stamp {
        self.stamp
    }

    fn up(&self, _group: u32) -> u32 {
        0
    }

    fn flow(&self, place: u32) -> Option<Flow> {
        self.flows.borrow().get(&place).copied()
    }

    fn keep_flow(&self, place: u32, flow: &Flow) {
        self.flows.borrow_mut().insert(place, *flow);
    }

    fn recall(&self, _key: &FragmentKey) -> Option<FragmentValue> {
        None
    }

    fn remember(&self, _key: &FragmentKey, _value: &FragmentValue) {}

    fn now(&self) -> u32 {
        0
    }
}

const ARRIVAL: Arrival = Arrival { interface: 3, tunnel: 0, device: 1, mark: 0x55 };
const ALL: Asked = Asked {
    mark: u32::MAX,
    length: u16::MAX,
    tcp_flags: u16::MAX,
    icmp_type: u16::MAX,
    dscp: u16::MAX,
    cgroup: u16::MAX,
    _pad: 0,
};

fn packet() -> Parsed {
    Parsed {
        source: [1, 2],
        destination: [3, 4],
        source_port: 5,
        destination_port: 6,
        vlan: NO_VLAN,
        protocol: UDP,
        family: 6,
        ports: 1,
        length: 100,
        icmp_type: NO_ICMP,
        tcp_flags: NO_TCP,
        cgroup: 0x155,
        ..Parsed::default()
    }
}

fn key(parsed: &Parsed, asked: &Asked) -> FlowKey {
    FlowKey::of(parsed, &ARRIVAL, asked)
}

#[test]
fn a_flow_that_was_seen_is_not_searched_again() {
    let flows = RefCell::default();
    let mut tables = Plain::new(Stamp(1), 7, &flows);
    assert_eq!(tables.class(&packet()), 7);
    // Nobody was told of this change.
    tables.tenant.default_class = 8;
    assert_eq!(tables.class(&packet()), 7);
    assert_eq!(tables.class(&Parsed { source_port: 9, ..packet() }), 8);
}

#[test]
fn nothing_of_other_tables_holds() {
    let flows = RefCell::default();
    let stamp = Stamp::NONE.switched();
    assert_eq!(Plain::new(stamp, 7, &flows).class(&packet()), 7);
    assert_eq!(Plain::new(stamp.changed(), 8, &flows).class(&packet()), 8);
    assert_eq!(Plain::new(stamp.changed().switched(), 9, &flows).class(&packet()), 9);
}

#[test]
fn what_a_search_that_began_before_a_change_leaves_does_not_outlive_it() {
    let flows = RefCell::default();
    let (before, after) = (Plain::new(Stamp(1), 7, &flows), Plain::new(Stamp(1).changed(), 8, &flows));
    assert_eq!(after.class(&packet()), 8);
    assert_eq!(before.class(&packet()), 7);
    assert_eq!(after.class(&packet()), 8);
}

#[test]
fn fragments_are_not_remembered_as_flows() {
    let flows = RefCell::default();
    let tables = Plain::new(Stamp(1), 7, &flows);
    for fragment in [1, 2] {
        tables.class(&Parsed { fragment, ..packet() });
    }
    assert!(flows.borrow().is_empty());
}

#[test]
fn no_field_that_a_verdict_depends_on_is_left_out() {
    let changes: [fn(&mut Parsed); 17] = [
        |parsed| parsed.source[0] ^= 1,
        |parsed| parsed.source[1] ^= 1 << 63,
        |parsed| parsed.destination[0] ^= 1 << 63,
        |parsed| parsed.destination[1] ^= 1,
        |parsed| parsed.source_port ^= 1 << 15,
        |parsed| parsed.destination_port ^= 1,
        |parsed| parsed.vlan = 0,
        |parsed| parsed.protocol = TCP,
        |parsed| parsed.family = 4,
        |parsed| parsed.ports = 0,
        |parsed| parsed.dscp = 46,
        |parsed| parsed.length = 101,
        |parsed| parsed.tcp_flags = 0,
        |parsed| parsed.icmp_type = 0,
        |parsed| parsed.cgroup = 0x3ff,
        |parsed| (parsed.source_port, parsed.destination_port) = (6, 5),
        |parsed| (parsed.source, parsed.destination) = (parsed.destination, parsed.source),
    ];
    for (place, change) in changes.iter().enumerate() {
        let mut other = packet();
        change(&mut other);
        assert_ne!(key(&other, &ALL), key(&packet(), &ALL), "change {place}");
    }
    let other = |arrival| FlowKey::of(&packet(), &arrival, &ALL);
    assert_ne!(other(Arrival { interface: 4, ..ARRIVAL }), other(ARRIVAL));
    assert_ne!(other(Arrival { mark: 0x54, ..ARRIVAL }), other(ARRIVAL));
}

#[test]
fn fields_that_no_rule_looks_at_do_not_matter() {
    let none = Asked::default();
    let other = Parsed { dscp: 46, length: 1, tcp_flags: 2, icmp_type: 8, cgroup: 2, ..packet() };
    assert_eq!(key(&other, &none), key(&packet(), &none));
    let marked = |mark| FlowKey::of(&packet(), &Arrival { mark, ..ARRIVAL }, &Asked { mark: 0xf0, ..none });
    assert_eq!(marked(0x1f), marked(0x10));
    assert_ne!(marked(0x1f), marked(0x2f));
}

#[test]
fn a_record_asks_for_the_fields_that_it_gives() {
    let any = Record { length: [0, u16::MAX], icmp_type: ANY_ICMP, dscp: u64::MAX, ..Record::default() };
    let asked = |record| {
        let mut asked = Asked::default();
        asked.add(&record);
        asked
    };
    assert_eq!(asked(any), Asked::default());
    assert_eq!(asked(Record { dscp: 1 << 46, ..any }).dscp, u16::MAX);
    assert_eq!(asked(Record { length: [0, 99], ..any }).length, u16::MAX);
    assert_eq!(asked(Record { cgroup: 3, ..any }).cgroup, u16::MAX);
    assert_eq!(asked(Record { icmp_type: 8, ..any }).icmp_type, u16::MAX);
    assert_eq!(asked(Record { tcp_flags_mask: 2 | NO_TCP, ..any }).tcp_flags, 2 | NO_TCP);
    let mut both = asked(Record { mark_mask: 0x0f, ..any });
    both.add(&Record { mark_mask: 0x30, ..any });
    assert_eq!(both, Asked { mark: 0x3f, ..Asked::default() });
}

#[test]
fn flows_of_one_place_have_their_own_verdicts_and_the_last_is_kept() {
    let flows = RefCell::default();
    let asked = Asked::default();
    let place = key(&packet(), &asked).place();
    let all = (0..1 << 24).map(|n| Parsed { source: [n, 0], ..packet() });
    let found: alloc::vec::Vec<Parsed> = all.filter(|parsed| key(parsed, &asked).place() == place).take(2).collect();
    let mut tables = Plain::new(Stamp(1), 0, &flows);
    for (class, parsed) in found.iter().enumerate() {
        tables.tenant.default_class = class as u16;
        assert_eq!(tables.class(parsed), class as u16);
    }
    tables.tenant.default_class = 9;
    assert_eq!(tables.class(&found[1]), 1);
    assert_eq!(tables.class(&found[0]), 9);
    assert_eq!(tables.class(&found[1]), 9);
}

#[test]
fn flows_spread_over_all_places() {
    // Neighbours in one network, as behind a gateway. At random, an eighth of as many places are left to share.
    let asked = Asked::default();
    let mut taken = alloc::vec![0u8; MAX_FLOWS];
    for n in 0..MAX_FLOWS as u64 / 8 {
        let parsed = Parsed {
            source: [0, 0x0a01_0000 + n % 64],
            destination: [0, 0x0a02_0000 + n / 64 % 16],
            source_port: 1024 + (n / 1024) as u16,
            family: 4,
            ..packet()
        };
        taken[key(&parsed, &asked).place() as usize] += 1;
    }
    let shared: usize = taken.iter().filter(|flows| **flows > 1).map(|flows| usize::from(*flows)).sum();
    assert!(shared < MAX_FLOWS / 8 / 6, "{shared} flows of {} share a place", MAX_FLOWS / 8);
}
