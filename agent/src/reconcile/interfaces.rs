//! The devices by which packets come in, as rules and tenants name them.

use super::Error;
use crate::kernel::dataplane::Interface;

/// One line per VLAN device: `name | id | parent`, after two lines of head.
const VLANS: &str = "/proc/net/vlan/config";

/// All devices of this network namespace.
pub fn list() -> Result<Vec<Interface>, Error> {
    let names = nix::net::if_::if_nameindex().map_err(Error::Interfaces)?;
    // Not there unless the kernel has VLAN devices.
    let vlans = std::fs::read_to_string(VLANS).map(|text| vlans(&text)).unwrap_or_default();
    Ok(names
        .iter()
        .map(|interface| {
            let name = interface.name().to_string_lossy().into_owned();
            let vlan = vlans.iter().find(|(device, _)| *device == name).map(|(_, id)| *id);
            Interface { ifindex: interface.index(), name, vlan }
        })
        .collect())
}

fn vlans(text: &str) -> Vec<(String, u16)> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim);
        Some((cells.next()?.to_owned(), cells.next()?.parse().ok()?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_always_there() {
        assert!(list().unwrap().iter().any(|interface| interface.name == "lo" && interface.ifindex == 1));
    }

    #[test]
    fn vlan_devices_say_what_they_strip() {
        let text = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
                    vlan12         | 12  | eth0\neth0.4094      | 4094  | eth0\n";
        assert_eq!(vlans(text), [("vlan12".into(), 12), ("eth0.4094".into(), 4094)]);
    }
}
