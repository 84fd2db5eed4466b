//! Everything that can be wrong with a config: what, and on which object.

mod cure;

use std::path::PathBuf;

use super::source::Place;
use super::value::Reason;

/// One error. `object` is the thing as a message calls it: `rule "sip"`, `tunnel 2`, `[mark]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read this file: {reason}")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// A file that an include names cannot be read.
    #[error("include: cannot read {path}: {reason}")]
    Include {
        /// As written.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// An include that is no pattern.
    #[error("include: \"{pattern}\" is not a pattern: {reason}")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// Included files do not include.
    #[error("include: this file is included itself, by {by}")]
    NestedInclude {
        /// The main file.
        by: String,
    },
    /// TOML's own rules.
    #[error("not valid TOML: {reason}")]
    Syntax {
        /// The parser's words.
        reason: String,
        /// The first one says what has to wait.
        first: bool,
    },
    /// A key twice in one table.
    #[error("duplicate key \"{key}\" in the same table")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A table's head twice.
    #[error("duplicate table [{name}]")]
    DuplicateTable {
        /// As written.
        name: String,
    },
    /// A key that nobody reads.
    #[error("{object}: unknown key \"{key}\"")]
    UnknownKey {
        /// Where.
        object: String,
        /// As written.
        key: String,
        /// The nearest, or all.
        cure: String,
    },
    /// A key of the design that this version does not have.
    #[error("{object}: \"{key}\" is not supported yet")]
    NotYet {
        /// Where.
        object: String,
        /// As written.
        key: String,
        /// What to do today.
        cure: &'static str,
    },
    /// A value that its key does not take.
    #[error("{object}: {key} {reason}")]
    Value {
        /// Where.
        object: String,
        /// Which key.
        key: &'static str,
        /// Why not.
        reason: Reason,
    },
    /// A table that can be there once only.
    #[error("{object} is already set at {first}")]
    SetTwice {
        /// Which table.
        object: String,
        /// Where else.
        first: Place,
    },
    /// A name that is taken.
    #[error("{object}: duplicate name, the first one is at {first}")]
    NameTaken {
        /// With the name in it.
        object: String,
        /// The first one.
        first: Place,
    },
    /// One value twice in a list.
    #[error("{object}: {key} has \"{value}\" twice")]
    Twice {
        /// Where.
        object: String,
        /// Which key.
        key: &'static str,
        /// Which value.
        value: String,
    },
    /// A name that nobody has.
    #[error("{object}: no {what} is named \"{name}\"")]
    UnknownName {
        /// Where.
        object: String,
        /// Of what: `class`.
        what: &'static str,
        /// As written.
        name: String,
        /// The nearest, or all.
        cure: String,
    },
    /// Nobody says what becomes of unmatched traffic.
    #[error("no class for traffic that no rule matches")]
    NoDefault,
    /// Rules lead to a class without lanes.
    #[error("{object}: class \"{class}\" is carried by no tunnel{whose}, so there is no lane for these packets")]
    NotCarried {
        /// The rule, the tenant with a default, or `[default]`.
        object: String,
        /// Its class.
        class: String,
        /// Where only some tunnels count: ` of tenant "acme"`.
        whose: String,
        /// The tunnels that count.
        tunnels: Vec<String>,
    },
    /// Something else than rules where rules are added.
    #[error("{key}: only rules can be added while the agent runs")]
    OnlyRules {
        /// What it is.
        key: &'static str,
    },
    /// No rule where rules are added.
    #[error("no [[rule]] in it")]
    NoRules,
    /// A rule that could not be found again.
    #[error("{object}: a rule that is added has to have a name, by which it is deleted")]
    Unnamed {
        /// Which rule.
        object: String,
    },
    /// Fallbacks in a circle.
    #[error("class \"{class}\": its fallback leads back to itself: {chain}")]
    FallbackLoop {
        /// The first of the circle in the file.
        class: String,
        /// `a -> b -> a`.
        chain: String,
    },
    /// A mask of no bits.
    #[error("[mark]: mask is zero, so no lane could have a mark")]
    MaskZero,
    /// A mask with holes.
    #[error("[mark]: mask {mask:#010x} is not one row of bits")]
    MaskGaps {
        /// As written.
        mask: u32,
    },
    /// Bits by which a lane's packet would pass for ESP.
    #[error("[mark]: outer {outer:#010x} has bits of mask {mask:#010x}, by which lanes are chosen")]
    OuterOfLanes {
        /// As written.
        outer: u32,
        /// As written, or the default.
        mask: u32,
    },
    /// More lanes than marks.
    #[error("[mark]: mask {mask:#010x} is too small: it has {room} marks, and {object} needs {lanes}")]
    MaskSmall {
        /// As written, or the default.
        mask: u32,
        /// How many marks it has.
        room: u32,
        /// The tunnel.
        object: String,
        /// How many its lanes take.
        lanes: u32,
    },
    /// More classes than marks, where ports write those of classes.
    #[error(
        "[mark]: mask {mask:#010x} is too small: it has a mark for {room} of the {classes} classes, of which {object} writes one \
         on packets"
    )]
    MaskClasses {
        /// As written, or the default.
        mask: u32,
        /// How many marks it has.
        room: u32,
        /// How many classes there are.
        classes: u32,
        /// The first port, or `[host]`.
        object: String,
    },
    /// A port that leads into a tunnel.
    #[error("{object} is the device of {tunnel}, see {first}")]
    PortIsDevice {
        /// Which port.
        object: String,
        /// Whose device.
        tunnel: String,
        /// Where it says so.
        first: Place,
    },
    /// More of something than the data path holds.
    #[error("{object}: {what}: {got} are more than the {limit} that the data path holds")]
    TooMany {
        /// The first that is too much.
        object: String,
        /// Of what.
        what: &'static str,
        /// How many the config has.
        got: usize,
        /// How many fit.
        limit: usize,
        /// What to do about it.
        cure: &'static str,
    },
    /// A chain of fallbacks that no tunnel's steering holds.
    #[error(
        "class \"{class}\": its chain of fallbacks has {length} classes that {object} carries, {most} at most: {chain}"
    )]
    FallbackLong {
        /// Where the chain begins.
        class: String,
        /// The tunnel.
        object: String,
        /// How many of them it carries.
        length: usize,
        /// How many it may.
        most: usize,
        /// `a -> b -> c`, all of them.
        chain: String,
    },
    /// One if_id twice.
    #[error("{object}: if-id {if_id} is taken by {other}, see {first}")]
    IfIdTaken {
        /// The later tunnel.
        object: String,
        /// Their if_id.
        if_id: u32,
        /// The earlier tunnel.
        other: String,
        /// Where it says so.
        first: Place,
        /// One that is free.
        free: u32,
    },
    /// One key of a VTI twice.
    #[error("{object}: key {key} is taken by {other}, see {first}")]
    KeyTaken {
        /// The later tunnel.
        object: String,
        /// Their key.
        key: u32,
        /// The earlier tunnel.
        other: String,
        /// Where it says so.
        first: Place,
        /// One that is free.
        free: u32,
    },
    /// A key that other packets of ours have for a mark.
    #[error("{object}: key {key:#x} is a mark that {by} gives to packets")]
    KeyIsMark {
        /// Which tunnel.
        object: String,
        /// As written.
        key: u32,
        /// A port, `[host]` or another tunnel.
        by: String,
        /// One that is free.
        free: u32,
    },
    /// Both forms of a VTI's keys.
    #[error("{object}: key is for both directions, but ikey or okey is there, too")]
    KeyTwice {
        /// Which device.
        object: String,
    },
    /// A key of another kind of device.
    #[error("{object}: {key} is not for type = \"{kind}\"")]
    OfOtherDevice {
        /// Which device.
        object: String,
        /// The key.
        key: &'static str,
        /// Its kind.
        kind: &'static str,
        /// The kind that has the key.
        of: &'static str,
    },
    /// What only a device has.
    #[error("{object}: {key} is for a device, and type = \"none\" has none")]
    NoDevice {
        /// The device that is none, or its tunnel.
        object: String,
        /// The key.
        key: &'static str,
    },
    /// What charon has made its device with.
    #[error("{object}: {key} is charon's to say, who makes the TUN device")]
    OfCharon {
        /// The device.
        object: String,
        /// The key.
        key: &'static str,
    },
    /// charon routes all that its SAs are for into its TUN device.
    #[error("{object}: remote-ts is missing, and charon would route all there is into its TUN device")]
    TunTakesAll {
        /// Which tunnel.
        object: String,
    },
    /// Keys for the kernel, which has no part in it.
    #[error("{object}: its keys are for the kernel, and what enters a TUN device charon encrypts by itself")]
    TunKeys {
        /// Which tunnel.
        object: String,
    },
    /// Nothing says what a tunnel without a device is for.
    #[error("{object}: {key} is missing, and without a device nothing else says what the tunnel is for")]
    NoSelectors {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
    },
    /// What comes out of a tunnel without a device would be sent into it again.
    #[error(
        "{object}: {remote} of its remote-ts meets {local} of its local-ts: what comes out would be sent back into it"
    )]
    SelectorsMeet {
        /// Which tunnel.
        object: String,
        /// The peer's prefix.
        remote: String,
        /// Ours.
        local: String,
    },
    /// What the host itself sends to the peer's outer address would be in the tunnel, or blocked.
    #[error("{object}: local-ts and remote-ts hold the tunnel's own local and remote")]
    SelectorsAroundEnds {
        /// Which tunnel.
        object: String,
    },
    /// Two tunnels without a device for one destination.
    #[error("{object}: {prefix} of its remote-ts meets {theirs} of {other}, see {first}, and neither has a device")]
    BehindBoth {
        /// The later tunnel.
        object: String,
        /// Its prefix.
        prefix: String,
        /// The earlier tunnel.
        other: String,
        /// That one's prefix.
        theirs: String,
        /// Where it says so.
        first: Place,
    },
    /// No packet would ever have a mark.
    #[error(
        "{object} has no device, and nothing marks packets before they are routed: all that it is for would be dropped"
    )]
    NothingMarks {
        /// The first such tunnel.
        object: String,
    },
    /// A tunnel without a device that is to be a tenant's own.
    #[error("{object}: tunnel \"{tunnel}\" has no device, by which what comes out of it would be the tenant's")]
    BareOwned {
        /// Which tenant.
        object: String,
        /// Which tunnel.
        tunnel: String,
    },
    /// More lanes than the device can carry.
    #[error("{object}: its device is {device}, which carries one lane, and {what}")]
    OneLane {
        /// Which tunnel.
        object: String,
        /// With its article.
        device: &'static str,
        /// What is too much.
        what: String,
    },
    /// A GRE tunnel of a class with several lanes.
    #[error(
        "{object}: its device is a GRE device, of which each class has one with one lane, and class \"{class}\" has {lanes}"
    )]
    LanesOfGre {
        /// Which tunnel.
        object: String,
        /// Which class.
        class: String,
        /// How many it has.
        lanes: u8,
    },
    /// Several GRE devices without a key.
    #[error("{object}: each of its {classes} classes has a GRE device, and without a key nothing tells those apart")]
    NoKeys {
        /// Which tunnel.
        object: String,
        /// How many.
        classes: usize,
    },
    /// Marks choose among several GRE devices, in this namespace and in no VRF.
    #[error("{object}: {key} is for one GRE device, and each class of the tunnel has one")]
    OfSeveral {
        /// Which tunnel's devices.
        object: String,
        /// The key.
        key: &'static str,
    },
    /// A name that has no room for the number of a further GRE device.
    #[error(
        "{object}: one of its GRE devices, of which each class has one, would be \"{long}\", longer than {most} bytes"
    )]
    NumberedLong {
        /// Which tunnel.
        object: String,
        /// The first one's.
        name: String,
        /// The one that is too long.
        long: String,
        /// How long it may be.
        most: usize,
    },
    /// A class that would have to leave its GRE device.
    #[error(
        "{object}: class \"{class}\" falls back to \"{to}\", which has another GRE device: a packet's device is chosen as it is \
         routed, and stays the same while its lane is down"
    )]
    FallbackOfGre {
        /// Which tunnel.
        object: String,
        /// From this class.
        class: String,
        /// To this one.
        to: String,
    },
    /// Several GRE devices, and no marks.
    #[error(
        "{object}: each of its classes has a GRE device, and nothing marks packets before they are routed to one of them"
    )]
    NothingChooses {
        /// Which tunnel.
        object: String,
    },
    /// A tunnel of several GRE devices that is to be a tenant's own.
    #[error("{object}: tunnel \"{tunnel}\" has a GRE device for each class, and cannot be a tenant's own")]
    SeveralOwned {
        /// Which tenant.
        object: String,
        /// Which tunnel.
        tunnel: String,
    },
    /// A second tunnel between the ends of one whose device, or whose SAs, take all between them.
    #[error("{object}: {other} has the same {what}, see {first}, and {why}")]
    EndsTaken {
        /// The later tunnel.
        object: String,
        /// Which of its ends.
        what: &'static str,
        /// What the two cannot share.
        why: &'static str,
        /// The earlier tunnel.
        other: String,
        /// Where it is.
        first: Place,
    },
    /// One device name twice.
    #[error("{object}: device name \"{name}\" is taken by {other}, see {first}")]
    DeviceTaken {
        /// The later tunnel.
        object: String,
        /// Their name.
        name: String,
        /// The earlier tunnel.
        other: String,
        /// Where it says so.
        first: Place,
    },
    /// An underlying device that is a tunnel's.
    #[error("{object}: link = \"{name}\" is the device of {of}, which leads into a tunnel")]
    LinkIsTunnel {
        /// Whose it is to be.
        object: String,
        /// The device.
        name: String,
        /// The tunnel.
        of: String,
    },
    /// One prefix behind two tunnels.
    #[error("{object}: route {route} leads into {other} already, see {first}")]
    RouteTaken {
        /// The later tunnel.
        object: String,
        /// The prefix.
        route: String,
        /// The earlier tunnel.
        other: String,
        /// Where it says so.
        first: Place,
    },
    /// One mark and one pair of outer addresses for ESP packets of different DSCPs.
    #[error(
        "{object}: its lane {lane} and lane {other_lane} of {other} have mark {mark:#x} between the same addresses, \
         but not the same outer-dscp, see {first}"
    )]
    OuterDscpDiffers {
        /// The later tunnel.
        object: String,
        /// `CLASS.INDEX`.
        lane: String,
        /// Their mark.
        mark: u32,
        /// The earlier tunnel.
        other: String,
        /// Its lane.
        other_lane: String,
        /// Where its classes are listed.
        first: Place,
    },
    /// Outer addresses of two families.
    #[error("{object}: local {local} and remote {remote} are of different families")]
    Families {
        /// Which tunnel.
        object: String,
        /// Our end.
        local: String,
        /// Their end.
        remote: String,
    },
    /// A tunnel to itself.
    #[error("{object}: local and remote are both {address}")]
    SameEnds {
        /// Which tunnel.
        object: String,
        /// Both ends.
        address: String,
    },
    /// An address that is nobody's.
    #[error("{object}: {key} {address} is {what}, not the address of a gateway")]
    NotEndpoint {
        /// Which tunnel.
        object: String,
        /// `local` or `remote`.
        key: &'static str,
        /// As written.
        address: String,
        /// What it is.
        what: &'static str,
    },
    /// Too small for IPv6.
    #[error("{object}: mtu {mtu} is too small for IPv6, which {with} needs")]
    MtuSmall {
        /// Which tunnel.
        object: String,
        /// As written.
        mtu: u32,
        /// What is IPv6.
        with: String,
    },
    /// Ports of a protocol that has none.
    #[error("{object}: {key} is for tcp, udp and sctp, but protocol is {protocol}")]
    NoPorts {
        /// Which rule.
        object: String,
        /// Which key.
        key: &'static str,
        /// Its protocol.
        protocol: String,
    },
    /// TCP flags of another protocol.
    #[error("{object}: tcp-flags is for tcp, but protocol is {protocol}")]
    NotTcp {
        /// Which rule.
        object: String,
        /// Its protocol.
        protocol: String,
    },
    /// ICMP types of another protocol, or of none.
    #[error("{object}: icmp-type is for icmp and icmpv6, but {found}")]
    NotIcmp {
        /// Which rule.
        object: String,
        /// `protocol is udp`, or that it has none.
        found: String,
    },
    /// Packets that were sent here and came in.
    #[error("{object}: cgroup is for what this host itself sends, but interface for what came in")]
    NotOfHost {
        /// Which rule.
        object: String,
    },
    /// A rule about our own bits.
    #[error("{object}: mark {mark} overlaps [mark] mask {ours:#010x}: those bits are Lanekeeper's own")]
    MarkOurs {
        /// Which rule.
        object: String,
        /// The mark, and its mask if it has one.
        mark: String,
        /// Our mask.
        ours: u32,
        /// The same without our bits, if it still says something.
        rest: Option<String>,
    },
    /// One tunnel of two tenants' own.
    #[error("{object}: tunnel \"{tunnel}\" is {other}'s own, see {first}")]
    TunnelOwned {
        /// The later tenant.
        object: String,
        /// The tunnel.
        tunnel: String,
        /// The earlier tenant.
        other: String,
        /// Where it says so.
        first: Place,
    },
    /// A tenant that nothing belongs to.
    #[error("{object} has neither interfaces, vlans, vrfs nor sources, so nothing is its traffic")]
    EmptyTenant {
        /// Which one.
        object: String,
    },
    /// No keying, or two of them.
    #[error("{object} has {found}; it needs one of \"ike\", \"static\" and \"adopt\"")]
    Keying {
        /// Which tunnel.
        object: String,
        /// `neither` or `both`.
        found: String,
    },
    /// What strongSwan's own configuration says of an adopted connection.
    #[error(
        "{object}: {key} is not ours to say: strongSwan makes the SAs of an adopted connection as swanctl.conf has it"
    )]
    NotOurs {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
    },
    /// What is learnt of an adopted connection, where there is none.
    #[error("{object}: {key} \"{word}\" is what strongSwan has of an adopted connection, and this is none")]
    OfAdopted {
        /// Which tunnel, or its device.
        object: String,
        /// Which key.
        key: &'static str,
        /// `selectors` or `virtual`.
        word: &'static str,
    },
    /// Devices of IKE_SAs that are not an adopted connection's.
    #[error("{object}: \"%unique\" is what strongSwan gives IKE_SAs of an adopted connection, and this is none")]
    EachOfOurs {
        /// Which tunnel's device.
        object: String,
    },
    /// Nothing of ours is in other namespaces but devices that have always been there.
    #[error("{object}: {key} is not ours to say for a device in another namespace")]
    OfNamespace {
        /// Which tunnel, or its device.
        object: String,
        /// The key, or what is written for one.
        key: &'static str,
    },
    /// Nothing says which packets of a device are a tunnel's.
    #[error("{object}: several tunnels may have its device, and without routes no packet is known to be this one's")]
    JointUnrouted {
        /// Which tunnel.
        object: String,
    },
    /// What follows SAs does not say which tunnel a packet takes.
    #[error("{object}: routes \"selectors\" say nothing of which tunnel a packet takes of those that have its device")]
    JointLearnt {
        /// Which tunnel.
        object: String,
    },
    /// What a device of several tunnels does not have.
    #[error(
        "{object}: {key} is not for {}",
        if *external { "an external XFRM interface" } else { "a device that several tunnels have" }
    )]
    OfJoint {
        /// Which tunnel's device.
        object: String,
        /// The key, or what is written for one.
        key: &'static str,
        /// Whether it takes the if_id from the route.
        external: bool,
    },
    /// Two tunnels have one device, and say other things of it.
    #[error(
        "{object}: {key} of its device {name} is another than that of {other}, see {first}, which has the same device"
    )]
    JointDiffers {
        /// The later tunnel.
        object: String,
        /// Which key.
        key: &'static str,
        /// The device.
        name: String,
        /// The earlier tunnel.
        other: String,
        /// Where it says so.
        first: Place,
    },
    /// Policies of one device would be for the same.
    #[error("{object}: remote-ts is missing, and another tunnel has its device and if-id")]
    JointSelectors {
        /// Which tunnel.
        object: String,
    },
    /// The same, of what is written.
    #[error(
        "{object}: {prefix} of its remote-ts meets {theirs} of {other}, see {first}, which has the same device and if-id"
    )]
    JointMeet {
        /// The later tunnel.
        object: String,
        /// Its prefix.
        prefix: String,
        /// The earlier tunnel.
        other: String,
        /// That one's prefix.
        theirs: String,
        /// Where it says so.
        first: Place,
    },
    /// One destination in several tables.
    #[error(
        "{object}: route {prefix} meets {theirs} of {other}, see {first}, which another table has, and a packet's tunnel is found by its \
         destination alone"
    )]
    JointTables {
        /// Which tunnel.
        object: String,
        /// Its prefix.
        prefix: String,
        /// The other tunnel.
        other: String,
        /// That one's prefix.
        theirs: String,
        /// Where it says so.
        first: Place,
    },
    /// A tenant is known by a device of its own.
    #[error(
        "{object}: the device of {tunnel} is not for that tunnel alone, and a tenant's own tunnel has one of its own"
    )]
    JointOwned {
        /// Which tenant.
        object: String,
        /// Which tunnel.
        tunnel: String,
    },
    /// A network namespace has one of them.
    #[error("{object}: its device is external, and so is that of {other}, see {first}: Linux has one such interface")]
    SecondExternal {
        /// The later tunnel.
        object: String,
        /// The earlier tunnel.
        other: String,
        /// Where it names its device.
        first: Place,
    },
    /// GRE has no mark of its own.
    #[error("{object}: key \"%unique\" is for VTIs, whose keys strongSwan gives")]
    EachOfGre {
        /// Which tunnel's device.
        object: String,
    },
    /// Several devices of one name, or a name for several of one device.
    #[error("{object}: name \"{name}\" {}", if *each { "is for one device, and each IKE_SA has one" } else { "is for several devices, and there is one" })]
    EachName {
        /// Which tunnel's device.
        object: String,
        /// What is there.
        name: String,
        /// Whether each IKE_SA has a device.
        each: bool,
    },
    /// A tenant is known by a device that is there.
    #[error("{object}: each IKE_SA of {tunnel} has a device of its own, and a tenant's own tunnel has one")]
    EachOwned {
        /// Which tenant.
        object: String,
        /// Which tunnel.
        tunnel: String,
    },
    /// Clients of a connection that is not adopted.
    #[error("{object}: remote \"any\" is for the clients of an adopted connection, and this is none")]
    AnyPeer {
        /// Which tunnel.
        object: String,
    },
    /// Several connections, and one peer.
    #[error("{object}: connection \"{name}\" may be several, and only clients share a tunnel")]
    Connections {
        /// Which tunnel.
        object: String,
        /// As written.
        name: String,
    },
    /// A device whose lanes are not found by the marks of packets.
    #[error("{object}: the SAs of an adopted connection are reached by an XFRM interface, a VTI or marks alone")]
    AdoptDevice {
        /// Which tunnel.
        object: String,
    },
    /// A class whose lanes nobody could become.
    #[error("{object}: no CHILD_SA of the adopted connection is class \"{class}\"'s")]
    NoChildren {
        /// Which tunnel.
        object: String,
        /// Which of its classes.
        class: String,
    },
    /// CHILD_SAs of a class that the tunnel does not carry.
    #[error("{object}: class \"{class}\" is not among the tunnel's classes")]
    ChildrenOfOther {
        /// Where.
        object: String,
        /// Which class.
        class: String,
    },
    /// No authentication, or two of them.
    #[error("{object}: auth has {found}")]
    Auth {
        /// Which tunnel.
        object: String,
        /// What it has.
        found: &'static str,
    },
    /// An identity that cannot be a lane's.
    #[error(
        "{object}: {key} \"{id}\" is no name that could have a lane's in front, as distinct = \"identity\" takes it"
    )]
    LaneIdentity {
        /// Which tunnel.
        object: String,
        /// Which identity.
        key: &'static str,
        /// As written.
        id: String,
    },
    /// Lanes that are never idle for long.
    #[error("{object}: idle-timeout, but none of its lanes comes up with its first packet")]
    IdleNever {
        /// Which tunnel.
        object: String,
    },
    /// Others can read a secret.
    #[error("{object}: {key} {path} has mode {mode:04o}: {access} by others than its owner")]
    KeyFileOpen {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// `readable`, `writable` or `executable`.
        access: &'static str,
    },
    /// No such file.
    #[error("{object}: {key} {path} does not exist")]
    FileMissing {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Something else of that name.
    #[error("{object}: {key} {path} is {kind}, not a regular file")]
    FileKind {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// We may not look.
    #[error("{object}: {key} {path} cannot be looked at: permission denied")]
    FileHidden {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
}
