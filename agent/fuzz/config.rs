//! libFuzzer looks for a file that is refused without a place, or taken and cannot be meant.
#![no_main]

#[path = "../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::config(bytes));
