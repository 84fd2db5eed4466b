//! Others' programs and filters on a device, for [`crate::doctor`].

use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use lanekeeper_common::abi::program;
use lanekeeper_common::{latency, sight};
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::attach::has_tcx;
use super::filter;
use crate::doctor::programs::{At, Program};

const OURS: [&str; 10] = [
    program::OUT,
    program::IN,
    program::OUTER,
    program::ARRIVED,
    program::PORT,
    program::XDP,
    sight::OUT,
    sight::IN,
    sight::PASSING,
    latency::STAMP,
];

/// All of them. Takes CAP_SYS_ADMIN.
pub fn foreign(device: &str, ifindex: u32, xdp: Option<u32>) -> Result<Vec<Program>, String> {
    let mut found = Vec::new();
    let program = |at: At, name: String| Program { device: device.to_owned(), at, name };
    for (egress, hook, attach) in
        [(false, TcHandle::MIN_INGRESS, TcAttachType::Ingress), (true, TcHandle::MIN_EGRESS, TcAttachType::Egress)]
    {
        let filters = filter::filters(ifindex, hook).map_err(|error| error.to_string())?;
        // What stands before the filters of a preference and a kind is listed as one of handle 0.
        for filter in filters.iter().filter(|filter| u32::from(filter.header.handle) != 0) {
            let name = filter::bpf_program(filter).map(|program| program.name);
            if name.as_deref().is_some_and(is_ours) {
                continue;
            }
            let preference = (filter.header.info >> 16) as u16;
            let known = program(At::Filter { egress, preference }, name.unwrap_or_else(|| kind(filter)));
            // A filter of a kind with tables is listed more than once.
            if !found.iter().any(|other: &Program| other.at == known.at) {
                found.push(known);
            }
        }
        if has_tcx() {
            let (_, programs) = SchedClassifier::query_tcx(device, attach).map_err(|error| error.to_string())?;
            let names = programs.iter().map(|info| info.name_as_str().unwrap_or("without a name").to_owned());
            found.extend(names.filter(|name| !is_ours(name)).map(|name| program(At::Tcx { egress }, name)));
        }
    }
    if has_ingress_qdisc(ifindex).map_err(|error| error.to_string())? && !has_tcx() {
        found.push(program(At::IngressQdisc, "ingress".to_owned()));
    }
    if let Some(id) = xdp {
        let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == id);
        let name = info.as_ref().and_then(|info| info.name_as_str()).unwrap_or("without a name").to_owned();
        if !is_ours(&name) {
            found.push(program(At::Xdp, name));
        }
    }
    Ok(found)
}

/// The kernel keeps 15 bytes of a name.
fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| ours[..ours.len().min(15)] == *name)
}

fn kind(filter: &TcMessage) -> String {
    let kind = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    kind.unwrap_or_default()
}

fn has_ingress_qdisc(ifindex: u32) -> std::io::Result<bool> {
    let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::with_index(ifindex as i32));
    // The kernel lists those of all devices.
    let of_device = |qdisc: &TcMessage| qdisc.header.index == ifindex as i32 && kind(qdisc) == "ingress";
    Ok(filter::ask(request, NLM_F_DUMP)?.iter().any(of_device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_known_by_as_much_of_its_name_as_the_kernel_keeps() {
        assert!(is_ours("lanekeeper_out") && is_ours("lanekeeper_port"));
        assert!(is_ours("lanekeeper_obse") && is_ours("lanekeeper_stam"));
        assert!(!is_ours("lanekeeper") && !is_ours("cil_from_netdev") && !is_ours(""));
    }
}
