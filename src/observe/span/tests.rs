//! Spans as OpenTelemetry's own generated code reads them.

use std::time::Duration;

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Read;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use super::*;
use crate::policy::trace::{Chance, Parent, Sampling};

const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn context(parent: Option<&[u8]>) -> Span {
    let chance = Chance {
        trace: [0x11; 16],
        span: [0x22; 8],
    };
    Span::begin(parent.and_then(Parent::read), Sampling::ratio(1.0), chance)
}

fn line() -> AccessLine<'static> {
    AccessLine {
        request_id: "r-1",
        listener: "public",
        protocol: "HTTP/1.1",
        method: Some("GET"),
        path: Some(b"/a"),
        status: StatusCode::OK,
        ..AccessLine::default()
    }
}

/// Written, sent and read.
fn read(lines: &[AccessLine<'_>], parent: Option<&[u8]>) -> Vec<Read> {
    let span = context(parent);
    let mut written = Vec::new();
    for line in lines {
        let span = ServerSpan {
            span: &span,
            began_ns: 1_000_000_007,
            ended_ns: 1_000_000_019,
            secure: true,
            line,
        };
        span.write(&mut written);
    }
    let export = Sender::new("i-1").export([&*written, &[]].into_iter());
    let request = ExportTraceServiceRequest::decode(&*export).unwrap();
    assert_eq!(
        request.encode_to_vec().len(),
        export.len(),
        "all of it is known, and nothing is padded"
    );
    let [resource] = &*request.resource_spans else {
        panic!("one process")
    };
    let [scope] = &*resource.scope_spans else {
        panic!("one scope")
    };
    assert_eq!(scope.scope.as_ref().unwrap().name, "gateway");
    scope.spans.clone()
}

fn attribute(span: &Read, key: &str) -> Option<Value> {
    let pair = span.attributes.iter().find(|pair| pair.key == key)?;
    pair.value.clone()?.value
}

fn text(value: &str) -> Option<Value> {
    Some(Value::StringValue(value.to_owned()))
}

#[test]
fn a_span_is_read_as_it_was_meant() {
    let chat = AccessLine {
        route: Some("chat"),
        upstream_duration: Some(Duration::from_micros(1500)),
        ..line()
    };
    let spans = read(&[line(), chat], Some(PARENT));
    assert_eq!(spans.len(), 2);
    let span = &spans[1];
    assert_eq!(span.trace_id, context(Some(PARENT)).trace.bytes());
    assert_eq!(span.span_id, [0x22; 8]);
    assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!((&*span.name, span.kind()), ("GET chat", SpanKind::Server));
    assert_eq!(
        (span.start_time_unix_nano, span.end_time_unix_nano),
        (1_000_000_007, 1_000_000_019)
    );
    assert_eq!(span.flags, 0x301, "sampled, and its parent is another process'");
    assert_eq!(span.status, None);
    assert_eq!(attribute(span, "http.response.status_code"), Some(Value::IntValue(200)));
    assert_eq!(attribute(span, "url.scheme"), text("https"));
    assert_eq!(attribute(span, "gateway.upstream_ms"), Some(Value::DoubleValue(1.5)));
    let root = &read(&[line()], None)[0];
    assert_eq!((&*root.parent_span_id, root.flags), (&[][..], 0x103));
}

#[test]
fn a_server_s_failure_is_an_error_and_a_client_s_is_none() {
    for (status, reason, code, kind) in [
        (200, None, None, None),
        (404, Some("no_route"), None, None),
        (499, Some("client_closed_request"), None, text("client_closed_request")),
        (500, None, Some(2), text("500")),
        (504, Some("upstream_timeout"), Some(2), text("upstream_timeout")),
    ] {
        let ended = AccessLine {
            status: StatusCode::from_u16(status).unwrap(),
            reason,
            ..line()
        };
        let span = &read(&[ended], None)[0];
        assert_eq!(span.status.as_ref().map(|status| status.code), code, "{status}");
        assert_eq!(attribute(span, "error.type"), kind, "{status}");
    }
}

#[test]
fn the_host_is_told_without_port_and_brackets_and_only_if_it_is_one() {
    for (host, name, port) in [
        ("api.example.com", text("api.example.com"), None),
        (
            "api.example.com:8443",
            text("api.example.com"),
            Some(Value::IntValue(8443)),
        ),
        ("[2001:db8::1]:80", text("2001:db8::1"), Some(Value::IntValue(80))),
        ("no host", None, None),
    ] {
        let asked = AccessLine {
            host: Some(host.as_bytes()),
            ..line()
        };
        let span = &read(&[asked], None)[0];
        assert_eq!(attribute(span, "server.address"), name, "{host}");
        assert_eq!(attribute(span, "server.port"), port, "{host}");
    }
}

#[test]
fn what_a_stranger_wrote_is_utf_8_and_not_too_long() {
    let long = [b"/\xff".as_slice(), &[b'a'; 10_000]].concat();
    let asked = AccessLine {
        path: Some(&long),
        method: Some("GET\u{7f}"),
        ..line()
    };
    let span = &read(&[asked], None)[0];
    let Some(Value::StringValue(path)) = attribute(span, "url.path") else {
        panic!("no path")
    };
    assert!(
        path.starts_with("/\u{fffd}aaa") && path.len() <= LONGEST + 2,
        "{}",
        path.len()
    );
    assert_eq!(attribute(span, "http.request.method"), text("_OTHER"));
    assert_eq!(span.name, "HTTP");
}

#[test]
fn a_head_that_could_not_be_read_has_a_span_too() {
    let unread = AccessLine {
        method: None,
        path: None,
        ..line()
    };
    let span = &read(&[unread], None)[0];
    assert_eq!(span.name, "HTTP");
    assert_eq!(attribute(span, "http.request.method"), None);
}
