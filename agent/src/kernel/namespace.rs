//! The network namespace that this process is in.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The number that the kernel knows it by as long as it runs (Linux 5.14), never 0.
pub fn cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = MaybeUninit::<u64>::uninit();
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `cookie` and their count to `len`, both of which outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            cookie.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    match done {
        // SAFETY: the kernel writes all eight bytes where it says that it has done so.
        0 => Ok(unsafe { cookie.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}
