//! ETHTOOL_SGRO: a veth that merges packets takes them in by NAPI, and whole frames from its other end without a program of
//! XDP of its own.

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// linux/ethtool.h.
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches it on at a device of this thread's namespace.
pub fn switch_on(device: &str) -> Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context("a socket")?;
    let mut value = Value { command: ETHTOOL_SGRO, data: 1 };
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    let data = libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() };
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: data };
    // SAFETY: the request and the value that it points to outlive the call, and the command reads no more than that.
    let done = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("GRO at {device}"));
    }
    Ok(())
}
