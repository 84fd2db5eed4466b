//! Which marks, request ids and labels the lanes of each tunnel have.

use std::collections::{BTreeSet, HashSet};

use super::{ClassIndex, Lane};

/// The first request id that is ours.
pub const REQID_FIRST: u32 = 0x4c4b_0000;
/// The last request id that is ours.
pub const REQID_LAST: u32 = 0x4c4b_ffff;

/// A tunnel as far as its lanes depend on it: its name, and of each class that it carries index, name and lanes.
pub struct Carried<'a> {
    /// The tunnel's name.
    pub tunnel: &'a str,
    /// Class by class, in the tunnel's order.
    pub classes: Vec<(ClassIndex, &'a str, u8)>,
    /// Where packets are marked before they are routed, for want of one device for all: of how many classes ports and sockets
    /// write the marks. Each class's first lane has that of its class, and what lanes there are beside have the marks behind all
    /// of those.
    pub by_class: Option<usize>,
}

impl Carried<'_> {
    /// Its lanes' marks, before they are shifted into the mask.
    fn positions(&self) -> Vec<u32> {
        let lanes = self.classes.iter().flat_map(|&(class, _, lanes)| (0..lanes).map(move |index| (class, index)));
        match self.by_class {
            None => lanes.zip(1..).map(|(_, position)| position).collect(),
            Some(classes) => {
                let mut next = classes as u32;
                lanes
                    .map(|(class, index)| {
                        if index == 0 {
                            return class.0 as u32 + 1;
                        }
                        next += 1;
                        next
                    })
                    .collect()
            }
        }
    }

    /// The greatest of them; 0 without a lane.
    pub fn last_mark(&self) -> u32 {
        self.positions().into_iter().max().unwrap_or_default()
    }
}

/// The request id of what an adopted tunnel blocks with. It may be a lane's, too: those policies are told by their priority.
pub fn reqid_of_blocks(tunnel: &str) -> u32 {
    REQID_FIRST + (fnv1a(&[tunnel.as_bytes()]) & (REQID_LAST - REQID_FIRST))
}

/// The mark of the first lane of a tunnel that has a device.
pub fn first_mark(mask: u32) -> u32 {
    1 << mask.trailing_zeros().min(31)
}

/// The lanes of every tunnel, in the order given. Marks count up from 1 in each tunnel that has a device, and are shifted into
/// `mask`, which must have room for them. There must be no more lanes than request ids.
pub fn assign(tunnels: &[Carried<'_>], mask: u32) -> Vec<Vec<Lane>> {
    let shift = mask.trailing_zeros().min(31);
    // By name, so that neither the order of tunnels in the file nor that of their classes moves a request id.
    let mut names = BTreeSet::new();
    for tunnel in tunnels {
        for (_, class, lanes) in &tunnel.classes {
            names.extend((0..*lanes).map(|index| (tunnel.tunnel, *class, index)));
        }
    }
    let mut taken = HashSet::new();
    let reqids: std::collections::BTreeMap<_, _> = names
        .into_iter()
        .map(|(tunnel, class, index)| ((tunnel, class, index), reqid(tunnel, class, index, &mut taken)))
        .collect();
    let lanes_of = |tunnel: &Carried<'_>| {
        let lanes =
            tunnel.classes.iter().flat_map(|&(at, class, lanes)| (0..lanes).map(move |index| (at, class, index)));
        let lanes = lanes.zip(tunnel.positions()).map(|((class, name, index), position)| Lane {
            class,
            index,
            mark: position << shift,
            reqid: reqids[&(tunnel.tunnel, name, index)],
            clients: Default::default(),
            label: format!("{name}.{index}"),
        });
        lanes.collect()
    };
    tunnels.iter().map(lanes_of).collect()
}

/// A request id by the lane's names, the next free one where two names meet.
fn reqid(tunnel: &str, class: &str, index: u8, taken: &mut HashSet<u32>) -> u32 {
    let size = REQID_LAST - REQID_FIRST + 1;
    let hash = fnv1a(&[tunnel.as_bytes(), class.as_bytes(), &[index]]);
    let start = (hash ^ hash >> 16) & (size - 1);
    let mut id = REQID_FIRST + start;
    for step in 0..size {
        id = REQID_FIRST + (start + step) % size;
        if taken.insert(id) {
            break;
        }
    }
    id
}

