//! XDP on interfaces: links that are pinned, and whose program is exchanged in one step (Linux 5.9).

use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::{XdpError, XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::sys::SyscallError;
use lanekeeper_common::abi::program;

use super::object::chain;
use super::{Error, link};
use crate::policy::Classify;

/// What a pin says of its link: what it was asked for, which the kernel does not keep. "xdp" may have become generic.
pub const PINS: [(Classify, &str); 2] =
    [(Classify::Xdp, program::XDP), (Classify::XdpGeneric, "lanekeeper_xdp_generic")];

/// Puts the program on an interface for that way to classify, in the place of an older one of ours, and nobody else's.
pub fn attach(program: &mut Xdp, classify: Classify, interface: &str, ifindex: u32, pin: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Attach { device: interface.to_owned(), cause };
    link::check(pin, link::Shape::Xdp)?;
    match PinnedLink::from_pin(pin) {
        Ok(old) => {
            let link: XdpLink = FdLink::from(old).try_into().map_err(|error: LinkError| failed(chain(&error)))?;
            match program.attach_to_link(link) {
                // The pin holds the link; giving up ours detaches nothing.
                Ok(link) => return keep(program, link).map(drop).map_err(failed),
                // Somebody detached it, or its interface is gone and another took the number.
                Err(error) if errno(&error) == Some(libc::ENOLINK) => link::remove(pin)?,
                Err(error) => return Err(failed(chain(&error))),
            }
        }
        Err(LinkError::SyscallError(SyscallError { io_error, .. })) if io_error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(chain(&error))),
    }
    let modes = if classify == Classify::Xdp { &[XdpMode::Driver, XdpMode::Skb][..] } else { &[XdpMode::Skb] };
    let mut refused = None;
    for mode in modes {
        match program.attach_to_if_index(ifindex, *mode) {
            Ok(link) => {
                if refused.is_some() {
                    tracing::info!(interface, "its driver refuses XDP: generic in its place");
                }
                keep(program, link).map_err(failed)?.pin(pin).map_err(|error| failed(chain(&error)))?;
                return Ok(());
            }
            // The kernel has one program for each interface, of either mode.
            Err(error) if matches!(errno(&error), Some(libc::EBUSY | libc::EEXIST)) => {
                return Err(Error::XdpTaken { interface: interface.to_owned() });
            }
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(()), |error| Err(failed(chain(&error))))
}

fn keep(program: &mut Xdp, link: XdpLinkId) -> Result<FdLink, String> {
    let link = program.take_link(link).map_err(|error| chain(&error))?;
    link.try_into().map_err(|error: LinkError| chain(&error))
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    }
}
