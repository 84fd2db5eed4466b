//! Gathers what [`crate::doctor`] judges: netlink, /proc, files, charon and the firewalls' own programs. Changes nothing.

mod files;
mod firewall;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::doctor::charon::Charon;
use crate::doctor::routes::{Probe, To};
use crate::doctor::{Machine, Scope, Unseen, mtu};
use crate::kernel::checkup::{self as netlink_side, Link};
use crate::kernel::{self, Netlink, dataplane};
use crate::vici::{Client, Message, Timeouts};

/// Looks at everything. Adds the box's devices of ours to the scope.
pub async fn gather(scope: &mut Scope, vici: &Path, bpffs: &Path) -> Result<Machine, kernel::Error> {
    let netlink = Netlink::open()?;
    let links = netlink_side::links(&netlink).await?;
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    scope.devices.extend(links.iter().filter(|link| link.ours).map(|link| link.name.clone()));
    let mut unseen = Vec::new();
    let mut machine = Machine {
        features: files::features(bpffs),
        sysctls: files::sysctls(),
        rules: netlink_side::marked_rules(&netlink).await?,
        networkd: files::networkd(Path::new("/")),
        ..Machine::default()
    };
    if scope.timed {
        machine.features.untimed = dataplane::Fields::of_kernel().err();
    }
    for (option, has) in &machine.features.options {
        if has.is_none() {
            unseen.push(Unseen {
                what: format!("{option} of the kernel"),
                why: "neither its config nor its modules are here".into(),
            });
        }
    }
    routes(&netlink, scope, &links, &names, &mut machine).await?;
    machine.xfrm_default = seen(&mut unseen, "the XFRM policy default", netlink_side::xfrm_default(&netlink).await);
    machine.offload = seen(&mut unseen, "SAs on network cards", netlink_side::offloaded(&netlink, &names).await);
    for link in &links {
        let is_port = scope.ports.iter().any(|(port, _)| *port == link.name);
        if is_port || scope.devices.contains(&link.name) {
            let what = format!("programs on {}", link.name);
            let found = dataplane::foreign(&link.name, link.index, link.xdp);
            machine.programs.extend(seen(&mut unseen, &what, found));
        }
    }
    machine.charon = charon(scope, vici, &netlink).await;
    if scope.mask.is_some() {
        machine.mangling = firewall::writers(&mut unseen);
    }
    machine.unseen = unseen;
    Ok(machine)
}

/// What was found, or nothing and a word about it.
fn seen<T: Default, E: std::fmt::Display>(unseen: &mut Vec<Unseen>, what: &str, found: Result<T, E>) -> T {
    found.unwrap_or_else(|error| {
        unseen.push(Unseen { what: what.to_owned(), why: error.to_string() });
        T::default()
    })
}

/// The way to each peer, with each mark that its ESP packets may have, and to what lies behind each tunnel that has its device.
async fn routes(
    netlink: &Netlink,
    scope: &Scope,
    links: &[Link],
    names: &BTreeMap<u32, String>,
    machine: &mut Machine,
) -> Result<(), kernel::Error> {
    for tunnel in &scope.tunnels {
        let marks = std::iter::once(0).chain(tunnel.marks.iter().copied());
        for (peer, mark) in tunnel.peer.into_iter().flat_map(|peer| marks.clone().map(move |mark| (peer, mark))) {
            let Some(taken) = netlink_side::taken(netlink, peer, mark, None, names).await? else { continue };
            let mut beside = None;
            if scope.devices.contains(&taken.device) {
                beside = netlink_side::beside(netlink, peer, taken.table, &scope.devices, names).await?;
            } else if mark == 0 {
                let mtu = links.iter().find(|link| link.name == taken.device).map_or(0, |link| link.mtu);
                machine.wans.push(mtu::Wan { tunnel: tunnel.name.clone(), device: taken.device.clone(), mtu });
            }
            let to = To::Peer(peer);
            machine.routes.push(Probe { tunnel: tunnel.name.clone(), to, mark, taken, beside });
        }
        if tunnel.device.is_empty() || links.iter().any(|link| link.name == tunnel.device) {
            let vrf = tunnel.vrf.as_ref().and_then(|vrf| names.iter().find(|(_, name)| *name == vrf));
            let vrf = vrf.map(|(index, _)| *index);
            for prefix in &tunnel.routes {
                if let Some(taken) = netlink_side::taken(netlink, first(prefix), 0, vrf, names).await? {
                    let (tunnel, to) = (tunnel.name.clone(), To::Behind(*prefix));
                    machine.routes.push(Probe { tunnel, to, mark: 0, taken, beside: None });
                }
            }
        }
    }
    Ok(())
}

/// An address of a prefix that is not the prefix's own.
fn first(prefix: &IpNet) -> IpAddr {
    prefix.hosts().next().unwrap_or_else(|| prefix.addr())
}

/// `None` where nobody needs it and it does not answer.
async fn charon(scope: &Scope, vici: &Path, netlink: &Netlink) -> Option<Charon> {
    let mut charon = Charon::default();
    let asked = async {
        let mut client = Client::connect(vici, Timeouts::default()).await?;
        client.check_version().await?;
        client.request("stats", Message::new()).await
    };
    match asked.await {
        Ok(stats) => charon.plugins = stats.list("plugins").map(str::to_owned).collect(),
        Err(error) => {
            if !scope.tunnels.iter().any(|tunnel| tunnel.by_charon) {
                return None;
            }
            charon.trouble = Some(error.to_string());
        }
    }
    charon.settings = files::settings(vici);
    let devices = kernel::devices(netlink).await.unwrap_or_default();
    charon.vti =
        devices.into_iter().filter(|device| device.kind.starts_with("vti")).map(|device| device.name).collect();
    Some(charon)
}
