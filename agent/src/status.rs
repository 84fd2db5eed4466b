//! How it stands: tunnels, lanes, classes, and what falls back and why. Built from values alone.

mod table;

use serde::{Deserialize, Serialize};

pub use table::Form;
pub(crate) use table::span;

use crate::config::value::ANY;
use crate::lane::{Condition, LaneId};
use crate::policy::adopt::{Inside, Learned, Traits};
use crate::policy::{Class, ClassIndex, Fallback, Keying, Policy, TunnelIndex};

/// The answer to `lanekeeper status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the agent that answers.
    pub version: String,
    /// The file that it runs.
    pub config: String,
    /// Which loading of the tables the data path uses.
    pub generation: u64,
    /// How the last loading of the file went.
    pub reload: Reload,
    /// Seconds until the file is taken back unless it is confirmed.
    pub confirm_within: Option<u64>,
    /// In the file's order.
    pub tunnels: Vec<TunnelStatus>,
    /// In the file's order.
    pub classes: Vec<ClassStatus>,
    /// Classes that do not go their own way now.
    pub detours: Vec<Detour>,
}

/// How the last loading of the file went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// Whether the file is what runs.
    pub success: bool,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Why it was refused.
    pub error: Option<String>,
}

/// One tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its name.
    pub name: String,
    /// Whether any of its lanes is up.
    pub up: bool,
    /// Whether those that are up all wait for their first packet.
    #[serde(default)]
    pub on_demand: bool,
    /// Its device.
    pub device: String,
    /// Where each IKE_SA has one of its own: those that there are.
    #[serde(default)]
    pub devices: Vec<String>,
    /// The outer address here.
    pub local: String,
    /// The peer's, or `any`.
    pub remote: String,
    /// Where clients share it: how many there are.
    #[serde(default)]
    pub clients: Option<usize>,
    /// `ike`, `static` or `adopted`.
    pub keying: String,
    /// What its device waits for; else what last went wrong between charon and the peer, or why charon cannot be reached, until
    /// all lanes are up.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Of an adopted one whose routes or addresses follow its SAs: what those are for.
    #[serde(default)]
    pub inside: Option<Inside>,
    /// Class by class.
    pub lanes: Vec<LaneStatus>,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Its class.
    pub class: String,
    /// Its index in the class.
    pub lane: u8,
    /// Whether packets may take it.
    pub up: bool,
    /// Whether it has no SA yet, and gets one with its next packet.
    #[serde(default)]
    pub on_demand: bool,
    /// Since when it is so, in seconds since 1970.
    pub since: u64,
    /// Of its states and policies; 0 where clients share it.
    pub reqid: u32,
    /// Where clients share it: how many have a CHILD_SA of it.
    #[serde(default)]
    pub clients: Option<usize>,
    /// What its packets carry under the mask.
    pub mark: u32,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassStatus {
    /// Its name.
    pub name: String,
    /// Lanes in each tunnel that carries it.
    pub lanes: u8,
    /// A class, `block` or `clear`.
    pub fallback: String,
    /// What the ESP packet carries.
    pub outer_dscp: Option<u8>,
}

/// A class that does not go its own way in a tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detour {
    /// The tunnel.
    pub tunnel: String,
    /// The class.
    pub class: String,
    /// Where its packets go now: a class, `block` or `clear`.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// What is known of one lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether packets may take it.
    pub condition: Condition,
    /// Since when it is so, in seconds since 1970.
    pub since: u64,
}

/// How a tunnel is keyed whose connection is the operator's own.
const ADOPTED: &str = "adopted";

impl Status {
    /// What the tables have of adopted lanes, with or without a CHILD_SA now.
    pub fn learned(&self) -> Learned {
        let adopted = self.tunnels.iter().filter(|tunnel| tunnel.keying == ADOPTED);
        let lanes = adopted.flat_map(|tunnel| tunnel.lanes.iter().map(|lane| (&tunnel.name, lane)));
        lanes
            .map(|(tunnel, lane)| {
                let id = LaneId { tunnel: tunnel.clone(), class: lane.class.clone(), index: lane.lane };
                (id, Traits { mark: lane.mark, reqid: lane.reqid, ..Traits::default() })
            })
            .collect()
    }

