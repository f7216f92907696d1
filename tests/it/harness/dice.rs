//! Chance that is the same on every run.

/// xorshift64: enough to be everywhere.
pub struct Dice(u64);

impl Dice {
    /// Thrown from here on; not zero.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of so many; of none, the first.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
