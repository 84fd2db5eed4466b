//! `devices`: what may lead into a tunnel on this box, and whose it is.

use std::path::Path;

use super::{Outcome, print, wait_for};
use crate::control::{Reply, Request, client};
use crate::devices::Devices;
use crate::kernel::{self, Netlink};

/// Needs no root, and no agent: one that runs, and may be asked, says whose tunnel each of ours is.
pub fn devices(socket: &Path, json: bool) -> anyhow::Result<Outcome> {
    let mut devices = wait_for(async { Ok(kernel::devices(&Netlink::open()?).await?) })?;
    if let Ok(Reply::Status { status }) = client::ask(socket, &Request::Status {}) {
        for device in devices.iter_mut().filter(|device| device.owner.is_some()) {
            let tunnel = status
                .tunnels
                .iter()
                .find(|tunnel| tunnel.device == device.name || tunnel.devices.contains(&device.name));
            device.tunnel = tunnel.map(|tunnel| tunnel.name.clone());
        }
    }
    let devices = Devices { devices };
    print(&if json { serde_json::to_string(&devices)? + "\n" } else { devices.table() })?;
    Ok(Outcome::Fine)
}
