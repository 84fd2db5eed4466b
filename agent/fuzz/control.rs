//! libFuzzer looks for lines of the control socket that one end cannot take from the other.
#![no_main]

#[path = "../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::control(bytes));
