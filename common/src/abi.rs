//! What programs and agent share: names, limits, and the shape of every map's keys and values.
//!
//! Tables exist twice, in slots 0 and 1. Generation g lives in slot g & 1; the [`crate::stamp::Stamp`] in [`map::ACTIVE`]
//! names g. The agent fills the slot that is not read and then writes the stamp of g + 1: a packet reads it once, so it sees
//! one whole generation. Most of a generation is a few large values: the agent writes each with one call, and host and
//! kernel run over the same memory.
//!
//! One rule more or less is edited into the slot that is read. The maps of rules can be mapped (BPF_F_MMAPABLE), so that the
//! agent changes single aligned words: `lanekeeper::compile::edit` says which, and in what order. Whoever changes in place
//! what packets read writes the next stamp behind it.
//!
//! Agents of different versions follow one another, either way, over packets that do not wait. Maps of tables belong to a
//! version, and one agent never looks into those of another. What one hands to the next is in the maps of [`map::KEPT`], whose
//! shapes and meanings never change, and in the pins of links, `links/IFINDEX_PROGRAM`: programs of two versions may run at the
//! same time, count into the same counters and ask the same lanes. What a later version has to say more, it says in a map of
//! another name, under names of kinds that are new to [`map::NAMES`], or in a space of its own; blocks of counters do not grow.

use crate::intervals::{Intervals4, Intervals6};

/// Names the pin folder of [`map::OF_VERSION`]. Rises with every change to this file that changes the shape or meaning of one of
/// those.
pub const VERSION: u32 = if OTHER { 1012 } else { 12 };

/// Whether this is the version that tests change to and from: maps of other shapes, with all that lies in them elsewhere.
const OTHER: bool = cfg!(feature = "other-abi");

/// Names of the programs in the object.
pub mod program {
    /// tc egress of a tunnel device: classify, mark or drop.
    pub const OUT: &str = "lanekeeper_out";
    /// tc ingress of a tunnel device: count by lane.
    pub const IN: &str = "lanekeeper_in";
    /// tc egress of the device that ESP leaves by: outer DSCP.
    pub const OUTER: &str = "lanekeeper_wan";
    /// tc ingress of a port: the class into the mark.
    pub const PORT: &str = "lanekeeper_port";
    /// tc ingress of a device that ESP comes in by: count by lane what came out of tunnels without a device.
    pub const ARRIVED: &str = "lanekeeper_arrived";
    /// XDP of a port: classify, and hand the verdict to [`PORT`].
    pub const XDP: &str = "lanekeeper_xdp";
    /// What every tunnel needs.
    pub const TUNNEL: [&str; 3] = [OUT, IN, OUTER];
    /// cgroup/sock_create: the mark of what is certain of all that a new socket will send.
    pub const SOCKET: &str = "lanekeeper_socket";
    /// cgroup/connect4: the same, where it goes being known by then.
    pub const CONNECT4: &str = "lanekeeper_connect4";
    /// cgroup/connect6.
    pub const CONNECT6: &str = "lanekeeper_connect6";
    /// cgroup/sendmsg4: as for a new socket, by the rules of now.
    pub const SENDMSG4: &str = "lanekeeper_sendmsg4";
    /// cgroup/sendmsg6.
    pub const SENDMSG6: &str = "lanekeeper_sendmsg6";
    /// All that work on sockets, loaded where sockets are to be marked.
    pub const OF_SOCKETS: [&str; 5] = [SOCKET, CONNECT4, CONNECT6, SENDMSG4, SENDMSG6];
}

