//! What on a box will break Lanekeeper there, and the cure of each. Pure: [`crate::checkup`] gathers the [`Machine`].
//!
//! Each file is one noun: what is gathered about it, and what is wrong with that.

pub mod charon;
pub mod features;
pub mod mangling;
pub mod mtu;
pub mod networkd;
pub mod offload;
pub mod programs;
pub mod routes;
pub mod rules;
pub mod settings;
pub mod sysctls;
pub mod xfrm_default;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::policy::{DeviceKind, Keying, Policy};

/// Something that breaks, or will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check found it.
    pub check: &'static str,
    /// What it is, and what comes of it.
    pub problem: String,
    /// What to do about it.
    pub cure: String,
    /// Whether the cure is a command for a shell, until the next boot.
    pub is_command: bool,
}

impl Finding {
    /// With a cure that is a command.
    pub fn run(check: &'static str, problem: String, command: String) -> Self {
        Self { check, problem, cure: command, is_command: true }
    }

    /// With a cure in words.
    pub fn advise(check: &'static str, problem: String, cure: impl Into<String>) -> Self {
        Self { check, problem, cure: cure.into(), is_command: false }
    }
}

/// What could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// Which part of the box.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By check.
    pub findings: Vec<Finding>,
    /// What the findings know nothing of.
    pub unseen: Vec<Unseen>,
}

/// What the file wants of the box; nothing of it but `devices` without a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// `[mark] mask`.
    pub mask: Option<u32>,
    /// `[mark] outer`; 0 for none.
    pub outer: u32,
    /// Those of the file, and those of the box with our alias.
    pub devices: BTreeSet<String>,
    /// In the file's order.
    pub tunnels: Vec<Tunnel>,
    /// Names of ports, and whether XDP classifies there.
    pub ports: Vec<(String, bool)>,
    /// Packets are to be timed.
    pub timed: bool,
}

/// A tunnel, as far as the box matters to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name.
    pub name: String,
    /// Its device; empty where it has none.
    pub device: String,
    /// The device's MTU; 0 where it has none.
    pub mtu: u32,
    /// Outer address here.
    pub local: IpAddr,
    /// Outer address of the peer; `None` where clients come from anywhere.
    pub peer: Option<IpAddr>,
    /// What lies behind it: the routes into its device, or what it is for without one.
    pub routes: Vec<IpNet>,
    /// The VRF that it is routed in.
    pub vrf: Option<String>,
    /// Marks of its lanes, which their ESP packets carry too.
    pub marks: Vec<u32>,
    /// charon makes its SAs.
    pub by_charon: bool,
    /// Its device is charon's TUN device.
    pub by_tun: bool,
    /// Its device has the virtual IPs that the peer gives.
    pub virtual_ips: bool,
}

impl Scope {
    /// Of a file.
    pub fn of(policy: &Policy) -> Self {
        let is_device = |tunnel: &crate::policy::Tunnel| tunnel.device.kind.is_device();
        let tunnels = policy.tunnels.iter().map(|tunnel| Tunnel {
            name: tunnel.name.clone(),
            device: tunnel.device.name.clone(),
            mtu: if is_device(tunnel) { tunnel.device.mtu } else { 0 },
            local: tunnel.local,
            peer: tunnel.peer(),
            routes: if is_device(tunnel) { tunnel.routes.clone() } else { tunnel.remote_ts.clone() },
            vrf: tunnel.device.vrf.clone(),
            marks: tunnel.lanes.iter().map(|lane| tunnel.device.kind.asks_with(lane.mark, policy.mark_mask)).collect(),
            by_charon: match tunnel.keying {
                Keying::Ike(_) | Keying::Adopted(_) => true,
                Keying::Static(_) => false,
            },
            by_tun: tunnel.device.kind == DeviceKind::Tun,
            virtual_ips: match &tunnel.keying {
                Keying::Adopted(adopt) => adopt.addresses,
                Keying::Ike(_) | Keying::Static(_) => false,
            },
        });
        let xdp = |port: &crate::policy::Port| match port.classify {
            crate::policy::Classify::Tc => false,
            crate::policy::Classify::Xdp | crate::policy::Classify::XdpGeneric => true,
        };
        Self {
            mask: Some(policy.mark_mask),
            outer: policy.mark_outer,
            devices: policy.tunnels.iter().filter(|of| is_device(of)).map(|of| of.device.name.clone()).collect(),
            tunnels: tunnels.collect(),
            ports: policy.ports.iter().map(|port| (port.name.clone(), xdp(port))).collect(),
            timed: policy.latency_every.is_some(),
        }
    }
}

