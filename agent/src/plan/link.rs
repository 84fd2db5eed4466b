//! Devices and their addresses as values.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// A tunnel's device of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its kind, and what cannot be changed while it stands.
    #[serde(flatten)]
    pub kind: LinkKind,
    /// In bytes.
    pub mtu: u32,
    /// IFF_UP.
    pub up: bool,
    /// Whether what comes in by it is asked for no policy of its own: the device has done so, by its key.
    pub disable_policy: bool,
    /// Whether the way back to a source is looked for with the mark of its packet, by which `rp_filter` finds that it is this device.
    pub source_by_mark: bool,
    /// The VRF that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// The network namespace that it is taken to, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// IFLA_XFRM_LINK: the device whose VRF the outer route is looked for in (`xfrm_dst_lookup`), and nothing more: ESP leaves by
    /// whichever device that route has. The kernel changes it on no device (`xfrmi_change`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} {} mtu {}", self.name, self.kind, self.mtu)?;
        if let Some(link) = &self.link {
            write!(f, " dev {link}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " netns {namespace}")?;
        }
        self.vrf.as_ref().map_or(Ok(()), |vrf| write!(f, " vrf {vrf}"))
    }
}

/// What a device cannot be made without, and nobody but the operator makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lack {
    /// The VRF that it is to be in.
    Vrf(String),
    /// The same, and a device of another kind has its name.
    NoVrf(String),
    /// The device below it.
    Link(String),
    /// Nothing but its place: it is in another network namespace, which this one knows by that number.
    Elsewhere(i32),
    /// The network namespace that it is to be taken to.
    Namespace(String),
    /// A kernel that leaves programs on a device which changes its namespace.
    Tcx,
    /// charon, which makes it.
    Tun,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vrf(name) => write!(f, "vrf {name}"),
            Self::NoVrf(name) => write!(f, "vrf {name}, which is a device of another kind"),
            Self::Link(name) => write!(f, "device {name}"),
            Self::Elsewhere(number) => write!(f, "its return from network namespace {number}"),
            Self::Namespace(name) => write!(f, "network namespace {name}"),
            Self::Tcx => f.write_str("Linux 6.6, which leaves programs on a device that changes its namespace"),
            Self::Tun => f.write_str("charon's kernel-libipsec, which makes it"),
        }
    }
}

/// Kinds of device, with what each is made with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum LinkKind {
    /// An XFRM interface.
    Xfrm {
        /// IFLA_XFRM_IF_ID, not zero.
        if_id: u32,
    },
    /// An XFRM interface that takes the if_id from the route of each packet (IFLA_XFRM_COLLECT_METADATA); a network namespace has one
    /// at most (`xfrmi_newlink`).
    External,
    /// A VTI, or VTI6 between IPv6 addresses.
    Vti {
        /// Outer address here.
        local: IpAddr,
        /// That of the peer.
        remote: IpAddr,
        /// IFLA_VTI_IKEY.
        input_key: u32,
        /// IFLA_VTI_OKEY.
        output_key: u32,
    },
    /// A GRE device, over IPv4 or IPv6, with multicast.
    Gre {
        /// Outer address here.
        local: IpAddr,
        /// That of the peer.
        remote: IpAddr,
        /// IFLA_GRE_IKEY and IFLA_GRE_OKEY.
        key: Option<u32>,
        /// IFLA_GRE_TTL.
        ttl: u8,
        /// IFLA_GRE_FWMARK: the mark of the outer flow, by which its policy is found.
        fwmark: u32,
    },
    /// One that no tunnel has.
    #[default]
    Other,
}

impl LinkKind {
    /// Whether there may be only one of the two.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Xfrm { if_id }, Self::Xfrm { if_id: other }) => if_id == other,
            // ip_tunnel_find and vti6_locate compare the ends alone.
            (Self::Vti { local, remote, .. }, Self::Vti { local: here, remote: there, .. }) => {
                (local, remote) == (here, there)
            }
            // Those of GRE have the key, too, but our policies are for all GRE between the ends.
            (Self::Gre { local, remote, .. }, Self::Gre { local: here, remote: there, .. }) => {
                (local, remote) == (here, there)
            }
            (Self::External, Self::External) => true,
            (Self::Xfrm { .. }, Self::External | Self::Vti { .. } | Self::Gre { .. } | Self::Other)
            | (Self::External, Self::Xfrm { .. } | Self::Vti { .. } | Self::Gre { .. } | Self::Other)
            | (Self::Vti { .. }, Self::Xfrm { .. } | Self::External | Self::Gre { .. } | Self::Other)
            | (Self::Gre { .. }, Self::Xfrm { .. } | Self::External | Self::Vti { .. } | Self::Other)
            | (Self::Other, _) => false,
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xfrm { if_id } => write!(f, "xfrm if_id {if_id}"),
            Self::External => f.write_str("xfrm external"),
            Self::Vti { local, remote, input_key, output_key } => {
                write!(f, "vti {local} > {remote} ikey {input_key} okey {output_key}")
            }
            Self::Gre { local, remote, key, ttl, fwmark } => {
                write!(f, "gre {local} > {remote}")?;
                if let Some(key) = key {
                    write!(f, " key {key}")?;
                }
                write!(f, " ttl {ttl} fwmark {fwmark:#x}")
            }
            Self::Other => f.write_str("of another kind"),
        }
    }
}

/// An address of a device of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Address {
    /// The device's name.
    pub device: String,
    /// Address and prefix length.
    pub address: IpNet,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {} dev {}", self.address, self.device)
    }
}