/// Names of the maps in the object, which are also the names of their pins.
pub mod map {
    /// ARRAY of 1: u64, the [`crate::stamp::Stamp`] of the tables that packets read; 0 before the first.
    pub const ACTIVE: &str = "ACTIVE";
    /// ARRAY of 2: [`super::Generation`] by slot.
    pub const GENERATIONS: &str = "GENERATIONS";
    /// ARRAY of 2: u64 digest by slot; for the agent alone.
    pub const DIGESTS: &str = "DIGESTS";
    /// ARRAY: [`super::Record`] by slot * MAX_RECORDS + number.
    pub const RECORDS: &str = "RECORDS";
    /// ARRAY of 2: [`super::Heads`] by slot.
    pub const HEADS: &str = "HEADS";
    /// ARRAY: [`super::Candidates`] by slot * [`super::FIELDS`] + [`super::field`].
    pub const CANDIDATES: &str = "CANDIDATES";
    /// ARRAY: [`super::Tenant`] by slot * MAX_TENANTS + number.
    pub const TENANTS: &str = "TENANTS";
    /// ARRAY: u32 bits of the lanes that are up, by lane group.
    pub const LANES_UP: &str = "LANES_UP";
    /// HASH: ifindex -> [`super::Device`].
    pub const DEVICES: &str = "DEVICES";
    /// HASH: ifindex -> [`super::Ingress`].
    pub const INTERFACES: &str = "INTERFACES";
    /// HASH: u64 id of a cgroup -> u32, the number of its path.
    pub const CGROUPS: &str = "CGROUPS";
    /// HASH: the number of a cgroup's path -> [`super::Guide`] to the marks of its sockets.
    pub const GUIDES: &str = "GUIDES";
    /// LRU_HASH: u64 cookie of a socket -> [`super::Socket`].
    pub const SOCKETS: &str = "SOCKETS";
    /// LRU_HASH: [`super::FragmentKey`] -> [`super::FragmentValue`].
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// PERCPU_ARRAY: [`super::Counters`], of which counter n is n % COUNTERS_TOGETHER of value n / COUNTERS_TOGETHER.
    pub const COUNTERS: &str = "COUNTERS";
    /// PERCPU_ARRAY of 1: [`super::Scratch`], for the length of one packet.
    pub const SCRATCH: &str = "SCRATCH";
    /// HASH: [`super::OuterKey`] -> u32 DSCP.
    pub const OUTER: &str = "OUTER";
    /// HASH: [`super::Name`] -> [`super::Numbers`], the agent's registry.
    pub const NAMES: &str = "NAMES";
    /// ARRAY: u64, events that the agent counts.
    pub const TALLIES: &str = "TALLIES";
    /// PERCPU_ARRAY: [`super::FlowBlock`], what was found lately. Not pinned: every load of the programs has its own.
    pub const FLOWS: &str = "FLOWS";
    /// PERCPU_ARRAY of 1: [`super::Passages`]. Not pinned either.
    pub const PASSAGES: &str = "PASSAGES";
    /// Pinned beside the folders of versions, for all of them.
    pub const KEPT: [&str; 5] = [NAMES, COUNTERS, TALLIES, LANES_UP, SOCKETS];
    /// Pinned in the folder of this version.
    pub const OF_VERSION: [&str; 14] = [
        ACTIVE,
        GENERATIONS,
        DIGESTS,
        RECORDS,
        HEADS,
        CANDIDATES,
        TENANTS,
        DEVICES,
        INTERFACES,
        CGROUPS,
        GUIDES,
        FRAGMENTS,
        SCRATCH,
        OUTER,
    ];
}

/// Ways in which the rules of a generation match, and one more: number 0 is none.
pub const MAX_RECORDS: usize = if OTHER { 65536 } else { 131072 };
/// Chains of records: twice as many as records, so that few keys share one.
pub const MAX_HEADS: usize = 262144;
/// Tuples of a generation.
pub const MAX_TUPLES: usize = 128;
/// Elementary intervals of tenants' source prefixes: room for a disjoint one of each tenant.
pub const MAX_INTERVALS: usize = 32768;
/// Elementary intervals of what tunnels are found behind by a packet's destination.
pub const MAX_BEHIND: usize = 2048;
/// Named ingress interfaces; number 0 stands for all that no rule or tenant names.
pub const MAX_INTERFACES: usize = if OTHER { 8192 } else { 16384 };
/// Paths of cgroups ever named by rules; number 0 stands for none of them.
pub const MAX_CGROUPS: usize = 1024;
/// Levels of the hierarchy of cgroups at which a packet's are looked for, the root's included.
pub const MAX_CGROUP_LEVELS: u32 = 16;
/// Parts of rules that a cgroup's sockets are judged by, and one after the other: what the first of them leave open stays open.
pub const MAX_HINTS: usize = 32;
/// Sockets of cgroups that rules name, made last.
pub const MAX_SOCKETS: usize = 16384;
/// Tenants; number 0 stands for none.
pub const MAX_TENANTS: usize = 16384;
/// Classes of a policy.
pub const MAX_CLASSES: usize = 64;
/// Tenant-class pairs of a generation that have counters of their own; tenants behind them have one set each.
pub const MAX_TENANT_CLASSES: usize = 8192;
/// Tunnels ever named.
pub const MAX_TUNNELS: usize = if OTHER { 512 } else { 1024 };
/// Tunnel-class pairs of a generation.
pub const MAX_STEERS: usize = 4096;
/// Lanes of a generation.
pub const MAX_LANES: usize = 8192;
/// Lanes of one class in one tunnel: the bits of a [`map::LANES_UP`] value.
pub const MAX_LANES_OF_CLASS: usize = 32;
/// Tunnel-class pairs ever named.
pub const MAX_GROUPS: usize = 8192;
/// Classes that a packet is offered to, its own first.
pub const MAX_HOPS: usize = 8;
/// Counters.
pub const MAX_COUNTERS: usize = 262144;
/// Counters in one value of their map: a per-CPU array is allocated value by value, read by one call each, and found by way
/// of a pointer to each, which so stay in a cache.
pub const COUNTERS_TOGETHER: usize = 256;
/// Events that the agent counts.
pub const MAX_TALLIES: usize = 16384;
/// Devices with programs.
pub const MAX_DEVICES: usize = if OTHER { 1024 } else { 2048 };
/// Flows that each CPU remembers the verdict of; a power of 2.
pub const MAX_FLOWS: usize = 32768;
/// Flows in one value of [`map::FLOWS`]: the fewer values, the less there is to look up, and per-CPU ones end at 32 KiB.
pub const FLOWS_OF_BLOCK: usize = 128;
/// Pairs of device and ingress interface that each CPU remembers; a power of 2.
pub const MAX_PASSAGES: usize = 256;
/// Datagrams whose fragments are followed at a time.
pub const MAX_FRAGMENTS: usize = 8192;
/// Lanes with an outer DSCP.
pub const MAX_OUTER: usize = 8192;
/// Interfaces by which packets come in, of which rules or tenants name some.
pub const MAX_INGRESS: usize = 16384;
/// Names in the registry.
pub const MAX_NAMES: usize = 131072;
/// Bytes of an encoded name.
pub const NAME_BYTES: usize = 192;

