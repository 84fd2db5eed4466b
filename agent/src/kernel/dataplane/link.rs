//! Detaching a pinned link at once. Removing the pin alone detaches some milliseconds later, when the kernel frees the
//! inode, and packets go through the program until then; aya has no call for it.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// linux/bpf.h, enum bpf_cmd.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The part of union bpf_attr that BPF_OBJ_GET reads.
#[repr(C)]
struct Get {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part that BPF_LINK_DETACH reads.
#[repr(C)]
struct Detach {
    link_fd: u32,
}

/// Opens the pin and detaches the link behind it; it stays, attached to nothing.
pub fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = Get { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the kernel reads `get` and the string that it points to, which both outlive the call, and returns a
    // descriptor that is nobody else's.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of::<Get>());
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    let detach = Detach { link_fd: fd.as_raw_fd() as u32 };
    // SAFETY: the kernel reads `detach`, which outlives the call.
    match unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const detach, size_of::<Detach>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
