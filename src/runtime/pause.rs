//! How long to leave alone what does not answer. Depends on nothing of the crate.

use std::time::Duration;

/// Doublings that are counted: with pauses of a second it is most of a day by then.
const MOST_DOUBLINGS: u32 = 16;

/// The pause after so many failures in a row: the first, then twice as long each time, up to the longest.
pub(super) fn doubled(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
    first.saturating_mul(1 << doublings).min(longest)
}

/// A pause less up to that share of it, as chance has it, so that gateways do not come back together.
pub(super) fn shortened(pause: Duration, share: f64) -> Duration {
    let chance = u32::try_from(uuid::Uuid::now_v7().as_u128() % 1000).unwrap_or_default();
    pause.mul_f64(1.0 - share * f64::from(chance) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_pause_up_to_the_longest() {
        let seconds = Duration::from_secs;
        for (failures, pause) in [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (u32::MAX, 10)] {
            assert_eq!(doubled(seconds(1), seconds(10), failures), seconds(pause), "{failures}");
        }
    }
}
