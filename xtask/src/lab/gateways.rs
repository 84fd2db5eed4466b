//! Two gateways under the agent: the lab, a charon each where IKE makes the SAs, an agent each.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::agent::Agent;
use super::charon::{Charon, Plane};
use super::sa::{self, Sa};
use super::scenario::{Device, IF_ID, Keying, Scenario, TUNNEL};
use super::{Lab, Side, dump};

/// How long two charons may take, on an emulated CPU, to bring all lanes up.
pub const LANES_UP: Duration = Duration::from_secs(150);

/// Fields are dropped in this order: agents, charons, namespaces.
#[derive(Debug)]
pub struct Gateways {
    agents: [Agent; 2],
    charons: [Option<Charon>; 2],
    lab: Lab,
    scenario: Scenario,
}

impl Gateways {
    /// Starts the agents of `binary` and waits until every lane is up on both ends.
    pub fn start(name: &str, scenario: Scenario, binary: &Path) -> Result<Self> {
        let mut gateways = Self::idle(name, scenario, binary)?;
        // The end that answers first, so that the first attempt of the other one finds it.
        for side in [Side::B, Side::A] {
            gateways.agent(side).start()?;
        }
        gateways.wait_for_lanes(LANES_UP)?;
        Ok(gateways)
    }

    /// Configurations are written and charons run; no agent does.
    pub fn idle(name: &str, scenario: Scenario, binary: &Path) -> Result<Self> {
        let lab = Lab::new(name)?;
        let charon = |side: Side| match scenario.keying {
            Keying::Static => Ok(None),
            Keying::Psk | Keying::Certificate => {
                Charon::begin(&lab.gateway(side), &lab.files(side), scenario.strongswan, plane(&scenario)).map(Some)
            }
        };
        let charons = [charon(Side::A)?, charon(Side::B)?];
        for side in [Side::A, Side::B] {
            scenario.write(side, &lab.files(side), lab.shared())?;
        }
        let agent = |side: Side| Agent::new(binary, &lab.gateway(side), &lab.files(side));
        Ok(Self { agents: [agent(Side::A)?, agent(Side::B)?], charons, lab, scenario })
    }

    /// The namespaces.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// What both ends are configured for.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The agent of `side`.
    pub fn agent(&mut self, side: Side) -> &mut Agent {
        &mut self.agents[side as usize]
    }

    /// The agent of `side`, to look at.
    pub fn agent_of(&self, side: Side) -> &Agent {
        &self.agents[side as usize]
    }

    /// What each machine has of links, addresses, routes, rules, SAs, policies and pins, A's first.
    pub fn dumps(&self) -> Result<[String; 2]> {
        Ok([self.dump(Side::A)?, self.dump(Side::B)?])
    }

    /// As [`Gateways::dumps`], of one machine.
    pub fn dump(&self, side: Side) -> Result<String> {
        dump::machine(&self.lab.gateway(side), &self.agent_of(side).bpffs())
    }

    /// Takes all of ours down on both, which must leave what there was before.
    pub fn down_to(&self, before: &[String; 2]) -> Result<()> {
        for side in [Side::A, Side::B] {
            self.agent_of(side).must(&["down"])?;
        }
        for (before, after) in before.iter().zip(self.dumps()?) {
            let left = dump::difference(before, &after);
            ensure!(left.is_empty(), "down leaves {left:?}");
        }
        Ok(())
    }

    /// The charon of `side`.
    pub fn charon(&self, side: Side) -> Result<&Charon> {
        self.charons[side as usize].as_ref().context("static keys need no charon")
    }

    /// Takes the charon of `side` out, to be killed.
    pub fn take_charon(&mut self, side: Side) -> Result<Charon> {
        self.charons[side as usize].take().context("static keys need no charon")
    }

    /// Starts charon of `side` again.
    pub fn start_charon(&mut self, side: Side) -> Result<()> {
        let (ns, folder) = (self.lab.gateway(side), self.lab.files(side));
        let charon = Charon::begin(&ns, &folder, self.scenario.strongswan, plane(&self.scenario))?;
        self.charons[side as usize] = Some(charon);
        Ok(())
    }

    /// Writes another scenario's files; nobody is told.
    pub fn rewrite(&mut self, scenario: Scenario) -> Result<()> {
        for side in [Side::A, Side::B] {
            scenario.write(side, &self.lab.files(side), self.lab.shared())?;
        }
        self.scenario = scenario;
        Ok(())
    }

