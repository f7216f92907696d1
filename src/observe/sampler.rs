//! Lines that strangers could have written without end: so many a second, and the next one tells how many were left out.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lets ten lines a second through.
#[derive(Debug)]
pub struct Sampler {
    lines: DefaultDirectRateLimiter,
    untold: AtomicU64,
}

const LINES_A_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

impl Default for Sampler {
    fn default() -> Self {
        Self {
            lines: RateLimiter::direct(Quota::per_second(LINES_A_SECOND)),
            untold: AtomicU64::new(0),
        }
    }
}

impl Sampler {
    /// How many were left out since the last line that was told; `None`: this one is left out too.
    #[must_use]
    pub fn admit(&self) -> Option<u64> {
        if self.lines.check().is_ok() {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_ten_a_second_lines_are_counted_instead() {
        let sampler = Sampler::default();
        let told: Vec<u64> = (0..1000).filter_map(|_| sampler.admit()).collect();
        assert!(told.starts_with(&[0; 10]), "{told:?}");
        // On a slow machine more than one second may have passed.
        assert!(told.len() < 1000);
        let left_out: u64 = told.iter().sum::<u64>() + sampler.untold.load(Ordering::Relaxed);
        assert_eq!(told.len() as u64 + left_out, 1000);
    }
}
