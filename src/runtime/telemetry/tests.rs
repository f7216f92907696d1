//! What waits for a collector, and how long one is left alone.

use super::*;
use crate::observe::access_log::AccessLine;
use crate::observe::metrics::Metrics;
use crate::policy::trace::{Chance, Parent, Span};

const WORKERS: usize = 2;

fn telemetry() -> Telemetry {
    let spec = TelemetrySpec {
        url: "http://127.0.0.1:9/v1/traces".to_owned(),
        sampling: Sampling::ratio(0.0),
        headers: Vec::new(),
    };
    Telemetry::new(spec, WORKERS, Metrics::new("test").unwrap().telemetry, None)
}

/// Spans of one kind, until one is dropped; how many bytes wait then.
fn fill(telemetry: &Telemetry, span: &Span) -> usize {
    let line = AccessLine {
        path: Some(&[b'a'; 2000]),
        ..AccessLine::default()
    };
    let before = telemetry.metrics.dropped.get();
    while telemetry.metrics.dropped.get() == before {
        let span = ServerSpan {
            span,
            began_ns: 0,
            ended_ns: 1,
            secure: false,
            line: &line,
        };
        telemetry.record(1, &span);
    }
    telemetry.waiting[1].lock().bytes.len()
}

#[test]
fn what_waits_is_bounded_and_strangers_cannot_take_all_of_the_room() {
    let telemetry = telemetry();
    let parent = Parent::read(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let none = Sampling::ratio(0.0);
    let asked_for = Span::begin(parent, none, Chance::default());
    let own = Span::begin(parent, Sampling::ratio(1.0), Chance::default());
    let half = fill(&telemetry, &asked_for);
    assert!(half.abs_diff(MOST_WAITING / WORKERS / 2) < 4096, "{half}");
    let all = fill(&telemetry, &own);
    assert!(all.abs_diff(MOST_WAITING / WORKERS) < 4096, "{all}");
    let batch = telemetry.gather().unwrap();
    assert!(batch.spans > 1000 && batch.body.len() >= all);
    assert!(telemetry.gather().is_none(), "nothing is sent twice");
}

#[test]
fn what_nobody_will_send_any_more_is_counted() {
    let telemetry = telemetry();
    let dropped = telemetry.metrics.dropped.clone();
    let own = Span::begin(None, Sampling::ratio(1.0), Chance::default());
    fill(&telemetry, &own);
    let waiting = telemetry.waiting[1].lock().spans;
    assert_eq!(dropped.get(), 1);
    drop(telemetry);
    assert_eq!(dropped.get(), 1 + waiting);
}

#[test]
fn a_worker_that_does_not_exist_is_told_nothing() {
    let telemetry = telemetry();
    let span = Span::begin(None, Sampling::ratio(1.0), Chance::default());
    let line = AccessLine::default();
    let span = ServerSpan {
        span: &span,
        began_ns: 0,
        ended_ns: 1,
        secure: false,
        line: &line,
    };
    telemetry.record(WORKERS, &span);
    assert!(telemetry.gather().is_none());
}

#[test]
fn a_collector_in_trouble_is_asked_less_and_less_often() {
    for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 8), (6, 30), (u32::MAX, 30)] {
        let pause = pause_after(failures).as_secs_f64();
        let longest = f64::from(longest);
        assert!(pause <= longest && pause >= longest * 0.5, "{failures}: {pause}");
    }
}

#[test]
fn a_collector_says_when_in_seconds_or_as_a_date_and_not_for_ever() {
    let after = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers)
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    assert_eq!(after("0"), Some(FIRST_PAUSE));
    assert_eq!(after("99999999"), Some(LONGEST_RETRY_AFTER));
    assert_eq!(after("soon"), None);
    assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(FIRST_PAUSE));
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
    assert!(after(&date) > Some(Duration::from_secs(50)));
}
