//! Waiting until no packet can still be reading what was switched away from.
#![allow(unsafe_code)]

use std::time::Duration;

/// linux/membarrier.h: returns after a grace period of RCU, within which tc programs run.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Returns when every program that was running at the call has ended.
pub fn wait() {
    // SAFETY: takes three integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        // Refused with nohz_full (EINVAL) and where it is not built in. A packet's way through a program takes
        // microseconds; this is four orders of magnitude more.
        std::thread::sleep(Duration::from_millis(50));
    }
}
