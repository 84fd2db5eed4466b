//! libFuzzer looks for messages of the kernel's that no plan can be made of.
#![no_main]

#[path = "../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::netlink(bytes));
