//! `explain --engine kernel` says line for line what `explain` says without privilege.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lanekeeper::compile::{Registry, compile};
use lanekeeper::config;
use lanekeeper::explain::engine::Kernel;
use lanekeeper::explain::words::Words;
use lanekeeper::explain::{Frame, explain_nearly};
use lanekeeper::model::Model;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

const FILE: &str = r#"
[[class]]
name = "voice"
[[class]]
name = "bulk"
lanes = 2
[[class]]
name = "default"
[[tenant]]
name = "acme"
sources = ["10.9.0.0/16"]
[[tunnel]]
name = "a"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice", "bulk", "default"]
device = { type = "xfrm", name = "lk-a", if-id = 42, mtu = 1400 }
routes = ["10.2.0.0/16", "2001:db8:2::/48"]
[tunnel.ike]
local-id = "moon"
remote-id = "sun"
auth = { psk-file = "a.psk" }
[[rule]]
name = "sip"
class = "voice"
protocol = "udp"
destination-port = ["5060"]
[[rule]]
class = "bulk"
protocol = "tcp"
[[rule]]
name = "acme's"
tenant = "acme"
class = "default"
[[rule]]
name = "tagged"
class = "voice"
vlan = [12]
[default]
class = "default"
"#;

/// Words, and bytes that no words make.
fn packets() -> Vec<Vec<u8>> {
    let words = [
        "udp 10.1.0.5:4000 > 10.2.0.9:5060",
        "udp 10.1.0.5:4000 > 10.2.0.9:5061",
        "tcp 10.1.0.5:4000 > 10.2.0.9:80",
        "tcp 10.1.0.5:4001 > 10.2.0.9:80",
        "tcp 10.1.0.6:4002 > 10.2.0.9:80",
        "udp [2001:db8:1::5]:4000 > [2001:db8:2::9]:5060",
        "icmp 10.9.0.5 > 10.2.0.9",
        "esp 10.1.0.5 > 10.2.0.9 vlan 12",
        "udp 10.1.0.5:4000 > 192.168.0.9:5060 dscp ef",
    ];
    let mut packets: Vec<Vec<u8>> = words.iter().map(|words| Words::parse(words).unwrap().frame()).collect();
    let whole = packets[0].clone();
    // First fragment, then a later one of the same datagram, then one of another that was not seen.
    for (id, flags, offset) in [(7, 0x20, 0), (7, 0x00, 4), (8, 0x00, 4)] {
        let mut fragment = whole.clone();
        fragment[18..22].copy_from_slice(&[0, id, flags, offset]);
        packets.push(fragment);
    }
    packets.extend((0..whole.len()).map(|len| whole[..len].to_vec()));
    packets.push(vec![0xff; 60]);
    packets
}

fn explain(folder: &Path, engine: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
        .args(["explain", "a.toml", "--pcap", "a.pcap", "--json", "--engine", engine])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_engines_print_the_same_lines() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), FILE).unwrap();
    let header = PcapHeader { datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(folder.path().join("a.pcap")).unwrap(), header).unwrap();
    let packets = packets();
    for packet in &packets {
        writer.write_packet(&PcapPacket::new(Duration::ZERO, packet.len() as u32, packet)).unwrap();
    }
    drop(writer);
    let model = explain(folder.path(), "model");
    assert_eq!(model, explain(folder.path(), "kernel"));
    let lines: Vec<&str> = model.lines().collect();
    assert_eq!(lines.len(), packets.len());
    for (packet, line) in [
        (1, r#""tenant":null,"rule":"sip","class":"voice","mark":1,"tunnel":"a","lane":"voice.0""#),
        (7, r#""tenant":"acme","rule":"acme's","class":"default","mark":4,"tunnel":"a","lane":"default.0""#),
        // Without ports of its own it follows the first fragment; where that was not seen no rule about ports matches.
        (11, r#""tenant":null,"rule":"sip","class":"voice","mark":1,"tunnel":"a","lane":"voice.0""#),
        (
            12,
            r#""tenant":null,"rule":null,"class":"default","mark":4,"tunnel":"a","lane":"default.0","unparsed":"fragment_unseen""#,
        ),
    ] {
        assert_eq!(lines[packet - 1], format!(r#"{{"packet":{packet},{line}}}"#));
    }
}

/// To stand before the rules of [`FILE`].
const FIELDS: &str = r#"
[[rule]]
name = "syn"
class = "voice"
protocol = "tcp"
tcp-flags = "syn/syn,ack"
[[rule]]
name = "ping"
class = "voice"
protocol = "icmp"
icmp-type = "echo-request"
[[rule]]
name = "large"
class = "bulk"
length = "1000-65535"
[[rule]]
name = "part"
class = "bulk"
fragment = true
[[rule]]
name = "marked"
class = "voice"
mark = "0x100/0xf00"
"#;

#[test]
fn classify_words_are_the_same_packet_to_both_engines() {
    let (head, rules) = FILE.split_at(FILE.find("[[rule]]").unwrap());
    let policy = config::parse_text("a.toml", &[head, FIELDS, rules].concat()).unwrap().policy;
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    let up: Vec<_> = tables.lanes.keys().cloned().collect();
    let (mut model, mut kernel) = (Model::all_up(&tables), Kernel::new(&tables, &up).unwrap());
    for (words, rule) in [
        ("tcp 10.1.0.5:1 > 10.2.0.9:2", "syn"),
        ("tcp [2001:db8::1]:1 > [2001:db8:2::2]:2 flags syn", "syn"),
        ("tcp 10.1.0.5:1 > 10.2.0.9:2 flags syn,ack", "a.toml:51:1"),
        ("icmp 10.1.0.5 > 10.2.0.9 type echo-request", "ping"),
        ("udp 10.1.0.5:1 > 10.2.0.9:2 length 1000", "large"),
        ("udp 10.1.0.5:1 > 10.2.0.9:5060 length 999", "sip"),
        ("udp [2001:db8::1]:1 > [2001:db8:2::2]:2 length 65535", "large"),
        ("udp 10.1.0.5:1 > 10.2.0.9:2 fragment first", "part"),
        ("udp 10.1.0.5 > 10.2.0.9 fragment later", "part"),
        ("tcp 2001:db8::1 > 2001:db8:2::2 fragment later", "part"),
        ("esp 10.1.0.5 > 10.2.0.9 mark 0x100", "marked"),
        ("esp 10.1.0.5 > 10.2.0.9 mark 0x200 vlan 12", "tagged"),
    ] {
        let frame = Frame::of(&Words::parse(words).unwrap());
        let line = explain_nearly(&policy, &mut model, None, &frame).unwrap();
        assert_eq!(line.rule.as_deref(), Some(rule), "{words}");
        assert_eq!(line, explain_nearly(&policy, &mut kernel, None, &frame).unwrap(), "{words}");
    }
}