/// Request ids of lanes that we name ourselves: these 16 upper bits, then 16 that tell them apart.
pub const REQID_PREFIX: u32 = 0x4c4b;
/// Places of [`Generation::reqids`] in a row at which a lane may be: charon's own request ids count up from 1, and meet the
/// lower halves of ours.
pub const REQID_PLACES: usize = 8;
/// No rule: the default applied.
pub const NO_RULE: u32 = u32::MAX;
/// No lane in a table of lane numbers, or chosen.
pub const NO_LANE: u16 = u16::MAX;
/// In [`Generation::interface_tenant`]: the interface is a tunnel of the tenant's own, and nothing else counts.
pub const OWN_TUNNEL: u16 = 0x8000;
/// VLAN id of a packet without a tag: 4095 is no valid one (IEEE 802.1Q).
pub const NO_VLAN: u16 = 4095;

/// Counters with fixed places; the registry gives out the rest.
pub mod counter {
    /// [`super::super::verdict::ParseReason`] is added.
    pub const PARSE: u32 = 0;
    /// [`super::super::verdict::BlockReason`] is added; for packets that were not classified.
    pub const BLOCKED: u32 = 8;
    /// The first that the registry gives out.
    pub const FREE: u32 = 16;
    /// Counters in the block of a tenant's class: out, in, then one per reason for blocking.
    pub const CLASS_BLOCK: u32 = 8;
    /// In a class's block: into the tunnel.
    pub const CLASS_OUT: u32 = 0;
    /// In a class's block: out of the tunnel.
    pub const CLASS_IN: u32 = 1;
    /// In a class's block: [`super::super::verdict::BlockReason`] is added.
    pub const CLASS_BLOCKED: u32 = 1;
    /// Counters in the block of a port.
    pub const PORT_BLOCK: u32 = 2;
    /// In a port's block: the class was handed over by XDP.
    pub const PORT_XDP: u32 = 0;
    /// In a port's block: tc classified by itself.
    pub const PORT_TC: u32 = 1;
    /// Counters in the block of a lane.
    pub const LANE_BLOCK: u32 = 2;
    /// In a lane's block: into the tunnel.
    pub const LANE_OUT: u32 = 0;
    /// In a lane's block: out of the tunnel.
    pub const LANE_IN: u32 = 1;
}

/// Packets and bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes from the network header on.
    pub bytes: u64,
}

/// Some counters in a row.
pub type Counters = [Counter; COUNTERS_TOGETHER];

/// A set of tuples, one bit each, the first in bit 0 of word 0.
pub type TupleSet = [u64; MAX_TUPLES / 64];

/// For each value of a field, the tuples with a rule that accepts it.
pub type Candidates = [TupleSet; 65536];

/// Fields with [`Candidates`].
pub const FIELDS: usize = 6;

/// Their places. Of IPv4 addresses the upper 16 bits count, of IPv6 addresses a hash of the upper 48.
pub mod field {
    /// IPv4 source.
    pub const SOURCE4: u32 = 0;
    /// IPv4 destination.
    pub const DESTINATION4: u32 = 1;
    /// IPv6 source.
    pub const SOURCE6: u32 = 2;
    /// IPv6 destination.
    pub const DESTINATION6: u32 = 3;
    /// Source port.
    pub const SOURCE_PORT: u32 = 4;
    /// Destination port.
    pub const DESTINATION_PORT: u32 = 5;
}

/// The first record of each chain; 0 where it is empty.
pub type Heads = [u32; MAX_HEADS];

/// Rules that are looked up by the same parts of a packet.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Bits of the source that are part of the key.
    pub source_mask: [u64; 2],
    /// Bits of the destination.
    pub destination_mask: [u64; 2],
    /// No rule of this tuple or of one behind it comes before this one: once an earlier one has matched, none of them could
    /// win.
    pub first_rule: u32,
    /// Bits of the ports that are: source in the upper half, destination in the lower.
    pub ports_mask: u32,
}

