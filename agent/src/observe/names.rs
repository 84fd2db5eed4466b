//! What the kernel's numbers stand for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::classify::tenant;
use lanekeeper_common::packet::Packet;
use lanekeeper_common::sight::{LEAVES, NO_TUNNEL, Sight};
use lanekeeper_common::stamp::Stamp;
use lanekeeper_common::verdict::{BlockReason, ParseReason};

use super::{Direction, Sighting};
use crate::compile::registry::Key;
use crate::explain::line::rule_name;
use crate::explain::route;
use crate::kernel::dataplane::Naming;
use crate::policy::{Policy, protocol};

/// Of one state of the tables.
#[derive(Debug)]
pub struct Names {
    stamp: Stamp,
    policy: Arc<Policy>,
    naming: Naming,
    /// Places of tunnels by their numbers.
    tunnels: HashMap<u32, usize>,
    /// Numbers of lanes by their request ids.
    reqids: HashMap<u32, u16>,
}

impl Names {
    /// Of the tables of that stamp, which are this policy's.
    pub fn new(stamp: Stamp, policy: Arc<Policy>, naming: Naming) -> Self {
        let tables = &naming.tables;
        let number = |name: &str| tables.registry.get(&Key::Tunnel(name.to_owned()));
        let numbered = policy.tunnels.iter().enumerate();
        let called = |tunnel: &crate::policy::Tunnel| -> Vec<String> {
            let own = tunnel.lanes.iter().filter(|_| tunnel.has_lane_devices()).map(|lane| tunnel.name_of(lane));
            std::iter::once(tunnel.name.clone()).chain(own).collect()
        };
        let tunnels = numbered.flat_map(|(place, tunnel)| called(tunnel).into_iter().map(move |name| (name, place)));
        let tunnels = tunnels.filter_map(|(name, place)| Some((number(&name)?, place))).collect();
        let lanes = tables.generation.lanes.iter().take(tables.lane_ids.len()).zip(0..);
        let reqids = lanes.filter(|(lane, _)| lane.reqid != 0).map(|(lane, number)| (lane.reqid, number)).collect();
        Self { stamp, policy, naming, tunnels, reqids }
    }

    /// Whether they are of this state.
    pub fn are_of(&self, stamp: Stamp, policy: &Arc<Policy>) -> bool {
        self.stamp == stamp && Arc::ptr_eq(&self.policy, policy)
    }

