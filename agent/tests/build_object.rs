//! What a build embeds: the decision of the build script, taken from it.

#[path = "../build/object.rs"]
mod object;

use std::path::Path;

use object::{OBJECTS, beside, embed};

/// The head of an ELF file for `machine`.
fn elf(machine: u16) -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0".to_vec();
    head.extend(machine.to_le_bytes());
    head
}

#[test]
fn a_release_build_refuses_the_stub() {
    for stub in [None, Some(Vec::new())] {
        let error = embed(stub.clone(), true).unwrap_err();
        let expected = "a release build needs the eBPF programs: run `cargo xtask build-ebpf` first, or set LANEKEEPER_EBPF_OBJECT";
        assert_eq!(error, expected);
        assert_eq!(embed(stub, false).unwrap(), []);
    }
}

#[test]
fn no_build_takes_what_is_no_bpf_object() {
    let text = b"not an object at all".to_vec();
    // 62 is x86-64: the program of the host, embedded by mistake.
    for wrong in [text, elf(62), elf(247)[..19].to_vec()] {
        for release in [true, false] {
            assert!(
                embed(Some(wrong.clone()), release).unwrap_err().starts_with("this is no eBPF object"),
                "{wrong:?}"
            );
        }
    }
}

#[test]
fn a_bpf_object_is_embedded_as_it_is() {
    assert_eq!(embed(Some(elf(247)), true).unwrap(), elf(247));
}

#[test]
fn the_other_objects_lie_beside_the_one_that_is_named() {
    let places = OBJECTS.map(|name| beside(Path::new("/a/programs.o"), name));
    assert_eq!(places, ["/a/programs.o", "/a/lanekeeper-observe", "/a/lanekeeper-latency"].map(Path::new));
}
