//! Policies and packets made at random from a seed, and a naive judge over them. Shared by the tests of host and kernel.
#![allow(dead_code, reason = "each test target uses a part")]

pub mod columns;
pub mod fuzz;
pub mod hearing;
pub mod list;
pub mod oracle;
pub mod packet;
pub mod policy;
pub mod random;