/// One way in which a rule matches: a rule with lists has one for each combination of their members.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Source prefix.
    pub source: [u64; 2],
    /// Its mask.
    pub source_mask: [u64; 2],
    /// Destination prefix.
    pub destination: [u64; 2],
    /// Its mask.
    pub destination_mask: [u64; 2],
    /// Bit n: DSCP n matches.
    pub dscp: u64,
    /// First and last source port.
    pub source_port: [u16; 2],
    /// First and last destination port.
    pub destination_port: [u16; 2],
    /// Number of its rule, in the order of the list but with gaps: the lowest that matches wins.
    pub rule: u32,
    /// The next record of the chain, of the same or a later rule; 0 at its end.
    pub next: u32,
    /// The rule's counter; 0 for a rule that is not counted.
    pub counter: u32,
    /// The rule's class.
    pub class: u16,
    /// Tenant.
    pub tenant: u16,
    /// Number of the ingress interface; 0 for any.
    pub interface: u16,
    /// VLAN id; [`ANY_VLAN`] for any.
    pub vlan: u16,
    /// Protocol; [`ANY_PROTOCOL`] for any.
    pub protocol: u16,
    /// 4 or 6; 0 for both.
    pub family: u8,
    /// 1: packets without ports do not match.
    pub ports: u8,
    /// The mark that the packet came with, under its mask.
    pub mark: u32,
    /// Bits of the mark that count.
    pub mark_mask: u32,
    /// First and last length.
    pub length: [u16; 2],
    /// ICMP type; [`ANY_ICMP`] for any packet.
    pub icmp_type: u16,
    /// TCP flags, under their mask.
    pub tcp_flags: u16,
    /// Flags that count, and [`NO_TCP`]; 0 for any packet.
    pub tcp_flags_mask: u16,
    /// Number of the cgroup that the packet's own is, or is below; 0 for any packet, of this host or not.
    pub cgroup: u16,
    /// [`ANY_FRAGMENT`], [`FRAGMENTS`] or [`NO_FRAGMENTS`].
    pub fragment: u8,
    /// Zero.
    pub _pad: [u8; 3],
}

/// In [`Parsed::icmp_type`].
pub const NO_ICMP: u16 = 0x100;
/// In [`Parsed::tcp_flags`]: a bit that no rule's mask leaves out, so that rules about flags match TCP alone.
pub const NO_TCP: u16 = 0x100;
/// In [`Record::icmp_type`].
pub const ANY_ICMP: u16 = u16::MAX;
/// In [`Record::fragment`], whole or not.
pub const ANY_FRAGMENT: u8 = 0;
/// In [`Record::fragment`], parts of datagrams alone.
pub const FRAGMENTS: u8 = 1;
/// In [`Record::fragment`], whole packets alone.
pub const NO_FRAGMENTS: u8 = 2;
/// In [`Record::vlan`], tagged or not.
pub const ANY_VLAN: u16 = u16::MAX;
/// In [`Record::protocol`].
pub const ANY_PROTOCOL: u16 = u16::MAX;

/// In [`TunnelEntry::present`]: there is such a tunnel.
pub const PRESENT: u16 = 1;
/// In [`TunnelEntry::present`]: it stands for a device that several tunnels have, and a packet's destination says which it takes.
pub const BY_DESTINATION: u16 = 2;
/// In [`Generation::behind4`] and [`Generation::behind6`]: the tunnel has a device, with others.
pub const ON_DEVICE: u16 = 1 << 15;
const _: () = assert!(MAX_TUNNELS < ON_DEVICE as usize);

/// Where a tunnel's classes begin.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TunnelEntry {
    /// In [`Generation::steers`]; class n is n places further.
    pub first: u32,
    /// [`PRESENT`] where this generation has the tunnel, or [`BY_DESTINATION`]; else 0.
    pub present: u16,
    /// The tenant whose own it is; 0 for a tunnel of nobody's own.
    pub owner: u16,
    /// One more than the number in [`Generation::lanes`] of the lane that all comes in by, where its device forgets by which SA
    /// a packet came; 0 where it does not.
    pub only: u16,
    /// Zero.
    pub _pad: u16,
}

/// One class that a packet is offered to.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hop {
    /// In [`map::LANES_UP`].
    pub group: u32,
    /// In [`Generation::lanes`].
    pub first: u16,
    /// How many lanes.
    pub lanes: u16,
    /// Counter of this fallback; 0 for the packet's own class.
    pub counter: u32,
}

/// How the packets of one class leave one tunnel.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steer {
    /// In the order in which they are tried.
    pub hops: [Hop; MAX_HOPS],
    /// How many of them count.
    pub len: u32,
    /// Number of the [`crate::verdict::BlockReason`] at the end of the chain.
    pub end: u32,
}

/// A lane.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneEntry {
    /// Under the mask, in place.
    pub mark: u32,
    /// First of its counters.
    pub counters: u32,
    /// Of its states; 0 where it has none.
    pub reqid: u32,
    /// Its class.
    pub class: u16,
    /// Zero.
    pub _pad: u16,
}

