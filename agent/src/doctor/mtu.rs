//! Room for ESP's headers.

use super::{Finding, Scope};

/// The device that leads to a tunnel's peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wan {
    /// The tunnel.
    pub tunnel: String,
    /// The device.
    pub device: String,
    /// Its MTU.
    pub mtu: u32,
}

/// ESP with AES-GCM in tunnel mode: SPI and number 8, IV 8, tag 16, pad length and next header 2, at most 3 of padding.
const ESP: u32 = 37;

/// Full packets would go as two fragments, of which many firewalls drop the second.
pub fn findings(wans: &[Wan], scope: &Scope) -> Vec<Finding> {
    let both =
        wans.iter().filter_map(|wan| Some((wan, scope.tunnels.iter().find(|tunnel| tunnel.name == wan.tunnel)?)));
    both.filter_map(|(wan, tunnel)| {
        let header = if tunnel.local.is_ipv4() { 20 } else { 40 };
        let room = wan.mtu.saturating_sub(header + ESP);
        (tunnel.mtu > room).then(|| {
            let problem = format!(
                "tunnel {:?} has an MTU of {}, but {} ({}) has room for {room} within ESP: full packets go in fragments",
                tunnel.name, tunnel.mtu, wan.device, wan.mtu
            );
            Finding::advise("mtu", problem, format!("set mtu = {room} in its device, less 8 where NAT puts ESP into UDP"))
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{said, scope};
    use super::*;

    #[test]
    fn a_tunnel_that_is_as_wide_as_its_wan_is_said() {
        let wan = |mtu| Wan { tunnel: "b7".into(), device: "wan0".into(), mtu };
        assert_eq!(findings(&[wan(1457)], &scope()), []);
        assert_eq!(
            said(&findings(&[wan(1456)], &scope())),
            [
                "tunnel \"b7\" has an MTU of 1400, but wan0 (1456) has room for 1399 within ESP: full packets go in fragments -> set \
              mtu = 1399 in its device, less 8 where NAT puts ESP into UDP"
            ]
        );
    }
}
