//! libFuzzer looks for captures and words that `explain` cannot take.
#![no_main]

#[path = "../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::capture(bytes));