/// A tenant; the one of number 0 is what belongs to none.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tenant {
    /// Tuples with a rule of its own that is not in its chain.
    pub tuples: TupleSet,
    /// First counter of its first class; where they are scattered, its place in [`Generation::class_counters`].
    pub counters: u32,
    /// The class of what none of its rules matches.
    pub default_class: u16,
    /// From a class's first counter to that of the next one; 0 where all classes have the same.
    pub step: u16,
    /// 1: some class came later than the others, and no step leads to its counters.
    pub scattered: u16,
    /// 1: it has tunnels of its own, and reaches no other.
    pub tied: u16,
    /// The first record of the chain that is its own; 0 where its records are in tuples alone.
    pub first: u32,
}

/// What a generation has once.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// The bits of the mark that are ours.
    pub mark_mask: u32,
    /// Always 0, which the verifier does not know: see `blur`.
    pub zero: u32,
    /// Tuples with a rule that matches packets without ports.
    pub portless: TupleSet,
    /// What its rules look at beside a flow's own fields.
    pub asked: Asked,
}

/// Bits of the fields that differ between a flow's packets, set where some rule looks at them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Of the mark that a packet came with.
    pub mark: u32,
    /// Of its length.
    pub length: u16,
    /// Of its TCP flags.
    pub tcp_flags: u16,
    /// Of its ICMP type.
    pub icmp_type: u16,
    /// Of its DSCP.
    pub dscp: u16,
    /// Of the place of its cgroup; 0 where no rule names one, and none is looked for.
    pub cgroup: u16,
    /// Zero.
    pub _pad: u16,
}

/// All that the verdict on a packet depends on, without gaps; fields that no rule looks at are zero in it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FlowKey(pub [u64; 7]);

/// The verdict on a flow.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// The [`crate::stamp::Stamp`] of the tables that it comes from; it holds with these alone.
    pub stamp: u64,
    /// The flow.
    pub key: FlowKey,
    /// Rule, or [`NO_RULE`].
    pub rule: u32,
    /// Its counter.
    pub counter: u32,
    /// Class.
    pub class: u16,
    /// Tenant.
    pub tenant: u16,
    /// The flow's hash.
    pub hash: u32,
}

/// A value of [`map::FLOWS`].
pub type FlowBlock = [Flow; FLOWS_OF_BLOCK];

/// Everything of one generation but its tenants, its records, their chains, and the candidates by large fields.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Generation {
    /// Single values.
    pub head: Head,
    /// Tenants by IPv4 source.
    pub tenants4: Intervals4,
    /// Tenants by IPv6 source.
    pub tenants6: Intervals6,
    /// Tenant by number of the ingress interface, with [`OWN_TUNNEL`].
    pub interface_tenant: [u16; MAX_INTERFACES],
    /// Tenant by VLAN id.
    pub vlan_tenant: [u16; 4096],
    /// By the number of a cgroup's path: its place among those that rules name, from 1 on and depth first, and the last
    /// place of those below it; zeros for one that no rule of this generation names.
    pub cgroups: [[u16; 2]; MAX_CGROUPS],
    /// Tuples with a rule that accepts the protocol.
    pub protocol_tuples: [TupleSet; 256],
    /// Tuples, those with earlier rules first.
    pub tuples: [Tuple; MAX_TUPLES],
    /// First counters of the classes of tenants whose are scattered, class n at the tenant's place + n.
    pub class_counters: [u32; MAX_TENANT_CLASSES],
    /// By number of the tunnel.
    pub tunnels: [TunnelEntry; MAX_TUNNELS],
    /// By tunnel and class.
    pub steers: [Steer; MAX_STEERS],
    /// Lanes.
    pub lanes: [LaneEntry; MAX_LANES],
    /// Number in `lanes` by the lower half of the request id, or in one of the places behind that, [`REQID_PLACES`] in all;
    /// [`NO_LANE`] where the row ends. [`crate::lane::of_reqid`] finds it.
    pub reqids: [u16; 65536],
    /// One more than the number of the tunnel that leads to an IPv4 destination, of those without a device and, with [`ON_DEVICE`], of
    /// those that have one with others; 0 where none does.
    pub behind4: Intervals4<MAX_BEHIND>,
    /// The same of IPv6.
    pub behind6: Intervals6<MAX_BEHIND>,
    /// How many tunnels have no device: where there is none, ports look no destination up.
    pub bare: u32,
    /// Zero.
    pub _pad: u32,
}

/// A device with our programs.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Device {
    /// Number of its tunnel.
    pub tunnel: u32,
    /// [`device_flag`]s.
    pub flags: u32,
}

/// Bits of [`Device::flags`].
pub mod device_flag {
    /// Packets begin with an Ethernet header, not with IP.
    pub const ETHERNET: u32 = 1;
    /// Leave the decision in the packet's control block, for test runs; never set on a device that is attached.
    pub const TRACE: u32 = 2;
    /// It is in another network namespace, whose interfaces have numbers of their own: none of them is one that the agent knows.
    pub const ELSEWHERE: u32 = 4;
}

