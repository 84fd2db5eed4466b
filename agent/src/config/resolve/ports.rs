//! Ports: interfaces whose packets get the mark of their class as they come in.

use super::names::Names;
use crate::config::document::Document;
use crate::config::findings::Findings;
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
    let (room, classes) = (mask >> mask.trailing_zeros().min(31), document.classes.len() as u32);
    if let Some((port, name)) = document.ports.iter().find_map(|port| Some((port, port.name.as_ref()?)))
        && classes > room
    {
        let spot = document.mark.as_ref().and_then(|mark| mark.mask.as_ref()).map_or(name.spot, |mask| mask.spot);
        findings.problem(spot, Problem::MaskClasses { mask, room, classes, object: port.object.clone() });
    }
    ports
}
