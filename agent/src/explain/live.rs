//! A packet's way through the machine that the file runs on: device, policy, SA.

use std::fmt::Write;
use std::net::IpAddr;

use lanekeeper_common::packet::Packet;
use serde::Serialize;

use super::route;
use crate::kernel::lookup::{Flow, Outbound, Sa, Way, Xfrm};
use crate::model::Verdict;
use crate::policy::{DeviceKind, Policy, Tunnel, TunnelIndex, protocol};

/// What it meets, as things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passage {
    /// The device that the kernel routes it to.
    pub device: Option<String>,
    /// Why to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrouted: Option<String>,
    /// The policy that it takes at a tunnel's device; without one it is dropped there.
    pub policy: Option<Outbound>,
    /// The SA that encrypts it; without one the kernel asks for it and drops the packet.
    pub sa: Option<Sa>,
}

impl Passage {
    /// Behind the device of `tunnel`, with the mark of the verdict.
    pub fn new(
        policy: &Policy,
        xfrm: &Xfrm,
        way: Way,
        flow: Option<&Flow>,
        tunnel: Option<TunnelIndex>,
        verdict: &Verdict,
    ) -> Self {
        let leaves = verdict.blocked.is_none();
        let taken = tunnel.zip(flow).filter(|_| leaves).and_then(|(tunnel, flow)| {
            let tunnel = &policy.tunnels[tunnel.0];
            let named = match &way {
                Way::Device(device) => tunnel.named(device),
                Way::Nowhere(_) => None,
            };
            let (kind, flow) = (named.unwrap_or(tunnel.device.kind), asked(tunnel, flow));
            let taken = xfrm.policy(&flow, kind.if_id(), kind.asks_with(verdict.mark, policy.mark_mask))?;
            Some((taken, xfrm.state(taken, &flow).copied()))
        });
        let (taken, sa) = (taken.map(|(taken, _)| taken), taken.and_then(|(_, sa)| sa));
        let (device, unrouted) = match way {
            Way::Device(device) => (Some(device), None),
            Way::Nowhere(why) => (None, Some(why)),
        };
        Self { device, unrouted, policy: taken.cloned(), sa }
    }

    /// Lines with their names in front, like those of [`super::line::Line::text`].
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = match (&self.device, &self.unrouted) {
            (Some(device), _) => writeln!(text, "device  {device}"),
            (None, why) => writeln!(text, "device  none: {}", why.as_deref().unwrap_or("it is not routed")),
        };
        let _ = match &self.policy {
            Some(policy) => writeln!(text, "policy  {policy}"),
            None => writeln!(text, "policy  none"),
        };
        let _ = match (&self.sa, &self.policy) {
            (Some(sa), _) => writeln!(text, "sa      {sa}"),
            (None, Some(Outbound { template: Some(_), .. })) => {
                writeln!(text, "sa      none: the kernel drops this packet, and asks for one")
            }
            (None, _) => writeln!(text, "sa      none"),
        };
        text
    }

    /// Cells under [`HEAD`].
    pub fn row(&self) -> String {
        let policy = match &self.policy {
            Some(Outbound { block: true, .. }) => "block".to_owned(),
            Some(Outbound { mark: Some(mark), .. }) => mark.to_string(),
            Some(_) => "any mark".to_owned(),
            None => "-".to_owned(),
        };
        let sa = self.sa.map_or("-".to_owned(), |sa| format!("{:#010x}", sa.spi));
        format!("{:<15}  {policy:<12}  {sa}", self.device.as_deref().unwrap_or("-"))
    }
}

/// Over the cells of [`Passage::row`]: the policy by its mark, the SA by its SPI.
pub const HEAD: &str = "device           policy        sa";

/// The tunnel of the device that a packet is routed to, or the one without a device that it is for.
pub fn tunnel(policy: &Policy, way: &Way, flow: Option<&Flow>) -> Option<TunnelIndex> {
    let Way::Device(device) = way else { return None };
    let behind = |tunnel: &Tunnel| {
        let is_for = |flow: &Flow| tunnel.remote_ts.iter().any(|prefix| prefix.contains(&flow.destination));
        !tunnel.device.kind.is_device() && flow.is_some_and(is_for)
    };
    if let Some(bare) = policy.tunnels.iter().position(behind) {
        return Some(TunnelIndex(bare));
    }
    let place = policy.tunnels.iter().position(|tunnel| tunnel.named(device).is_some())?;
    match (policy.tunnels[place].device.joint, flow) {
        (true, Some(flow)) => of_several(policy, device, flow.destination),
        (true, None) | (false, _) => Some(TunnelIndex(place)),
    }
}

