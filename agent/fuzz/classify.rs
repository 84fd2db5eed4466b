//! libFuzzer looks for a policy and packets over which oracle and classifier differ.
#![no_main]

#[path = "../tests/witness/mod.rs"]
mod witness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| witness::fuzz::classify(bytes));
