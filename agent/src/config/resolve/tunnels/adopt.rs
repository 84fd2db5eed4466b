//! Whose lanes the CHILD_SAs of an adopted connection are.

use super::super::names::Names;
use super::super::rules::no_twice;
use crate::config::document::{self, Tunnel};
use crate::config::findings::{At, Findings};
use crate::config::problem::Problem;
use crate::config::value::DeviceType;
use crate::policy::adopt::{Adopt, Children, Inside, Pattern};
use crate::policy::{ClassIndex, Keying};

/// What follows from `[tunnel.adopt]`; the tunnel carries `carried`.
pub fn resolve(
    tunnel: &Tunnel,
    adopt: &document::Adopt,
    names: &Names<'_>,
    carried: &[ClassIndex],
    findings: &mut Findings<'_>,
) -> Keying {
    let kind = tunnel.device.as_ref().and_then(|device| device.kind.as_ref());
    let is_bare = kind.is_some_and(|kind| kind.value == DeviceType::Bare);
    let theirs = [
        ("local-ts", tunnel.local_ts.first().map(|at| at.spot)),
        ("remote-ts", tunnel.remote_ts.first().map(|at| at.spot)),
        ("replay-window", tunnel.replay_window.as_ref().map(|at| at.spot)),
    ];
    for (key, spot) in theirs {
        // Without a device packets are found by them.
        if let Some(spot) = spot.filter(|_| !is_bare || key == "replay-window") {
            findings.problem(spot, Problem::NotOurs { object: tunnel.object.clone(), key });
        }
    }
    if let Some(kind) = kind {
        match kind.value {
            DeviceType::Xfrm | DeviceType::Vti | DeviceType::Bare => {}
            DeviceType::Gre | DeviceType::Tun => {
                findings.problem(kind.spot, Problem::AdoptDevice { object: tunnel.object.clone() })
            }
        }
    }
    let is_shared = tunnel.any.is_some() || tunnel.device.as_ref().is_some_and(|device| device.each.is_some());
    if let Some(name) = adopt.connection.as_ref().filter(|name| !is_shared && !Pattern(name.value.clone()).is_exact()) {
        let (object, name_text) = (tunnel.object.clone(), name.value.clone());
        findings.problem(name.spot, Problem::Connections { object, name: name_text });
    }
    let classes: Vec<At<String>> = adopt.children.iter().filter_map(|entry| entry.class.clone()).collect();
    no_twice(&classes, &format!("{}: adopt", tunnel.object), "children", String::clone, findings);
    let children: Vec<Children> =
        adopt.children.iter().filter_map(|entry| children(entry, names, carried, findings)).collect();
    // One that was refused may have been meant.
    let whole = !children.is_empty() && children.len() == adopt.children.len();
    for class in carried.iter().filter(|_| whole) {
        let name = names.all().nth(class.0).unwrap_or_default();
        if !classes.iter().any(|at| at.value == name) {
            let (object, class) = (tunnel.object.clone(), name.to_owned());
            findings.problem(adopt.spot, Problem::NoChildren { object, class });
        }
    }
    Keying::Adopted(Adopt {
        connection: adopt.connection.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
        children,
        routes: !tunnel.selectors.is_empty(),
        addresses: tunnel.device.as_ref().is_some_and(|device| !device.virtual_ips.is_empty()),
        inside: Inside::default(),
    })
}

fn children(
    entry: &document::Children,
    names: &Names<'_>,
    carried: &[ClassIndex],
    findings: &mut Findings<'_>,
) -> Option<Children> {
    let written = entry.class.as_ref()?;
    let class = names.find(written, &entry.object, "class", "classes", findings).map(ClassIndex)?;
    if !carried.contains(&class) {
        let (object, class) = (entry.object.clone(), written.value.clone());
        findings.problem(written.spot, Problem::ChildrenOfOther { object, class });
        return None;
    }
    no_twice(&entry.names, &entry.object, "names", String::clone, findings);
    Some(Children { class, names: entry.names.iter().map(|at| Pattern(at.value.clone())).collect() })
}