/// In [`Ingress::port`]: packets begin with an Ethernet header.
pub const ETHERNET_PORT: u32 = 1 << 31;
const _: () = assert!(MAX_COUNTERS <= ETHERNET_PORT as usize);

/// An interface by which packets come in.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingress {
    /// Number of its name; 0 where nothing names it.
    pub number: u16,
    /// The id that it strips; [`NO_VLAN`] where it strips none.
    pub vlan: u16,
    /// First counter of the port, with [`ETHERNET_PORT`]; 0 where it is none.
    pub port: u32,
}

impl Ingress {
    /// An interface of which the agent says nothing.
    pub const UNKNOWN: Ingress = Ingress { number: 0, vlan: NO_VLAN, port: 0 };
}

/// What XDP leaves in front of a packet for tc ingress of the same device: words, since nothing there is aligned to more.
///
/// It holds only where tc would decide by the same things: the same tables, the same interface, the same VLAN id, and no
/// bit of a mark, of which XDP sees none; but for length and flags of packets that are merged in between. Equal for all packets of a flow, as packets are merged only where theirs are.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handed {
    /// [`Handed::MAGIC`]; with the exact size it tells it from another program's metadata.
    pub magic: u32,
    /// Upper and lower half of the [`crate::stamp::Stamp`].
    pub stamp: [u32; 2],
    /// ifindex of the device.
    pub port: u32,
    /// VLAN id, or [`NO_VLAN`].
    pub vlan: u32,
    /// The class.
    pub class: u32,
}

impl Handed {
    /// "LKX" as a number, and the version: in a change between two, XDP of one may be in front of tc of the other, whose tables
    /// say other things by an equal stamp.
    pub const MAGIC: u32 = 0x4c4b_5800 | VERSION & 0xff;
}

/// bpf_xdp_adjust_meta takes 32 bytes at most before 6.6, in words.
const _: () = assert!(size_of::<Handed>() <= 32 && size_of::<Handed>().is_multiple_of(4));

/// What [`map::DEVICES`] and [`map::INTERFACES`] say of packets that leave by one device and came in by one interface.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// The [`crate::stamp::Stamp`] of the tables when it was looked up; it holds with these alone.
    pub stamp: u64,
    /// ifindex of the device; 0 for what is classified where it comes in.
    pub to: u32,
    /// ifindex of the interface; 0 for the host itself.
    pub from: u32,
    /// The device.
    pub device: Device,
    /// The interface.
    pub ingress: Ingress,
}

/// The value of [`map::PASSAGES`].
pub type Passages = [Passage; MAX_PASSAGES];

/// What the fragments of one datagram have in common.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source, upper and lower half.
    pub source: [u64; 2],
    /// Destination, upper and lower half.
    pub destination: [u64; 2],
    /// Identification.
    pub id: u32,
    /// ifindex of the tunnel's device, or of the port.
    pub device: u32,
    /// Protocol; 0 for IPv6, where it is no part of the key (RFC 8200 section 4.5).
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// VLAN id, or [`NO_VLAN`]: the same addresses may be several tenants'.
    pub vlan: u16,
    /// Number of the ingress interface, for the same reason.
    pub interface: u32,
}

/// What the first fragment decided.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FragmentValue {
    /// The number in [`map::ACTIVE`] at that time; valid in its generation alone.
    pub generation: u64,
    /// When it was seen, in seconds.
    pub seen: u32,
    /// The flow's hash.
    pub hash: u32,
    /// Rule, or [`NO_RULE`].
    pub rule: u32,
    /// Its counter.
    pub counter: u32,
    /// Class.
    pub class: u16,
    /// Tenant.
    pub tenant: u16,
    /// Zero.
    pub _pad: u32,
}

/// What the parser says of a packet, or why it could not, as plain numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Inner source.
    pub source: [u64; 2],
    /// Inner destination.
    pub destination: [u64; 2],
    /// Identification of a fragment.
    pub id: u32,
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of what follows IP's headers.
    pub transport: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// VLAN id, or [`NO_VLAN`].
    pub vlan: u16,
    /// Protocol.
    pub protocol: u8,
    /// DSCP.
    pub dscp: u8,
    /// 4 or 6.
    pub family: u8,
    /// 1 where the ports are there.
    pub ports: u8,
    /// 0 whole, 1 first, 2 later.
    pub fragment: u8,
    /// Number of the [`crate::verdict::ParseReason`]; 0 where all else holds.
    pub reason: u8,
    /// Bytes from the IP header on, as that says.
    pub length: u16,
    /// Type of an ICMP or ICMPv6 message; [`NO_ICMP`] for all else.
    pub icmp_type: u16,
    /// Flags of TCP; [`NO_TCP`] for all else.
    pub tcp_flags: u16,
    /// Place in [`Generation::cgroups`] of the deepest cgroup that rules name and that its socket's is, or is below; 0 for
    /// none and for what is not the host's own. Not from its bytes: whoever had them read adds it.
    pub cgroup: u16,
}

