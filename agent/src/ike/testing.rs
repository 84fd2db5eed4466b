//! A policy with one managed tunnel, for the tests of this room.

use std::path::PathBuf;

use crate::policy::*;

/// `voice` with one lane and `bulk` with two, in tunnel `b7` from moon to sun.
pub fn policy() -> Policy {
    let class = |name: &str, lanes| Class {
        name: name.to_owned(),
        lanes,
        fallback: Fallback::Block,
        outer_dscp: None,
        on_demand: None,
    };
    let lane = |class, index, mark: u32, label: &str| Lane {
        class: ClassIndex(class),
        index,
        mark,
        reqid: 0x4c4b_0000 + mark,
        clients: Default::default(),
        label: label.to_owned(),
    };
    Policy {
        mark_mask: 0xff,
        mark_outer: 0,
        metrics_listen: None,
        web_config: None,
        latency_every: None,
        vici: PathBuf::from("/nowhere"),
        memory_limit: None,
        mark_sockets: false,
        missing: Default::default(),
        classes: vec![class("voice", 1), class("bulk", 2)],
        tunnels: vec![Tunnel {
            name: "b7".to_owned(),
            local: "192.0.2.1".parse().unwrap(),
            remote: "192.0.2.2".parse().unwrap(),
            classes: vec![ClassIndex(0), ClassIndex(1)],
            lanes: vec![lane(0, 0, 1, "voice.0"), lane(1, 0, 2, "bulk.0"), lane(1, 1, 3, "bulk.1")],
            device: Device {
                kind: DeviceKind::Xfrm { if_id: 42 },
                name: "lk-b7".to_owned(),
                mtu: 1400,
                addresses: vec![],
                vrf: None,
                external: false,
                joint: false,
                namespace: None,
                link: None,
            },
            routes: vec![],
            keying: Keying::Ike(Ike {
                local_id: "moon.example".to_owned(),
                remote_id: "sun.example".to_owned(),
                distinct: Distinct::Label,
                auth: Auth::Psk { file: PathBuf::from("/nowhere") },
                start: Start::Start,
                proposals: vec![],
                esp_proposals: vec![],
                hw_offload: false,
                rekey_time: None,
                idle_timeout: None,
            }),
            replay_window: 128,
            local_ts: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            remote_ts: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        }],
        rules: vec![],
        default_class: ClassIndex(0),
        tenants: vec![],
        ports: vec![],
    }
}

/// The tunnel's keying.
pub fn ike(policy: &mut Policy) -> &mut Ike {
    match &mut policy.tunnels[0].keying {
        Keying::Ike(ike) => ike,
        Keying::Static(_) | Keying::Adopted(_) => unreachable!("the test policy is managed"),
    }
}
