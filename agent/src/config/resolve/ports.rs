//! Ports: interfaces whose packets get the mark of their class as they come in.

use super::names::Names;
use crate::config::document::Document;
use crate::config::findings::{Findings, Spot};
use crate::config::problem::Problem;
use crate::policy::Port;

/// Every port; one that is a tunnel's device, or has no mark for every class, is an error.
pub fn resolve(document: &Document, mask: u32, findings: &mut Findings<'_>) -> Vec<Port> {
    // For the errors of names that come twice.
    Names::gather(document.ports.iter().map(|port| (&port.name, &port.object)), findings);
    let mut ports = Vec::with_capacity(document.ports.len());
    for port in &document.ports {
        let Some(name) = &port.name else { continue };
        let devices =
            document.tunnels.iter().filter_map(|tunnel| Some((tunnel, tunnel.device.as_ref()?.name.as_ref()?)));
        if let Some((tunnel, device)) = devices.clone().find(|(_, device)| device.value == name.value) {
            let (object, tunnel, first) = (port.object.clone(), tunnel.object.clone(), findings.place(device.spot));
            findings.problem(name.spot, Problem::PortIsDevice { object, tunnel, first });
        }
        let classify = port.classify.as_ref().map(|classify| classify.value).unwrap_or_default();
        ports.push(Port { name: name.value.clone(), classify });
    }
    if let Some((port, name)) = document.ports.iter().find_map(|port| Some((port, port.name.as_ref()?))) {
        check_room(document, mask, name.spot, &port.object, findings);
    }
    ports
}

/// An error where the mask has not a mark for every class, of which `object` writes one.
pub fn check_room(document: &Document, mask: u32, spot: Spot, object: &str, findings: &mut Findings<'_>) {
    let (room, classes) = (mask >> mask.trailing_zeros().min(31), document.classes.len() as u32);
    if classes > room {
        let spot = document.mark.as_ref().and_then(|mark| mark.mask.as_ref()).map_or(spot, |mask| mask.spot);
        findings.problem(spot, Problem::MaskClasses { mask, room, classes, object: object.to_owned() });
    }
}
