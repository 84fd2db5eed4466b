//! One change, and how it reads.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Address, Lack, Link, Route, Rule, State, StateId, XfrmPolicy, XfrmPolicyId};
use crate::policy::Classify;

/// One change. Display is a line of the diff: `+` adds, `-` removes, `~` changes in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "op")]
pub enum Op {
    /// New route; nothing may be at its place.
    AddRoute(Route),
    /// New route to what somebody's CHILD_SA is for: whether it can be had nobody here has a say in.
    FollowRoute(Route),
    /// New rule.
    AddRule(Rule),
    /// New device, down, with our alias.
    AddLink(Link),
    /// Other MTU.
    SetMtu {
        /// Device.
        name: String,
        /// What it has.
        from: u32,
        /// What it gets.
        to: u32,
    },
    /// No second policy check for what comes in by it (net.ipv4.conf.DEVICE.disable_policy).
    DisablePolicy {
        /// Device.
        name: String,
    },
    /// The mark of what comes in by it counts where its source is asked for (net.ipv4.conf.DEVICE.src_valid_mark).
    SourceByMark {
        /// Device.
        name: String,
    },
    /// Into a VRF, out of it, or from one to another. The kernel takes its routes and its IPv6 addresses away.
    SetVrf {
        /// Device.
        name: String,
        /// The VRF that it gets, if any.
        vrf: Option<String>,
    },
    /// To another network namespace, where it is taken up.
    SetNamespace {
        /// Device.
        name: String,
        /// Name below /run/netns.
        namespace: String,
    },
    /// Something that it takes is not there, and so it is not made: fails, for nobody but the operator can do it.
    Await {
        /// Device.
        name: String,
        /// What it takes.
        lack: Lack,
    },
    /// Take it up.
    LinkUp {
        /// Device.
        name: String,
    },
    /// New address.
    AddAddress(Address),
    /// New address that the peer has given.
    FollowAddress(Address),
    /// New state.
    AddState(State),
    /// New policy.
    AddPolicy(XfrmPolicy),
    /// Same selector, mark and if_id; other template or priority.
    UpdatePolicy(XfrmPolicy),
    /// Switch the data path to these tables; executed by `reconcile`.
    LoadTables {
        /// Digest of the tables to load.
        #[serde(serialize_with = "hex")]
        digest: u64,
    },
    /// Attach our programs to a device of ours; executed by `reconcile`.
    Attach {
        /// Device.
        device: String,
    },
    /// Put the programs of a port on an interface, in the place of those that were there for something else; executed by
    /// `reconcile`.
    AttachPort {
        /// Interface.
        interface: String,
        /// Where its packets are to be classified.
        #[serde(serialize_with = "name")]
        classify: Classify,
    },
    /// Put the programs that mark sockets on the root of cgroup2; executed by `reconcile`.
    AttachSockets,
    /// Have charon know this connection in its desired form; executed by `reconcile`.
    LoadConnection {
        /// Its name, `lk-TUNNEL` or `lk-TUNNEL:CLASS.INDEX`.
        name: String,
        /// Digest of the desired form.
        #[serde(serialize_with = "hex")]
        digest: u64,
        /// It is loaded with another digest.
        changed: bool,
    },
    /// Terminate a connection and its SAs, then have charon forget it; executed by `reconcile`.
    UnloadConnection {
        /// Its name.
        name: String,
    },
    /// Remove what charon left in the kernel for a lane that is no more.
    FlushLane {
        /// Request id of its states and policies.
        reqid: u32,
        /// Their if_id.
        if_id: u32,
    },
    /// Take our programs off a device; executed by `reconcile`.
    Detach {
        /// Device.
        device: String,
    },
    /// Take the programs of a port off an interface; executed by `reconcile`.
    DetachPort {
        /// Interface.
        interface: String,
    },
    /// Take the programs that mark sockets off; executed by `reconcile`.
    DetachSockets,
    /// Remove an address of ours.
    RemoveAddress(Address),
    /// Remove a policy of ours.
    RemovePolicy(XfrmPolicyId),
    /// Remove a state of ours.
    RemoveState(StateId),
    /// Remove a device of ours, and with it its addresses.
    RemoveLink {
        /// Device.
        name: String,
    },
    /// The same of one that is in another network namespace.
    RemoveElsewhere {
        /// Device.
        name: String,
        /// Number by which this namespace knows the other.
        namespace: i32,
    },
    /// Remove a route of ours.
    RemoveRoute(Route),
    /// Remove a rule of ours.
    RemoveRule(Rule),
    /// Remove every map, program and pin of ours; executed by `reconcile`.
    RemoveDataplane,
}

