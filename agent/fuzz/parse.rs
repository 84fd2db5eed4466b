//! libFuzzer looks for bytes over which the parser contradicts itself.
#![no_main]

#[path = "../tests/witness/mod.rs"]
mod witness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| witness::fuzz::parse(bytes));
