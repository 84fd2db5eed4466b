//! What charon is to load for a tunnel: one connection with a child for each lane, or a connection for each lane.

pub mod swanctl;

use std::net::IpAddr;

use ipnet::IpNet;

use super::credentials::Credentials;
use crate::lane::LaneId;
use crate::policy::{Auth, Distinct, Ike, Keying, Lane, Masked, Mode, Policy, Selection, Start, Tunnel, TunnelIndex};
use crate::vici::Message;

/// First part of every connection's name.
pub const NAME_PREFIX: &str = "lk-";
/// First part of the name of the child by which a loaded connection shows its digest: `list-conns` names all children, so
/// another run of the agent sees whether what is loaded is what it wants. Nobody initiates it and no peer proposes its
/// label. Not in the connection itself: charon 5.9.8 puts new children below the IKE_SAs that stand only where all else of
/// the connection is as it was (vici_config.c), and on others goes on with the old ones.
pub const DIGEST_PREFIX: &str = "lanekeeper-";
/// Seconds of silence before charon asks the peer whether it is there.
const DPD_DELAY: &str = "10s";

/// Between the tunnel's name and the lane's in that of a lane's own connection: no name has one.
const LANE_SEPARATOR: char = ':';

/// A tunnel's connection, or that of one of its lanes, as far as the policy tells; keys and certificates come with
/// [`Credentials`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `lk-` and the key.
    pub name: String,
    /// What it goes by here: the tunnel's name, or `TUNNEL:CLASS.INDEX`.
    pub key: String,
    /// The tunnel's name.
    pub tunnel: String,
    /// Its lanes in the policy's order.
    pub lanes: Vec<ChildLane>,
    /// This end has the greater identity: where both begin, it lets the other try first.
    pub yields: bool,
    /// Changes with everything but the contents of key and certificate files.
    pub digest: u64,
    /// Changes with what an IKE_SA rests on: addresses, identities, proposals.
    pub ike_digest: u64,
    ike: IkeParameters,
    children: Vec<(String, Message)>,
}

/// A lane and its CHILD_SA configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildLane {
    /// The lane.
    pub lane: LaneId,
    /// Name of its CHILD_SA, and its label where it has one.
    pub child: String,
    /// Changes with any parameter of the child.
    pub digest: u64,
    /// Its fixed request id.
    pub reqid: u32,
    /// The mark of its inbound policies.
    pub mark: Masked,
    /// That of its states and policies.
    pub if_id: u32,
    /// Who begins.
    pub start: Start,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct IkeParameters {
    local: IpAddr,
    remote: IpAddr,
    local_id: String,
    remote_id: String,
    auth: Auth,
    proposals: Vec<String>,
}

impl Connection {
    /// The connections of that tunnel; none where charon does not key it.
    pub fn all(policy: &Policy, index: TunnelIndex) -> Vec<Self> {
        let tunnel = &policy.tunnels[index.0];
        match &tunnel.keying {
            Keying::Static(_) | Keying::Adopted(_) => Vec::new(),
            Keying::Ike(ike) => match ike.distinct {
                Distinct::Label => {
                    let identities = (ike.local_id.clone(), ike.remote_id.clone());
                    vec![Self::of(policy, tunnel, ike, &tunnel.lanes, tunnel.name.clone(), identities)]
                }
                Distinct::Identity => {
                    let of_lane = |lane: &Lane| {
                        let key = format!("{}{LANE_SEPARATOR}{}", tunnel.name, lane.label);
                        Self::of(policy, tunnel, ike, std::slice::from_ref(lane), key, ike.identities_of(lane))
                    };
                    tunnel.lanes.iter().map(of_lane).collect()
                }
            },
        }
    }

    fn of(
        policy: &Policy,
        tunnel: &Tunnel,
        ike: &Ike,
        lanes: &[Lane],
        key: String,
        (local_id, remote_id): (String, String),
    ) -> Self {
        let selection = |lane: &Lane| tunnel.selection(lane, policy.mark_mask);
        let children: Vec<(String, Message)> = lanes
            .iter()
            .map(|lane| {
                let start = ike.start_of(&policy.classes[lane.class.0]);
                (lane.label.clone(), child_message(&selection(lane), tunnel, ike, lane, start))
            })
            .collect();
        let lanes = lanes
            .iter()
            .zip(&children)
            .map(|(lane, (child, message))| ChildLane {
                lane: LaneId {
                    tunnel: tunnel.name.clone(),
                    class: policy.classes[lane.class.0].name.clone(),
                    index: lane.index,
                },
                child: child.clone(),
                digest: digest(message),
                reqid: lane.reqid,
                mark: selection(lane).input,
                if_id: selection(lane).if_id,
                start: ike.start_of(&policy.classes[lane.class.0]),
            })
            .collect();
        let mut connection = Self {
            name: format!("{NAME_PREFIX}{key}"),
            key,
            tunnel: tunnel.name.clone(),
            lanes,
            yields: ike.local_id > ike.remote_id,
            digest: 0,
            ike_digest: 0,
            ike: IkeParameters {
                local: tunnel.local,
                remote: tunnel.remote,
                local_id,
                remote_id,
                auth: ike.auth.clone(),
                proposals: ike.proposals.clone(),
            },
            children,
        };
        connection.ike_digest = digest(&connection.ike_message(None));
        let children = Message::new().with_section("children", connection.children_message());
        connection.digest = digest(&children).wrapping_mul(31).wrapping_add(connection.ike_digest);
        connection
    }

