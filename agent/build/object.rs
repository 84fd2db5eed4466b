//! Which eBPF objects a build may embed. Apart from the build script, so that a test can hold it to that.

use std::path::{Path, PathBuf};

/// The environment variable that names another object than the workspace's own.
pub const VARIABLE: &str = "LANEKEEPER_EBPF_OBJECT";

/// The object with the programs that steer, which [`VARIABLE`] names, the one with those that observe, and
/// the one with those that measure latency.
pub const OBJECTS: [&str; 3] = ["lanekeeper-ebpf", "lanekeeper-observe", "lanekeeper-latency"];

/// Where an object is for somebody who says where the first one is: the others lie beside it.
pub fn beside(first: &Path, name: &str) -> PathBuf {
    if name == OBJECTS[0] { first.to_owned() } else { first.with_file_name(name) }
}

/// What is embedded for the object that was found: nothing or an empty file is the stub, with which everything builds and
/// nothing loads, and a release build refuses it.
pub fn embed(found: Option<Vec<u8>>, release: bool) -> Result<Vec<u8>, String> {
    let object = found.unwrap_or_default();
    if object.is_empty() && release {
        return Err(format!(
            "a release build needs the eBPF programs: run `cargo xtask build-ebpf` first, or set {VARIABLE}"
        ));
    }
    if !object.is_empty() && !is_bpf(&object) {
        return Err(format!(
            "this is no eBPF object: run `cargo xtask build-ebpf`, or set {VARIABLE} to a little-endian ELF of machine 247"
        ));
    }
    Ok(object)
}

/// The head of an ELF file (elf(5)): its magic, 64 bits, little-endian, and EM_BPF at offset 18.
fn is_bpf(object: &[u8]) -> bool {
    object.starts_with(b"\x7fELF\x02\x01") && object.get(18..20) == Some(&247_u16.to_le_bytes())
}
