//! Puts the eBPF object beside the agent's sources: $LANEKEEPER_EBPF_OBJECT, else target/bpf/lanekeeper-ebpf, else an empty
//! stub, with which everything builds but nothing loads. A release build refuses the stub.

use std::path::{Path, PathBuf};
use std::{env, fs};

const OBJECT: &str = "LANEKEEPER_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("lanekeeper-ebpf");
    let object = match env::var_os(OBJECT) {
        Some(path) => {
            let path = PathBuf::from(path);
            println!("cargo::rerun-if-changed={}", path.display());
            Some(fs::read(&path).unwrap_or_else(|error| panic!("{OBJECT}={}: {error}", path.display())))
        }
        None => built(),
    };
    if object.is_none() && env::var("PROFILE").as_deref() == Ok("release") {
        panic!("a release build needs the eBPF programs: run `cargo xtask build-ebpf` first, or set {OBJECT}");
    }
    fs::write(&out, object.unwrap_or_default()).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// What `cargo xtask build-ebpf` left. The folder is watched and not the file: a file that is not there would make cargo
/// run this, and build the agent, every time.
fn built() -> Option<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf");
    let _ = fs::create_dir_all(&folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    fs::read(folder.join("lanekeeper-ebpf")).ok()
}
