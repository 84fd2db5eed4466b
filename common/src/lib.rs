//! What a packet means and what becomes of it, the same in the kernel and on the host.
#![no_std]

pub mod verdict;
