//! What becomes of a packet, and why: tenant, rule, class, lane and mark, by the classifier on the host or by the program
//! itself. Where the file runs on this machine, also its device, policy and SA, with the lanes that are up; else all lanes are
//! taken to be up.

pub mod capture;
pub mod engine;
mod frame;
pub mod line;
pub mod live;
pub mod near;
pub mod route;
pub mod shadow;
pub mod words;

use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Layer, parse};

pub use frame::Frame;

use self::engine::Engine;
use self::line::Line;
use self::live::Passage;
use crate::kernel::lookup::{Lookup, Way};
use crate::kernel::{self, dataplane};
use crate::model::Verdict;
use crate::policy::{Policy, TunnelIndex};

/// Why a packet could not be explained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program, or what it reads.
    #[error(transparent)]
    Dataplane(#[from] dataplane::Error),
    /// What the kernel was asked.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

/// One packet, from its bytes to its line; `lookup` where the file runs on this machine.
pub fn explain(
    policy: &Policy,
    engine: &mut dyn Engine,
    lookup: Option<&mut Lookup>,
    frame: &Frame,
) -> Result<Line, Error> {
    decide(policy, engine, lookup, frame).map(|(line, _)| line)
}

/// The same with the rules that nearly decided.
pub fn explain_nearly(
    policy: &Policy,
    engine: &mut dyn Engine,
    lookup: Option<&mut Lookup>,
    frame: &Frame,
) -> Result<Line, Error> {
    let (line, verdict) = decide(policy, engine, lookup, frame)?;
    Ok(Line { near: Some(near::near(policy, frame, &verdict)), ..line })
}

fn decide(
    policy: &Policy,
    engine: &mut dyn Engine,
    lookup: Option<&mut Lookup>,
    frame: &Frame,
) -> Result<(Line, Verdict), Error> {
    let packet = parse(&frame.bytes.as_slice(), Layer::ETHERNET, NO_VLAN).ok();
    let probe = frame.probe();
    let Some(lookup) = lookup else {
        let tunnel = route::tunnel(policy, packet.as_ref().map(route::destination));
        let verdict = engine.decide(decider(policy, tunnel), &probe)?;
        return Ok((Line::new(policy, frame.number, tunnel, &verdict), verdict));
    };
    let flow = packet.as_ref().map(|packet| live::flow(packet, frame.interface.clone()));
    let way = match &flow {
        Some(flow) => lookup.way(flow, probe.mark)?.clone(),
        None => Way::Nowhere("it has no destination".to_owned()),
    };
    let tunnel = live::tunnel(policy, &way, flow.as_ref());
    let verdict = engine.decide(decider(policy, tunnel), &probe)?;
    let way = match (&flow, tunnel) {
        // The port's mark chooses the device.
        (Some(flow), Some(tunnel)) if verdict.blocked.is_none() && policy.tunnels[tunnel.0].has_lane_devices() => {
            lookup.way(flow, probe.mark & !policy.mark_mask | verdict.mark)?.clone()
        }
        _ => way,
    };
    let passage = Passage::new(policy, lookup.xfrm(), way, flow.as_ref(), tunnel, &verdict);
    Ok((Line { live: Some(passage), ..Line::new(policy, frame.number, tunnel, &verdict) }, verdict))
}

/// The tunnel whose device is to decide. Tenant, rule and class are the same by whatever device a packet leaves.
fn decider(policy: &Policy, tunnel: Option<TunnelIndex>) -> &str {
    &policy.tunnels[tunnel.unwrap_or(TunnelIndex(0)).0].name
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
        explain(&policy, &mut Model::all_up(&tables), None, frame).unwrap().json()
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

    #[test]
    fn classify_words_reach_rules_of_every_field() {
        let rule = |name: &str, rule: Rule| Rule { name: Some(name.into()), ..rule };
        let rules = vec![
            rule("syn", Rule { tcp_flags: Some((0x02, 0x12)), ..Rule::default() }),
            rule("ping", Rule { icmp_type: vec![8, 128], fragment: Some(false), ..Rule::default() }),
            rule("large", Rule { length: vec![(1000, 2000)], ..Rule::default() }),
            rule("part", Rule { fragment: Some(true), ..Rule::default() }),
            rule("marked", Rule { mark: Some((0x100, 0xf00)), ..Rule::default() }),
        ];
        let policy = Policy { rules, ..policy() };
        let tables = compile(&policy, &mut Registry::default()).unwrap();
        let line = |text: &str| explain(&policy, &mut Model::all_up(&tables), None, &words(text)).unwrap();
        for (text, rule) in [
            ("tcp 10.1.0.5:1 > 10.2.0.9:2 flags syn", Some("syn")),
            ("tcp 10.1.0.5:1 > 10.2.0.9:2 flags syn,ack", None),
            ("icmp 10.1.0.5 > 10.2.0.9 type echo-request", Some("ping")),
            ("icmpv6 2001:db8::1 > 2001:db8::2", Some("ping")),
            ("icmp 10.1.0.5 > 10.2.0.9 type echo-reply", None),
            ("udp 10.1.0.5:1 > 10.2.0.9:2 length 1200", Some("large")),
            ("udp 10.1.0.5:1 > 10.2.0.9:2 length 2001", None),
            ("udp 10.1.0.5:1 > 10.2.0.9:2 fragment first", Some("part")),
            ("tcp 2001:db8::1 > 2001:db8::2 fragment later", Some("part")),
            ("udp 10.1.0.5:1 > 10.2.0.9:2 mark 0x10100", Some("marked")),
            ("udp 10.1.0.5:1 > 10.2.0.9:2 mark 0x200", None),
        ] {
            assert_eq!(line(text).rule.as_deref(), rule, "{text}");
        }
        assert_eq!(line("udp 10.1.0.5:1 > 10.2.0.9:2 mark 0x10100").mark, Some(0x10101), "others' bits stay");
    }
}
