//! Puts the eBPF object beside the agent's sources: $LANEKEEPER_EBPF_OBJECT, else target/bpf/lanekeeper-ebpf, else an empty
//! stub, with which everything builds but nothing loads. A release build refuses the stub.

#[path = "build/object.rs"]
mod object;

use std::path::{Path, PathBuf};
use std::{env, fs};

use object::VARIABLE;

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("lanekeeper-ebpf");
    let (path, found) = match env::var_os(VARIABLE) {
        Some(path) => {
            let path = PathBuf::from(path);
            println!("cargo::rerun-if-changed={}", path.display());
            let object = fs::read(&path).unwrap_or_else(|error| panic!("{VARIABLE}={}: {error}", path.display()));
            (path, Some(object))
        }
        None => built(),
    };
    let release = env::var("PROFILE").as_deref() == Ok("release");
    let object = object::embed(found, release).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::write(&out, object).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// What `cargo xtask build-ebpf` left. The folder is watched and not the file: a file that is not there would make cargo
/// run this, and build the agent, every time.
fn built() -> (PathBuf, Option<Vec<u8>>) {
    // Asked when it runs: a target folder that was copied with its checkout keeps the script that was compiled elsewhere.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&package).join("../target/bpf");
    let _ = fs::create_dir_all(&folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    let file = folder.join("lanekeeper-ebpf");
    let object = fs::read(&file).ok();
    (file, object)
}
