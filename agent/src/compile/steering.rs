//! Tunnels, classes and lanes -> the tables that turn a class into a mark, and back from a request id into a lane.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lanekeeper_common::abi::{
    Generation, Hop, LaneEntry, MAX_HOPS, MAX_LANES, MAX_LANES_OF_CLASS, MAX_STEERS, NO_LANE, OuterKey, PRESENT, Steer,
    TunnelEntry,
};
use lanekeeper_common::lane;
use lanekeeper_common::verdict::BlockReason;

use super::registry::{Key, Registry};
use super::{Error, LaneBits, halves, limit};
use crate::lane::LaneId;
use crate::policy::{ClassIndex, DeviceKind, Fallback, Lane, Policy, Tunnel, TunnelIndex};

/// What steering has beside its part of the generation.
pub struct Steering {
    /// Outer DSCP by what a lane leaves on its ESP packets.
    pub outer: Vec<(OuterKey, u32)>,
    /// Group and bit of each lane.
    pub lanes: LaneBits,
    /// The lanes by their number in the generation; behind them, once more, those that clients share, for each client.
    pub lane_ids: Vec<LaneId>,
    /// CHILD_SAs of clients that there was no room for: what comes in by them is not counted.
    pub uncounted: usize,
}

/// Fills in the head, tunnels, steers, lanes and request ids.
pub fn steering(policy: &Policy, registry: &mut Registry, generation: &mut Generation) -> Result<Steering, Error> {
    let classes = policy.classes.len();
    let entries = |tunnel: &Tunnel| 1 + if tunnel.has_lane_devices() { tunnel.lanes.len() } else { 0 };
    limit("classes of tunnels", classes * policy.tunnels.iter().map(entries).sum::<usize>(), MAX_STEERS)?;
    limit("lanes", policy.tunnels.iter().map(|tunnel| tunnel.lanes.len()).sum(), MAX_LANES)?;
    generation.head.mark_mask = policy.mark_mask;
    generation.reqids.fill(NO_LANE);

    let owners = policy.owners();
    let mut steering = Steering { outer: Vec::new(), lanes: BTreeMap::new(), lane_ids: Vec::new(), uncounted: 0 };
    let (mut next_lane, mut first) = (0, 0);
    for (place, tunnel) in policy.tunnels.iter().enumerate() {
        let number = registry.number(Key::Tunnel(tunnel.name.clone()))?;
        generation.tunnels[number as usize] = TunnelEntry {
            first: first as u32,
            present: PRESENT,
            owner: owners.get(&TunnelIndex(place)).map_or(0, |owner| owner.0 as u16 + 1),
            only: match tunnel.device.kind {
                DeviceKind::Xfrm { .. } | DeviceKind::Bare => 0,
                DeviceKind::Gre { .. } if tunnel.has_lane_devices() => 0,
                DeviceKind::Vti { .. } | DeviceKind::Gre { .. } | DeviceKind::Tun => next_lane as u16 + 1,
            },
            _pad: 0,
        };
        let own = lanes(policy, tunnel, next_lane, registry, generation, &mut steering)?;
        let mut entries = vec![own.clone()];
        for (at, lane) in tunnel.lanes.iter().enumerate().filter(|_| tunnel.has_lane_devices()) {
            let number = registry.number(Key::Tunnel(tunnel.name_of(lane)))?;
            let first = (first + classes * entries.len()) as u32;
            let only = (next_lane + at) as u16 + 1;
            generation.tunnels[number as usize] = TunnelEntry { first, present: PRESENT, owner: 0, only, _pad: 0 };
            // What is led to another class's device is not carried by it, unless it falls back to that class.
            entries.push(
                own.iter().filter(|(class, _)| **class == lane.class).map(|(class, hop)| (*class, *hop)).collect(),
            );
        }
        next_lane += tunnel.lanes.len();
        for own in &entries {
            for class in 0..classes {
                generation.steers[first + class] = steer(policy, tunnel, ClassIndex(class), own, registry)?;
            }
            first += classes;
        }
    }
    steering.uncounted = clients(policy, next_lane, generation, &mut steering);
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
            let outer = policy.classes[class.0].outer_dscp.filter(|_| tunnel.device.kind.is_in_kernel());
            if let (Some(dscp), Some(peer)) = (outer, tunnel.peer()) {
                steering.outer.push((outer_key(policy, tunnel, peer, lane), dscp.into()));
            }
            steering.lane_ids.push(id.clone());
            steering.lanes.insert(id, (group, bit as u8));
            place += 1;
        }
    }
    Ok(own)
}

fn outer_key(policy: &Policy, tunnel: &Tunnel, peer: IpAddr, lane: &Lane) -> OuterKey {
    let (local, remote) = (outer_address(tunnel.local), outer_address(peer));
    OuterKey { local, remote, mark: lane.mark, mask: policy.mark_mask }
}

