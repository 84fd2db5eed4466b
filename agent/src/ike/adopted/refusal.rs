//! Why nothing is steered to a CHILD_SA, and what would change that.

use std::net::IpAddr;

/// What stands against a CHILD_SA of the operator's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another device, or to none.
    #[error(
        "CHILD_SA {child:?} has if_id {if_id}, and the device {device}: write if_id_in = {device} and if_id_out = {device} in \
         swanctl.conf{}",
        or_here(*if_id)
    )]
    IfId {
        /// The child.
        child: String,
        /// What it has; 0 for none.
        if_id: u32,
        /// What the tunnel's device has.
        device: u32,
    },
    /// It belongs to a device, and the tunnel has none.
    #[error(
        "CHILD_SA {child:?} has if_id {if_id}, and the tunnel no device: take if_id_in and if_id_out out of swanctl.conf, or write \
         type = \"xfrm\" and if-id = {if_id} here"
    )]
    NoDevice {
        /// The child.
        child: String,
        /// What it has.
        if_id: u32,
    },
    /// The VTI would not find it.
    #[error(
        "CHILD_SA {child:?} is not that of the VTI with ikey {input} and okey {output}: write mark_in = {input} and mark_out = \
         {output} in swanctl.conf, without masks, and neither if_id_in nor if_id_out"
    )]
    Key {
        /// The child.
        child: String,
        /// The VTI's key for what comes in.
        input: u32,
        /// That for what leaves.
        output: u32,
    },
    /// Each IKE_SA is to have a VTI, which needs a key.
    #[error(
        "CHILD_SA {child:?} has no mark of its own, and so its IKE_SA no VTI: write mark_in = %unique and mark_out = %unique in \
         swanctl.conf, and neither if_id_in nor if_id_out, or a key here"
    )]
    NoKey {
        /// The child.
        child: String,
    },
    /// Two clients at one address.
    #[error(
        "CHILD_SA {child:?} of {peer:?} comes from {address}, as another one does, and the kernel has one VTI between there and here: \
         take XFRM interfaces, or one VTI for all"
    )]
    Crowded {
        /// The child.
        child: String,
        /// Whose.
        peer: String,
        /// Of both.
        address: IpAddr,
    },
    /// Bits that we do not write.
    #[error(
        "CHILD_SA {child:?} has mark {value:#x}, which is not within [mark] mask {ours:#010x}: take another mark_out in \
         swanctl.conf, or a wider mask here"
    )]
    Mark {
        /// The child.
        child: String,
        /// What it has.
        value: u32,
        /// Our bits.
        ours: u32,
    },
    /// The kernel would not tell the two apart.
    #[error(
        "CHILD_SA {child:?} has mark {value:#x}/{mask:#x}, by which {other:?} is found as well: give each a mark_out of its own \
         in swanctl.conf, and mark_in with set_mark_in = %same"
    )]
    Shared {
        /// The child.
        child: String,
        /// What it has.
        value: u32,
        /// The bits that count.
        mask: u32,
        /// The other one.
        other: String,
    },
    /// Each IKE_SA is to have a device, which needs one.
    #[error(
        "CHILD_SA {child:?} has no if_id, and so its IKE_SA no device: write if_id_in = %unique and if_id_out = %unique in the \
         connection in swanctl.conf, or an if-id here"
    )]
    NoIfId {
        /// The child.
        child: String,
    },
    /// charon counts from 1, and the file has given that number away.
    #[error(
        "CHILD_SA {child:?} has got if_id {if_id} by %unique, which a device of this file has: give that one a number that \
         strongSwan does not get to, as 1000000"
    )]
    IfIdTaken {
        /// The child.
        child: String,
        /// What it has.
        if_id: u32,
    },
    /// The kernel takes no such name.
    #[error("CHILD_SA {child:?} would have the device {device}, whose name is too long: take a shorter one before %d")]
    LongName {
        /// The child.
        child: String,
        /// The name.
        device: String,
    },
    /// Its IKE_SA has several devices, and a route leads to one.
    #[error(
        "CHILD_SA {child:?} has another if_id than others of its IKE_SA, and so another device, without lanes for their classes: \
         write if_id_in = %unique and if_id_out = %unique in the connection in swanctl.conf, not in its children"
    )]
    Apart {
        /// The child.
        child: String,
    },
    /// A lane that clients share has one mark.
    #[error(
        "CHILD_SA {child:?} of a client has mark {value:#x}, and that of others {other:#x}: clients of one device have the same; \
         write one mark_out for all in swanctl.conf, not %unique, and have them connect again"
    )]
    Marks {
        /// The child.
        child: String,
        /// What it has.
        value: u32,
        /// What the others have.
        other: u32,
    },
    /// Two clients of one place: what is for one of them goes to the other.
    #[error(
        "CHILD_SA {child:?} of {one:?} and that of {other:?} are for the same addresses: only the newer one gets packets; give \
         each client its own, as a pool does"
    )]
    Twins {
        /// The child.
        child: String,
        /// One client's identity.
        one: String,
        /// The newer one's.
        other: String,
    },
    /// `down` could not leave it alone.
    #[error(
        "CHILD_SA {child:?} has reqid {reqid:#x}, one of those by which lanekeeper knows its own: take another reqid in \
         swanctl.conf, or none"
    )]
    Reqid {
        /// The child.
        child: String,
        /// What it has.
        reqid: u32,
    },
    /// More SAs than lanes.
    #[error("CHILD_SA {child:?} is one more than the {lanes} of class {class:?}: raise its lanes, or have fewer")]
    Surplus {
        /// The child.
        child: String,
        /// The class.
        class: String,
        /// Its lanes in each tunnel.
        lanes: u8,
    },
    /// A label that names no lane, or one that is taken.
    #[error(
        "CHILD_SA {child:?} has label {label:?}, which is not that of a lane without one: write label = CLASS.INDEX in \
         swanctl.conf, or name the child in `children` here"
    )]
    Label {
        /// The child.
        child: String,
        /// What it has; empty for none.
        label: String,
    },
    /// It is used; but foreign bits of a mark keep packets from it.
    #[error(
        "CHILD_SA {child:?} is found by all bits of its mark_out {value:#x}: packets on which others have set some are dropped; \
         write mark_out = {value:#x}/{ours:#010x} in swanctl.conf"
    )]
    Wide {
        /// The child.
        child: String,
        /// What it has.
        value: u32,
        /// Our bits.
        ours: u32,
    },
    /// Nobody knows what to route.
    #[error(
        "CHILD_SA {child:?} has remote_ts {selector:?}, of which no route can be made: write prefixes in swanctl.conf, or in \
         `routes` here"
    )]
    Selector {
        /// The child.
        child: String,
        /// What it has.
        selector: String,
    },
    /// It is routed; but the SA is not for all that the route leads to it.
    #[error(
        "CHILD_SA {child:?} has remote_ts {selector:?}, and a route knows no protocols and ports: all that is sent there enters \
         the tunnel's device, which drops what no CHILD_SA is for"
    )]
    Part {
        /// The child.
        child: String,
        /// What it has.
        selector: String,
    },
    /// Nobody has loaded it.
    #[error(
        "strongSwan has no connection {connection:?}: `swanctl --load-conns` loads what swanctl.conf has; see its name there"
    )]
    NoConnection {
        /// Its name.
        connection: String,
    },
}

fn or_here(if_id: u32) -> String {
    if if_id == 0 { String::new() } else { format!(", or if-id = {if_id} here") }
}
