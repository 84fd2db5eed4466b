//! Ports: interfaces that have the program which writes marks of classes at tc ingress, and before it perhaps XDP.

use std::collections::BTreeMap;
use std::path::Path;

use aya::programs::TcAttachType;
use lanekeeper_common::abi::program;

use super::attach::{self, On};
use super::devices::{device_name, devices, ifindex};
use super::{Dataplane, Error, Interface, Taken, is_ours, link, pins, xdp};
use crate::compile::registry::Key;
use crate::failpoint::pass;
use crate::policy::Classify;

/// What the pins of a port's links are named by.
const PINNED: [&str; 3] = [program::PORT, xdp::PINS[0].1, xdp::PINS[1].1];

/// The hook of the port's program of tc.
fn entering(device: &str, ifindex: u32) -> On<'_> {
    On { device, ifindex, hook: TcAttachType::Ingress }
}

impl Dataplane {
    /// Puts the programs of a port on an interface, in the place of older ones of ours and of those of another way to
    /// classify; idempotent. `interfaces` are all that there are.
    pub fn attach_port(&mut self, port: &str, classify: Classify, interfaces: &[Interface]) -> Result<(), Error> {
        let ifindex = ifindex(port)?;
        let ethernet = interfaces.iter().any(|known| known.ifindex == ifindex && known.ethernet);
        if classify != Classify::Tc && !ethernet {
            return Err(Error::NoEthernet { interface: port.to_owned() });
        }
        forget_gone(&self.folder)?;
        // The programs ask which port it is, and leave packets of none unmarked.
        self.name(Key::Port(port.to_owned()))?;
        self.set_interfaces(interfaces)?;
        self.put(program::PORT, entering(port, ifindex))?;
        for (other, name) in xdp::PINS {
            if other != classify {
                link::remove(&pins::link(&self.folder, ifindex, name))?;
            }
        }
        self.put_xdp(classify, port, ifindex)
    }

    /// Takes them off; fine when they or the interface are gone.
    pub fn detach_port(&mut self, port: &str) -> Result<(), Error> {
        forget_gone(&self.folder)?;
        let Ok(ifindex) = ifindex(port) else { return Ok(()) };
        for (_, name) in xdp::PINS {
            link::remove(&pins::link(&self.folder, ifindex, name))?;
        }
        attach::detach(program::PORT, entering(port, ifindex), &self.folder)?;
        if self.registry.get(&Key::Clsact(ifindex)).is_some() {
            attach::release(entering(port, ifindex))?;
        }
        Ok(())
    }

    /// Puts this process's programs where older ones of ours are. What somebody took away is for the next plan.
    pub(super) fn renew_ports(&mut self) -> Result<(), Error> {
        forget_gone(&self.folder)?;
        for (ifindex, name) in pins::linked(&self.folder)? {
            let Some(device) = device_name(ifindex).filter(|_| is_linked(&self.folder, ifindex, &name)) else {
                continue;
            };
            if name == program::PORT {
                self.put(program::PORT, entering(&device, ifindex))?;
            }
            if let Some((classify, _)) = xdp::PINS.into_iter().find(|(_, pinned)| *pinned == name) {
                self.put_xdp(classify, &device, ifindex)?;
            }
        }
        for (device, ifindex) in filtered()? {
            let on = entering(&device, ifindex);
            if !attach::has_equal_filter(self.object.program(program::PORT)?, program::PORT, on)? {
                self.put(program::PORT, on)?;
            }
        }
        Ok(())
    }

    fn put_xdp(&mut self, classify: Classify, interface: &str, ifindex: u32) -> Result<(), Error> {
        match xdp::PINS.into_iter().find(|(way, _)| *way == classify) {
            Some((_, name)) => {
                pass(format_args!("program {name}"))?;
                let pin = pins::link(&self.folder, ifindex, name);
                self.pin_kept(&pin)?;
                xdp::attach(self.object.xdp()?, classify, interface, ifindex, &pin)?;
                self.take(ifindex, name);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Whether the pin's link is on that interface; the pin outlives the attachment.
fn is_linked(folder: &Path, ifindex: u32, name: &str) -> bool {
    link::ifindex(&pins::link(folder, ifindex, name)).is_ok_and(|attached| attached == ifindex)
}

/// Interfaces with a port's filter, where the kernel has no TCX.
fn filtered() -> Result<Vec<(String, u32)>, Error> {
    if attach::has_tcx() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (device, ifindex) in devices()? {
        if attach::has_filter(program::PORT, entering(&device, ifindex))? {
            found.push((device, ifindex));
        }
    }
    Ok(found)
}

/// Detaches what is pinned for interfaces that are gone, perhaps to another network namespace, where programs of tc and XDP
/// stay on them.
pub(super) fn forget_gone(folder: &Path) -> Result<(), Error> {
    for (ifindex, name) in pins::linked(folder)? {
        if PINNED.contains(&name.as_str()) && device_name(ifindex).is_none() {
            link::remove(&pins::link(folder, ifindex, &name))?;
        }
    }
    Ok(())
}

/// What is attached to one interface, of what is pinned for it.
#[derive(Default)]
struct Parts {
    tc: bool,
    xdp: Vec<Classify>,
}

impl Parts {
    /// The way to classify whose programs these are, none missing and none too many.
    fn whole(&self) -> Option<Classify> {
        match (self.tc, self.xdp.as_slice()) {
            (true, []) => Some(Classify::Tc),
            (true, [one]) => Some(*one),
            (true | false, _) => None,
        }
    }
}

/// Every interface with something of a port.
pub fn observe(folder: &Path, taken: Option<&Taken>) -> Result<BTreeMap<String, Option<Classify>>, Error> {
    let mut parts: BTreeMap<u32, Parts> = BTreeMap::new();
    for (ifindex, name) in pins::linked(folder)?.into_iter().filter(|(_, name)| PINNED.contains(&name.as_str())) {
        let attached = is_ours(taken, ifindex, &name) && is_linked(folder, ifindex, &name);
        let of = parts.entry(ifindex).or_default();
        match xdp::PINS.into_iter().find(|(_, pinned)| *pinned == name) {
            Some((classify, _)) => of.xdp.extend(attached.then_some(classify)),
            None => of.tc |= attached,
        }
    }
    for (_, ifindex) in filtered()? {
        parts.entry(ifindex).or_default().tc = is_ours(taken, ifindex, program::PORT);
    }
    Ok(parts.iter().filter_map(|(ifindex, parts)| Some((device_name(*ifindex)?, parts.whole()))).collect())
}