/// All that was gathered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kernel and what it is built with.
    pub features: features::Features,
    /// Values below /proc/sys.
    pub sysctls: sysctls::Sysctls,
    /// `ip rule`s with a mark.
    pub rules: Vec<rules::Rule>,
    /// Rules of firewalls that write marks.
    pub mangling: Vec<mangling::Writer>,
    /// systemd-networkd, where it runs.
    pub networkd: Option<networkd::Networkd>,
    /// charon, where a tunnel needs it or it answers.
    pub charon: Option<charon::Charon>,
    /// Where the kernel sends what concerns the tunnels.
    pub routes: Vec<routes::Probe>,
    /// Others' programs and filters.
    pub programs: Vec<programs::Program>,
    /// SAs on a card.
    pub offload: Vec<offload::Sa>,
    /// What becomes of packets that no policy matches.
    pub xfrm_default: xfrm_default::Default,
    /// MTU of the device that leads to each tunnel's peer.
    pub wans: Vec<mtu::Wan>,
    /// What could not be gathered.
    pub unseen: Vec<Unseen>,
}

/// Everything that is wrong.
pub fn examine(machine: &Machine, scope: &Scope) -> Report {
    let findings = [
        features::findings(&machine.features),
        xfrm_default::findings(&machine.xfrm_default),
        sysctls::findings(&machine.sysctls, scope, &machine.wans),
        rules::findings(&machine.rules, scope),
        mangling::findings(&machine.mangling, scope),
        routes::findings(&machine.routes, scope, machine.charon.as_ref()),
        mtu::findings(&machine.wans, scope),
        programs::findings(&machine.programs, scope),
        offload::findings(&machine.offload),
        charon::findings(machine.charon.as_ref(), scope),
        networkd::findings(machine.networkd.as_ref()),
    ];
    Report { findings: findings.concat(), unseen: machine.unseen.clone() }
}

impl Report {
    /// For human eyes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Finding { check, problem, cure, is_command } in &self.findings {
            let cure = if *is_command { format!("run: {cure}") } else { cure.clone() };
            text += &format!("{check}: {problem}\n    {cure}\n");
        }
        for Unseen { what, why } in &self.unseen {
            text += &format!("not looked at: {what}: {why}\n");
        }
        if self.findings.is_empty() {
            text += "nothing found\n";
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tunnel of two lanes.
    pub fn scope() -> Scope {
        Scope {
            mask: Some(0xff),
            outer: 0,
            devices: ["lk-b7".to_owned()].into(),
            tunnels: vec![Tunnel {
                name: "b7".into(),
                device: "lk-b7".into(),
                mtu: 1400,
                local: "192.0.2.1".parse().unwrap(),
                peer: Some("192.0.2.2".parse().unwrap()),
                routes: vec!["10.2.0.0/16".parse().unwrap(), "2001:db8:2::/48".parse().unwrap()],
                marks: vec![1, 2],
                vrf: None,
                by_charon: true,
                by_tun: false,
                virtual_ips: false,
            }],
            ports: Vec::new(),
            timed: false,
        }
    }

    /// What a check says, a line each.
    pub fn said(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{} -> {}", finding.problem, finding.cure)).collect()
    }

    #[test]
    fn a_report_says_each_finding_its_cure_and_what_it_did_not_see() {
        let report = Report {
            findings: vec![
                Finding::run("a", "this breaks".into(), "mend it".into()),
                Finding::advise("b", "that breaks".into(), "do without"),
            ],
            unseen: vec![Unseen { what: "c".into(), why: "no root".into() }],
        };
        let text = "a: this breaks\n    run: mend it\nb: that breaks\n    do without\nnot looked at: c: no root\n";
        assert_eq!(report.text(), text);
        assert_eq!(Report::default().text(), "nothing found\n");
    }

    #[test]
    fn a_box_with_nothing_wrong_has_no_finding() {
        assert_eq!(examine(&Machine::default(), &scope()).findings, []);
    }
}
