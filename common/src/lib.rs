//! What a packet means and what becomes of it, the same in the kernel and on the host.
//!
//! `packet` reads headers, `rules` finds the first rule that matches, `classify` turns that into tenant and class, `lane`
//! picks the CHILD_SA, `flow` keeps what was said of a flow, `decide` is the way from a packet that was read to its lane, `socket` what can be
//! said before there is a packet. `abi` is what kernel and agent share in maps,
//! `sight` what they share of packets that somebody looks at, `latency` of how long packets wait.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "host")]
extern crate alloc;

pub mod abi;
pub mod behind;
pub mod classify;
pub mod decide;
pub mod dscp;
pub mod flow;
pub mod intervals;
pub mod lane;
pub mod latency;
pub mod mark;
pub mod packet;
pub mod rules;
pub mod sight;
pub mod socket;
pub mod stamp;
pub mod verdict;

/// A number of which the compiler knows nothing: it drops a mask where it knows the range and the verifier does not, as
/// with a count of zeros.
#[inline(always)]
fn opaque<T>(number: T) -> T {
    core::hint::black_box(number)
}

/// A number of which the verifier knows nothing, by adding a zero from a map. It follows every way through a loop or a
/// choice by itself for as long as the ways leave different constants behind; blurred, they are alike and followed once.
#[inline(always)]
fn blur(zero: u32, number: u32) -> u32 {
    number.wrapping_add(zero)
}
