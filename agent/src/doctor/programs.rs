//! Others' programs and filters on our devices and ports.

use super::{Finding, Scope};
use crate::plan::FILTER_PREFERENCE;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The device.
    pub device: String,
    /// Where on it.
    pub at: At,
    /// Its name or its kind.
    pub name: String,
}

/// Where it sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A filter below clsact.
    Filter {
        /// Of what goes out.
        egress: bool,
        /// Its preference.
        preference: u16,
    },
    /// A program by TCX.
    Tcx {
        /// Of what goes out.
        egress: bool,
    },
    /// XDP.
    Xdp,
    /// The older `ingress` qdisc, in clsact's place.
    IngressQdisc,
}

/// They see what ours has marked, and may change or drop it.
pub fn findings(programs: &[Program], scope: &Scope) -> Vec<Finding> {
    programs.iter().filter_map(|program| finding(program, scope)).collect()
}

fn finding(program: &Program, scope: &Scope) -> Option<Finding> {
    let Program { device, at, name } = program;
    let is_port = |xdp: bool| scope.ports.iter().any(|(port, by_xdp)| port == device && (*by_xdp || !xdp));
    let of_tunnel = scope.devices.contains(device);
    let way = |egress: &bool| if *egress { "egress" } else { "ingress" };
    let effect = "it sees what ours has marked, and may change the mark or drop the packet";
    match at {
        // A port's own way out is not ours.
        At::Filter { egress: true, .. } | At::Tcx { egress: true } if !of_tunnel => None,
        At::Filter { .. } | At::Tcx { .. } if !of_tunnel && !is_port(false) => None,
        At::Filter { egress, preference } => {
            let way = way(egress);
            let problem =
                format!("a tc filter that is not ours, pref {preference} {name}, is on {device} {way}: {effect}");
            // To delete a preference is to delete all filters of it.
            if *preference == FILTER_PREFERENCE {
                let cure = "give it another preference than ours, in the program that put it there";
                return Some(Finding::advise("program", problem, cure));
            }
            Some(Finding::run("program", problem, format!("tc filter del dev {device} {way} pref {preference}")))
        }
        At::Tcx { egress } => {
            let way = way(egress);
            let problem = format!("a TCX program that is not ours, {name}, is on {device} {way}: {effect}");
            Some(Finding::advise("program", problem, "have the program that put it there leave this device out"))
        }
        At::Xdp if is_port(true) => {
            let problem = format!("XDP on port {device} is another's, {name}: ours waits, and tc classifies");
            Some(Finding::advise(
                "program",
                problem,
                "write classify = \"tc\" for the port, or take the other program off",
            ))
        }
        At::IngressQdisc if of_tunnel || is_port(false) => {
            let problem =
                format!("{device} has an ingress qdisc in the place of clsact: our program cannot be attached");
            Some(Finding::run("program", problem, format!("tc qdisc del dev {device} ingress")))
        }
        At::Xdp | At::IngressQdisc => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{said, scope};
    use super::*;

    fn program(device: &str, at: At) -> Program {
        Program { device: device.into(), at, name: "matchall".into() }
    }

    #[test]
    fn filters_of_others_are_said_where_ours_work() {
        let with_port = Scope { ports: vec![("lan0".into(), false), ("lan1".into(), true)], ..scope() };
        let programs = [
            program("lk-b7", At::Filter { egress: true, preference: 10 }),
            program("lk-b7", At::Tcx { egress: false }),
            program("lan0", At::Filter { egress: false, preference: 5 }),
            program("lan0", At::Filter { egress: false, preference: 76 }),
            program("lan0", At::Filter { egress: true, preference: 5 }),
            program("wan0", At::Filter { egress: false, preference: 5 }),
            program("lan0", At::Xdp),
            program("lan1", At::Xdp),
            program("lk-b7", At::IngressQdisc),
        ];
        let said = said(&findings(&programs, &with_port));
        assert_eq!(
            said,
            [
                "a tc filter that is not ours, pref 10 matchall, is on lk-b7 egress: it sees what ours has marked, and may change the \
                 mark or drop the packet -> tc filter del dev lk-b7 egress pref 10",
                "a TCX program that is not ours, matchall, is on lk-b7 ingress: it sees what ours has marked, and may change the mark \
                 or drop the packet -> have the program that put it there leave this device out",
                "a tc filter that is not ours, pref 5 matchall, is on lan0 ingress: it sees what ours has marked, and may change the \
                 mark or drop the packet -> tc filter del dev lan0 ingress pref 5",
                "a tc filter that is not ours, pref 76 matchall, is on lan0 ingress: it sees what ours has marked, and may change the \
                 mark or drop the packet -> give it another preference than ours, in the program that put it there",
                "XDP on port lan1 is another's, matchall: ours waits, and tc classifies -> write classify = \"tc\" for the port, or \
                 take the other program off",
                "lk-b7 has an ingress qdisc in the place of clsact: our program cannot be attached -> tc qdisc del dev lk-b7 ingress",
            ]
        );
    }
}
