//! Programs on devices: TCX links where the kernel has them, else cls_bpf filters of a fixed place below clsact.
//!
//! A TCX link is pinned and its program is exchanged in one step. A cls_bpf filter has no pin; it is found again by
//! priority and handle, exchanged in place, and stays when the process ends. Ours goes first: a program before it that
//! ends the chain would let packets pass unclassified.

use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, tc};
use aya::sys::SyscallError;
use aya::util::KernelVersion;
use netlink_packet_route::tc::TcHandle as Parent;

use super::object::chain;
use super::{Error, filter, link, pins};
use crate::plan::FILTER_PREFERENCE;

/// With [`FILTER_PREFERENCE`] the place of our filters where there is no TCX.
const HANDLE: TcHandle = TcHandle::new(0, 0x4c4b);

/// Whether this kernel has TCX (6.6), which has room for programs of several kinds in one place.
pub fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// A device by name and number.
#[derive(Debug, Clone, Copy)]
pub struct On<'a> {
    /// Its name.
    pub device: &'a str,
    /// Its number.
    pub ifindex: u32,
    /// Which hook.
    pub hook: TcAttachType,
}

/// Puts the program on the hook, in the place of an older one of ours.
/// True where it made the clsact qdisc for that.
pub fn attach(program: &mut SchedClassifier, name: &str, on: On<'_>, folder: &Path) -> Result<bool, Error> {
    if has_tcx() {
        attach_tcx(program, on, &pins::link(folder, on.ifindex, name)).map(|()| false)
    } else {
        attach_filter(program, on)
    }
}

fn failed(on: On<'_>, cause: &dyn std::error::Error) -> Error {
    Error::Attach { device: on.device.to_owned(), cause: chain(cause) }
}

fn attach_tcx(program: &mut SchedClassifier, on: On<'_>, pin: &Path) -> Result<(), Error> {
    let shape = if matches!(on.hook, TcAttachType::Ingress) { link::Shape::Ingress } else { link::Shape::Egress };
    if link::check(pin, shape)? && link::ifindex(pin).is_ok_and(|ifindex| ifindex != on.ifindex) {
        // Its device is gone, perhaps to another network namespace, and this one took the number.
        link::remove(pin)?;
    }
    match PinnedLink::from_pin(pin) {
        Ok(old) => {
            let link: SchedClassifierLink = FdLink::from(old).try_into().map_err(|error| failed(on, &error))?;
            match program.attach_to_link(link) {
                // The pin holds the link; giving up ours detaches nothing.
                Ok(link) => return keep(program, link, on).map(drop),
                // The link's device is gone and another took its number.
                Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
                    if io_error.raw_os_error() == Some(libc::ENOLINK) =>
                {
                    std::fs::remove_file(pin).map_err(|error| Error::folder(pin.to_owned(), error))?;
                }
                Err(error) => return Err(failed(on, &error)),
            }
        }
        Err(LinkError::SyscallError(SyscallError { io_error, .. })) if io_error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(on, &error)),
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program.attach_with_options(on.device, on.hook, options).map_err(|error| failed(on, &error))?;
    keep(program, link, on)?.pin(pin).map_err(|error| failed(on, &error))?;
    Ok(())
}

fn keep(program: &mut SchedClassifier, link: SchedClassifierLinkId, on: On<'_>) -> Result<FdLink, Error> {
    let link = program.take_link(link).map_err(|error| failed(on, &error))?;
    link.try_into().map_err(|error: LinkError| failed(on, &error))
}

