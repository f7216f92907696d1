//! Counters under many hands, and under many keys.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::observe::metrics::Metrics;
use crate::policy::limit::{BucketKey, By, Limit, Place, Plan, Quota, Unit};

use super::*;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 3600 * SECOND_NS;

const fn per_minute(count: u32) -> Quota {
    Quota {
        count,
        window_s: 60,
        burst: count,
    }
}

/// Limits that measure so, each with so many places.
struct Scene {
    limits: Vec<Arc<Limit>>,
    meters: Meters,
}

impl Scene {
    fn of(measures: &[Measure], max_keys: usize) -> Self {
        let metrics = Metrics::new("test").unwrap();
        let limits = measures.iter().enumerate().map(|(place, measure)| {
            let name: Arc<str> = format!("limit-{place}").into();
            Arc::new(Limit {
                plan: Plan::new(&name, Unit::Requests, *measure),
                name,
                id: LimitId(place),
                by: By::Ip,
                tiers: Vec::new(),
                unit: Unit::Requests,
                charge_on: Vec::new(),
                shared: false,
                announce: true,
                ipv6_prefix: 64,
            })
        });
        let limits: Vec<Arc<Limit>> = limits.collect();
        let counters = limits.iter().map(|limit| {
            let spec = LimitSpec {
                name: limit.name.clone(),
                max_keys,
                rate: limit.plan.measure,
                by: By::Ip,
                unit: Unit::Requests,
                ipv6_prefix: 64,
                in_store: None,
            };
            Arc::new(Counters::new(spec, metrics.limit(&limit.name), None))
        });
        Self {
            meters: Meters(counters.collect()),
            limits,
        }
    }

    fn ask(&self, limit: usize, key: u128) -> Ask<'_> {
        let limit = &self.limits[limit];
        Ask {
            limit,
            plan: &limit.plan,
            key: BucketKey(key),
        }
    }

    /// Asks all limits for this key.
    fn admit(&self, key: u128, now_ns: u64) -> Answer {
        let asks: Vec<Ask<'_>> = (0..self.limits.len()).map(|limit| self.ask(limit, key)).collect();
        self.meters.admit(&asks, now_ns)
    }

    fn refund(&self, limit: usize, charge: &Charge, now_ns: u64) {
        self.meters.refund(charge, &self.limits[limit].plan.measure, now_ns);
    }
}

const ALL: [Measure; 3] = [
    Measure::Gcra(per_minute(50)),
    Measure::SlidingWindow(per_minute(50)),
    Measure::Concurrent(50),
];

