//! What a look or a scrape has taken and is free again.

/// Bytes of the least that is mapped by itself. Else that rises to the largest piece that was ever freed, a page of metrics.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Gives it to the kernel. Of a look at thousands of SAs the allocator would keep ten times what the agent does.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: malloc_trim(3) may be called by any thread at any time; no memory that is in use moves.
    unsafe { libc::malloc_trim(0) };
}

/// Has all threads draw from one heap, and what is large be mapped by itself and unmapped with its end. A heap for each thread
/// is for those that allocate all the time, at once; here each would keep for itself what the others could use. To be called
/// before there is a second thread.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn share() {
    // SAFETY: mallopt(3) takes integers, and nobody else allocates meanwhile.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Other allocators do by themselves what they do.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}

/// Likewise.
#[cfg(not(target_env = "gnu"))]
pub fn share() {}
