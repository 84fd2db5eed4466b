//! Where the kernel sends what concerns a tunnel: ESP to its peer, and what lies behind it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::charon::Charon;
use super::{Finding, Scope};

/// charon's own table of routes, unless it is told otherwise (`charon.routing_table`).
const CHARONS_TABLE: u32 = 220;
/// RT_TABLE_MAIN.
const MAIN: u32 = 254;

/// A question to the kernel and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The tunnel.
    pub tunnel: String,
    /// What was asked for.
    pub to: To,
    /// With this mark.
    pub mark: u32,
    /// The route that it takes.
    pub taken: Taken,
    /// The best route to the same place that does not lead into a tunnel of ours.
    pub beside: Option<Beside>,
}

/// A destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The tunnel's peer.
    Peer(IpAddr),
    /// The first address of what lies behind the tunnel.
    Behind(IpNet),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its prefix.
    pub prefix: IpNet,
    /// Its device.
    pub device: String,
    /// Its table.
    pub table: u32,
}

/// Where else it could go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The gateway, if there is one.
    pub via: Option<IpAddr>,
    /// The device.
    pub device: String,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.prefix, self.device)?;
        if self.table == MAIN { Ok(()) } else { write!(f, " table {}", self.table) }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(via) = self.via {
            write!(f, "via {via} ")?;
        }
        write!(f, "dev {}", self.device)
    }
}

/// Loops, and tunnels that are gone past.
pub fn findings(probes: &[Probe], scope: &Scope, charon: Option<&Charon>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for probe in probes {
        let Some(tunnel) = scope.tunnels.iter().find(|tunnel| tunnel.name == probe.tunnel) else { continue };
        let found = match probe.to {
            To::Peer(peer) if scope.devices.contains(&probe.taken.device) => Some(looped(probe, peer)),
            To::Behind(prefix) if tunnel.device.is_empty() => {
                scope.devices.contains(&probe.taken.device).then(|| swallowed(probe, prefix))
            }
            To::Behind(prefix) if probe.taken.device != tunnel.device => {
                Some(passed_by(probe, prefix, &tunnel.device, charon))
            }
            To::Peer(_) | To::Behind(_) => None,
        };
        // Each lane's mark may tell the same.
        if let Some(found) = found.filter(|found| findings.iter().all(|earlier| earlier.cure != found.cure)) {
            findings.push(found);
        }
    }
    findings
}

fn looped(probe: &Probe, peer: IpAddr) -> Finding {
    let Probe { tunnel, taken, mark, .. } = probe;
    let marked = if *mark == 0 { String::new() } else { format!(" (with mark {mark:#x})") };
    let problem = format!(
        "the peer of tunnel {tunnel:?}, {peer}, is routed into a tunnel{marked}: {taken}. Its ESP packets never leave this box"
    );
    let host = IpNet::from(peer);
    let table = if taken.table == MAIN { String::new() } else { format!(" table {}", taken.table) };
    match &probe.beside {
        Some(beside) => Finding::run("loop", problem, format!("ip route replace {host} {beside}{table}")),
        None => Finding::advise(
            "loop",
            problem,
            format!("no other route leads there: add one, ip route add {host} via GATEWAY dev WAN{table}"),
        ),
    }
}

/// Policies without an interface are not asked at a tunnel's device.
fn swallowed(probe: &Probe, prefix: IpNet) -> Finding {
    let Probe { tunnel, taken, .. } = probe;
    let problem = format!("{prefix} of tunnel {tunnel:?}, which has no device, is routed into another tunnel: {taken}");
    Finding::run("route", problem, format!("ip route del {taken} # or take {prefix} out of the tunnel's remote-ts"))
}

fn passed_by(probe: &Probe, prefix: IpNet, device: &str, charon: Option<&Charon>) -> Finding {
    let Probe { tunnel, taken, .. } = probe;
    let problem = format!("{prefix} of tunnel {tunnel:?} does not go to {device}: {taken} goes before it");
    if taken.table == CHARONS_TABLE {
        let setting = charon.and_then(|charon| charon.settings.as_ref()).and_then(|settings| settings.file.as_deref());
        let file = setting.unwrap_or("/etc/strongswan.conf");
        let cure = format!(
            "ip route del {taken} # charon made it: install_routes = no in section charon of {file}, or it comes again"
        );
        return Finding::run("route", problem, cure);
    }
    let cure = format!("ip route del {taken} # or take {prefix} out of the tunnel's routes");
    Finding::run("route", problem, cure)
}

