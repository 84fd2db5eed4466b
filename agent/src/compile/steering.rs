//! Tunnels, classes and lanes -> the tables that turn a class into a mark, and back from a request id into a lane.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lanekeeper_common::abi::{
    Generation, Hop, LaneEntry, MAX_HOPS, MAX_LANES, MAX_LANES_OF_CLASS, MAX_STEERS, NO_LANE, OuterKey, Steer,
    TunnelEntry,
};
use lanekeeper_common::lane;
use lanekeeper_common::verdict::BlockReason;

use super::registry::{Key, Registry};
use super::{Error, halves, limit};
use crate::lane::LaneId;
use crate::policy::{ClassIndex, DeviceKind, Fallback, Policy, Tunnel, TunnelIndex};

/// What steering has beside its part of the generation.
pub struct Steering {
    /// Outer DSCP by what a lane leaves on its ESP packets.
    pub outer: Vec<(OuterKey, u32)>,
    /// Group and bit of each lane.
    pub lanes: BTreeMap<LaneId, (u32, u8)>,
    /// The lanes by their number in the generation.
    pub lane_ids: Vec<LaneId>,
}

/// Fills in the head, tunnels, steers, lanes and request ids.
pub fn steering(policy: &Policy, registry: &mut Registry, generation: &mut Generation) -> Result<Steering, Error> {
    let classes = policy.classes.len();
    limit("classes of tunnels", classes * policy.tunnels.len(), MAX_STEERS)?;
    limit("lanes", policy.tunnels.iter().map(|tunnel| tunnel.lanes.len()).sum(), MAX_LANES)?;
    generation.head.mark_mask = policy.mark_mask;
    generation.reqids.fill(NO_LANE);

    let owners = policy.owners();
    let mut steering = Steering { outer: Vec::new(), lanes: BTreeMap::new(), lane_ids: Vec::new() };
    let mut next_lane = 0;
    for (place, tunnel) in policy.tunnels.iter().enumerate() {
        let number = registry.number(Key::Tunnel(tunnel.name.clone()))?;
        let first = place * classes;
        generation.tunnels[number as usize] = TunnelEntry {
            first: first as u32,
            present: 1,
            owner: owners.get(&TunnelIndex(place)).map_or(0, |owner| owner.0 as u16 + 1),
            only: match tunnel.device.kind {
                DeviceKind::Xfrm { .. } => 0,
                DeviceKind::Vti { .. } | DeviceKind::Gre { .. } => next_lane as u16 + 1,
            },
            _pad: 0,
        };
        let own = lanes(policy, tunnel, next_lane, registry, generation, &mut steering)?;
        next_lane += tunnel.lanes.len();
        for class in 0..classes {
            generation.steers[first + class] = steer(policy, tunnel, ClassIndex(class), &own, registry)?;
        }
    }
    Ok(steering)
}

/// The lanes of each class that a tunnel carries.
type Own = BTreeMap<ClassIndex, Hop>;

fn lanes(
    policy: &Policy,
    tunnel: &Tunnel,
    first: usize,
    registry: &mut Registry,
    generation: &mut Generation,
    steering: &mut Steering,
) -> Result<Own, Error> {
    let mut own = Own::new();
    let mut place = first;
    for class in &tunnel.classes {
        let name = &policy.classes[class.0].name;
        let group = registry.number(Key::Group { tunnel: tunnel.name.clone(), class: name.clone() })?;
        let mut of_class: Vec<_> = tunnel.lanes.iter().filter(|lane| lane.class == *class).collect();
        of_class.sort_by_key(|lane| lane.index);
        limit("lanes of one class", of_class.len(), MAX_LANES_OF_CLASS)?;
        own.insert(*class, Hop { group, first: place as u16, lanes: of_class.len() as u16, counter: 0 });
        for (bit, lane) in of_class.into_iter().enumerate() {
            let id = LaneId { tunnel: tunnel.name.clone(), class: name.clone(), index: lane.index };
            let key = Key::Lane { tunnel: tunnel.name.clone(), class: name.clone(), index: lane.index };
            let counters = registry.number(key)?;
            let (mark, reqid) = (lane.mark, lane.reqid);
            generation.lanes[place] = LaneEntry { mark, counters, reqid, class: class.0 as u16, _pad: 0 };
            // One that is another's connection's may not have come up yet.
            if reqid != 0 && !lane::file(generation, place as u16) {
                return Err(Error::Reqid { lane: id, reqid });
            }
            if let Some(dscp) = policy.classes[class.0].outer_dscp {
                let (local, remote) = (outer_address(tunnel.local), outer_address(tunnel.remote));
                let key = OuterKey { local, remote, mark: lane.mark, mask: policy.mark_mask };
                steering.outer.push((key, dscp.into()));
            }
            steering.lane_ids.push(id.clone());
            steering.lanes.insert(id, (group, bit as u8));
            place += 1;
        }
    }
    Ok(own)
}

fn outer_address(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => halves(u32::from(address).into()),
        IpAddr::V6(address) => halves(address.into()),
    }
}

/// The chain of a class: itself, its fallback, that one's, as far as the tunnel carries them.
fn steer(
    policy: &Policy,
    tunnel: &Tunnel,
    class: ClassIndex,
    own: &Own,
    registry: &mut Registry,
) -> Result<Steer, Error> {
    let mut steer = Steer::default();
    let mut at = class;
    let mut seen = vec![at];
    loop {
        if let Some(hop) = own.get(&at) {
            limit("classes in one chain of fallbacks", steer.len as usize + 1, MAX_HOPS)?;
            let mut hop = *hop;
            if at != class {
                hop.counter = registry.number(Key::Fallback {
                    tunnel: tunnel.name.clone(),
                    class: policy.classes[class.0].name.clone(),
                    to: policy.classes[at.0].name.clone(),
                })?;
            }
            steer.hops[steer.len as usize] = hop;
            steer.len += 1;
        }
        match policy.classes[at.0].fallback {
            Fallback::Block => break,
            Fallback::Clear => return Err(Error::Clear { class: policy.classes[at.0].name.clone() }),
            Fallback::Class(next) if seen.contains(&next) => break,
            Fallback::Class(next) => {
                seen.push(next);
                at = next;
            }
        }
    }
    steer.end = if steer.len == 0 { BlockReason::NotCarried } else { BlockReason::NoLane } as u32;
    Ok(steer)
}
