//! Puts the eBPF objects beside the agent's sources: $LANEKEEPER_EBPF_OBJECT and what lies beside it, else those of target/bpf,
//! else empty stubs, with which everything builds but nothing loads. A release build refuses a stub.

#[path = "build/object.rs"]
mod object;

use std::path::{Path, PathBuf};
use std::{env, fs};

use object::{OBJECTS, VARIABLE};

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let release = env::var("PROFILE").as_deref() == Ok("release");
    for name in OBJECTS {
        let (path, found) = match env::var_os(VARIABLE) {
            Some(path) => {
                let path = object::beside(&PathBuf::from(path), name);
                println!("cargo::rerun-if-changed={}", path.display());
                let object = fs::read(&path).unwrap_or_else(|error| panic!("{VARIABLE}={}: {error}", path.display()));
                (path, Some(object))
            }
            None => built(name),
        };
        let object = object::embed(found, release).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let out = out.join(name);
        fs::write(&out, object).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
    }
}

/// What `cargo xtask build-ebpf` left. The folder is watched and not the file: a file that is not there would make cargo
/// run this, and build the agent, every time.
fn built(name: &str) -> (PathBuf, Option<Vec<u8>>) {
    // Asked when it runs: a target folder that was copied with its checkout keeps the script that was compiled elsewhere.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&package).join("../target/bpf");
    let _ = fs::create_dir_all(&folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    let file = folder.join(name);
    let object = fs::read(&file).ok();
    (file, object)
}