    /// The argument of `load-conn`.
    pub fn load_conn(&self, credentials: &Credentials) -> Message {
        let name = format!("{DIGEST_PREFIX}{:016x}", self.digest);
        let digest = Message::new().with("label", &name).with("label_mode", "simple").with("start_action", "none");
        let children = self.children_message().with_section(&name, digest);
        let body = self.ike_message(Some(credentials)).with_section("children", children);
        Message::new().with_section(&self.name, body)
    }

    /// The argument of `load-shared` or `load-key`, with the command's name.
    pub fn load_secret(&self, credentials: &Credentials) -> (&'static str, Message) {
        match credentials {
            Credentials::Psk(secret) => {
                let message = Message::new()
                    .with("id", &self.name)
                    .with("type", "IKE")
                    .with_secret("data", secret)
                    .with_list("owners", [&self.ike.local_id, &self.ike.remote_id]);
                ("load-shared", message)
            }
            Credentials::Certificate { key, .. } => {
                ("load-key", Message::new().with("type", "any").with_secret("data", key))
            }
        }
    }

    fn ike_message(&self, credentials: Option<&Credentials>) -> Message {
        let ike = &self.ike;
        let mut message = Message::new()
            .with("version", "2")
            .with_list("local_addrs", [ike.local.to_string()])
            .with_list("remote_addrs", [ike.remote.to_string()]);
        if !ike.proposals.is_empty() {
            message = message.with_list("proposals", &ike.proposals);
        }
        message = message
            // Addresses are the tunnel's own; a lane that moved to another address would leave its policies behind.
            .with("mobike", "no")
            .with("dpd_delay", DPD_DELAY)
            // One round of retransmissions; coming back is our own affair, with our own backoff.
            .with("keyingtries", "1")
            // charon must not weed out doubles by identity: which one goes is decided by the lanes on it.
            .with("unique", "no")
            .with("send_cert", "always");
        let mut local = Message::new();
        let mut remote = Message::new();
        match (&ike.auth, credentials) {
            (Auth::Psk { .. }, _) => {
                local = local.with("auth", "psk");
                remote = remote.with("auth", "psk");
            }
            (Auth::Certificate { .. }, Some(Credentials::Certificate { certificate, ca, .. })) => {
                local = local.with("auth", "pubkey").with_list("certs", [certificate]);
                remote = remote.with("auth", "pubkey").with_list("cacerts", [ca]);
            }
            (Auth::Certificate { .. }, Some(Credentials::Psk(_)) | None) => {
                local = local.with("auth", "pubkey");
                remote = remote.with("auth", "pubkey");
            }
        }
        local = local.with("id", &ike.local_id);
        remote = remote.with("id", &ike.remote_id);
        message.with_section("local", local).with_section("remote", remote)
    }

    fn children_message(&self) -> Message {
        self.children.iter().fold(Message::new(), |all, (name, child)| all.with_section(name, child.clone()))
    }
}

fn child_message(selection: &Selection, tunnel: &Tunnel, ike: &Ike, lane: &Lane, start: Start) -> Message {
    let mark = |(value, mask): Masked| format!("{value:#010x}/{mask:#010x}");
    let selectors = tunnel.selectors();
    let selector = |net: &IpNet| match selectors.protocol {
        0 => net.to_string(),
        protocol => format!("{net}[{protocol}]"),
    };
    let mode = match tunnel.device.kind.mode() {
        Mode::Tunnel => "tunnel",
        Mode::Transport => "transport",
    };
    let mut child = Message::new()
        .with("mode", mode)
        .with_list("local_ts", selectors.local.iter().map(selector))
        .with_list("remote_ts", selectors.remote.iter().map(selector))
        .with("reqid", lane.reqid.to_string());
    if tunnel.device.kind.is_in_kernel() {
        child = child.with("mark_in", mark(selection.input)).with("mark_out", mark(selection.output));
    }
    if selection.sets_mark {
        // The policy check behind the decryption sees the packet's mark: without this it would see none. Without the
        // mask the kernel would write all 32 bits and wipe out those that are not ours.
        child = child.with("set_mark_in", format!("%same/{:#010x}", selection.input.1));
    }
    if tunnel.device.kind.is_in_kernel() {
        child = child.with("if_id_in", selection.if_id.to_string()).with("if_id_out", selection.if_id.to_string());
    }
    if ike.distinct == Distinct::Label {
        child = child.with("label", &lane.label).with("label_mode", "simple");
    }
    child = child
        .with("replay_window", tunnel.replay_window.to_string())
        // We initiate and close ourselves; charon's own restarts would make doubles. A trap is charon's: it works while no
        // agent runs.
        .with("start_action", if start == Start::Trap { "trap" } else { "none" })
        .with("close_action", "none")
        .with("dpd_action", "none");
    if !ike.esp_proposals.is_empty() {
        child = child.with_list("esp_proposals", &ike.esp_proposals);
    }
    if ike.hw_offload {
        child = child.with("hw_offload", "crypto");
    }
    if let Some(seconds) = ike.rekey_time {
        child = child.with("rekey_time", format!("{seconds}s"));
    }
    if let Some(seconds) = ike.idle_timeout.filter(|_| start == Start::Trap) {
        child = child.with("inactivity", format!("{seconds}s"));
    }
    child
}

/// FNV-1a over the encoding: the same at every run and on every machine, which `std`'s hashers do not promise.
fn digest(message: &Message) -> u64 {
    let bytes = message.encode().map(|bytes| bytes.to_vec()).unwrap_or_default();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests;