/// Of the tunnels that have a device the one that an address is behind.
fn of_several(policy: &Policy, device: &str, address: IpAddr) -> Option<TunnelIndex> {
    let longest = |tunnel: &Tunnel| {
        let around = tunnel.routes.iter().filter(|prefix| prefix.contains(&address));
        around.map(|prefix| prefix.prefix_len()).max()
    };
    let having = policy.tunnels.iter().enumerate().filter(|(_, tunnel)| tunnel.named(device).is_some());
    let (_, place) = having.filter_map(|(place, tunnel)| Some((longest(tunnel)?, place))).max()?;
    Some(TunnelIndex(place))
}

/// What the policies of a tunnel's device are asked about.
fn asked(tunnel: &Tunnel, flow: &Flow) -> Flow {
    match tunnel.device.kind {
        DeviceKind::Xfrm { .. } | DeviceKind::Vti { .. } | DeviceKind::Tun | DeviceKind::Bare => flow.clone(),
        // The packet that it has made of it.
        DeviceKind::Gre { .. } => Flow {
            source: tunnel.local,
            destination: tunnel.remote,
            protocol: protocol::GRE,
            ports: (0, 0),
            ingress: None,
        },
    }
}

/// What the kernel looks at in a packet.
pub fn flow(packet: &Packet, ingress: Option<String>) -> Flow {
    Flow {
        source: route::address(packet.family, packet.source),
        destination: route::destination(packet),
        protocol: packet.protocol,
        ports: packet.ports.unwrap_or((packet.icmp_type.map_or(0, u16::from), 0)),
        ingress,
    }
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::verdict::BlockReason;

    use super::*;
    use crate::kernel::lookup::Template;
    use crate::plan::Mark;
    use crate::policy::{ClassIndex, Mode};
    use crate::status::tests::policy;

    fn verdict(mark: u32, blocked: Option<BlockReason>) -> Verdict {
        Verdict { tenant: None, rule: None, class: ClassIndex(1), lane: None, mark, parse: None, blocked, hash: 0 }
    }

    fn xfrm() -> Xfrm {
        let (source, destination) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mark = Some(Mark::new(2, 0xff));
        let policy = Outbound {
            priority: 399_999,
            source: "0.0.0.0/0".parse().unwrap(),
            destination: "0.0.0.0/0".parse().unwrap(),
            protocol: 0,
            ports: [(0, 0); 2],
            mark,
            if_id: 42,
            block: false,
            template: Some(Template { source, destination, reqid: 0x4c4b_0002, mode: Mode::Tunnel }),
        };
        let sa = Sa { spi: 0xc0ff_ee01, source, destination, reqid: 0x4c4b_0002, if_id: 42, mark, added: 1 };
        Xfrm { policies: vec![policy], states: vec![sa] }
    }

    fn flow() -> Flow {
        Flow {
            source: "10.1.0.5".parse().unwrap(),
            destination: "10.2.0.9".parse().unwrap(),
            protocol: 17,
            ports: (4000, 5060),
            ingress: None,
        }
    }

    fn passage(xfrm: &Xfrm, way: Way, verdict: &Verdict) -> Passage {
        let tunnel = tunnel(&policy(), &way, None);
        Passage::new(&policy(), xfrm, way, Some(&flow()), tunnel, verdict)
    }

    #[test]
    fn a_packet_meets_device_policy_and_sa() {
        let found = passage(&xfrm(), Way::Device("lk-branch7".into()), &verdict(2, None));
        assert_eq!(
            found.text(),
            "device  lk-branch7\n\
             policy  src 0.0.0.0/0 dst 0.0.0.0/0 mark 0x2/0xff if_id 42 priority 399999 reqid 0x4c4b0002\n\
             sa      spi 0xc0ffee01 192.0.2.1 > 192.0.2.2 reqid 0x4c4b0002\n",
        );
        assert_eq!(
            serde_json::to_string(&found).unwrap(),
            r#"{"device":"lk-branch7","policy":{"source":"0.0.0.0/0","destination":"0.0.0.0/0","mark":{"value":2,"mask":255},"if_id":42,"priority":399999,"block":false,"template":{"source":"192.0.2.1","destination":"192.0.2.2","reqid":"0x4c4b0002"}},"sa":{"spi":"0xc0ffee01","source":"192.0.2.1","destination":"192.0.2.2","reqid":"0x4c4b0002","if_id":42,"mark":{"value":2,"mask":255}}}"#,
        );
        for (word, cell) in [("device", "lk-branch7"), ("policy", "0x2/0xff"), ("sa", "0xc0ffee01")] {
            assert_eq!(HEAD.find(word), found.row().find(cell), "{word}");
        }
    }

    /// Of a packet with this mark, at the device of a tunnel.
    fn passage_of(policy: &Policy, xfrm: &Xfrm, mark: u32) -> Passage {
        let flow = Flow {
            source: "10.1.0.5".parse().unwrap(),
            destination: "10.2.0.9".parse().unwrap(),
            protocol: 17,
            ports: (4000, 5060),
            ingress: None,
        };
        let way = Way::Device("lk-branch7".into());
        let tunnel = tunnel(policy, &way, None);
        Passage::new(policy, xfrm, way, Some(&flow), tunnel, &verdict(mark, None))
    }

    /// Its key stands in the place of the packet's mark.
    #[test]
    fn a_vti_asks_by_its_key() {
        let mut policy = policy();
        policy.tunnels[0].device.kind = DeviceKind::Vti { input_key: 1, output_key: 2 };
        let mut xfrm = xfrm();
        xfrm.policies[0].if_id = 0;
        xfrm.states[0].if_id = 0;
        let found = passage_of(&policy, &xfrm, 1);
        assert!(found.policy.is_some() && found.sa.is_some(), "{found:?}");
    }

    #[test]
    fn a_gre_device_asks_about_the_packet_that_it_makes() {
        let mut policy = policy();
        policy.tunnels[0].device.kind = DeviceKind::Gre { key: None, ttl: 64 };
        let (local, remote) = (policy.tunnels[0].local, policy.tunnels[0].remote);
        let mut xfrm = xfrm();
        let outbound = &mut xfrm.policies[0];
        (outbound.if_id, outbound.protocol) = (0, protocol::GRE);
        (outbound.source, outbound.destination) = (local.into(), remote.into());
        xfrm.states[0].if_id = 0;
        // Bits of others are on the packet inside alone.
        let found = passage_of(&policy, &xfrm, 0xab02);
        assert!(found.policy.is_some() && found.sa.is_some(), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let device = || Way::Device("lk-branch7".into());
        let without_sa = Xfrm { states: vec![], ..xfrm() };
        assert!(
            passage(&without_sa, device(), &verdict(2, None))
                .text()
                .ends_with("reqid 0x4c4b0002\nsa      none: the kernel drops this packet, and asks for one\n")
        );
        for nothing in [
            passage(&xfrm(), device(), &verdict(3, None)),
            passage(&xfrm(), device(), &verdict(2, Some(BlockReason::NoLane))),
            passage(&xfrm(), Way::Device("eth0".into()), &verdict(2, None)),
        ] {
            assert!(nothing.text().ends_with("policy  none\nsa      none\n"), "{nothing:?}");
        }
        let lost = passage(&xfrm(), Way::Nowhere("No route to host".into()), &verdict(2, None));
        assert!(lost.text().starts_with("device  none: No route to host\n"), "{lost:?}");
        assert_eq!(
            serde_json::to_string(&lost).unwrap(),
            r#"{"device":null,"unrouted":"No route to host","policy":null,"sa":null}"#
        );
    }

    #[test]
    fn a_tunnel_without_a_device_is_found_by_the_destination() {
        let mut policy = policy();
        policy.tunnels[0].device.kind = DeviceKind::Bare;
        policy.tunnels[0].remote_ts = vec!["10.2.0.0/16".parse().unwrap()];
        let way = Way::Device("wan0".into());
        assert_eq!(tunnel(&policy, &way, Some(&flow())), Some(TunnelIndex(0)));
        let beside = Flow { destination: "10.3.0.9".parse().unwrap(), ..flow() };
        assert_eq!(tunnel(&policy, &way, Some(&beside)), None);
        assert_eq!(tunnel(&policy, &Way::Nowhere("it is not routed".into()), Some(&flow())), None);
        let mut xfrm = xfrm();
        (xfrm.policies[0].if_id, xfrm.states[0].if_id) = (0, 0);
        let found = Passage::new(&policy, &xfrm, way, Some(&flow()), Some(TunnelIndex(0)), &verdict(2, None));
        assert_eq!((found.policy.is_some(), found.sa.is_some()), (true, true), "{found:?}");
    }
}