/// What the rules said of the packet at hand.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// Rule.
    pub rule: u32,
    /// Its counter.
    pub counter: u32,
    /// Tenant.
    pub tenant: u16,
    /// Class.
    pub class: u16,
    /// Hash of its flow.
    pub hash: u32,
    /// Number of the [`crate::verdict::ParseReason`], or 0.
    pub parse: u32,
    /// Zero.
    pub _pad: u32,
}

/// In [`Search::stage`].
pub mod stage {
    /// Nothing was looked at.
    pub const TENANT: u32 = 0;
    /// The tenant's own chain is; [`super::Search::left`] has all of its tuples.
    pub const CHAIN: u32 = 1;
    /// The tuples are; it has those that may have a rule for the packet.
    pub const TUPLES: u32 = 2;
}

/// How far the search for a packet's rule has come.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Search {
    /// The [`crate::stamp::Stamp`] of the tables that it reads.
    pub stamp: u64,
    /// Tuples that are left.
    pub left: TupleSet,
    /// Record to look at next; 0 where the next tuple is due.
    pub record: u32,
    /// Record of the first rule so far; 0 for none.
    pub found: u32,
    /// That rule, or [`NO_RULE`].
    pub rule: u32,
    /// Tenant of the packet.
    pub tenant: u16,
    /// Number of its ingress interface.
    pub interface: u16,
    /// The mark that it came with.
    pub mark: u32,
    /// Of [`stage`].
    pub stage: u32,
}

/// What the functions that the verifier looks at one by one leave for each other and for the program that called them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scratch {
    /// From the parser.
    pub parsed: Parsed,
    /// From the rules.
    pub said: Said,
    /// Of the rules, at work.
    pub search: Search,
}

/// What can be said of a rule before there is a packet, or of one combination of the members of its lists.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hint {
    /// Destination prefix.
    pub destination: [u64; 2],
    /// Its mask.
    pub destination_mask: [u64; 2],
    /// First and last destination port.
    pub destination_port: [u16; 2],
    /// Protocol; [`ANY_PROTOCOL`] for any.
    pub protocol: u16,
    /// 4 or 6; 0 for both.
    pub family: u8,
    /// [`hint_flag`]s.
    pub flags: u8,
    /// Of the rule's class, under the mask of the [`Guide`]; one of other bits is no class's.
    pub mark: u32,
    /// Zero.
    pub _pad: u32,
}

/// Bits of [`Hint::flags`].
pub mod hint_flag {
    /// The rule has fields of which only a packet shows whether they match.
    pub const UNSEEN: u8 = 1;
    /// Packets without ports do not match.
    pub const PORTS: u8 = 2;
}

/// How the sockets of a cgroup are marked, and of those below it that have no guide of their own.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guide {
    /// Cookie of the network namespace: sockets of others send nothing by this host's own hand.
    pub namespace: u64,
    /// The bits of the mark that are ours.
    pub mask: u32,
    /// How many hints count.
    pub len: u32,
    /// Always 0, which the verifier does not know: see `blur`.
    pub zero: u32,
    /// Zero.
    pub _pad: u32,
    /// In the order of the rules.
    pub hints: [Hint; MAX_HINTS],
}

/// A socket that was made in a cgroup with a [`Guide`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Socket {
    /// Id of the cgroup that it was made in.
    pub cgroup: u64,
    /// The mark that it has from us, under the mask: another one is its program's own.
    pub mark: u32,
    /// Zero.
    pub _pad: u32,
}

/// An ESP packet on its way out, by what its lane leaves on it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct OuterKey {
    /// Outer source; IPv4 in the last four bytes.
    pub local: [u64; 2],
    /// Outer destination.
    pub remote: [u64; 2],
    /// Our bits of the mark.
    pub mark: u32,
    /// The mask that cut them out.
    pub mask: u32,
}

/// An encoded name of the registry, padded with zeros.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub [u8; NAME_BYTES]);

/// What a name stands for: numbers in a row. An agent that does not know the name still knows which are taken.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u16,
    /// Of which [`space`].
    pub space: u16,
}

/// Numbers of one kind of thing do not clash; kinds of one space share it. Never renumbered.
pub mod space {
    /// Ingress interfaces.
    pub const INTERFACE: u16 = 0;
    /// Cgroups.
    pub const CGROUP: u16 = 1;
    /// Tunnels.
    pub const TUNNEL: u16 = 2;
    /// Words of [`super::map::LANES_UP`], in which bit n is lane n.
    pub const GROUP: u16 = 3;
    /// Of [`super::map::COUNTERS`].
    pub const COUNTER: u16 = 4;
    /// Of [`super::map::TALLIES`].
    pub const TALLY: u16 = 5;
    /// What is only there or not.
    pub const MARK: u16 = 6;
}