/// Whose hands carry an operation out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// [`crate::kernel::apply`].
    Netlink,
    /// [`crate::kernel::dataplane`].
    Dataplane,
    /// [`crate::ike`].
    Charon,
}

/// What tunnels go on without where it cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spared {
    /// A port's programs.
    Port(String),
    /// The programs that mark sockets.
    Sockets,
    /// A device, and with it the tunnel.
    Device(String),
    /// A route that follows a CHILD_SA.
    Route(String),
    /// An address that follows an IKE_SA.
    Address(String),
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(interface) => write!(f, "port {interface:?} has no program"),
            Self::Sockets => f.write_str("no sockets are marked"),
            Self::Device(name) => write!(f, "there is no device {name}, and nothing goes by its tunnel"),
            Self::Route(route) => write!(f, "{route}, of traffic selectors, is not there"),
            Self::Address(address) => write!(f, "{address}, a virtual IP, is not there"),
        }
    }
}

impl Op {
    /// What is missing where it fails, for what is no tunnel's.
    pub fn spared(&self) -> Option<Spared> {
        match self {
            Self::AttachPort { interface, .. } => Some(Spared::Port(interface.clone())),
            Self::AttachSockets => Some(Spared::Sockets),
            Self::Await { name, .. } => Some(Spared::Device(name.clone())),
            Self::FollowRoute(route) => Some(Spared::Route(route.to_string())),
            Self::FollowAddress(address) => Some(Spared::Address(address.to_string())),
            Self::AddRoute(_)
            | Self::AddRule(_)
            | Self::AddLink(_)
            | Self::SetMtu { .. }
            | Self::SetVrf { .. }
            | Self::SetNamespace { .. }
            | Self::LinkUp { .. }
            | Self::AddAddress(_)
            | Self::AddState(_)
            | Self::AddPolicy(_)
            | Self::UpdatePolicy(_)
            | Self::DisablePolicy { .. }
            | Self::SourceByMark { .. }
            | Self::LoadTables { .. }
            | Self::Attach { .. }
            | Self::LoadConnection { .. }
            | Self::UnloadConnection { .. }
            | Self::FlushLane { .. }
            | Self::Detach { .. }
            | Self::DetachPort { .. }
            | Self::DetachSockets
            | Self::RemoveAddress(_)
            | Self::RemovePolicy(_)
            | Self::RemoveState(_)
            | Self::RemoveLink { .. }
            | Self::RemoveElsewhere { .. }
            | Self::RemoveRoute(_)
            | Self::RemoveRule(_)
            | Self::RemoveDataplane => None,
        }
    }

