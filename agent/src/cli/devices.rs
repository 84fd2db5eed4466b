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
            let leading =
                status.tunnels.iter().filter(|of| of.device == device.name || of.devices.contains(&device.name));
            let names: Vec<&str> = leading.map(|tunnel| tunnel.name.as_str()).collect();
            device.tunnel = (!names.is_empty()).then(|| names.join(", "));
        }
    }
    let devices = Devices { devices };
    print(&if json { serde_json::to_string(&devices)? + "\n" } else { devices.table() })?;
    Ok(Outcome::Fine)
}
