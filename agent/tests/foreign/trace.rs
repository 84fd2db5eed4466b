//! Filter sets in ClassBench's form with their own answers: a line of a trace is a packet and the filter that it is to match.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use lanekeeper::import::classbench;
use lanekeeper::model::Model;

use crate::filters;
use crate::imported::Decider;
use crate::imported::packet::{INGRESS, Packet, whole};

/// Each packet of the trace has the class of its filter. How many packets there were.
fn follows(name: &str, filters: &str, trace: &str) -> usize {
    // A class for each filter.
    let imported = classbench::import(name, filters, 32).unwrap();
    assert_eq!(imported.left_out, [], "{name}");
    let decider = Decider::new(&imported.file);
    let model = Model::all_up(&decider.tables);
    let lines = trace.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let count = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = |word: &str| match word.strip_prefix("0x") {
            Some(digits) => IpAddr::V4(Ipv4Addr::from_bits(u32::from_str_radix(digits, 16).unwrap())),
            None => word.parse().unwrap(),
        };
        let number = |word: &str| word.parse::<u32>().unwrap();
        // IPv6's hop-by-hop options have the number 0: the trace means a protocol that no filter asks for.
        let protocol = if words[4] == "0" { 17 } else { number(words[4]) as u8 };
        let packet = whole(Packet {
            source: address(words[0]),
            destination: address(words[1]),
            protocol,
            ports: Some((number(words[2]) as u16, number(words[3]) as u16)),
            dscp: 0,
            tcp_flags: 0,
            icmp_type: 0,
            ingress: INGRESS[0].to_owned(),
            length: 0,
            frame: vec![0; 4],
        });
        let (class, rule) = decider.class(&model, &packet.frame, None);
        let wanted = match number(words[5]) {
            u32::MAX => "default".to_owned(),
            filter => format!("class-{}", filter + 1),
        };
        assert_eq!(class, wanted, "{name}: {line} by {rule}");
    };
    lines.map(count).count()
}

#[test]
fn classify_agrees_with_filter_sets_of_classbench_that_others_wrote() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/foreign/dpdk/app/test-acl/input");
    let (mut sets, mut traced) = (0, 0);
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix("_rule") else { continue };
        let text = fs::read_to_string(&file).unwrap();
        traced += follows(&name, &text, &fs::read_to_string(folder.join(format!("{stem}_trace"))).unwrap());
        let classes = filters::agrees(&name, &text, 12_000);
        println!("{name}: {classes:?}");
        assert!(classes.values().sum::<u32>() > 4_000 && classes.len() > 1, "{name}: {classes:?}");
        sets += 1;
    }
    assert!(sets >= 2 && traced >= 7, "{sets} sets, {traced} packets");
}