    /// The part that follows from the policy and the lanes; the rest is the caller's to fill in.
    pub fn of(policy: &Policy, standing: impl Fn(&LaneId) -> Standing) -> Self {
        let mut tunnels = Vec::with_capacity(policy.tunnels.len());
        let mut detours = Vec::new();
        for (index, tunnel) in policy.tunnels.iter().enumerate() {
            let lanes: Vec<LaneStatus> = tunnel
                .lanes
                .iter()
                .map(|lane| {
                    let class = policy.classes[lane.class.0].name.clone();
                    let id = LaneId { tunnel: tunnel.name.clone(), class: class.clone(), index: lane.index };
                    let Standing { condition, since } = standing(&id);
                    LaneStatus {
                        class,
                        lane: lane.index,
                        up: condition.is_open(),
                        on_demand: condition == Condition::OnDemand,
                        since,
                        reqid: lane.reqid,
                        clients: tunnel.is_shared().then_some(lane.clients.len()),
                        mark: lane.mark,
                    }
                })
                .collect();
            let up = |class: ClassIndex| lanes.iter().any(|lane| lane.up && lane.class == policy.classes[class.0].name);
            detours.extend((0..policy.classes.len()).filter_map(|class| {
                detour(policy, TunnelIndex(index), ClassIndex(class), &up).map(|(to, reason)| Detour {
                    tunnel: tunnel.name.clone(),
                    class: policy.classes[class].name.clone(),
                    to,
                    reason,
                })
            }));
            tunnels.push(TunnelStatus {
                name: tunnel.name.clone(),
                up: lanes.iter().any(|lane| lane.up),
                on_demand: lanes.iter().any(|lane| lane.up) && lanes.iter().all(|lane| lane.up == lane.on_demand),
                device: tunnel.device.name.clone(),
                devices: match tunnel.device.is_each() || tunnel.has_lane_devices() {
                    true => tunnel.devices().into_iter().map(|(name, _)| name).collect(),
                    false => Vec::new(),
                },
                local: tunnel.local.to_string(),
                remote: tunnel.peer().map_or_else(|| ANY.to_owned(), |peer| peer.to_string()),
                clients: tunnel.is_shared().then_some(0),
                keying: match tunnel.keying {
                    Keying::Ike(_) => "ike".into(),
                    Keying::Static(_) => "static".into(),
                    Keying::Adopted(_) => ADOPTED.into(),
                },
                trouble: None,
                inside: tunnel.inside().filter(|_| tunnel.follows()).cloned(),
                lanes,
            });
        }
        let classes = policy.classes.iter().map(|class| ClassStatus::of(policy, class)).collect();
        Self { tunnels, classes, detours, ..Self::default() }
    }

    /// For a human, at most 80 columns wide as long as names are short. `now` in seconds since 1970.
    pub fn table(&self, now: u64, form: Form) -> String {
        table::render(self, now, form)
    }

    /// Whether the tunnel has lanes of the class.
    pub fn carries(&self, tunnel: &str, class: &str) -> bool {
        let tunnel = self.tunnels.iter().find(|one| one.name == tunnel);
        tunnel.is_some_and(|tunnel| tunnel.lanes.iter().any(|lane| lane.class == class))
    }
}

impl ClassStatus {
    fn of(policy: &Policy, class: &Class) -> Self {
        Self {
            name: class.name.clone(),
            lanes: class.lanes,
            fallback: fallback_name(policy, class.fallback).into(),
            outer_dscp: class.outer_dscp,
        }
    }
}

/// How a fallback is spelled in the file.
pub fn fallback_name(policy: &Policy, fallback: Fallback) -> &str {
    match fallback {
        Fallback::Block => "block",
        Fallback::Clear => "clear",
        Fallback::Class(class) => &policy.classes[class.0].name,
    }
}