#[cfg(test)]
mod tests {
    use super::super::Tunnel;
    use super::super::tests::{said, scope};
    use super::*;

    fn probe(to: To, prefix: &str, device: &str, table: u32) -> Probe {
        Probe {
            tunnel: "b7".into(),
            to,
            mark: 0,
            taken: Taken { prefix: prefix.parse().unwrap(), device: device.into(), table },
            beside: Some(Beside { via: Some("198.51.100.1".parse().unwrap()), device: "wan0".into() }),
        }
    }

    fn peer() -> To {
        To::Peer("192.0.2.2".parse().unwrap())
    }

    #[test]
    fn a_peer_that_is_routed_into_a_tunnel_is_a_loop() {
        let probes = [
            probe(peer(), "0.0.0.0/0", "wan0", MAIN),
            probe(peer(), "192.0.2.0/24", "lk-b7", MAIN),
            Probe { mark: 1, ..probe(peer(), "192.0.2.0/24", "lk-b7", MAIN) },
            Probe { mark: 2, beside: None, ..probe(peer(), "0.0.0.0/0", "lk-b7", 7) },
        ];
        assert_eq!(
            said(&findings(&probes, &scope(), None)),
            [
                "the peer of tunnel \"b7\", 192.0.2.2, is routed into a tunnel: 192.0.2.0/24 dev lk-b7. Its ESP packets never leave \
                 this box -> ip route replace 192.0.2.2/32 via 198.51.100.1 dev wan0",
                "the peer of tunnel \"b7\", 192.0.2.2, is routed into a tunnel (with mark 0x2): 0.0.0.0/0 dev lk-b7 table 7. Its ESP \
                 packets never leave this box -> no other route leads there: add one, ip route add 192.0.2.2/32 via GATEWAY dev \
                 WAN table 7",
            ]
        );
    }

    #[test]
    fn what_goes_past_the_tunnel_is_said_and_charons_table_has_its_own_cure() {
        let behind = To::Behind("10.2.0.0/16".parse().unwrap());
        let probes = [
            probe(behind, "10.2.0.0/16", "lk-b7", MAIN),
            probe(behind, "10.2.0.0/24", "wan0", MAIN),
            probe(behind, "10.2.0.0/16", "wan0", CHARONS_TABLE),
        ];
        assert_eq!(
            said(&findings(&probes, &scope(), None)),
            [
                "10.2.0.0/16 of tunnel \"b7\" does not go to lk-b7: 10.2.0.0/24 dev wan0 goes before it -> ip route del 10.2.0.0/24 \
                 dev wan0 # or take 10.2.0.0/16 out of the tunnel's routes",
                "10.2.0.0/16 of tunnel \"b7\" does not go to lk-b7: 10.2.0.0/16 dev wan0 table 220 goes before it -> ip route del \
                 10.2.0.0/16 dev wan0 table 220 # charon made it: install_routes = no in section charon of /etc/strongswan.conf, \
                 or it comes again",
            ]
        );
    }

    #[test]
    fn what_is_for_a_tunnel_without_a_device_is_not_to_go_into_another_tunnel() {
        let mut scope = scope();
        let bare = Tunnel { name: "bare".into(), device: String::new(), ..scope.tunnels[0].clone() };
        scope.tunnels.push(bare);
        let behind = |prefix: &str, device| {
            let to = To::Behind("10.9.0.0/16".parse().unwrap());
            Probe { tunnel: "bare".into(), ..probe(to, prefix, device, MAIN) }
        };
        assert_eq!(
            said(&findings(&[behind("0.0.0.0/0", "wan0"), behind("10.0.0.0/8", "lk-b7")], &scope, None)),
            [
                "10.9.0.0/16 of tunnel \"bare\", which has no device, is routed into another tunnel: 10.0.0.0/8 dev lk-b7 -> ip route \
                 del 10.0.0.0/8 dev lk-b7 # or take 10.9.0.0/16 out of the tunnel's remote-ts"
            ]
        );
    }
}
