//! How the kernel finds the SAs of a lane: what states and policies have in common with packets, by the kind of the device.

use ipnet::IpNet;
use serde::Serialize;

use super::{DeviceKind, Lane, Tunnel, protocol};

/// A mark and the bits of it that count.
pub type Masked = (u32, u32);

/// What ties a lane's states and policies to its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// XFRMA_IF_ID of states and policies; 0 for none.
    pub if_id: u32,
    /// The mark that the policies for what comes in look for.
    pub input: Masked,
    /// The mark that the policy for what leaves looks for, and its state has.
    pub output: Masked,
    /// Whether an inbound state writes `input` on what it has decrypted.
    pub sets_mark: bool,
}

/// What of a packet ESP encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All of it, behind a new IP header.
    Tunnel,
    /// What is behind its IP header.
    Transport,
}

/// The packets that SAs are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors {
    /// Addresses on this side.
    pub local: Vec<IpNet>,
    /// Addresses on the peer's.
    pub remote: Vec<IpNet>,
    /// IP protocol; 0 for any.
    pub protocol: u8,
}

impl DeviceKind {
    /// Whether there is one.
    pub fn is_device(self) -> bool {
        match self {
            Self::Xfrm { .. } | Self::Vti { .. } | Self::Gre { .. } | Self::Tun => true,
            Self::Bare => false,
        }
    }

    /// XFRMA_IF_ID of states and policies; 0 for none.
    pub fn if_id(self) -> u32 {
        match self {
            Self::Xfrm { if_id } => if_id,
            Self::Vti { .. } | Self::Gre { .. } | Self::Tun | Self::Bare => 0,
        }
    }

    /// The same, of one IKE_SA's own device with that if_id or key.
    pub fn of(self, number: u32) -> Self {
        match self {
            Self::Vti { .. } => Self::Vti { input_key: number, output_key: number },
            Self::Xfrm { .. } | Self::Gre { .. } | Self::Tun | Self::Bare => Self::Xfrm { if_id: number },
        }
    }

    /// Of a VTI: its keys for what comes in and for what leaves, which are the marks of states and policies.
    pub fn keys(self) -> Option<(u32, u32)> {
        match self {
            Self::Vti { input_key, output_key } => Some((input_key, output_key)),
            Self::Xfrm { .. } | Self::Gre { .. } | Self::Tun | Self::Bare => None,
        }
    }

    /// Of states and policies.
    pub fn mode(self) -> Mode {
        match self {
            Self::Xfrm { .. } | Self::Vti { .. } | Self::Tun | Self::Bare => Mode::Tunnel,
            Self::Gre { .. } => Mode::Transport,
        }
    }

    /// The mark by which the device asks for the policy of a packet that has `mark`; `mask` is that of all marks of lanes.
    pub fn asks_with(self, mark: u32, mask: u32) -> u32 {
        match self {
            Self::Xfrm { .. } | Self::Bare => mark,
            // The outer flow takes the device's fwmark (ip_tunnel_xmit, ip6gre_tunnel_xmit).
            Self::Gre { .. } => mark & mask,
            // vti_tunnel_xmit and vti6_tnl_xmit put it in the flow.
            Self::Vti { output_key, .. } => output_key,
            // There is none that could be asked for.
            Self::Tun => 0,
        }
    }

    /// How many lanes it can carry; `None` for as many as there are marks, or for one in each of several devices.
    pub fn most_lanes(self) -> Option<usize> {
        match self {
            Self::Xfrm { .. } | Self::Gre { .. } | Self::Bare => None,
            Self::Vti { .. } | Self::Tun => Some(1),
        }
    }

    /// Whether the kernel has states and policies of its SAs.
    pub fn is_in_kernel(self) -> bool {
        match self {
            Self::Xfrm { .. } | Self::Vti { .. } | Self::Gre { .. } | Self::Bare => true,
            Self::Tun => false,
        }
    }
}

impl Tunnel {
    /// That of one of its lanes; `mask` is that of all marks of lanes.
    pub fn selection(&self, lane: &Lane, mask: u32) -> Selection {
        let mark = (lane.mark, mask);
        match self.device.kind {
            // The device's packets ask by the mark that they have, and those that come in by the one that they have been given.
            DeviceKind::Xfrm { if_id } => Selection { if_id, input: mark, output: mark, sets_mark: true },
            DeviceKind::Gre { .. } | DeviceKind::Bare => {
                Selection { if_id: 0, input: mark, output: mark, sets_mark: true }
            }
            // What charon reads from the device has no mark any more.
            DeviceKind::Tun => Selection { if_id: 0, input: (0, 0), output: (0, 0), sets_mark: false },
            // The device asks by its own keys (vti_tunnel_xmit, vti_rcv_cb), and forgets by which SA a packet came: with a
            // mark of its own a later policy check would find the policy and miss the SA.
            DeviceKind::Vti { input_key, output_key } => {
                Selection { if_id: 0, input: (input_key, u32::MAX), output: (output_key, u32::MAX), sets_mark: false }
            }
        }
    }

    /// What its SAs are for.
    pub fn selectors(&self) -> Selectors {
        match self.device.kind {
            DeviceKind::Xfrm { .. } | DeviceKind::Vti { .. } | DeviceKind::Tun | DeviceKind::Bare => {
                Selectors { local: self.local_ts.clone(), remote: self.remote_ts.clone(), protocol: 0 }
            }
            DeviceKind::Gre { .. } => {
                Selectors { local: vec![self.local.into()], remote: vec![self.remote.into()], protocol: protocol::GRE }
            }
        }
    }
}