/// Where a class's packets go in a tunnel while they may take none of its own lanes there, and why; `None` while they go
/// their way.
fn detour(
    policy: &Policy,
    tunnel: TunnelIndex,
    class: ClassIndex,
    up: &impl Fn(ClassIndex) -> bool,
) -> Option<(String, String)> {
    if up(class) {
        return None;
    }
    let count = policy.lanes_of(tunnel, class).count();
    let reason = match count {
        0 => "not carried by this tunnel".to_owned(),
        1 => "its lane is down".to_owned(),
        n => format!("all {n} lanes are down"),
    };
    let mut at = class;
    // Chains never loop, so their length is below the number of classes.
    for _ in 0..policy.classes.len() {
        match policy.classes[at.0].fallback {
            Fallback::Class(next) if up(next) => return Some((policy.classes[next.0].name.clone(), reason)),
            Fallback::Class(next) => at = next,
            end @ (Fallback::Block | Fallback::Clear) => return Some((fallback_name(policy, end).to_owned(), reason)),
        }
    }
    Some(("block".to_owned(), reason))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::policy::{Device, DeviceKind, Lane, Static, Tunnel};

    /// voice falls back to default, bulk (two lanes) to block; one tunnel carries all three.
    pub(crate) fn policy() -> Policy {
        let class = |name: &str, lanes, fallback| Class {
            name: name.into(),
            lanes,
            fallback,
            outer_dscp: None,
            on_demand: None,
        };
        let lane = |class, index, mark: u32, label: &str| Lane {
            class: ClassIndex(class),
            index,
            mark,
            reqid: 0x4c4b_0000 + mark,
            clients: Default::default(),
            label: label.into(),
        };
        Policy {
            mark_mask: 0xff,
            mark_outer: 0,
            metrics_listen: None,
            web_config: None,
            latency_every: None,
            vici: "/var/run/charon.vici".into(),
            memory_limit: None,
            mark_sockets: false,
            missing: Default::default(),
            classes: vec![
                class("voice", 1, Fallback::Class(ClassIndex(2))),
                class("bulk", 2, Fallback::Block),
                class("default", 1, Fallback::Block),
            ],
            tunnels: vec![Tunnel {
                name: "branch-7".into(),
                local: "192.0.2.1".parse().unwrap(),
                remote: "192.0.2.2".parse().unwrap(),
                classes: vec![ClassIndex(0), ClassIndex(1), ClassIndex(2)],
                lanes: vec![
                    lane(0, 0, 1, "voice.0"),
                    lane(1, 0, 2, "bulk.0"),
                    lane(1, 1, 3, "bulk.1"),
                    lane(2, 0, 4, "default.0"),
                ],
                device: Device {
                    kind: DeviceKind::Xfrm { if_id: 42 },
                    name: "lk-branch7".into(),
                    mtu: 1400,
                    addresses: vec![],
                    vrf: None,
                    external: false,
                    joint: false,
                    namespace: None,
                    link: None,
                },
                routes: vec!["10.2.0.0/16".parse().unwrap()],
                keying: Keying::Static(Static { key_file: "/etc/lanekeeper/keys".into(), consent: true }),
                replay_window: 32,
                local_ts: vec![],
                remote_ts: vec![],
            }],
            rules: vec![],
            default_class: ClassIndex(2),
            tenants: vec![],
            ports: vec![],
        }
    }

    fn with_up(labels: &[&str]) -> Status {
        with(labels, Condition::Up)
    }

    fn with(labels: &[&str], condition: Condition) -> Status {
        let named = |id: &LaneId| labels.contains(&id.to_string().as_str());
        let condition = |id: &LaneId| if named(id) { condition } else { Condition::Down };
        Status::of(&policy(), |id| Standing { condition: condition(id), since: 1_000 })
    }

    fn detours(labels: &[&str]) -> Vec<String> {
        with_up(labels).detours.iter().map(|d| format!("{} -> {}: {}", d.class, d.to, d.reason)).collect()
    }

    #[test]
    fn all_up_means_no_detour() {
        let status = with_up(&["branch-7/voice.0", "branch-7/bulk.0", "branch-7/bulk.1", "branch-7/default.0"]);
        assert_eq!(status.detours, []);
        assert!(status.tunnels[0].up);
        assert_eq!(status.tunnels[0].lanes[2].reqid, 0x4c4b_0003);
    }

    #[test]
    fn one_of_two_lanes_is_enough() {
        assert_eq!(detours(&["branch-7/voice.0", "branch-7/bulk.1", "branch-7/default.0"]), Vec::<String>::new());
    }

    #[test]
    fn a_lane_on_demand_is_as_good_as_up() {
        let status = with(&["branch-7/voice.0"], Condition::OnDemand);
        assert!(status.detours.iter().all(|detour| detour.class != "voice"), "{:?}", status.detours);
        let tunnel = &status.tunnels[0];
        assert_eq!((tunnel.up, tunnel.on_demand), (true, true));
        assert_eq!((tunnel.lanes[0].up, tunnel.lanes[0].on_demand), (true, true));
        assert!(!tunnel.lanes[1].on_demand);
    }

    #[test]
    fn a_class_without_lanes_takes_its_fallback() {
        assert_eq!(detours(&["branch-7/bulk.0", "branch-7/default.0"]), ["voice -> default: its lane is down"],);
    }

    #[test]
    fn chains_end_in_what_the_last_class_says() {
        assert_eq!(
            detours(&[]),
            [
                "voice -> block: its lane is down",
                "bulk -> block: all 2 lanes are down",
                "default -> block: its lane is down",
            ],
        );
        assert!(!with_up(&[]).tunnels[0].up);
    }

    #[test]
    fn clients_that_share_a_tunnel_are_counted_and_are_no_address() {
        let mut policy = policy();
        policy.tunnels[0].remote = "0.0.0.0".parse().unwrap();
        policy.tunnels[0].lanes[0].clients = [(5, "192.0.2.9".parse().unwrap())].into();
        let mut status = Status::of(&policy, |_| Standing { condition: Condition::Up, since: 1_000 });
        assert_eq!((status.tunnels[0].remote.as_str(), status.tunnels[0].clients), ("any", Some(0)));
        assert_eq!(
            status.tunnels[0].lanes.iter().map(|lane| lane.clients).collect::<Vec<_>>(),
            [Some(1), Some(0), Some(0), Some(0)]
        );
        status.tunnels[0].clients = Some(3);
        let text = status.table(1_060, Form { all: true, ..Form::default() });
        for line in ["192.0.2.1 -> 3 clients", "voice.0    up     1m 0s  0x1   1 client"] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_status_survives_its_json() {
        let status = with_up(&["branch-7/voice.0"]);
        assert_eq!(serde_json::from_str::<Status>(&serde_json::to_string(&status).unwrap()).unwrap(), status);
    }
}