/// Shared types: any bit pattern is a value, and the fields leave no gap, which this checks when it compiles.
macro_rules! shared {
    ($($type:ty { $($field:ty),+ })+) => { $(
        const _: () = assert!(size_of::<$type>() == 0 $(+ size_of::<$field>())+, "padding in a map's type");
        // SAFETY: repr(C), Copy, made of integers alone, and without padding by the assertion above.
        #[cfg(feature = "host")]
        #[allow(unsafe_code)]
        unsafe impl aya::Pod for $type {}
    )+ };
}

pub(crate) use shared;

shared! {
    Counter { u64, u64 }
    Record {
        [u64; 2], [u64; 2], [u64; 2], [u64; 2], u64, [u16; 2], [u16; 2], u32, u32, u32, u16, u16, u16, u16, u16, u8, u8,
        u32, u32, [u16; 2], u16, u16, u16, u16, u8, [u8; 3]
    }
    Tuple { [u64; 2], [u64; 2], u32, u32 }
    TunnelEntry { u32, u16, u16, u16, u16 }
    Hop { u32, u16, u16, u32 }
    Steer { [Hop; MAX_HOPS], u32, u32 }
    LaneEntry { u32, u32, u32, u16, u16 }
    Tenant { TupleSet, u32, u16, u16, u16, u16, u32 }
    Head { u32, u32, TupleSet, Asked }
    Asked { u32, u16, u16, u16, u16, u16, u16 }
    FlowKey { [u64; 7] }
    Flow { u64, FlowKey, u32, u32, u16, u16, u32 }
    Generation {
        Head, Intervals4, Intervals6, [u16; MAX_INTERFACES], [u16; 4096], [[u16; 2]; MAX_CGROUPS], [TupleSet; 256],
        [Tuple; MAX_TUPLES], [u32; MAX_TENANT_CLASSES], [TunnelEntry; MAX_TUNNELS], [Steer; MAX_STEERS],
        [LaneEntry; MAX_LANES], [u16; 65536], Intervals4<MAX_BEHIND>, Intervals6<MAX_BEHIND>, u32, u32
    }
    Intervals4<MAX_BEHIND> { [u32; MAX_BEHIND], [u16; MAX_BEHIND] }
    Intervals6<MAX_BEHIND> { [[u64; 2]; MAX_BEHIND], [u16; MAX_BEHIND] }
    Intervals4 { [u32; MAX_INTERVALS], [u16; MAX_INTERVALS] }
    Intervals6 { [[u64; 2]; MAX_INTERVALS], [u16; MAX_INTERVALS] }
    Device { u32, u32 }
    Ingress { u16, u16, u32 }
    Passage { u64, u32, u32, Device, Ingress }
    FragmentKey { [u64; 2], [u64; 2], u32, u32, u8, u8, u16, u32 }
    FragmentValue { u64, u32, u32, u32, u32, u16, u16, u32 }
    Parsed { [u64; 2], [u64; 2], u32, u32, u32, u16, u16, u16, u8, u8, u8, u8, u8, u8, u16, u16, u16, u16 }
    Said { u32, u32, u16, u16, u32, u32, u32 }
    Search { u64, TupleSet, u32, u32, u32, u16, u16, u32, u32 }
    Scratch { Parsed, Said, Search }
    Hint { [u64; 2], [u64; 2], [u16; 2], u16, u8, u8, u32, u32 }
    Guide { u64, u32, u32, u32, u32, [Hint; MAX_HINTS] }
    Socket { u64, u32, u32 }
    OuterKey { [u64; 2], [u64; 2], u32, u32 }
    Name { [u8; NAME_BYTES] }
    Numbers { u32, u16, u16 }
}

/// Map values end on multiples of 8, as the kernel lays arrays out.
const _: () = assert!(size_of::<Generation>().is_multiple_of(8) && size_of::<Record>().is_multiple_of(8));
/// A value of an array is 4 MiB at most (KMALLOC_MAX_SIZE of 6.1).
const _: () = assert!(size_of::<Generation>() < 4 << 20);

#[cfg(feature = "host")]
impl Generation {
    /// All zeros, made in place: it is too large for a stack.
    #[allow(unsafe_code)]
    pub fn zeroed() -> alloc::boxed::Box<Self> {
        // SAFETY: all fields are integers, for which zero bytes are a value.
        unsafe { alloc::boxed::Box::new_zeroed().assume_init() }
    }

    /// Its bytes, as the kernel stores them.
    #[allow(unsafe_code)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the type has no padding (asserted above), so every byte of it is initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

#[cfg(feature = "host")]
impl Tenant {
    /// Its bytes, as the kernel stores them.
    #[allow(unsafe_code)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as for a generation.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

#[cfg(feature = "host")]
impl Record {
    /// Its bytes, as the kernel stores them.
    #[allow(unsafe_code)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as for a generation.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}
