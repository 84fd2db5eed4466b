//! What a look has taken and is free again.

/// Gives it to the kernel. Of a look at thousands of SAs the allocator would keep ten times what the agent does.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: malloc_trim(3) may be called by any thread at any time; no memory that is in use moves.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do by themselves what they do.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
