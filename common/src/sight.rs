//! What `lanekeeper observe` sees: the programs that look, and the shapes of their maps, none of which is pinned. They have an
//! object of their own and read the tables of [`crate::abi`], in which they change nothing.

use crate::abi::{NO_LANE, NO_RULE, Parsed, shared};

/// tc egress of a tunnel device, in front of [`crate::abi::program::OUT`].
pub const OUT: &str = "lanekeeper_observe_out";
/// tc ingress of a tunnel device, in front of [`crate::abi::program::IN`].
pub const IN: &str = "lanekeeper_observe_in";
/// tc ingress where packets of tunnels without a device pass: of a port, in front of [`crate::abi::program::PORT`], and of the
/// device that their ESP comes in by, in front of [`crate::abi::program::ARRIVED`].
pub const PASSING: &str = "lanekeeper_observe_passing";

/// ARRAY of 1: [`Watch`].
pub const WATCH: &str = "WATCH";
/// PERCPU_ARRAY of 1: [`Spell`].
pub const SPELLS: &str = "SPELLS";
/// PERCPU_ARRAY of 1: [`Sight`], for the length of one packet.
pub const SIGHT: &str = "SIGHT";
/// RINGBUF: [`Sight`].
pub const SIGHTS: &str = "SIGHTS";

/// Bytes of [`SIGHTS`]: some 1,700 of them, which the agent takes out fifty times a second.
pub const ROOM: u32 = 512 * 1024;

/// Bytes of a packet that are kept.
pub const SNAP: usize = 128;

/// No tunnel, in [`Sight::tunnel`].
pub const NO_TUNNEL: u32 = u32::MAX;

/// In [`Sight::direction`]: into the tunnel.
pub const LEAVES: u8 = 0;
/// In [`Sight::direction`]: out of it.
pub const ARRIVES: u8 = 1;

/// How much is looked at.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watch {
    /// Nanoseconds of the monotonic clock: nothing is looked at from then on. The agent moves it on while it lives.
    pub until: u64,
    /// Nanoseconds between two packets that a CPU looks at, on average.
    pub interval: u64,
    /// Nanoseconds of such intervals that it may make up for.
    pub burst: u64,
}

/// What became of one CPU's share.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spell {
    /// When the next packet is due (the generic cell rate algorithm's theoretical arrival time).
    pub due: u64,
    /// Packets that were not looked at, as none was due.
    pub passed: u64,
    /// Packets that were, and found no room in [`SIGHTS`].
    pub full: u64,
    /// When something was last logged.
    pub logged: u64,
}

/// A packet, and what is decided on it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The [`crate::stamp::Stamp`] of the tables that decided; 0 where there were none.
    pub stamp: u64,
    /// Nanoseconds of the monotonic clock.
    pub at: u64,
    /// Its headers.
    pub parsed: Parsed,
    /// Number of its tunnel, or [`NO_TUNNEL`]: of one that came out of a tunnel without a device the lane tells.
    pub tunnel: u32,
    /// ifindex of the device where it was seen.
    pub device: u32,
    /// ifindex of the interface that it came in by; 0 for the host's own.
    pub ingress: u32,
    /// Its rule, or [`NO_RULE`].
    pub rule: u32,
    /// The mark that it leaves with; of one that does not, the mark that it came with.
    pub mark: u32,
    /// The request id of the state that decrypted it; 0 where that is not known.
    pub reqid: u32,
    /// Bytes from the IP header on.
    pub length: u32,
    /// How many of them are in `bytes`.
    pub captured: u32,
    /// Its tenant, or 0.
    pub tenant: u16,
    /// Its class, of one that leaves.
    pub class: u16,
    /// The number of its lane in the generation, or [`NO_LANE`].
    pub lane: u16,
    /// [`LEAVES`] or [`ARRIVES`].
    pub direction: u8,
    /// Number of the [`crate::verdict::BlockReason`], or 0.
    pub blocked: u8,
    /// Number of the [`crate::verdict::ParseReason`], or 0.
    pub parse: u8,
    /// 1 where it takes another class's lane.
    pub fallback: u8,
    /// Zero.
    pub _pad: [u8; 6],
    /// Its first bytes, from the IP header on.
    pub bytes: [u8; SNAP],
}

impl Sight {
    /// Of nothing yet.
    pub const BLANK: Sight = Sight {
        stamp: 0,
        at: 0,
        parsed: Parsed {
            source: [0; 2],
            destination: [0; 2],
            id: 0,
            network: 0,
            transport: 0,
            source_port: 0,
            destination_port: 0,
            vlan: 0,
            protocol: 0,
            dscp: 0,
            family: 0,
            ports: 0,
            fragment: 0,
            reason: 0,
            length: 0,
            icmp_type: 0,
            tcp_flags: 0,
            cgroup: 0,
        },
        tunnel: NO_TUNNEL,
        device: 0,
        ingress: 0,
        rule: NO_RULE,
        mark: 0,
        reqid: 0,
        length: 0,
        captured: 0,
        tenant: 0,
        class: 0,
        lane: NO_LANE,
        direction: LEAVES,
        blocked: 0,
        parse: 0,
        fallback: 0,
        _pad: [0; 6],
        bytes: [0; SNAP],
    };

    /// From the bytes that the kernel handed over; `None` where they are not as many.
    #[cfg(feature = "host")]
    #[allow(unsafe_code)]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        // SAFETY: of integers alone, so that any bytes are a value; as many as it has, at any alignment.
        (bytes.len() == size_of::<Self>()).then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

shared! {
    Watch { u64, u64, u64 }
    Spell { u64, u64, u64, u64 }
    Sight {
        u64, u64, Parsed, u32, u32, u32, u32, u32, u32, u32, u32, u16, u16, u16, u8, u8, u8, u8, [u8; 6], [u8; SNAP]
    }
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use super::*;

    #[test]
    fn a_sight_is_read_from_as_many_bytes_as_it_has() {
        let mut bytes = [0u8; size_of::<Sight>()];
        bytes[..8].copy_from_slice(&7u64.to_ne_bytes());
        assert_eq!(Sight::read(&bytes).map(|sight| sight.stamp), Some(7));
        assert_eq!(Sight::read(&bytes[1..]), None);
    }
}