    /// What was seen `at` that time since 1970. `None` for what was decided by other tables, and for what came by no lane of
    /// theirs; without a stamp it was not decided by any.
    pub fn name(&self, seen: &Sight, at: Duration, device: impl Fn(u32) -> Option<String>) -> Option<Sighting> {
        let decided = Stamp(seen.stamp) == self.stamp;
        if !decided && Stamp(seen.stamp) != Stamp::NONE {
            return None;
        }
        let tables = &self.naming.tables;
        let packet = (decided && seen.parsed.reason == 0).then(|| Packet::unflatten(&seen.parsed));
        let out = seen.direction == LEAVES;
        let lane = match (out, seen.reqid) {
            (false, reqid) if reqid != 0 => Some(*self.reqids.get(&reqid)?),
            (true | false, _) => Some(seen.lane),
        };
        let lane = lane.and_then(|number| tables.lane(number));
        // Where it has no device, only the lane that it came by tells.
        let of_lane = lane.as_ref().filter(|_| !out && seen.tunnel == NO_TUNNEL);
        let number = match of_lane {
            Some(lane) => tables.registry.get(&Key::Tunnel(lane.tunnel.clone())),
            None => Some(seen.tunnel),
        };
        let tunnel = number.and_then(|number| self.tunnels.get(&number)).map(|place| &self.policy.tunnels[*place]);
        let (whose, class) = match (out, &lane) {
            (true, _) => (seen.tenant, self.policy.classes.get(usize::from(seen.class)).map(|class| &class.name)),
            (false, Some(lane)) => (self.receiver(seen, packet.as_ref()), Some(&lane.class)),
            (false, None) => return None,
        };
        let blocked = BlockReason::from_number(seen.blocked.into());
        let fallback = tunnel.filter(|_| seen.fallback != 0).map(|tunnel| {
            let carries = |class: &String| tunnel.classes.iter().any(|of| self.policy.classes[of.0].name == *class);
            if class.is_some_and(carries) { BlockReason::NoLane } else { BlockReason::NotCarried }
        });
        let named = |reason: BlockReason| reason.name().to_owned();
        let rule = self.naming.rule(seen.rule).filter(|_| out).and_then(|place| self.policy.rules.get(place));
        let whose = usize::from(whose).checked_sub(1).and_then(|place| self.policy.tenants.get(place));
        Some(Sighting {
            at: at.as_micros() as u64,
            device: device(seen.device).unwrap_or_else(|| seen.device.to_string()),
            direction: if out { Direction::Out } else { Direction::In },
            interface: (out && seen.ingress != 0).then(|| device(seen.ingress)).flatten(),
            protocol: packet.as_ref().map(|packet| protocol::show(packet.protocol)),
            source: packet.as_ref().map(route::source),
            source_port: packet.as_ref().and_then(|packet| packet.ports).map(|(source, _)| source),
            destination: packet.as_ref().map(route::destination),
            destination_port: packet.as_ref().and_then(|packet| packet.ports).map(|(_, destination)| destination),
            dscp: packet.as_ref().map(|packet| packet.dscp),
            length: seen.length,
            tenant: whose.map(|tenant| tenant.name.clone()),
            rule: rule.map(rule_name),
            class: class.filter(|_| decided).cloned(),
            mark: (out && blocked.is_none()).then_some(seen.mark),
            tunnel: tunnel.map(|tunnel| tunnel.name.clone()),
            lane: lane.map(|lane| format!("{}.{}", lane.class, lane.index)),
            fallback: fallback.map(named),
            unparsed: ParseReason::from_number(seen.parse.into()).map(|reason| reason.name().to_owned()),
            blocked: blocked.map(named),
            bytes: Some(hexadecimal(&seen.bytes[..(seen.captured as usize).min(seen.bytes.len())])),
        })
    }

