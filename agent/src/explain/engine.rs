//! The two that decide: the classifier on the host, and the program that a tunnel's device runs.

use std::cell::RefCell;
use std::collections::HashMap;

use lanekeeper_common::abi::{FragmentKey, FragmentValue, Generation, NO_RULE, Vector};
use lanekeeper_common::decide::{Arrival, Surroundings, decide};
use lanekeeper_common::packet::Layer;
use lanekeeper_common::rules::Tables as HostTables;
use lanekeeper_common::verdict::ParseReason;

use super::{Frame, Verdict};
use crate::compile::registry::Key;
use crate::compile::{self, Registry, Tables, compile};
use crate::kernel::dataplane::{self, Trial, TrialPacket};
use crate::policy::{Policy, TunnelIndex};

/// Bytes of a packet that the program is given. A test run takes no more than a page; all that is read are headers.
const LIMIT: usize = 2048;

/// Shorter than this a test run takes nothing.
const SHORTEST: usize = 15;

/// Decides for one packet after the other; later fragments remember their first.
pub trait Engine {
    /// What becomes of a packet that leaves by that tunnel's device.
    fn decide(&mut self, frame: &Frame, tunnel: TunnelIndex) -> Result<Verdict, dataplane::Error>;
}

/// The classifier over host tables: no privilege, no kernel.
#[derive(Debug)]
pub struct Model {
    tables: Tables,
    tunnels: Vec<u32>,
    fragments: RefCell<HashMap<FragmentKey, FragmentValue>>,
}

/// The program itself, over maps of its own.
#[derive(Debug)]
pub struct Kernel {
    trial: Trial,
    tunnels: Vec<String>,
    /// Those that rules or tenants name; the n-th has number n + 1.
    interfaces: Vec<String>,
    /// For what no device would ever hand to the program.
    model: Model,
}

impl Model {
    /// Of a policy.
    pub fn new(policy: &Policy) -> Result<Self, compile::Error> {
        let tables = compile(policy, &mut Registry::default())?;
        let number = |name: &String| tables.registry.get(&Key::Tunnel(name.clone())).unwrap_or_default();
        let tunnels = policy.tunnels.iter().map(|tunnel| number(&tunnel.name)).collect();
        Ok(Self { tables, tunnels, fragments: RefCell::default() })
    }
}

impl Engine for Model {
    fn decide(&mut self, frame: &Frame, tunnel: TunnelIndex) -> Result<Verdict, dataplane::Error> {
        let number = |name: &String| self.tables.registry.get(&Key::Interface(name.clone()));
        let arrival = Arrival {
            layer: frame.layer,
            tag: None,
            interface: frame.interface.as_ref().and_then(number).unwrap_or_default() as u16,
            tunnel: self.tunnels[tunnel.0],
            device: 1,
        };
        let decision = decide(self, &cut(&frame.bytes), &arrival);
        let classified = decision.classified;
        Ok(Verdict {
            tenant: usize::from(classified.tenant).checked_sub(1),
            rule: (classified.rule != NO_RULE).then(|| usize::from(classified.rule)),
            class: usize::from(classified.class),
            mark: decision.outcome.ok().map(|taken| taken.mark),
            unparsed: ParseReason::from_number(decision.parse),
            blocked: decision.outcome.err(),
        })
    }
}

impl HostTables for Model {
    fn generation(&self) -> &Generation {
        &self.tables.generation
    }

    fn vector(&self, number: u16) -> Option<&Vector> {
        self.tables.vectors.get(usize::from(number))
    }
}

impl Surroundings for Model {
    fn number(&self) -> u64 {
        1
    }

    fn up(&self, _: u32) -> u32 {
        u32::MAX
    }

    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember(&self, key: &FragmentKey, value: &FragmentValue) {
        self.fragments.borrow_mut().insert(*key, *value);
    }
}

impl Kernel {
    /// Loads the programs into maps of this process's own; touches nothing that runs.
    pub fn new(policy: &Policy, model: Model) -> Result<Self, dataplane::Error> {
        let mut trial = Trial::new()?;
        trial.load(&model.tables)?;
        trial.set_all_up()?;
        let named = policy.rules.iter().flat_map(|rule| &rule.interface);
        let mut interfaces: Vec<String> =
            named.chain(policy.tenants.iter().flat_map(|tenant| &tenant.interfaces)).cloned().collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        trial.set_interfaces(&interfaces.iter().map(|name| (name.as_str(), None)).collect::<Vec<_>>())?;
        let tunnels = policy.tunnels.iter().map(|tunnel| tunnel.name.clone()).collect();
        Ok(Self { trial, tunnels, interfaces, model })
    }
}

impl Engine for Kernel {
    fn decide(&mut self, frame: &Frame, tunnel: TunnelIndex) -> Result<Verdict, dataplane::Error> {
        let bytes = ethernet(frame);
        if bytes.len() < SHORTEST {
            return self.model.decide(frame, tunnel);
        }
        let place = |name: &String| self.interfaces.iter().position(|interface| interface == name);
        let ingress = frame.interface.as_ref().and_then(place).map_or(0, |place| place as u32 + 1);
        self.trial.set_tunnel(&self.tunnels[tunnel.0])?;
        let verdict = self.trial.run(TrialPacket { frame: cut(&bytes), mark: 0, ingress })?;
        Ok(Verdict {
            tenant: verdict.tenant,
            rule: verdict.rule,
            class: verdict.class,
            mark: verdict.passed.then_some(verdict.mark),
            unparsed: verdict.parse,
            blocked: verdict.blocked,
        })
    }
}

/// A test run takes frames only.
fn ethernet(frame: &Frame) -> Vec<u8> {
    match frame.layer {
        Layer::Ethernet => frame.bytes.clone(),
        Layer::Network(ethertype) => {
            let mut bytes = vec![0; 12];
            bytes.extend_from_slice(&ethertype.to_be_bytes());
            bytes.extend_from_slice(&frame.bytes);
            bytes
        }
    }
}

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::super::words::Words;
    use super::*;
    use crate::policy::{ClassIndex, Rule};
    use crate::status::tests::policy;

    fn sip() -> Policy {
        let rule = Rule {
            name: Some("sip".into()),
            class: ClassIndex(0),
            protocol: Some(17),
            destination_port: vec![(5060, 5060)],
            interface: vec!["lan0".into()],
            ..Rule::default()
        };
        Policy { rules: vec![rule], ..policy() }
    }

    fn verdict(model: &mut Model, words: &str) -> Verdict {
        model.decide(&Frame::of(&Words::parse(words).unwrap()), TunnelIndex(0)).unwrap()
    }

    #[test]
    fn a_rule_decides_and_else_the_default() {
        let mut model = Model::new(&sip()).unwrap();
        let voice = verdict(&mut model, "udp 10.1.0.5:4000 > 10.2.0.9:5060 in lan0");
        assert_eq!((voice.rule, voice.class, voice.mark), (Some(0), 0, Some(1)));
        let other = verdict(&mut model, "udp 10.1.0.5:4000 > 10.2.0.9:5060 in lan1");
        assert_eq!((other.rule, other.class, other.mark), (None, 2, Some(4)));
    }

    #[test]
    fn bytes_that_are_no_packet_take_the_default_and_say_why() {
        let mut model = Model::new(&sip()).unwrap();
        let verdict = model.decide(&Frame::ip(1, vec![0x45, 0]), TunnelIndex(0)).unwrap();
        assert_eq!((verdict.class, verdict.unparsed), (2, Some(ParseReason::Truncated)));
    }
}
