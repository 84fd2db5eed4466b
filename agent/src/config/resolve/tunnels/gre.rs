//! GRE tunnels of several classes: a device for each, chosen by the mark that packets have when they are routed.

use crate::config::document::{Document, Tunnel};
use crate::config::findings::{At, Findings};
use crate::config::problem::Problem;
use crate::config::value::DeviceType;
use crate::policy::{Class, ClassIndex, DEVICE_MOST, Fallback};

/// Every GRE tunnel, and tenants that would have one with several devices.
pub fn check(document: &Document, classes: &[Class], findings: &mut Findings<'_>) {
    let gre = document.tunnels.iter().filter(|tunnel| {
        let kind = tunnel.device.as_ref().and_then(|device| device.kind.as_ref());
        kind.is_some_and(|kind| kind.value == DeviceType::Gre)
    });
    let several: Vec<&Tunnel> = gre.clone().filter(|tunnel| has_several(tunnel)).collect();
    gre.for_each(|tunnel| check_lanes(tunnel, classes, findings));
    several.iter().for_each(|tunnel| check_several(tunnel, classes, findings));
    let marks = document.host.as_ref().and_then(|host| host.mark_sockets.as_ref()).is_some_and(|marks| marks.value);
    if let Some(first) = several.first().filter(|_| document.ports.is_empty() && !marks) {
        findings.problem(first.spot, Problem::NothingChooses { object: first.object.clone() });
    }
    for tenant in &document.tenants {
        for name in &tenant.tunnels {
            if several.iter().any(|tunnel| tunnel.name.as_ref().is_some_and(|of| of.value == name.value)) {
                let (object, tunnel) = (tenant.object.clone(), name.value.clone());
                findings.problem(name.spot, Problem::SeveralOwned { object, tunnel });
            }
        }
    }
}

/// Whether each of its classes has a device.
pub fn has_several(tunnel: &Tunnel) -> bool {
    let kind = tunnel.device.as_ref().and_then(|device| device.kind.as_ref());
    kind.is_some_and(|kind| kind.value == DeviceType::Gre) && tunnel.classes.len() > 1
}

/// What its devices are called; those that are too long included.
pub fn names(tunnel: &Tunnel) -> Vec<String> {
    let Some(name) = tunnel.device.as_ref().and_then(|device| device.name.as_ref()) else { return Vec::new() };
    let last = if has_several(tunnel) { tunnel.classes.len() } else { 1 };
    std::iter::once(name.value.clone()).chain((2..=last).map(|number| format!("{}-{number}", name.value))).collect()
}

fn check_lanes(tunnel: &Tunnel, classes: &[Class], findings: &mut Findings<'_>) {
    for name in &tunnel.classes {
        if let Some(class) = find(name, classes).map(|class| &classes[class.0]).filter(|class| class.lanes > 1) {
            let (object, class, lanes) = (tunnel.object.clone(), class.name.clone(), class.lanes);
            findings.problem(name.spot, Problem::LanesOfGre { object, class, lanes });
        }
    }
}

fn check_several(tunnel: &Tunnel, classes: &[Class], findings: &mut Findings<'_>) {
    let object = || tunnel.object.clone();
    let Some(device) = &tunnel.device else { return };
    if device.key.is_none() {
        findings.problem(tunnel.spot, Problem::NoKeys { object: object(), classes: tunnel.classes.len() });
    }
    for (key, at) in [("vrf", &device.vrf), ("namespace", &device.namespace)] {
        if let Some(at) = at {
            findings.problem(at.spot, Problem::OfSeveral { object: format!("{}: device", tunnel.object), key });
        }
    }
    let long = names(tunnel).into_iter().find(|name| name.len() > DEVICE_MOST);
    if let (Some(name), Some(long)) = (&device.name, long) {
        let most = DEVICE_MOST;
        findings.problem(name.spot, Problem::NumberedLong { object: object(), name: name.value.clone(), long, most });
    }
    for name in &tunnel.classes {
        let Some(class) = find(name, classes) else { continue };
        if let Some(to) = next(class, tunnel, classes) {
            let (object, class, to) = (object(), name.value.clone(), classes[to.0].name.clone());
            findings.problem(name.spot, Problem::FallbackOfGre { object, class, to });
        }
    }
}

fn find(name: &At<String>, classes: &[Class]) -> Option<ClassIndex> {
    classes.iter().position(|class| class.name == name.value).map(ClassIndex)
}

/// The class that it would fall back to in the tunnel.
fn next(class: ClassIndex, tunnel: &Tunnel, classes: &[Class]) -> Option<ClassIndex> {
    let mut at = class;
    // A circle is reported elsewhere; it is at most as long as there are classes.
    for _ in classes {
        let Fallback::Class(to) = classes[at.0].fallback else { return None };
        if tunnel.classes.iter().any(|name| find(name, classes) == Some(to)) && to != class {
            return Some(to);
        }
        at = to;
    }
    None
}
