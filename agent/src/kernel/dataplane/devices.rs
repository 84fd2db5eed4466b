//! Devices and the programs that are to be on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aya::programs::TcAttachType;
use lanekeeper_common::abi::{Device, Name, Numbers, device_flag, map, program};

use super::attach::{self, On};
use super::live::{changed, set_device};
use super::{Dataplane, Error, Taken, forgive_absent, is_ours, pinned_registry, pins};
use crate::compile::registry::Key;
use crate::failpoint::pass;

/// The programs of a tunnel's device.
const HOOKS: [(&str, TcAttachType); 2] = [(program::OUT, TcAttachType::Egress), (program::IN, TcAttachType::Ingress)];

/// The programs of the devices that ESP goes by: that for outer DSCPs, and that which counts what came out of tunnels without a
/// device.
const WAN: [(&str, TcAttachType); 2] =
    [(program::OUTER, TcAttachType::Egress), (program::ARRIVED, TcAttachType::Ingress)];

impl Dataplane {
    /// Attaches both programs to the tunnel's device, replacing older ones of ours in place; idempotent.
    /// The device must not have an Ethernet header.
    pub fn attach(&mut self, device: &str, tunnel: &str) -> Result<(), Error> {
        self.attach_with(device, tunnel, 0)
    }

    /// The same for a device whose packets have an Ethernet header.
    pub fn attach_ethernet(&mut self, device: &str, tunnel: &str) -> Result<(), Error> {
        self.attach_with(device, tunnel, device_flag::ETHERNET)
    }

    fn attach_with(&mut self, device: &str, tunnel: &str, flags: u32) -> Result<(), Error> {
        let number = self
            .registry
            .get(&Key::Tunnel(tunnel.to_owned()))
            .ok_or_else(|| Error::Unknown { what: "tunnel", name: tunnel.to_owned() })?;
        let ifindex = ifindex(device)?;
        set_device(&mut self.object, ifindex, Device { tunnel: number, flags })?;
        for (name, hook) in HOOKS {
            pass(format_args!("program {name}"))?;
            self.put(name, On { device, ifindex, hook })?;
        }
        // It may stand in the place of one that somebody deleted.
        self.forget_gone()
    }

    /// Has the programs of a device take no interface of the namespace that it goes to for one of this.
    pub fn leave(&mut self, device: &str) -> Result<(), Error> {
        let ifindex = ifindex(device)?;
        let known = self.object.hash::<u32, Device>(map::DEVICES)?.get(&ifindex, 0);
        let known = known.map_err(|error| Error::map(map::DEVICES, error))?;
        set_device(&mut self.object, ifindex, Device { flags: known.flags | device_flag::ELSEWHERE, ..known })
    }