    /// Whose a packet is that came out of a tunnel, as the program that counts it says.
    fn receiver(&self, seen: &Sight, packet: Option<&Packet>) -> u16 {
        let generation = &self.naming.tables.generation;
        let owner = generation.tunnels.get(seen.tunnel as usize).map_or(0, |tunnel| tunnel.owner);
        match packet {
            Some(packet) if owner == 0 => tenant(generation, packet.family, packet.destination, 0, NO_VLAN),
            Some(_) | None => owner,
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::{NO_LANE, NO_RULE, Parsed};
    use lanekeeper_common::packet::{Layer, parse};
    use lanekeeper_common::sight::ARRIVES;

    use super::*;
    use crate::compile::{Registry, compile};
    use crate::explain::words::Words;
    use crate::policy::{ClassIndex, Rule};
    use crate::status::tests::policy;

    const STAMP: Stamp = Stamp(7);

    fn names() -> Names {
        let rule = Rule {
            name: Some("sip".into()),
            class: ClassIndex(0),
            protocol: Some(17),
            destination_port: vec![(5060, 5060)],
            ..Rule::default()
        };
        let policy = Policy { rules: vec![rule], ..policy() };
        let tables = compile(&policy, &mut Registry::default()).unwrap();
        Names::new(STAMP, Arc::new(policy), Naming::of(tables))
    }

    fn parsed() -> Parsed {
        let frame = Words::parse("udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef").unwrap().frame();
        Packet::flatten(parse(&frame.as_slice(), Layer::ETHERNET, NO_VLAN))
    }

    fn sight(names: &Names) -> Sight {
        let tunnel = *names.tunnels.keys().next().unwrap();
        let mut bytes = [0; lanekeeper_common::sight::SNAP];
        bytes[..2].copy_from_slice(&[0x45, 0xb8]);
        let rule = names.naming.tables.rules.records[1].rule;
        Sight {
            stamp: STAMP.0,
            parsed: parsed(),
            tunnel,
            device: 3,
            ingress: 2,
            rule,
            lane: 0,
            mark: 1,
            length: 28,
            captured: 2,
            bytes,
            ..Sight::BLANK
        }
    }

    fn said(names: &Names, seen: &Sight) -> Option<Sighting> {
        names.name(seen, Duration::from_secs(1), |ifindex| {
            Some(["", "lo", "lan0", "lk-branch7"][ifindex as usize].into())
        })
    }

    #[test]
    fn numbers_of_the_kernel_become_the_files_names() {
        let names = names();
        let mut line = said(&names, &sight(&names)).unwrap();
        assert_eq!(line.bytes.take().as_deref(), Some("45b8"));
        assert_eq!(
            line.text(),
            "00:00:01.000000 lk-branch7 out udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef length 28: voice by sip, lane voice.0"
        );
        assert_eq!(
            (line.interface.as_deref(), line.mark, line.tunnel.as_deref()),
            (Some("lan0"), Some(1), Some("branch-7"))
        );
    }

    #[test]
    fn a_fallback_says_why_its_own_class_was_not_taken() {
        let names = names();
        let fallen = Sight { fallback: 1, lane: 1, ..sight(&names) };
        assert_eq!(said(&names, &fallen).unwrap().fallback.as_deref(), Some("no_lane"));
        let mut other = (*names.policy).clone();
        other.tunnels[0].classes.retain(|class| class.0 != 0);
        let without = Names { policy: Arc::new(other), ..self::names() };
        assert_eq!(said(&without, &fallen).unwrap().fallback.as_deref(), Some("not_carried"));
    }

    #[test]
    fn what_is_blocked_has_a_reason_and_neither_lane_nor_mark() {
        let names = names();
        let blocked = Sight { blocked: BlockReason::NoLane as u8, lane: NO_LANE, rule: NO_RULE, ..sight(&names) };
        let line = said(&names, &blocked).unwrap();
        assert_eq!((line.blocked.as_deref(), line.lane, line.mark, line.rule), (Some("no_lane"), None, None, None));
    }

    #[test]
    fn what_no_table_decided_has_no_class() {
        let names = names();
        let undecided = Sight { device: 3, blocked: BlockReason::NoTables as u8, ..Sight::BLANK };
        let line = said(&names, &undecided).unwrap();
        assert_eq!(
            (line.class, line.source, line.tunnel, line.blocked.as_deref()),
            (None, None, None, Some("no_tables"))
        );
    }

    #[test]
    fn what_other_tables_decided_has_no_names() {
        let names = names();
        assert_eq!(said(&names, &Sight { stamp: STAMP.changed().0, ..sight(&names) }), None);
        assert!(!names.are_of(STAMP.changed(), &names.policy) && !names.are_of(STAMP, &Arc::new(policy())));
        assert!(names.are_of(STAMP, &names.policy));
    }

    #[test]
    fn what_comes_in_is_of_the_lane_that_its_state_belongs_to() {
        let names = names();
        let (reqid, number) = names.reqids.iter().max_by_key(|(_, number)| **number).unwrap();
        let lane = names.naming.tables.lane(*number).unwrap();
        let came = Sight { direction: ARRIVES, reqid: *reqid, lane: NO_LANE, rule: NO_RULE, ..sight(&names) };
        let line = said(&names, &came).unwrap();
        assert_eq!((line.direction, line.rule, line.mark), (Direction::In, None, None));
        assert_eq!(line.lane, Some(format!("{}.{}", lane.class, lane.index)));
        assert_eq!(line.class, Some(lane.class));
        assert_eq!(said(&names, &Sight { reqid: 1, ..came }), None, "a state that is none of ours");

        // Out of a tunnel without a device.
        let bare = said(&names, &Sight { tunnel: NO_TUNNEL, device: 2, ..came }).unwrap();
        assert_eq!((bare.device.as_str(), bare.tunnel.as_deref()), ("lan0", Some("branch-7")));
        assert_eq!(bare.lane, line.lane);
    }
}
