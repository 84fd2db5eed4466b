//! Which tables a packet reads, and whether what was found in them still holds.
//!
//! [`crate::abi::map::ACTIVE`] holds a stamp, one word, of which a packet makes one read. Whoever changes tables that packets
//! read writes the tables first and then the next stamp; a packet reads the stamp first, then the tables, and what it
//! keeps of them carries the stamp that it began with. So what was found while tables changed carries a stamp that is gone
//! as soon as the change is said to be done: nothing wrong outlives it, and no entry has to be looked for.
//!
//! On processors that put reads in another order this holds for what lies in slots: the stamp says which slot is read, so no
//! read of it can come before that of the stamp. It does not hold of itself for the hash maps of devices and interfaces,
//! which are the same ones for every stamp: there a read may come before that of the stamp, and what a packet keeps that was
//! under way at that very moment may carry the new stamp with the old device. Such an entry lasts until the next stamp or
//! until its flow's place is taken.

/// Generations are numbered by this many lower bits; the rest counts changes in place. At a thousand a second those last
/// for 34 years.
const GENERATION_BITS: u32 = 24;

/// Rises with every switch to another generation and with every change of the one that is read; no value comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Before the first generation.
    pub const NONE: Stamp = Stamp(0);

    /// The number of the generation.
    #[inline(always)]
    pub const fn generation(self) -> u64 {
        self.0 & ((1 << GENERATION_BITS) - 1)
    }

    /// The slot of the tables that it lives in.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 as u32 & 1
    }

    /// That of the next generation, in the other slot. A carry goes into the changes, where it does no harm.
    pub const fn switched(self) -> Self {
        Self(self.0 + 1)
    }

    /// After a change of what packets of this generation read.
    pub const fn changed(self) -> Self {
        Self(self.0 + (1 << GENERATION_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_takes_the_other_slot_and_a_change_keeps_it() {
        let stamp = Stamp::NONE.switched();
        assert_eq!((stamp.generation(), stamp.slot()), (1, 1));
        assert_eq!((stamp.changed().generation(), stamp.changed().slot()), (1, 1));
        assert_eq!((stamp.changed().switched().generation(), stamp.changed().switched().slot()), (2, 0));
    }

    #[test]
    fn no_stamp_comes_twice_even_past_the_last_number() {
        let mut stamp = Stamp((1 << GENERATION_BITS) - 3);
        for step in 0..1_000 {
            let next = if step % 3 == 0 { stamp.changed() } else { stamp.switched() };
            assert!(next.0 > stamp.0);
            assert_eq!(next.slot() != stamp.slot(), step % 3 != 0);
            stamp = next;
        }
    }
}