    /// Forgets what devices that are gone have left.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.forget_gone()
    }

    /// Puts the program that writes outer DSCPs on these devices, by which ESP leaves, and takes it off all others,
    /// whichever process put it there; idempotent. A device that is gone by now is left out.
    pub fn set_wan(&mut self, devices: &BTreeSet<String>) -> Result<(), Error> {
        self.set(WAN[0], devices)
    }

    /// The same with the program that counts what came out of tunnels without a device. None of them is a port, which counts
    /// itself.
    pub fn set_arrivals(&mut self, devices: &BTreeSet<String>) -> Result<(), Error> {
        self.set(WAN[1], devices)
    }

    fn set(&mut self, of: (&'static str, TcAttachType), devices: &BTreeSet<String>) -> Result<(), Error> {
        let (name, hook) = of;
        let wanted: BTreeMap<u32, &str> =
            devices.iter().filter_map(|device| Some((ifindex(device).ok()?, device.as_str()))).collect();
        for (&ifindex, &device) in &wanted {
            let on = On { device, ifindex, hook };
            if !is_ours(self.taken.as_ref(), ifindex, name) || !attach::is_attached(name, on, &self.folder)? {
                self.put(name, on)?;
            }
        }
        for ifindex in self.dressed(of)?.into_iter().filter(|ifindex| !wanted.contains_key(ifindex)) {
            let device = device_name(ifindex).unwrap_or_default();
            let on = On { device: &device, ifindex, hook };
            attach::detach(name, on, &self.folder)?;
            self.release(on)?;
        }
        Ok(())
    }

    /// Takes away the qdisc that the programs of a device were in, if we made it and nobody else is in it.
    fn release(&self, on: On<'_>) -> Result<(), Error> {
        if self.registry.get(&Key::Clsact(on.ifindex)).is_some() {
            attach::release(on)?;
        }
        Ok(())
    }

    /// The numbers of devices that have the program, or had it when they were there.
    fn dressed(&self, (name, hook): (&str, TcAttachType)) -> Result<Vec<u32>, Error> {
        if attach::has_tcx() {
            let links = pins::linked(&self.folder)?.into_iter();
            return Ok(links.filter(|(_, of)| of == name).map(|(ifindex, _)| ifindex).collect());
        }
        let mut found = Vec::new();
        for (device, ifindex) in devices()? {
            if attach::has_filter(name, On { device: &device, ifindex, hook })? {
                found.push(ifindex);
            }
        }
        Ok(found)
    }

    pub(super) fn put(&mut self, name: &'static str, on: On<'_>) -> Result<(), Error> {
        self.pin_kept(&pins::link(&self.folder, on.ifindex, name))?;
        if attach::attach(self.object.program(name)?, name, on, &self.folder)? {
            self.name(Key::Clsact(on.ifindex))?;
        }
        self.take(on.ifindex, name);
        Ok(())
    }

    /// Of devices that are gone there is no qdisc: a name for each device that ever was would fill the map some day, and say
    /// of another that got its number what is not so.
    fn forget_qdiscs(&mut self) -> Result<(), Error> {
        let is_gone = |key: &&Key| matches!(key, Key::Clsact(ifindex) if device_name(*ifindex).is_none());
        let gone: Vec<Key> = self.registry.iter().map(|(key, _)| key).filter(is_gone).cloned().collect();
        let mut names = self.object.hash_mut::<Name, Numbers>(map::NAMES)?;
        for key in &gone {
            forgive_absent(names.remove(&key.encode()?)).map_err(|error| Error::map(map::NAMES, error))?;
        }
        self.registry.forget(&gone);
        Ok(())
    }

    /// Takes our programs off the device; fine when they or the device are gone.
    pub fn detach(&mut self, device: &str) -> Result<(), Error> {
        match ifindex(device) {
            Ok(ifindex) => self.detach_number(device, ifindex),
            Err(_) => self.forget_gone(),
        }
    }

    /// Takes out of the maps, and unpins, what devices that are gone have left.
    fn forget_gone(&mut self) -> Result<(), Error> {
        let is_gone = |ifindex: &u32| device_name(*ifindex).is_none() && !is_moved(*ifindex, &self.folder);
        let gone: Vec<u32> = self.numbers()?.into_iter().filter(is_gone).collect();
        for ifindex in gone {
            self.detach_number("", ifindex)?;
            for (name, hook) in WAN {
                attach::detach(name, On { device: "", ifindex, hook }, &self.folder)?;
            }
        }
        self.forget_qdiscs()
    }

    /// The numbers of all devices that the maps know or links are pinned for.
    fn numbers(&self) -> Result<BTreeSet<u32>, Error> {
        let mut numbers: BTreeSet<u32> = self.known()?.into_iter().collect();
        let links = pins::linked(&self.folder)?;
        numbers.extend(links.into_iter().map(|(ifindex, _)| ifindex).filter(|ifindex| *ifindex != pins::NO_DEVICE));
        Ok(numbers)
    }

    pub(super) fn known(&self) -> Result<Vec<u32>, Error> {
        let devices = self.object.hash::<u32, Device>(map::DEVICES)?;
        devices.keys().collect::<Result<_, _>>().map_err(|error| Error::map(map::DEVICES, error))
    }

    fn detach_number(&mut self, device: &str, ifindex: u32) -> Result<(), Error> {
        for (name, hook) in HOOKS {
            attach::detach(name, On { device, ifindex, hook }, &self.folder)?;
        }
        if !device.is_empty() {
            self.release(On { device, ifindex, hook: TcAttachType::Egress })?;
        }
        let mut devices = self.object.hash_mut::<u32, Device>(map::DEVICES)?;
        forgive_absent(devices.remove(&ifindex)).map_err(|error| Error::map(map::DEVICES, error))?;
        changed(&mut self.object)
    }

    /// Puts this process's programs where older ones of ours are, and forgets devices that are gone. An equal filter
    /// stays: a device that the pinned maps know has programs that use them.
    pub(super) fn renew(&mut self) -> Result<(), Error> {
        self.forget_gone()?;
        let known = self.known()?;
        let links = pins::linked(&self.folder)?;
        for ifindex in self.numbers()? {
            let device = match device_name(ifindex) {
                Some(device) => device,
                None if is_moved(ifindex, &self.folder) => String::new(),
                None => continue,
            };
            let linked = |name: &str| links.iter().any(|(number, of)| *number == ifindex && of == name);
            for (name, hook) in HOOKS {
                let on = On { device: &device, ifindex, hook };
                let filtered = !attach::has_tcx() && known.contains(&ifindex);
                let stays = filtered && attach::has_equal_filter(self.object.program(name)?, name, on)?;
                if linked(name) || (filtered && !stays) {
                    self.put(name, on)?;
                }
            }
            for (name, hook) in WAN.into_iter().filter(|(name, _)| linked(name)) {
                self.put(name, On { device: &device, ifindex, hook })?;
            }
        }
        self.renew_ports()?;
        self.renew_sockets()
    }
}

