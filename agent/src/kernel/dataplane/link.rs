//! Pinned links: where one is attached, another program in it, and detaching it at once. Removing the pin alone detaches some
//! milliseconds later, when the kernel frees the inode, and packets go through the program until then; aya has no call for these,
//! for all kinds of links.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Error;

/// linux/bpf.h, enum bpf_cmd.
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The part of union bpf_attr that BPF_OBJ_PIN and BPF_OBJ_GET read.
#[repr(C)]
struct AtPath {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part that BPF_OBJ_GET_INFO_BY_FD reads.
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// struct bpf_link_info as far as links of TCX, XDP and cgroups fill it in.
#[derive(Default)]
#[repr(C)]
struct Info {
    kind: u32,
    id: u32,
    prog_id: u32,
    _pad: u32,
    /// ifindex of TCX and XDP, then attach_type of TCX; both together the id of a cgroup.
    at: [u32; 2],
}

/// enum bpf_link_type.
const BPF_LINK_TYPE_CGROUP: u32 = 3;
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_LINK_TYPE_TCX: u32 = 11;

/// enum bpf_attach_type.
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// What a pinned link must be to have another program of ours put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// tc ingress of a device.
    Ingress,
    /// tc egress of a device.
    Egress,
    /// XDP of a device.
    Xdp,
    /// Some hook of a cgroup.
    Cgroup,
}

/// Whether a link is pinned there; an error where that is one of another shape, or no link.
pub fn check(pin: &Path, wanted: Shape) -> Result<bool, Error> {
    let problem = |problem: String| Err(Error::Pin { path: pin.to_owned(), problem });
    let info = match info(pin) {
        Ok(info) => info,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return problem(format!("is not a link that opens: {error}")),
    };
    let found = match (info.kind, info.at[1]) {
        (BPF_LINK_TYPE_TCX, BPF_TCX_INGRESS) => Shape::Ingress,
        (BPF_LINK_TYPE_TCX, BPF_TCX_EGRESS) => Shape::Egress,
        (BPF_LINK_TYPE_XDP, _) => Shape::Xdp,
        (BPF_LINK_TYPE_CGROUP, _) => Shape::Cgroup,
        (kind, _) => return problem(format!("is of kind {kind}, not {wanted:?}")),
    };
    if found == wanted { Ok(true) } else { problem(format!("is {found:?}, not {wanted:?}")) }
}

/// The part that BPF_LINK_UPDATE reads.
#[repr(C)]
struct Update {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The part that BPF_LINK_DETACH reads.
#[repr(C)]
struct Detach {
    link_fd: u32,
}

/// Opens the pin and detaches the link behind it; it stays, attached to nothing.
pub fn detach(pin: &Path) -> io::Result<()> {
    let fd = open(pin)?;
    let detach = Detach { link_fd: fd.as_raw_fd() as u32 };
    // SAFETY: the kernel reads `detach`, which outlives the call.
    match unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const detach, size_of::<Detach>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same, and removes the pin; fine where either is gone.
pub fn remove(pin: &Path) -> Result<(), Error> {
    let _ = detach(pin);
    match std::fs::remove_file(pin) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::folder(pin.to_owned(), error)),
    }
}

/// Puts another program of its kind into the pinned link, in one step. ENOLINK where it is attached to nothing.
pub fn update(pin: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let fd = open(pin)?;
    let (link_fd, new_prog_fd) = (fd.as_raw_fd() as u32, program.as_raw_fd() as u32);
    let update = Update { link_fd, new_prog_fd, flags: 0, old_prog_fd: 0 };
    // SAFETY: the kernel reads `update`, which outlives the call.
    match unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_UPDATE, &raw const update, size_of::<Update>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The ifindex of the device that the pinned link of TCX or XDP is attached to: 0 once somebody detached it or the device is gone,
/// which leaves link and pin where they are.
pub fn ifindex(pin: &Path) -> io::Result<u32> {
    let info = info(pin)?;
    match info.kind {
        BPF_LINK_TYPE_TCX | BPF_LINK_TYPE_XDP => Ok(info.at[0]),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// The id of the cgroup that the pinned link is attached to, likewise.
pub fn cgroup(pin: &Path) -> io::Result<u64> {
    let info = info(pin)?;
    let [first, second] = info.at.map(u64::from);
    match info.kind {
        BPF_LINK_TYPE_CGROUP if cfg!(target_endian = "big") => Ok(first << 32 | second),
        BPF_LINK_TYPE_CGROUP => Ok(second << 32 | first),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

fn info(pin: &Path) -> io::Result<Info> {
    let fd = open(pin)?;
    let mut info = Info::default();
    let get =
        GetInfo { bpf_fd: fd.as_raw_fd() as u32, info_len: size_of::<Info>() as u32, info: (&raw mut info) as u64 };
    // SAFETY: the kernel reads `get` and writes at most `info_len` bytes to `info`, all of whose bit patterns are valid;
    // both outlive the call.
    match unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const get, size_of::<GetInfo>()) } {
        0 => Ok(info),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pins the link, where no pin is.
pub fn pin(link: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let put = AtPath { pathname: path.as_ptr() as u64, bpf_fd: link.as_raw_fd() as u32, file_flags: 0 };
    // SAFETY: the kernel reads `put` and the string that it points to, which both outlive the call.
    match unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, &raw const put, size_of::<AtPath>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The link behind the pin.
pub fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = AtPath { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the kernel reads `get` and the string that it points to, which both outlive the call, and returns a
    // descriptor that is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of::<AtPath>());
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}
