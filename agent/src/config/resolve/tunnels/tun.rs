//! Tunnels by the TUN device of charon's kernel-libipsec: who encrypts there is charon, and not the kernel.

use crate::config::caution::Caution;
use crate::config::document::{Document, Tunnel};
use crate::config::findings::Findings;
use crate::config::problem::Problem;
use crate::config::value::DeviceType;
use crate::policy::Class;

/// Every such tunnel.
pub fn check(document: &Document, classes: &[Class], findings: &mut Findings<'_>) {
    for tunnel in document.tunnels.iter().filter(|tunnel| is_tun(tunnel)) {
        let object = || tunnel.object.clone();
        if tunnel.static_keys.is_some() {
            findings.problem(tunnel.spot, Problem::TunKeys { object: object() });
        }
        // An adopted tunnel is refused for that, and is not to write them.
        if tunnel.remote_ts.is_empty() && tunnel.adopt.is_none() {
            findings.problem(tunnel.spot, Problem::TunTakesAll { object: object() });
        }
        for name in &tunnel.classes {
            let class = classes.iter().find(|class| class.name == name.value);
            if class.is_some_and(|class| class.outer_dscp.is_some()) {
                let (object, class) = (object(), name.value.clone());
                findings.caution(name.spot, Caution::OuterOfTun { object, class });
            }
        }
    }
}

fn is_tun(tunnel: &Tunnel) -> bool {
    let kind = tunnel.device.as_ref().and_then(|device| device.kind.as_ref());
    kind.is_some_and(|kind| kind.value == DeviceType::Tun)
}
