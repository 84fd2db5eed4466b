//! One generation of the tables, as a packet reads them.

use lanekeeper_common::abi::{FragmentKey, FragmentValue, Generation, MAX_VECTORS, Parsed, Vector, Words};
use lanekeeper_common::decide::Surroundings;
use lanekeeper_common::rules::Tables;
use lanekeeper_common::verdict::ParseReason;

use crate::maps::{ACTIVE, FRAGMENTS, GENERATIONS, LANES_UP, SCRATCH, SCRATCH_WORDS, VECTORS};

/// The generation that was active when the packet came.
pub struct Live {
    number: u64,
    generation: &'static Generation,
}

impl Live {
    /// Reads which generation is active, once; `None` before the first load.
    #[inline(always)]
    pub fn read() -> Option<Self> {
        // SAFETY: the agent writes it with one store of eight aligned bytes; volatile keeps it one load.
        let number = unsafe { ACTIVE.get_ptr(0)?.read_volatile() };
        if number == 0 {
            return None;
        }
        Some(Self { number, generation: GENERATIONS.get(number as u32 & 1)? })
    }
}

impl Tables for Live {
    #[inline(always)]
    fn generation(&self) -> &Generation {
        self.generation
    }

    #[inline(always)]
    fn vector(&self, number: u16) -> Option<&Vector> {
        VECTORS.get((self.number as u32 & 1) * MAX_VECTORS as u32 + u32::from(number))
    }

    #[inline(always)]
    fn settle_words(&self, words: Words) -> Words {
        let Some(scratch) = SCRATCH_WORDS.get_ptr_mut(0) else { return [0; 12] };
        // SAFETY: as in `settle`.
        unsafe {
            scratch.write(words);
            core::hint::black_box(scratch).read()
        }
    }
}

impl Surroundings for Live {
    #[inline(always)]
    fn number(&self) -> u64 {
        self.number
    }

    #[inline(always)]
    fn up(&self, group: u32) -> u32 {
        LANES_UP.get(group).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn settle(&self, parsed: Parsed) -> Parsed {
        // Place 0 is always there, but kernels before 6.14 follow this way too: it must leave constants, the same for all.
        let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
            return Parsed { reason: ParseReason::Malformed as u8, ..Parsed::default() };
        };
        // SAFETY: this CPU's value, valid for the program's run; tc programs run with softirqs off, so nothing of ours
        // comes between write and read. The black box has the compiler read what it has just written.
        unsafe {
            scratch.write(parsed);
            core::hint::black_box(scratch).read()
        }
    }

    #[inline(always)]
    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue> {
        // SAFETY: values are written whole by `remember`; one torn by a concurrent insert of the same datagram's key
        // holds the same generation and so at worst another class of that generation.
        unsafe { FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn remember(&self, key: &FragmentKey, value: &FragmentValue) {
        // A full map evicts; failing that, the later fragments are counted as unseen.
        let _ = FRAGMENTS.insert(key, value, 0);
    }
}
