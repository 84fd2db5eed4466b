//! Numbers from a seed: splitmix64. Or from bytes, so that a fuzzer chooses them.

/// The same seed gives the same numbers on every machine.
pub struct Random {
    state: u64,
    /// Chosen by somebody: they come first, the last of them at the end.
    chosen: Vec<u8>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, chosen: Vec::new() }
    }

    /// Each choice takes as many of the bytes as it needs; behind them come numbers from a seed.
    pub fn chosen(bytes: &[u8]) -> Self {
        Self { state: bytes.len() as u64, chosen: bytes.iter().rev().copied().collect() }
    }

    pub fn next(&mut self) -> u64 {
        self.draw(8)
    }

    fn draw(&mut self, bytes: usize) -> u64 {
        if self.chosen.is_empty() {
            return self.mixed();
        }
        (0..bytes).fold(0, |number, _| number << 8 | u64::from(self.chosen.pop().unwrap_or(0)))
    }

    fn mixed(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        let bytes = if n <= 1 << 8 { 1 } else { 8 };
        (self.draw(bytes) % n.max(1) as u64) as usize
    }

    /// True once in n.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub fn u128(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}