fn attach_filter(program: &mut SchedClassifier, on: On<'_>) -> Result<bool, Error> {
    let made = match tc::qdisc_add_clsact(on.device) {
        Ok(()) => true,
        Err(error) if errno(&error) == Some(libc::EEXIST) => false,
        Err(error) => return Err(failed(on, &error)),
    };
    let options = NlOptions { priority: FILTER_PREFERENCE, handle: HANDLE, classid: None };
    let link = match program.attach_with_options(on.device, on.hook, TcAttachOptions::Netlink(options)) {
        Ok(link) => link,
        Err(ProgramError::TcError(error)) if errno(&error) == Some(libc::EEXIST) => {
            let old = ours(on).map_err(|error| failed(on, &error))?;
            program.attach_to_link(old).map_err(|error| failed(on, &error))?
        }
        Err(error) => return Err(failed(on, &error)),
    };
    // Dropping the link would take the filter away: it is to outlive the process.
    std::mem::forget(program.take_link(link).map_err(|error| failed(on, &error))?);
    Ok(made)
}

fn ours(on: On<'_>) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(on.device, on.hook, FILTER_PREFERENCE, HANDLE, None)
}

fn errno(error: &TcError) -> Option<i32> {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error(),
        TcError::IoError(error) => error.raw_os_error(),
        TcError::NulError(_)
        | TcError::AlreadyAttached
        | TcError::InvalidTcxAttach(_)
        | TcError::InvalidLinkOperation => None,
    }
}

/// Whether our program is on the hook. A pin alone does not tell: it outlives the attachment.
pub fn is_attached(name: &str, on: On<'_>, folder: &Path) -> Result<bool, Error> {
    if has_tcx() {
        // What cannot be looked at is not known to be there; attaching again says what is wrong with it.
        Ok(link::ifindex(&pins::link(folder, on.ifindex, name)).is_ok_and(|ifindex| ifindex == on.ifindex))
    } else {
        has_filter(name, on)
    }
}

/// Whether the filter in our place is there and has our program's name; never where there is TCX.
pub fn has_filter(name: &str, on: On<'_>) -> Result<bool, Error> {
    Ok(in_our_place(on)?.is_some_and(|found| found.name == name))
}

/// Whether the filter in our place has this very program, instruction for instruction; never where there is TCX.
pub fn has_equal_filter(program: &SchedClassifier, name: &str, on: On<'_>) -> Result<bool, Error> {
    let tag = program.info().map_err(|error| failed(on, &error))?.tag();
    Ok(in_our_place(on)?.is_some_and(|found| found.name == name && found.tag == tag))
}

fn in_our_place(on: On<'_>) -> Result<Option<filter::Program>, Error> {
    let hook = match on.hook {
        TcAttachType::Ingress => Parent::MIN_INGRESS,
        TcAttachType::Egress => Parent::MIN_EGRESS,
        TcAttachType::Custom(_) => return Ok(None),
    };
    if has_tcx() || on.device.is_empty() {
        return Ok(None);
    }
    filter::program(on.ifindex, hook, FILTER_PREFERENCE, HANDLE.into()).map_err(|error| failed(on, &error))
}

/// Takes away the clsact qdisc that we made, unless somebody has filters there; true where it is gone.
pub fn release(on: On<'_>) -> Result<bool, Error> {
    let failed = |error| failed(on, &error);
    if !filter::none(on.ifindex).map_err(failed)? {
        return Ok(false);
    }
    filter::delete_clsact(on.ifindex).map_err(failed)?;
    Ok(true)
}

/// Takes our program off the hook. Fine where it, or the device, is gone.
pub fn detach(name: &str, on: On<'_>, folder: &Path) -> Result<(), Error> {
    let pin = pins::link(folder, on.ifindex, name);
    // A link whose device is gone is detached already, and an old pin of another kind goes like any other.
    let _ = link::detach(&pin);
    match std::fs::remove_file(&pin) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::folder(pin, error)),
    }
    // A device without a name is gone, and its filters with it.
    if has_filter(name, on)?
        && let Ok(link) = ours(on)
    {
        use aya::programs::Link as _;
        match link.detach() {
            Ok(()) => {}
            Err(ProgramError::NetlinkError(error))
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => {}
            Err(error) => return Err(failed(on, &error)),
        }
    }
    Ok(())
}