/// FNV-1a of 32 bits over the parts, each closed by a zero byte. It has to stay what it is: running SAs have these ids.
fn fnv1a(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0]));
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel<'a>(name: &'a str, classes: &[(usize, &'a str, u8)]) -> Carried<'a> {
        Carried {
            tunnel: name,
            classes: classes.iter().map(|&(at, name, lanes)| (ClassIndex(at), name, lanes)).collect(),
            by_class: None,
        }
    }

    #[test]
    fn marks_count_up_from_one_in_each_tunnel() {
        let two = [tunnel("a", &[(0, "voice", 1), (2, "bulk", 2)]), tunnel("b", &[(2, "bulk", 1)])];
        let lanes = assign(&two, 0xff00);
        let marks: Vec<Vec<u32>> = lanes.iter().map(|l| l.iter().map(|lane| lane.mark).collect()).collect();
        assert_eq!(marks, [vec![0x100, 0x200, 0x300], vec![0x100]]);
        assert_eq!(lanes[0][2].label, "bulk.1");
        assert_eq!(lanes[0][2].class, ClassIndex(2));
    }

    #[test]
    fn without_a_device_the_first_lane_of_a_class_has_the_mark_of_its_class() {
        let bare = Carried { by_class: Some(4), ..tunnel("a", &[(2, "bulk", 3), (0, "voice", 2), (3, "rest", 1)]) };
        assert_eq!(bare.last_mark(), 7);
        let marks: Vec<u32> = assign(&[bare], 0xff00).concat().iter().map(|lane| lane.mark).collect();
        assert_eq!(marks, [0x300, 0x500, 0x600, 0x100, 0x700, 0x400]);
        let of_class = |class| lanekeeper_common::mark::of_class(0xff00, class);
        assert_eq!([marks[0], marks[3], marks[5]], [of_class(2), of_class(0), of_class(3)]);
    }

    #[test]
    fn request_ids_do_not_move_when_the_file_is_reordered() {
        let (a, b) = (tunnel("a", &[(0, "x", 3), (1, "y", 2)]), tunnel("b", &[(0, "x", 1)]));
        let one = assign(&[a, b], 0xff);
        let (a, b) = (tunnel("a", &[(1, "y", 2), (0, "x", 3)]), tunnel("b", &[(0, "x", 1)]));
        let other = assign(&[b, a], 0xff);
        let by_label = |lanes: &[Lane]| {
            let mut ids: Vec<_> = lanes.iter().map(|lane| (lane.label.clone(), lane.reqid)).collect();
            ids.sort();
            ids
        };
        assert_eq!(by_label(&one[0]), by_label(&other[1]));
        assert_eq!(by_label(&one[1]), by_label(&other[0]));
    }

    #[test]
    fn request_ids_are_ours_and_unique() {
        let names: Vec<String> = (0..200).map(|at| format!("t{at}")).collect();
        let tunnels: Vec<_> = names.iter().map(|name| tunnel(name, &[(0, "a", 32), (1, "b", 32)])).collect();
        let ids: Vec<u32> = assign(&tunnels, 0xff).into_iter().flatten().map(|lane| lane.reqid).collect();
        assert!(ids.iter().all(|id| (REQID_FIRST..=REQID_LAST).contains(id)));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 200 * 64);
    }

    #[test]
    fn request_ids_stay_what_they_are_over_versions() {
        let lanes = assign(&[tunnel("branch-7", &[(0, "voice", 1), (1, "bulk", 2)])], 0xff);
        let ids: Vec<u32> = lanes[0].iter().map(|lane| lane.reqid).collect();
        assert_eq!(ids, GOLDEN, "running SAs would be orphaned");
    }

    // Computed apart from this code.
    const GOLDEN: [u32; 3] = [0x4c4b_2d31, 0x4c4b_0e7a, 0x4c4b_ef91];
}