/// Files lanes that clients share under each client's request id, behind all lanes: what comes in by any of them counts for the
/// one lane. Returns how many there was no room for.
fn clients(policy: &Policy, first: usize, generation: &mut Generation, steering: &mut Steering) -> usize {
    let (mut place, mut left, mut outer) = (first, 0, BTreeMap::new());
    let tunnels = policy.tunnels.iter().flat_map(|tunnel| tunnel.lanes.iter().map(move |lane| (tunnel, lane)));
    // To find the number of each of thousands among all is slow: this is done in every look.
    for (tunnel, lane) in tunnels.filter(|(_, lane)| !lane.clients.is_empty()) {
        let class = &policy.classes[lane.class.0];
        let id = LaneId { tunnel: tunnel.name.clone(), class: class.name.clone(), index: lane.index };
        let own = steering.lane_ids.iter().position(|of| *of == id);
        let Some(entry) = own.map(|number| generation.lanes[number]) else { continue };
        for (&reqid, &address) in &lane.clients {
            if place == MAX_LANES {
                left += 1;
                continue;
            }
            generation.lanes[place] = LaneEntry { reqid, ..entry };
            if !lane::file(generation, place as u16) {
                generation.lanes[place] = LaneEntry::default();
                left += 1;
                continue;
            }
            steering.lane_ids.push(id.clone());
            place += 1;
            if let Some(dscp) = class.outer_dscp.filter(|_| !address.is_unspecified()) {
                let key = outer_key(policy, tunnel, address, lane);
                outer.insert((key.remote, key.mark), (key, dscp.into()));
            }
        }
    }
    steering.outer.extend(outer.into_values());
    left
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

#[cfg(test)]
mod tests {
    use lanekeeper_common::lane::of_reqid;

    use super::*;
    use crate::status::tests::policy;

    /// Its tunnel shared by clients, `each` of whom has these request ids in the first two lanes.
    fn shared(each: impl Iterator<Item = (u32, u32, IpAddr)>) -> Policy {
        let mut policy = policy();
        policy.classes[0].outer_dscp = Some(46);
        let tunnel = &mut policy.tunnels[0];
        tunnel.remote = IpAddr::from([0, 0, 0, 0]);
        crate::policy::adopt::unlearn(&mut tunnel.lanes);
        for (mark, lane) in (1..).zip(&mut tunnel.lanes) {
            lane.mark = mark;
        }
        for (voice, bulk, address) in each {
            tunnel.lanes[0].clients.insert(voice, address);
            tunnel.lanes[1].clients.insert(bulk, address);
        }
        policy
    }

    fn compiled(policy: &Policy) -> (Box<Generation>, Steering) {
        let mut generation = Generation::zeroed();
        let steering = steering(policy, &mut Registry::default(), &mut generation).unwrap();
        (generation, steering)
    }

    #[test]
    fn what_comes_from_any_client_counts_for_the_lane_that_they_share() {
        let address = |client| IpAddr::from([198, 51, 100, client]);
        // Two behind one address.
        let (generation, steering) =
            compiled(&shared([(11, 21, address(1)), (12, 22, address(2)), (13, 23, address(2))].into_iter()));
        let lane = |reqid| of_reqid(&generation, reqid).map(|lane| (lane.counters, lane.class));
        let own = |number: usize| Some((generation.lanes[number].counters, generation.lanes[number].class));
        assert_ne!(own(0), own(1));
        assert_eq!([11, 12, 13].map(lane), [own(0); 3]);
        assert_eq!([21, 22, 23].map(lane), [own(1); 3]);
        assert_eq!([0, 10, 14].map(lane), [None; 3]);
        let named: Vec<String> = steering.lane_ids.iter().skip(4).map(ToString::to_string).collect();
        assert_eq!(named, [["branch-7/voice.0"; 3], ["branch-7/bulk.0"; 3]].concat());
        assert_eq!(steering.uncounted, 0);
        // The outer DSCP is written for each address, and for nobody else's.
        let outer: Vec<_> = steering.outer.iter().map(|(key, dscp)| (key.remote, key.mark, *dscp)).collect();
        assert_eq!(outer, [1, 2].map(|client| (outer_address(address(client)), 1, 46)));
    }

    #[test]
    fn each_device_of_a_class_carries_that_class_and_what_falls_back_to_it() {
        let mut policy = policy();
        let tunnel = &mut policy.tunnels[0];
        tunnel.device.kind = DeviceKind::Gre { key: Some(7), ttl: 64 };
        // Voice falls back to default, which the tunnel carries, and it does not carry voice.
        tunnel.classes = vec![ClassIndex(1), ClassIndex(2)];
        tunnel.lanes.retain(|lane| lane.class != ClassIndex(0) && lane.index == 0);
        let mut generation = Generation::zeroed();
        let mut registry = Registry::default();
        steering(&policy, &mut registry, &mut generation).unwrap();
        let tunnel = &policy.tunnels[0];
        let entry = |name: String| {
            let number = registry.get(&Key::Tunnel(name)).unwrap();
            generation.tunnels[number as usize]
        };
        // Which lane each class takes by that device, and which one all that comes in by it is.
        let by = |entry: TunnelEntry| {
            let of = |class: usize| {
                let steer = &generation.steers[entry.first as usize + class];
                (steer.len > 0).then_some(steer.hops[0].first)
            };
            ([of(0), of(1), of(2)], entry.only)
        };
        assert_eq!(by(entry(tunnel.name_of(&tunnel.lanes[0]))), ([None, Some(0), None], 1));
        assert_eq!(by(entry(tunnel.name_of(&tunnel.lanes[1]))), ([Some(1), None, Some(1)], 2));
        assert_eq!(by(entry(tunnel.name.clone())), ([Some(1), Some(0), Some(1)], 0));
    }

    #[test]
    fn clients_beyond_the_room_are_said_and_the_others_are_counted() {
        let n = MAX_LANES as u32;
        let everybody = (1..=n).map(|client| (client, n + client, IpAddr::from(client.to_be_bytes())));
        let (generation, steering) = compiled(&shared(everybody));
        assert_eq!(steering.uncounted, 2 * MAX_LANES - (MAX_LANES - 4));
        assert_eq!(steering.lane_ids.len(), MAX_LANES);
        assert_eq!(of_reqid(&generation, 1).map(|lane| lane.counters), Some(generation.lanes[0].counters));
        assert_eq!(of_reqid(&generation, 2 * n), None);
    }
}
