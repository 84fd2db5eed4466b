//! Single words of a map's values, written where the programs read them: an update by the system call copies whole values,
//! of which some are a megabyte, and not in any order.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Some bytes of a map that can be mapped, for as long as this lives. Only its pages are mapped: all of them would be counted
/// as memory of this process.
#[derive(Debug)]
pub struct Window {
    pages: NonNull<libc::c_void>,
    mapped: usize,
    /// Where the bytes begin in the first page.
    skip: usize,
    len: usize,
}

impl Window {
    /// `len` bytes from `offset` on, counted over all values.
    pub fn open(map: BorrowedFd<'_>, offset: usize, len: usize) -> io::Result<Self> {
        // SAFETY: takes an integer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let skip = offset % page;
        let (mapped, from) = ((skip + len).next_multiple_of(page), (offset - skip) as libc::off_t);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), mapped, access, flags, map.as_raw_fd(), from) };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { pages: NonNull::new(pages).ok_or(io::ErrorKind::AddrNotAvailable)?, mapped, skip, len })
    }

    /// Where the word of type T at `at` is.
    fn place<T>(&self, at: usize) -> *mut T {
        assert!(at + size_of::<T>() <= self.len && (self.skip + at).is_multiple_of(align_of::<T>()));
        // SAFETY: within the mapping by the assertion, and `open` mapped `skip + len` bytes and more.
        unsafe { self.pages.as_ptr().byte_add(self.skip + at).cast() }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: aligned and within the mapping by `place`, and mapped for as long as `self` lives. Programs read it by
        // one load of four bytes, and only this process writes.
        unsafe { AtomicU32::from_ptr(self.place(at)) }
    }

    fn long(&self, at: usize) -> &AtomicU64 {
        // SAFETY: as for four bytes.
        unsafe { AtomicU64::from_ptr(self.place(at)) }
    }

    /// Reads four bytes.
    pub fn get(&self, at: usize) -> u32 {
        self.word(at).load(Ordering::Acquire)
    }

    /// Writes four bytes at once, behind all that was written before.
    pub fn set(&self, at: usize, value: u32) {
        self.word(at).store(value, Ordering::Release);
    }

    /// The same for eight.
    pub fn set_long(&self, at: usize, value: u64) {
        self.long(at).store(value, Ordering::Release);
    }

    /// Writes the lower of what is there and `most`.
    pub fn lower(&self, at: usize, most: u32) {
        self.word(at).fetch_min(most, Ordering::Release);
    }

    /// Adds bits to eight bytes. A read and then a write, not one locked step: nobody else writes, and an edit may add to
    /// hundreds of thousands.
    pub fn add(&self, at: usize, bits: u64) {
        let long = self.long(at);
        let now = long.load(Ordering::Relaxed);
        if now & bits != bits {
            long.store(now | bits, Ordering::Release);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made; all references into it were borrowed from `self`.
        unsafe { libc::munmap(self.pages.as_ptr(), self.mapped) };
    }
}