    /// Whose hands carry it out.
    pub fn room(&self) -> Room {
        match self {
            Self::LoadTables { .. }
            | Self::Attach { .. }
            | Self::Detach { .. }
            | Self::AttachPort { .. }
            | Self::DetachPort { .. }
            | Self::AttachSockets
            | Self::DetachSockets
            | Self::RemoveDataplane => Room::Dataplane,
            Self::LoadConnection { .. } | Self::UnloadConnection { .. } => Room::Charon,
            Self::AddRoute(_)
            | Self::FollowRoute(_)
            | Self::FollowAddress(_)
            | Self::AddRule(_)
            | Self::AddLink(_)
            | Self::SetMtu { .. }
            | Self::SetVrf { .. }
            | Self::SetNamespace { .. }
            | Self::Await { .. }
            | Self::DisablePolicy { .. }
            | Self::SourceByMark { .. }
            | Self::LinkUp { .. }
            | Self::AddAddress(_)
            | Self::AddState(_)
            | Self::AddPolicy(_)
            | Self::UpdatePolicy(_)
            | Self::FlushLane { .. }
            | Self::RemoveAddress(_)
            | Self::RemovePolicy(_)
            | Self::RemoveState(_)
            | Self::RemoveLink { .. }
            | Self::RemoveElsewhere { .. }
            | Self::RemoveRoute(_)
            | Self::RemoveRule(_) => Room::Netlink,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddRoute(route) | Self::FollowRoute(route) => write!(f, "+ {route}"),
            Self::AddRule(rule) => write!(f, "+ {rule}"),
            Self::AddLink(link) => write!(f, "+ {link}"),
            Self::SetMtu { name, from, to } => write!(f, "~ link {name} mtu {from} -> {to}"),
            Self::SetVrf { name, vrf } => write!(f, "~ link {name} vrf {}", vrf.as_deref().unwrap_or("none")),
            Self::SetNamespace { name, namespace } => write!(f, "~ link {name} netns {namespace}"),
            Self::Await { name, lack } => write!(f, "+ link {name} waits for {lack}"),
            Self::DisablePolicy { name } => write!(f, "~ link {name} disable-policy"),
            Self::SourceByMark { name } => write!(f, "~ link {name} src-valid-mark"),
            Self::LinkUp { name } => write!(f, "~ link {name} up"),
            Self::AddAddress(address) | Self::FollowAddress(address) => write!(f, "+ {address}"),
            Self::AddState(state) => write!(f, "+ {state}"),
            Self::AddPolicy(policy) => write!(f, "+ {policy}"),
            Self::UpdatePolicy(policy) => write!(f, "~ {policy}"),
            Self::LoadTables { digest } => write!(f, "~ tables {digest:016x}"),
            Self::Attach { device } => write!(f, "+ programs dev {device}"),
            Self::AttachPort { interface, classify } => write!(f, "+ port {interface} classify {}", classify.name()),
            Self::DetachPort { interface } => write!(f, "- port {interface}"),
            Self::AttachSockets => f.write_str("+ programs of sockets"),
            Self::DetachSockets => f.write_str("- programs of sockets"),
            Self::LoadConnection { name, changed: false, .. } => write!(f, "+ connection {name}"),
            Self::LoadConnection { name, changed: true, .. } => write!(f, "~ connection {name}"),
            Self::UnloadConnection { name } => write!(f, "- connection {name}"),
            Self::FlushLane { reqid, if_id } => {
                write!(f, "- states and policies of charon, reqid {reqid:#x} if_id {if_id}")
            }
            Self::Detach { device } => write!(f, "- programs dev {device}"),
            Self::RemoveAddress(address) => write!(f, "- {address}"),
            Self::RemovePolicy(id) => write!(f, "- policy {id}"),
            Self::RemoveState(id) => write!(f, "- state {id}"),
            Self::RemoveLink { name } => write!(f, "- link {name}"),
            Self::RemoveElsewhere { name, namespace } => write!(f, "- link {name} in network namespace {namespace}"),
            Self::RemoveRoute(route) => write!(f, "- {route}"),
            Self::RemoveRule(rule) => write!(f, "- {rule}"),
            Self::RemoveDataplane => f.write_str("- tables, programs and pins"),
        }
    }
}

fn name<S: Serializer>(classify: &Classify, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(classify.name())
}

/// JSON's numbers lose bits above 2^53.
fn hex<S: Serializer>(digest: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{digest:016x}"))
}
