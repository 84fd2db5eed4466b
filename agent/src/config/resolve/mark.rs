//! The mask, and who else writes marks.

use crate::config::caution::Caution;
use crate::config::document::Document;
use crate::config::findings::Findings;
use crate::config::problem::Problem;

/// The mask of a file that names none: bits 0 to 7 are in nobody's documented use.
const DEFAULT_MASK: u32 = 0x0000_00ff;

/// Programs that are known to write marks, with the bits that they write.
///
/// Istio and others write a whole mark, so there is no mask that keeps clear of them; of Istio's low 12 bits the lower
/// eight are left out here, or every config would be warned about it.
const NEIGHBOURS: [(&str, u32); 6] = [
    ("Cilium", 0x0000_0f00),
    ("Istio", 0x0000_0f00),
    ("Kubernetes", 0x0000_c000),
    ("Weave", 0x0002_0000),
    ("Tailscale", 0x000c_0000),
    ("Calico", 0xffff_0000),
];

/// The mask, with an error where it cannot be one and a warning for each neighbour.
pub fn resolve(document: &Document, findings: &mut Findings<'_>) -> u32 {
    let Some(mask) = document.mark.as_ref().and_then(|mark| mark.mask.as_ref()) else { return DEFAULT_MASK };
    let (value, spot) = (mask.value, mask.spot);
    if value == 0 {
        findings.problem(spot, Problem::MaskZero);
        return DEFAULT_MASK;
    }
    if !is_one_row(value) {
        findings.problem(spot, Problem::MaskGaps { mask: value });
    }
    for (neighbour, theirs) in NEIGHBOURS {
        let bits = value & theirs;
        if bits != 0 {
            findings.caution(spot, Caution::Neighbour { mask: value, bits, neighbour });
        }
    }
    value
}

/// The bits of IKE and ESP packets, with an error where lanes have some of them; 0 for none.
pub fn outer(document: &Document, mask: u32, findings: &mut Findings<'_>) -> u32 {
    let Some(outer) = document.mark.as_ref().and_then(|mark| mark.outer.as_ref()) else { return 0 };
    if outer.value & mask != 0 {
        findings.problem(outer.spot, Problem::OuterOfLanes { outer: outer.value, mask });
    }
    outer.value
}

/// Whether the bits that are set are neighbours.
pub fn is_one_row(mask: u32) -> bool {
    let row = mask >> mask.trailing_zeros().min(31);
    row != 0 && row & row.wrapping_add(1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_of_bits_has_no_gap() {
        for good in [1, 0xff, 0x3000, 0x8000_0000, 0xffff_ffff] {
            assert!(is_one_row(good), "{good:#x}");
        }
        for bad in [0, 0x101, 0x5, 0x8000_0001] {
            assert!(!is_one_row(bad), "{bad:#x}");
        }
    }

    #[test]
    fn the_free_bits_have_no_neighbour() {
        for free in [DEFAULT_MASK, 0x0000_3000] {
            assert!(NEIGHBOURS.iter().all(|&(_, bits)| bits & free == 0), "{free:#x}");
        }
    }
}
