//! libFuzzer looks for bytes of charon's socket that the agent cannot take.
#![no_main]

#[path = "../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::vici(bytes));
