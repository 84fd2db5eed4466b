//! What becomes of a packet, and why: tenant, rule, class, lane and mark, by the classifier on the host or by the program
//! itself. All lanes are taken to be up.

pub mod capture;
pub mod engine;
mod frame;
pub mod line;
pub mod route;
pub mod words;

use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Layer, parse};

pub use frame::Frame;

use self::engine::Engine;
use self::line::Line;
use crate::kernel::dataplane;
use crate::policy::{Policy, TunnelIndex};

/// One packet, from its bytes to its line.
pub fn explain(policy: &Policy, engine: &mut dyn Engine, frame: &Frame) -> Result<Line, dataplane::Error> {
    let packet = parse(&frame.bytes.as_slice(), Layer::ETHERNET, NO_VLAN).ok();
    let tunnel = route::tunnel(policy, packet.as_ref().map(route::destination));
    // Tenant, rule and class are the same by whatever device it leaves.
    let by = &policy.tunnels[tunnel.unwrap_or(TunnelIndex(0)).0];
    let verdict = engine.decide(&by.name, &frame.probe())?;
    Ok(Line::new(policy, frame.number, tunnel, &verdict))
}

#[cfg(test)]
mod tests {
    use super::words::Words;
    use super::*;
    use crate::compile::{Registry, compile};
    use crate::model::Model;
    use crate::policy::{ClassIndex, Rule};
    use crate::status::tests::policy;

    fn line(frame: &Frame) -> String {
        let rule = Rule {
            name: Some("sip".into()),
            class: ClassIndex(0),
            protocol: Some(17),
            destination_port: vec![(5060, 5060)],
            interface: vec!["lan0".into()],
            ..Rule::default()
        };
        let policy = Policy { rules: vec![rule], ..policy() };
        let tables = compile(&policy, &mut Registry::default()).unwrap();
        explain(&policy, &mut Model::all_up(&tables), frame).unwrap().json()
    }

    fn words(text: &str) -> Frame {
        Frame::of(&Words::parse(text).unwrap())
    }

    #[test]
    fn a_rule_decides_and_else_the_default() {
        assert_eq!(
            line(&words("udp 10.1.0.5:4000 > 10.2.0.9:5060 in lan0")),
            r#"{"packet":1,"tenant":null,"rule":"sip","class":"voice","mark":1,"tunnel":"branch-7","lane":"voice.0"}"#,
        );
        assert_eq!(
            line(&words("udp 10.1.0.5:4000 > 10.2.0.9:5060 in lan1")),
            r#"{"packet":1,"tenant":null,"rule":null,"class":"default","mark":4,"tunnel":"branch-7","lane":"default.0"}"#,
        );
    }

    #[test]
    fn bytes_that_are_no_packet_take_the_default_and_say_why() {
        assert!(line(&Frame::ip(1, &[0x45, 0])).contains(r#""class":"default","mark":4"#));
        assert!(line(&Frame::ip(1, &[0x45, 0])).ends_with(r#""unparsed":"truncated"}"#));
        assert!(line(&Frame::ethernet(1, vec![])).ends_with(r#""unparsed":"truncated"}"#));
    }
}
