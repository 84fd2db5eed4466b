//! The mask.

use super::{same, with};

#[test]
fn a_mask_too_small_for_the_lanes() {
    same(
        &with(
            r#"[mark]
mask = 0x1
"#,
        ),
        r#"
gw.toml:15:8: error: [mark]: mask 0x00000001 is too small: it has 1 marks, and tunnel "branch-7" needs 2
    take fewer lanes, or a mask of 2 bits such as 0x00000003
"#,
    );
}

#[test]
fn a_mask_of_zero() {
    same(
        &with(
            r#"[mark]
mask = 0
"#,
        ),
        r#"
gw.toml:15:8: error: [mark]: mask is zero, so no lane could have a mark
    leave [mark] out for 0x000000ff, or take bits that nobody else uses
"#,
    );
}

#[test]
fn a_mask_with_gaps() {
    same(
        &with(
            r#"[mark]
mask = 0x101
"#,
        ),
        r#"
gw.toml:15:8: error: [mark]: mask 0x00000101 is not one row of bits
    did you mean 0x000001ff?
"#,
    );
}

#[test]
fn the_mark_of_esp_has_none_of_the_bits_of_lanes() {
    same(&with("[mark]\nouter = 0x3000\n"), "");
    same(
        &with("[mark]\nouter = 0x180\n"),
        r#"
gw.toml:15:9: error: [mark]: outer 0x00000180 has bits of mask 0x000000ff, by which lanes are chosen
    take bits that nothing else sets, as 0x00002000
"#,
    );
}

#[test]
fn a_mask_over_its_neighbours_is_a_warning() {
    same(
        &with(
            r#"[mark]
mask = 0x000fff00
"#,
        ),
        r#"
gw.toml:15:8: warning: [mark]: mask 0x000fff00 overlaps the bits 0xf00 of Cilium
    if Cilium runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free
gw.toml:15:8: warning: [mark]: mask 0x000fff00 overlaps the bits 0xf00 of Istio
    if Istio runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free
gw.toml:15:8: warning: [mark]: mask 0x000fff00 overlaps the bits 0xc000 of Kubernetes
    if Kubernetes runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free
gw.toml:15:8: warning: [mark]: mask 0x000fff00 overlaps the bits 0x20000 of Weave
    if Weave runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free
gw.toml:15:8: warning: [mark]: mask 0x000fff00 overlaps the bits 0xc0000 of Tailscale
    if Tailscale runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free
gw.toml:15:8: warning: [mark]: mask 0x000fff00 overlaps the bits 0xf0000 of Calico
    if Calico runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free
"#,
    );
}

#[test]
fn a_mask_over_calico_is_a_warning() {
    same(
        &with(
            r#"[mark]
mask = 0xff000000
"#,
        ),
        r#"
gw.toml:15:8: warning: [mark]: mask 0xff000000 overlaps the bits 0xff000000 of Calico
    if Calico runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free
"#,
    );
}
