//! Trace contexts, as strangers and others write them.

use proptest::prelude::*;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CHANCE: Chance = Chance {
    trace: [0x11; 16],
    span: [0x22; 8],
};
const ALL: f64 = 1.0;
const NONE: f64 = 0.0;

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(TRACEPARENT, value.parse().unwrap());
    }
    headers.insert(TRACESTATE, "rojo=1".parse().unwrap());
    headers
}

fn traced(values: &[&str], ratio: f64) -> Span {
    let trace = Trace::of(&headers(values), Some(Sampling::ratio(ratio)), true, || Some(CHANCE));
    *trace.span().unwrap()
}

fn traceparent(span: &Span) -> String {
    span.onward().unwrap().traceparent.to_str().unwrap().to_owned()
}

#[test]
fn a_trace_is_continued_with_a_span_of_our_own() {
    let span = traced(&[PARENT], NONE);
    assert_eq!(
        traceparent(&span),
        "00-0af7651916cd43dd8448eb211c80319c-2222222222222222-01"
    );
    assert_eq!(span.parent.unwrap().bytes(), &0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert!(span.is_sampled());
}

#[test]
fn a_caller_decides_whether_its_trace_is_sampled() {
    for (flags, ratio, sampled) in [
        ("01", NONE, true),
        ("00", ALL, false),
        ("03", NONE, true),
        ("02", ALL, false),
    ] {
        let parent = format!("{}{flags}", PARENT.strip_suffix("01").unwrap());
        let span = traced(&[&parent], ratio);
        assert_eq!(span.is_sampled(), sampled, "{parent}");
        assert!(traceparent(&span).ends_with(flags), "{parent}");
    }
}

#[test]
fn only_what_our_own_ratio_would_not_have_taken_is_asked_for() {
    assert!(traced(&[PARENT], NONE).is_asked_for());
    assert!(!traced(&[PARENT], ALL).is_asked_for());
    assert!(!traced(&[], ALL).is_asked_for());
}

#[test]
fn without_a_parent_a_trace_begins_and_says_that_its_id_is_chance() {
    let span = traced(&[], ALL);
    assert_eq!(
        traceparent(&span),
        "00-11111111111111111111111111111111-2222222222222222-03"
    );
    assert_eq!(span.parent, None);
    assert!(traceparent(&traced(&[], NONE)).ends_with("-02"));
}

#[test]
fn what_is_malformed_is_no_parent() {
    let reads = |text: &str| Parent::read(text.as_bytes());
    assert!(reads(PARENT).is_some());
    for wrong in [
        "",
        "00",
        // Digits in upper case, none, too few, too many, another separator.
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-011",
        "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "000af7651916cd43dd8448eb211c80319cb7ad6b7169203331010000",
        // Zero is no id.
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        // More than version 00 has.
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-010",
        // No version.
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert_eq!(reads(wrong), None, "{wrong:?}");
    }
    assert_eq!(Parent::of(&headers(&[PARENT, PARENT])), None, "which of two?");
}

#[test]
fn of_a_version_to_come_what_is_known_is_read_and_version_00_is_written() {
    let known = PARENT.strip_prefix("00").unwrap();
    for to_come in [
        format!("01{known}"),
        format!("cc{known}-what-else"),
        format!("fe{known}-"),
    ] {
        assert_eq!(
            traceparent(&traced(&[&to_come], NONE)),
            "00-0af7651916cd43dd8448eb211c80319c-2222222222222222-01",
            "{to_come}"
        );
    }
    let flags = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff";
    assert!(
        traceparent(&traced(&[flags], NONE)).ends_with("-01"),
        "only one flag is known"
    );
    let flags = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff";
    assert!(
        traceparent(&traced(&[flags], NONE)).ends_with("-03"),
        "two flags are known"
    );
}

#[test]
fn tracestate_stays_with_its_trace_and_goes_without() {
    let written = |values: &[&str]| {
        let mut headers = headers(values);
        traced(values, ALL).onward().unwrap().write(&mut headers);
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        headers.contains_key(TRACESTATE)
    };
    assert!(written(&[PARENT]));
    assert!(!written(&[]));
    assert!(!written(&["00-junk"]));
    assert!(!written(&[PARENT, PARENT]));
}

#[test]
fn where_no_spans_are_made_a_trace_only_passes() {
    let never = || panic!("chance costs");
    let of = |values: &[&str], is_told| Trace::of(&headers(values), None, is_told, never);
    assert_eq!(of(&[PARENT], false), Trace::None);
    let passing = of(&[PARENT], true);
    assert_eq!(
        passing.id().unwrap().digits().as_str(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(passing.span(), None);
    assert_eq!(of(&["junk"], true), Trace::None);
}

#[test]
fn without_chance_there_is_no_span_and_the_trace_passes() {
    let of = |values: &[&str]| Trace::of(&headers(values), Some(Sampling::ratio(ALL)), true, || None);
    assert!(matches!(of(&[PARENT]), Trace::Passing(_)));
    assert_eq!(of(&[]), Trace::None);
}

#[test]
fn no_id_is_zero_whatever_chance_says() {
    let span = Span::begin(None, Sampling::ratio(ALL), Chance::default());
    assert!(Parent::read(traceparent(&span).as_bytes()).is_some());
}

#[test]
fn a_ratio_takes_its_share_and_the_same_traces_everywhere() {
    let id = |last: u64| {
        let mut bytes = [0xab; 16];
        bytes[8..].copy_from_slice(&last.to_be_bytes());
        TraceId(bytes)
    };
    let half = Sampling::ratio(0.5);
    assert!(half.takes(id(0)) && half.takes(id(u64::MAX / 2)) && !half.takes(id(u64::MAX / 2 + 1)));
    assert!(Sampling::ratio(ALL).takes(id(u64::MAX)));
    assert!(!Sampling::ratio(NONE).takes(id(0)));
    assert!(
        Sampling::ratio(f64::MIN_POSITIVE) == Sampling::ratio(NONE),
        "too few to be any"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Parent::read(&text);
    }

    #[test]
    fn almost_a_traceparent_is_read_without_harm(text in "[0-9a-fA-F-]{2}-[0-9a-g]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}(-.{0,9})?") {
        if let Some(parent) = Parent::read(text.as_bytes()) {
            let digits = parent.trace.digits();
            prop_assert!(text.contains(digits.as_str()));
        }
    }

    #[test]
    fn what_is_written_is_read_again(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), ratio in 0.0..=1.0) {
        let ours = Span::begin(None, Sampling::ratio(ratio), Chance { trace, span });
        let text = traceparent(&ours);
        prop_assert_eq!(text.len(), LENGTH);
        let read = Parent::read(text.as_bytes()).unwrap();
        prop_assert_eq!((read.trace, read.span, read.flags), (ours.trace, ours.id, ours.flags));
        prop_assert_eq!(read.is_sampled(), ours.is_sampled());
    }
}
