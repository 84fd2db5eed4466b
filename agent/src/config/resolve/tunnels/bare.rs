//! Tunnels without a device: what they are for is in `local-ts` and `remote-ts` alone, and packets are marked before the route lookup.

use ipnet::IpNet;

use crate::config::document::{Document, Tunnel};
use crate::config::findings::{At, Findings};
use crate::config::problem::Problem;
use crate::config::value::DeviceType;

/// Every such tunnel, by itself and beside the others.
pub fn check(document: &Document, findings: &mut Findings<'_>) {
    let bare: Vec<&Tunnel> = document.tunnels.iter().filter(|tunnel| is_bare(tunnel)).collect();
    for (at, &tunnel) in bare.iter().enumerate() {
        check_inside(tunnel, findings);
        for other in &bare[..at] {
            check_apart(tunnel, other, findings);
        }
    }
    let marks = document.host.as_ref().and_then(|host| host.mark_sockets.as_ref()).is_some_and(|marks| marks.value);
    if let Some(first) = bare.first().filter(|_| document.ports.is_empty() && !marks) {
        findings.problem(first.spot, Problem::NothingMarks { object: first.object.clone() });
    }
    for tenant in &document.tenants {
        for name in &tenant.tunnels {
            if bare.iter().any(|tunnel| tunnel.name.as_ref().is_some_and(|of| of.value == name.value)) {
                let (object, tunnel) = (tenant.object.clone(), name.value.clone());
                findings.problem(name.spot, Problem::BareOwned { object, tunnel });
            }
        }
    }
}

fn is_bare(tunnel: &Tunnel) -> bool {
    let kind = tunnel.device.as_ref().and_then(|device| device.kind.as_ref());
    kind.is_some_and(|kind| kind.value == DeviceType::Bare)
}

fn check_inside(tunnel: &Tunnel, findings: &mut Findings<'_>) {
    let object = || tunnel.object.clone();
    let routes = tunnel.routes.first().map(|route| route.spot).or(tunnel.selectors.first().map(|word| word.spot));
    if let Some(spot) = routes {
        findings.problem(spot, Problem::NoDevice { object: object(), key: "routes" });
    }
    for (key, ts) in [("local-ts", &tunnel.local_ts), ("remote-ts", &tunnel.remote_ts)] {
        if ts.is_empty() {
            findings.problem(tunnel.spot, Problem::NoSelectors { object: object(), key });
        }
    }
    for remote in &tunnel.remote_ts {
        if let Some(local) = tunnel.local_ts.iter().find(|local| meet(&local.value, &remote.value)) {
            let (local, remote_text) = (local.value.to_string(), remote.value.to_string());
            findings.problem(remote.spot, Problem::SelectorsMeet { object: object(), remote: remote_text, local });
            return;
        }
    }
    let around = |ts: &[At<IpNet>], end: &Option<At<std::net::IpAddr>>| {
        ts.iter().any(|ts| end.as_ref().is_some_and(|end| ts.value.contains(&end.value)))
    };
    if let Some(remote) = tunnel.remote_ts.first()
        && around(&tunnel.remote_ts, &tunnel.remote)
        && around(&tunnel.local_ts, &tunnel.local)
    {
        findings.problem(remote.spot, Problem::SelectorsAroundEnds { object: object() });
    }
}

/// The tunnel of a packet is found by its destination.
fn check_apart(tunnel: &Tunnel, other: &Tunnel, findings: &mut Findings<'_>) {
    for remote in &tunnel.remote_ts {
        if let Some(theirs) = other.remote_ts.iter().find(|theirs| meet(&theirs.value, &remote.value)) {
            let problem = Problem::BehindBoth {
                object: tunnel.object.clone(),
                prefix: remote.value.to_string(),
                other: other.object.clone(),
                theirs: theirs.value.to_string(),
                first: findings.place(theirs.spot),
            };
            findings.problem(remote.spot, problem);
        }
    }
}

fn meet(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}