    /// Whether charon of `side` runs.
    pub fn has_charon(&self, side: Side) -> bool {
        self.charons[side as usize].is_some()
    }

    /// Waits until every lane is up on both ends.
    pub fn wait_for_lanes(&mut self, limit: Duration) -> Result<()> {
        let lanes = self.scenario.lanes().count();
        for side in [Side::A, Side::B] {
            self.agent(side).wait_for_lanes(lanes, limit).with_context(|| format!("gateway {side:?}"))?;
        }
        Ok(())
    }

    /// Packets of each lane's SAs at one gateway, as the kernel counts them.
    pub fn kernel_packets(&self, side: Side) -> Result<LanePackets> {
        let states = sa::list(&self.lab.gateway(side))?;
        Ok(lane_packets(&self.scenario, side, &states))
    }

    /// Packets of each lane at one gateway, as the agent's metrics count them.
    pub fn metric_packets(&self, side: Side) -> Result<LanePackets> {
        let metrics = self.agent_of(side).metrics()?;
        let mut packets = LanePackets::new();
        for (class, lane) in self.scenario.lanes() {
            for (out, direction) in [(true, "out"), (false, "in")] {
                let labels =
                    [("tunnel", TUNNEL), ("class", class), ("lane", &*lane.to_string()), ("direction", direction)];
                packets.insert((class, lane, out), metrics.count("lanekeeper_lane_packets_total", &labels));
            }
        }
        Ok(packets)
    }
}

/// Packets by class, lane and whether they went out.
pub type LanePackets = BTreeMap<(&'static str, u8, bool), u64>;

/// Who encrypts what enters the tunnel's device.
fn plane(scenario: &Scenario) -> Plane {
    match scenario.device {
        Device::Tun => Plane::Libipsec,
        Device::Xfrm | Device::Vti | Device::Gre | Device::GreLanes | Device::Bare => Plane::Kernel,
    }
}

/// Adds SAs up by lane. The outbound SA carries the lane's mark, and shares its reqid with the inbound one.
fn lane_packets(scenario: &Scenario, side: Side, states: &[Sa]) -> LanePackets {
    let shift = scenario.mask.trailing_zeros();
    let ours = side.outer(scenario.outer);
    // A file may have other tunnels beside the scenario's.
    let states: Vec<&Sa> = states.iter().filter(|sa| scenario.device != Device::Xfrm || sa.if_id == IF_ID).collect();
    let outbound = states.iter().filter(|sa| sa.source == ours);
    let marks = scenario.marks();
    let lane = |mark: u32| marks.iter().position(|of| *of == mark >> shift);
    let lane_of_reqid: BTreeMap<u32, usize> = outbound.filter_map(|sa| Some((sa.reqid, lane(sa.mark.0)?))).collect();
    let lanes: Vec<_> = scenario.lanes().collect();
    let mut packets = LanePackets::new();
    for sa in states {
        let position = match scenario.device {
            Device::Xfrm | Device::Bare | Device::GreLanes => lane_of_reqid.get(&sa.reqid).copied(),
            // Of its only lane, whatever its mark.
            Device::Vti | Device::Gre | Device::Tun => Some(0),
        };
        if let Some((class, lane)) = position.and_then(|position| lanes.get(position)) {
            *packets.entry((*class, *lane, sa.source == ours)).or_default() += sa.packets;
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Family;

    #[test]
    fn inbound_sa_is_its_reqids_lane() {
        let scenario = Scenario::four_classes(Keying::Psk);
        let sa = |from: Side, reqid, mark, packets| Sa {
            source: from.outer(Family::V4),
            destination: from.other().outer(Family::V4),
            spi: 1,
            reqid,
            mark: (mark, 0xff),
            if_id: 42,
            packets,
            bytes: 0,
            replay: 0,
            failed: 0,
        };
        // The third and fourth lanes are bulk's; a rekeyed SA lingers beside the new one.
        let others = Sa { if_id: 43, ..sa(Side::A, 901, 1, 9) };
        let states = [sa(Side::A, 900, 4, 7), sa(Side::B, 900, 0, 5), sa(Side::B, 900, 0, 6), others];
        let packets = lane_packets(&scenario, Side::A, &states);
        assert_eq!(packets, [(("bulk", 1, false), 11), (("bulk", 1, true), 7)].into());
    }
}
