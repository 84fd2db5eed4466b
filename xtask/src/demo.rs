//! `demo`: two gateways, four classes, and why one SA is not enough.
//!
//! Runs in namespaces of this machine where its kernel has ESP and XFRM interfaces, else in a guest.

pub mod board;
pub mod claims;
pub mod load;
pub mod stage;
