//! ClassBench's filter sets, read apart from the import: the first filter that matches.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use lanekeeper::import::classbench;
use lanekeeper::model::Model;

use crate::imported::Decider;
use crate::imported::packet::{INGRESS, Packet, packet, whole};
use crate::random::Random;

/// A line of a filter set, read apart from the import.
#[derive(Debug, Clone)]
pub struct Filter {
    nets: [(u128, u128); 2],
    ports: [(u16, u16); 2],
    protocol: (u8, u8),
    flags: (u8, u8),
}

fn filter(line: &str) -> Filter {
    let line = line.trim().strip_prefix('@').unwrap().replace(" : ", ":");
    let words: Vec<&str> = line.split_whitespace().collect();
    let net = |word: &str| {
        let (address, length) = word.split_once('/').unwrap();
        let length: u32 = length.parse().unwrap();
        let (value, bits) = match address.parse().unwrap() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let mask = if length == 0 { 0 } else { (u128::MAX >> (128 - bits)) & !((1u128 << (bits - length)) - 1) };
        (value & mask, mask)
    };
    let ports = |word: &str| {
        let (low, high) = word.split_once(':').unwrap();
        (low.parse().unwrap(), high.parse().unwrap())
    };
    let bits = |word: &str| {
        let (value, mask) = word.split_once('/').unwrap();
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).unwrap(),
            None => text.parse().unwrap(),
        };
        (number(value), number(mask))
    };
    let (protocol, flags) = (bits(words[4]), bits(words.get(5).unwrap_or(&"0x0000/0x0000")));
    Filter {
        nets: [net(words[0]), net(words[1])],
        ports: [ports(words[2]), ports(words[3])],
        protocol: (protocol.0 as u8, protocol.1 as u8),
        flags: ((flags.0 >> 8) as u8, (flags.1 >> 8) as u8),
    }
}

fn matches(filter: &Filter, packet: &Packet) -> bool {
    let number = |address| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let within = |(value, mask): (u128, u128), address| number(address) & mask == value;
    let any = (0, u16::MAX);
    let port =
        |span: (u16, u16), port: Option<u16>| span == any || port.is_some_and(|port| (span.0..=span.1).contains(&port));
    within(filter.nets[0], packet.source)
        && within(filter.nets[1], packet.destination)
        && port(filter.ports[0], packet.ports.map(|ports| ports.0))
        && port(filter.ports[1], packet.ports.map(|ports| ports.1))
        && packet.protocol & filter.protocol.1 == filter.protocol.0
        && (filter.flags.1 == 0 || (packet.protocol == 6 && packet.tcp_flags & filter.flags.1 == filter.flags.0))
}

/// The first filter that matches says the class of each of these packets. How many packets each class had.
pub fn agrees(name: &str, text: &str, packets: u32) -> BTreeMap<String, u32> {
    let imported = classbench::import(name, text, 4).unwrap();
    assert_eq!(imported.left_out, [], "{name}");
    let filters: Vec<Filter> = text.lines().filter(|line| line.starts_with('@')).map(filter).collect();
    let decider = Decider::new(&imported.file);
    let model = Model::all_up(&decider.tables);
    let mut random = Random::new(filters.len() as u64);
    let mut classes = BTreeMap::new();
    let is_v4 = filters[0].nets[0].1 >> 32 == 0;
    for number in 0..packets {
        let mut packet = packet(&mut random, &decider.policy, &INGRESS, number);
        // A router forwards less than filters are about.
        if random.one_in(2) {
            let nets = random.pick(&filters).nets;
            let mut address = |(value, mask): (u128, u128)| {
                let number = value | random.u128() & !mask;
                if is_v4 { IpAddr::V4(Ipv4Addr::from_bits(number as u32)) } else { IpAddr::V6(number.into()) }
            };
            (packet.source, packet.destination) = (address(nets[0]), address(nets[1]));
            packet.frame = number.to_be_bytes().into();
            packet = whole(packet);
        }
        if packet.source.is_ipv4() != is_v4 {
            continue;
        }
        let first = filters.iter().position(|filter| matches(filter, &packet));
        let wanted = first.map_or("default".to_owned(), |first| format!("class-{}", first % 4 + 1));
        let (class, rule) = decider.class(&model, &packet.frame, None);
        assert_eq!(class, wanted, "{name}: filter {first:?}, but {rule}: {packet:?}");
        *classes.entry(class).or_default() += 1;
    }
    classes
}
