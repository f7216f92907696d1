//! The sliding window, held against the sentence that it is named for.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::quota::SECOND_NS;
use super::*;

const LOGIN: Quota = Quota {
    count: 5,
    window_s: 60,
    burst: 5,
};
const REGISTRATION: Quota = Quota {
    count: 3,
    window_s: 3600,
    burst: 3,
};

/// What could be taken.
fn look(window: &mut Window, now_ns: u64) -> Result<u32, Wait> {
    window.admit(&LOGIN, 0, now_ns).map(|(_, left)| left.remaining)
}

/// Half-open windows `[t, t + window)` from each admission on: if none of them holds more than the count, none at all does.
fn most_in_any_window(admitted: &[u64], quota: &Quota) -> usize {
    let mut most = 0;
    for (first, from) in admitted.iter().enumerate() {
        let within = admitted
            .iter()
            .skip(first)
            .take_while(|at| **at < from + quota.window_ns());
        most = most.max(within.count());
    }
    most
}

/// Who asks 60 times a window for three windows, beginning `offset` seconds after a first burst.
fn admitted_asking_from(quota: &Quota, offset: u64) -> Vec<u64> {
    let mut window = Window::default();
    let start = 3600 * SECOND_NS;
    let burst = std::iter::repeat_n(start, quota.count as usize / 2 + 1);
    let step = usize::try_from(quota.window_s / 60).unwrap();
    let asking = (offset..3 * quota.window_s)
        .step_by(step)
        .map(|second| start + second * SECOND_NS);
    burst
        .chain(asking)
        .filter(|now| window.admit(quota, 1, *now).is_ok())
        .collect()
}

#[test]
fn never_more_than_the_count_in_any_window_at_every_second() {
    for quota in [LOGIN, REGISTRATION] {
        for offset in 0..=quota.window_s {
            let admitted = admitted_asking_from(&quota, offset);
            assert_eq!(
                most_in_any_window(&admitted, &quota),
                quota.count as usize,
                "{quota} + {offset} s"
            );
        }
    }
}

#[test]
fn a_place_comes_free_when_its_window_has_passed_and_not_a_nanosecond_before() {
    let mut window = Window::default();
    let start = 1000 * SECOND_NS;
    for second in 0..5 {
        assert!(window.admit(&LOGIN, 1, start + second * SECOND_NS).is_ok());
    }
    let now = start + 10 * SECOND_NS;
    assert_eq!(window.admit(&LOGIN, 1, now), Err(Wait(50 * SECOND_NS)));
    assert!(window.admit(&LOGIN, 1, start + 60 * SECOND_NS - 1).is_err());
    let (_, left) = window.admit(&LOGIN, 1, start + 60 * SECOND_NS).unwrap();
    assert_eq!(
        (left.remaining, left.window_s),
        (0, Some(1)),
        "the next is free a second later"
    );
    assert!(window.admit(&LOGIN, 1, start + 60 * SECOND_NS).is_err());
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let mut window = Window::default();
    let times: Vec<u64> = (0..5)
        .map(|second| window.admit(&LOGIN, 1, second * SECOND_NS).unwrap().0)
        .collect();
    window.refund(&LOGIN, times[2]);
    assert_eq!(
        window.admit(&LOGIN, 1, 5 * SECOND_NS).map(|(_, left)| left.remaining),
        Ok(0)
    );
    assert_eq!(window.admit(&LOGIN, 1, 5 * SECOND_NS), Err(Wait(55 * SECOND_NS)));
    // Long over: nothing to give back.
    window.refund(&LOGIN, 600 * SECOND_NS);
    assert!(window.admit(&LOGIN, 1, 5 * SECOND_NS).is_err());
}

#[test]
fn looking_takes_nothing_and_says_what_a_charge_would_find() {
    let mut window = Window::default();
    assert_eq!(look(&mut window, 0), Ok(5));
    for second in 0..5 {
        window.admit(&LOGIN, 1, second * SECOND_NS).unwrap();
    }
    assert_eq!(look(&mut window, 10 * SECOND_NS), Err(Wait(50 * SECOND_NS)));
    assert_eq!(look(&mut window, 61 * SECOND_NS), Ok(2));
}

#[test]
fn more_spent_than_allowed_shuts_it_until_enough_is_over() {
    let mut window = Window::default();
    window.spend(&LOGIN, 3, 0);
    window.spend(&LOGIN, 40, 10 * SECOND_NS);
    assert_eq!(look(&mut window, 20 * SECOND_NS), Err(Wait(50 * SECOND_NS)));
    assert_eq!(look(&mut window, 70 * SECOND_NS), Ok(5));
    assert!(!window.is_idle(70 * SECOND_NS - 1) && window.is_idle(70 * SECOND_NS));
}

#[test]
fn a_large_count_takes_no_more_memory_than_its_steps() {
    let quota = Quota {
        count: 1_000_000,
        window_s: 60,
        burst: 1_000_000,
    };
    let mut window = Window::default();
    for at in 0..200_000 {
        window.admit(&quota, 1, at * 1_000_000).unwrap();
    }
    assert!(window.runs.len() <= EXACT as usize + 2, "{}", window.runs.len());
}

proptest! {
    #[test]
    fn never_more_than_the_count_whenever_it_is_asked_and_given_back(
        count in prop::sample::select(vec![1u32, 3, 5, 130, 1000]),
        steps in prop::collection::vec((0u64..3_000, 1usize..60, any::<bool>(), 0usize..50), 1..120),
    ) {
        let quota = Quota { count, window_s: 10, burst: count };
        let mut window = Window::default();
        let mut now = 0;
        // When it was admitted, and when it counts as taken.
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for (gap, tries, give_back, which) in steps {
            now += gap * 1_000_000;
            for _ in 0..tries {
                if let Ok((at, _)) = window.admit(&quota, 1, now) {
                    admitted.push((now, at));
                }
            }
            if give_back && which < admitted.len() {
                let (_, at) = admitted.remove(which);
                window.refund(&quota, at);
            }
        }
        let times: Vec<u64> = admitted.iter().map(|(now, _)| *now).collect();
        prop_assert!(most_in_any_window(&times, &quota) <= count as usize);
    }

    #[test]
    fn a_small_count_is_exact_both_ways(gaps in prop::collection::vec(0u64..20_000, 1..200)) {
        let mut window = Window::default();
        let mut admitted: Vec<u64> = Vec::new();
        let mut now = 0;
        for gap in gaps {
            now += gap * 1_000_000;
            let within = admitted.iter().filter(|at| **at + LOGIN.window_ns() > now).count();
            let expected = within < LOGIN.count as usize;
            prop_assert_eq!(look(&mut window, now).is_ok(), expected);
            prop_assert_eq!(window.admit(&LOGIN, 1, now).is_ok(), expected);
            if expected { admitted.push(now); }
        }
    }
}
