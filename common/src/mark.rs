//! The packet mark: a few of its bits are ours, the others belong to somebody else.

/// `old` with our bits replaced by `ours`; bits of `ours` outside the mask are ignored.
#[inline(always)]
pub const fn put(old: u32, mask: u32, ours: u32) -> u32 {
    (old & !mask) | (ours & mask)
}

/// The n-th mark that fits the mask, in place; `None` beyond its last. The mask is contiguous and not zero.
pub const fn nth(mask: u32, n: u32) -> Option<u32> {
    if mask == 0 || n > (mask >> mask.trailing_zeros()) { None } else { Some(n << mask.trailing_zeros()) }
}

/// The mark of a class: that of number 0 has the first mark but 0 that fits the mask, the others follow in their order. The
/// same as [`nth`] of one more, for classes that the mask has room for, without counting zeros, for which BPF has no instruction.
#[inline(always)]
pub const fn of_class(mask: u32, class: u16) -> u32 {
    (class as u32 + 1).wrapping_mul(mask & mask.wrapping_neg()) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bits_stay() {
        assert_eq!(put(0xabcd_ef12, 0x0000_ff00, 0x0000_0500), 0xabcd_0512);
        assert_eq!(put(0xffff_ffff, 0x0000_00ff, 0), 0xffff_ff00);
        assert_eq!(put(0, 0xffff_ffff, 7), 7);
    }

    #[test]
    fn bits_outside_the_mask_are_not_written() {
        assert_eq!(put(0, 0x0000_00ff, 0x1234), 0x34);
    }

    #[test]
    fn the_marks_of_classes_are_those_behind_zero() {
        for mask in [0x0000_00ff, 0x0000_0f00, 0x8000_0000, 0xffff_ffff] {
            for class in 0..64u16 {
                if let Some(mark) = nth(mask, u32::from(class) + 1) {
                    assert_eq!(of_class(mask, class), mark, "{mask:#x} {class}");
                }
            }
        }
        assert_eq!(of_class(0x0000_0f00, 2), 0x300);
    }

    #[test]
    fn marks_end_where_the_mask_ends() {
        assert_eq!(nth(0x0000_0f00, 1), Some(0x100));
        assert_eq!(nth(0x0000_0f00, 15), Some(0xf00));
        assert_eq!(nth(0x0000_0f00, 16), None);
        assert_eq!(nth(0xffff_ffff, u32::MAX), Some(u32::MAX));
        assert_eq!(nth(0, 0), None);
    }
}