/// Our filters, where there is no TCX.
const FILTERS: [(&str, TcAttachType); 5] = [HOOKS[0], HOOKS[1], WAN[0], WAN[1], (program::PORT, TcAttachType::Ingress)];

/// Filters have no pins: they are looked for on every device. A qdisc goes if the registry says that we made it.
pub(super) fn remove_filters(folder: &Path) -> Result<(), Error> {
    remove_other_filters(folder, &Taken::new())
}

/// The same but for those that are in `taken`; there are none where there is TCX.
pub(super) fn remove_other_filters(folder: &Path, taken: &Taken) -> Result<(), Error> {
    if attach::has_tcx() {
        return Ok(());
    }
    let registry = pinned_registry(folder)?;
    for (device, ifindex) in devices()? {
        let device = device.as_str();
        let mut gone = false;
        for (name, hook) in FILTERS {
            let on = On { device, ifindex, hook };
            if !is_ours(Some(taken), ifindex, name) && attach::has_filter(name, on)? {
                attach::detach(name, on, folder)?;
                gone = true;
            }
        }
        // A number without a filter of ours may be another device's by now.
        if gone && registry.get(&Key::Clsact(ifindex)).is_some() {
            attach::release(On { device, ifindex, hook: TcAttachType::Egress })?;
        }
    }
    Ok(())
}

/// Whether it is in another network namespace: the kernel leaves links on it, and those of a device that is gone on nothing.
pub(super) fn is_moved(ifindex: u32, folder: &Path) -> bool {
    let has = |(name, _): &(&str, TcAttachType)| {
        super::link::ifindex(&pins::link(folder, ifindex, name)).is_ok_and(|number| number == ifindex)
    };
    attach::has_tcx() && device_name(ifindex).is_none() && HOOKS.iter().all(has)
}

/// Whether both programs are on a tunnel's device.
pub(super) fn is_dressed(device: &str, ifindex: u32, folder: &Path, taken: Option<&Taken>) -> Result<bool, Error> {
    for (name, hook) in HOOKS {
        if !is_ours(taken, ifindex, name) || !attach::is_attached(name, On { device, ifindex, hook }, folder)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn ifindex(device: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(device).map_err(|_| Error::NoDevice { name: device.to_owned() })
}

/// Name and number of every device of this network namespace.
pub(super) fn devices() -> Result<Vec<(String, u32)>, Error> {
    let path = PathBuf::from("/sys/class/net");
    let devices = nix::net::if_::if_nameindex().map_err(|error| Error::folder(path, error.into()))?;
    let named =
        |interface: &nix::net::if_::Interface| Some((interface.name().to_str().ok()?.to_owned(), interface.index()));
    Ok(devices.iter().filter_map(named).collect())
}

/// The name of a device of this network namespace.
pub fn device_name(ifindex: u32) -> Option<String> {
    nix::net::if_::if_indextoname(ifindex).ok().and_then(|name| name.into_string().ok()).filter(|name| !name.is_empty())
}