/// 64 threads ask as fast as they can, while the time goes from one second to the next; how often each second said yes.
fn admitted_by_64_threads(scene: &Scene, seconds: u64) -> Vec<usize> {
    let clock = AtomicU64::new(START_NS);
    let admitted: Vec<AtomicUsize> = (0..seconds).map(|_| AtomicUsize::new(0)).collect();
    for second in 0..seconds {
        clock.store(START_NS + second * SECOND_NS, Ordering::SeqCst);
        std::thread::scope(|threads| {
            for _ in 0..64 {
                threads.spawn(|| {
                    for _ in 0..20 {
                        let passed = scene.admit(1, clock.load(Ordering::SeqCst)).is_ok();
                        admitted[usize::try_from(second).unwrap()].fetch_add(usize::from(passed), Ordering::SeqCst);
                    }
                });
            }
        });
    }
    admitted.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn not_one_more_is_let_pass_however_many_ask_at_once() {
    for measure in ALL {
        let scene = Scene::of(&[measure], 100);
        assert_eq!(admitted_by_64_threads(&scene, 1), [50], "{measure:?}");
    }
}

#[test]
fn gcra_lets_burst_and_rate_pass_and_not_one_more() {
    let quota = Quota {
        burst: 7,
        ..per_minute(120)
    };
    let scene = Scene::of(&[Measure::Gcra(quota)], 100);
    assert_eq!(admitted_by_64_threads(&scene, 5), [7, 2, 2, 2, 2]);
}

#[test]
fn a_sliding_window_opens_when_what_was_taken_is_over() {
    let quota = Quota {
        count: 5,
        window_s: 3,
        burst: 5,
    };
    let scene = Scene::of(&[Measure::SlidingWindow(quota)], 100);
    assert_eq!(admitted_by_64_threads(&scene, 7), [5, 0, 0, 5, 0, 0, 5]);
}

#[test]
fn several_limits_are_charged_all_or_none() {
    let narrow = Measure::Gcra(per_minute(1));
    for wide in ALL {
        for measures in [[wide, narrow], [narrow, wide]] {
            let scene = Scene::of(&measures, 100);
            let wide = measures.iter().position(|measure| *measure == wide).unwrap();
            assert!(scene.admit(1, START_NS).is_ok());
            for _ in 0..200 {
                let refusals = scene.admit(1, START_NS).unwrap_err();
                assert_eq!((refusals.len(), refusals[0].0), (1, 1 - wide), "{measures:?}");
            }
            let left = scene.meters.peek(&scene.ask(wide, 1), START_NS).unwrap();
            assert_eq!(left.remaining, 49, "{measures:?}");
        }
    }
}

#[test]
fn all_that_refuse_are_named_with_their_waits() {
    let scene = Scene::of(
        &[Measure::Gcra(per_minute(1)), Measure::SlidingWindow(per_minute(1))],
        100,
    );
    assert!(scene.admit(1, START_NS).is_ok());
    let later = START_NS + 10 * SECOND_NS;
    let refusals = scene.admit(1, later).unwrap_err();
    let wait = Wait(50 * SECOND_NS);
    assert_eq!(refusals[..], [(0, wait), (1, wait)]);
}

#[test]
fn a_key_that_finds_no_place_shares_one_and_gets_back_what_it_took_there() {
    for measure in [
        Measure::Gcra(per_minute(1)),
        Measure::SlidingWindow(per_minute(1)),
        Measure::Concurrent(1),
    ] {
        let scene = Scene::of(&[measure], 2);
        let mut charges = Vec::new();
        for key in [1, 2, 3] {
            charges.push(scene.admit(key, START_NS).unwrap()[0].charge);
        }
        assert_eq!(
            charges
                .iter()
                .map(|charge| charge.place == Place::Overflow)
                .collect::<Vec<_>>(),
            [false, false, true]
        );
        for key in 1..100 {
            assert!(
                scene.admit(key, START_NS).is_err(),
                "{measure:?} {key}: no fresh allowance"
            );
        }
        assert_eq!(scene.meters.0[0].keys(), 2);
        scene.refund(0, &charges[2], START_NS);
        assert!(
            scene.admit(77, START_NS).is_ok(),
            "{measure:?}: the shared place is free again"
        );
        assert!(scene.admit(78, START_NS).is_err());
        assert!(scene.admit(1, START_NS).is_err(), "{measure:?}: and nobody else's");
    }
}

#[test]
fn sweeping_forgets_whom_it_does_not_matter_to_forget() {
    for measure in ALL {
        let scene = Scene::of(&[measure], 100);
        let old = scene.admit(1, START_NS).unwrap()[0].charge;
        let later = START_NS + 61 * SECOND_NS;
        scene.admit(2, later).unwrap();
        if matches!(measure, Measure::Concurrent(_)) {
            scene.refund(0, &old, later);
        }
        scene.meters.0[0].sweep(later);
        assert_eq!(scene.meters.0[0].keys(), 1, "{measure:?}");
        let left = |key| scene.meters.peek(&scene.ask(0, key), later).unwrap().remaining;
        assert_eq!((left(1), left(2)), (50, 49), "{measure:?}");
        // What was forgotten cannot be given back once more.
        scene.refund(0, &old, later);
        assert_eq!((left(1), left(2)), (50, 49), "{measure:?}");
    }
}

#[test]
fn a_place_in_flight_is_free_as_soon_as_it_is_left() {
    let scene = Scene::of(&[Measure::Concurrent(2)], 100);
    let charges: Vec<Charge> = (0..2).map(|_| scene.admit(1, START_NS).unwrap()[0].charge).collect();
    assert_eq!(scene.admit(1, START_NS).unwrap_err()[..], [(0, Wait::UNKNOWN)]);
    scene.refund(0, &charges[0], START_NS);
    assert_eq!(scene.admit(1, START_NS).unwrap()[0].left.remaining, 0);
    scene.refund(0, &charges[0], START_NS);
    scene.refund(0, &charges[1], START_NS);
    assert_eq!(scene.meters.0[0].keys(), 0, "nobody is there any more");
}

#[test]
fn tokens_are_spent_afterwards_and_may_run_into_debt() {
    for measure in [Measure::Gcra(per_minute(60)), Measure::SlidingWindow(per_minute(60))] {
        let mut scene = Scene::of(&[measure], 100);
        Arc::get_mut(&mut scene.limits[0]).unwrap().unit = Unit::Tokens;
        let grant = scene.admit(1, START_NS).unwrap()[0];
        assert_eq!(grant.left.remaining, 60, "nothing is known yet");
        scene.meters.spend(&grant.charge, &measure, 90, START_NS);
        let refusals = scene.admit(1, START_NS).unwrap_err();
        assert!(refusals[0].1.seconds() >= 31, "{measure:?} {refusals:?}");
        assert!(scene.admit(1, START_NS + 60 * SECOND_NS).is_ok(), "{measure:?}");
    }
}

#[test]
fn decisions_are_counted_by_limit() {
    let scene = Scene::of(&[Measure::Gcra(per_minute(1)), Measure::Gcra(per_minute(9))], 100);
    let counted = |limit: usize| (scene.meters.0[limit].allowed(), scene.meters.0[limit].refused());
    assert!(scene.admit(1, START_NS).is_ok());
    assert!(scene.admit(1, START_NS).is_err());
    assert_eq!((counted(0), counted(1)), ((1, 1), (1, 0)));
}
