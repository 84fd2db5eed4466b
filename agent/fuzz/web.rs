//! libFuzzer looks for a web-config file or credentials that break the listener.
#![no_main]

#[path = "../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::web(bytes));
