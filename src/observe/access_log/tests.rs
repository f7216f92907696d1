//! What an access line says, in both formats, whatever the request held.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::line::LONGEST;
use super::*;

fn written(line: &AccessLine<'_>, format: Format) -> String {
    let mut out = b"before\n".to_vec();
    line.write(format, &mut out);
    let text = String::from_utf8(out).unwrap();
    let line = text.strip_prefix("before\n").unwrap().strip_suffix('\n').unwrap();
    assert!(!line.contains(char::is_control), "{line:?}");
    line.to_owned()
}

fn parsed(line: &AccessLine<'_>) -> Value {
    serde_json::from_str(&written(line, Format::Json)).unwrap()
}

fn refused() -> AccessLine<'static> {
    AccessLine {
        time_ms: 1_772_323_199_999,
        request_id: "r-1",
        listener: "public",
        protocol: "HTTP/1.1",
        host: Some(b"api.example.com"),
        route: Some("chat"),
        method: Some("POST"),
        path: Some(b"/api/v1/chat/7"),
        status: StatusCode::UNAUTHORIZED,
        bytes_in: 12,
        bytes_out: 96,
        duration: Duration::from_micros(412),
        client_ip: Some(IpAddr::from([203, 0, 113, 9])),
        auth_mode: Some("hybrid"),
        auth_method: Some(AuthMethod::Jwt),
        decision: Some(Decision::Deny),
        reason: Some("invalid_token"),
        detail: Some("bad_signature"),
        ..AccessLine::default()
    }
}

#[test]
fn a_line_has_what_is_known_and_leaves_out_what_is_not() {
    assert_eq!(
        parsed(&refused()),
        json!({
            "time": "2026-02-28T23:59:59.999Z", "level": "info", "message": "request", "request_id": "r-1",
            "listener": "public", "protocol": "HTTP/1.1", "host": "api.example.com", "route": "chat", "method": "POST",
            "path": "/api/v1/chat/7", "status": 401, "bytes_in": 12, "bytes_out": 96, "duration_ms": 0.412,
            "client_ip": "203.0.113.9", "auth_mode": "hybrid", "auth_method": "jwt", "decision": "deny",
            "reason": "invalid_token", "detail": "bad_signature", "service": "gateway",
        })
    );
}

#[test]
fn a_line_has_every_field_of_the_contract() {
    let scopes = [
        HeaderText::new("llm:access").unwrap(),
        HeaderText::new("model:read").unwrap(),
    ];
    let name = Some("x");
    let line = AccessLine {
        upstream_duration: Some(Duration::from_millis(12)),
        arm: name,
        user_id: name,
        acting_for: name,
        client_id: name,
        key_id: name,
        issuer: name,
        tenant: name,
        scopes: &scopes,
        limit: name,
        upstream: name,
        endpoint: name,
        trace_id: name,
        user_agent: Some(b"curl/8"),
        ..refused()
    };
    let parsed = parsed(&line);
    assert_eq!(parsed["scope"], "llm:access model:read");
    assert_eq!(parsed["upstream_ms"], 12.0);
    let fields = "time level request_id listener protocol host route method path status bytes_in bytes_out duration_ms upstream_ms \
        client_ip auth_mode auth_method decision reason arm user_id acting_for client_id key_id issuer tenant scope limit upstream \
        endpoint trace_id service";
    for field in fields.split_whitespace() {
        assert!(!parsed[field].is_null(), "{field}");
    }
}

#[test]
fn text_is_for_people() {
    let line = AccessLine {
        path: Some(b"/a b=\n"),
        scopes: &[],
        ..refused()
    };
    assert_eq!(
        written(&line, Format::Text),
        "2026-02-28T23:59:59.999Z info request request_id=r-1 listener=public protocol=HTTP/1.1 host=api.example.com route=chat \
         method=POST path=\"/a b=\\n\" status=401 bytes_in=12 bytes_out=96 duration_ms=0.412 client_ip=203.0.113.9 \
         auth_mode=hybrid auth_method=jwt decision=deny reason=invalid_token detail=bad_signature service=gateway"
    );
}

#[test]
fn answers_from_500_on_are_errors() {
    let level = |status| {
        let line = AccessLine { status, ..refused() };
        parsed(&line)["level"].clone()
    };
    assert_eq!(level(StatusCode::from_u16(499).unwrap()), "info");
    assert_eq!(level(StatusCode::INTERNAL_SERVER_ERROR), "error");
    assert_eq!(level(StatusCode::BAD_GATEWAY), "error");
}

#[test]
fn r12_a_path_that_would_begin_a_line_of_its_own_does_not() {
    let line = AccessLine {
        path: Some(b"/\r\n{\"level\":\"info\"}\xff\x1b[2J"),
        ..refused()
    };
    let spelt_out = r#""/\r\n{\"level\":\"info\"}�\u001b[2J""#;
    assert!(written(&line, Format::Json).contains(&format!(",\"path\":{spelt_out},")));
    assert!(written(&line, Format::Text).contains(&format!(" path={spelt_out} ")));
}

#[test]
fn a_hundred_scopes_do_not_make_a_line_without_end() {
    let scopes: Vec<HeaderText> = (0..100).filter_map(|_| HeaderText::new(&"s".repeat(200))).collect();
    let line = AccessLine {
        scopes: &scopes,
        ..refused()
    };
    let scope = parsed(&line)["scope"].as_str().unwrap().to_owned();
    assert!(scope.len() <= LONGEST + 4 && scope.ends_with(" …"), "{scope}");
}

/// What a reader gets back for `bytes`.
fn read_back(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

proptest! {
    #[test]
    fn any_line_parses_into_what_was_put_in(
        path in vec(any::<u8>(), 0..300),
        host in option::of(vec(any::<u8>(), 0..60)),
        user in option::of(".*"),
        reason in option::of("[a-z_]{1,20}"),
        time_ms in any::<i64>(),
        bytes_in in any::<u64>(),
        micros in 0..1_u64 << 53,
        status in 100_u16..1000,
        address in any::<[u8; 16]>(),
    ) {
        let line = AccessLine {
            time_ms,
            host: host.as_deref(),
            path: Some(&path),
            user_id: user.as_deref(),
            reason: reason.as_deref(),
            bytes_in,
            duration: Duration::from_micros(micros),
            status: StatusCode::from_u16(status).unwrap(),
            client_ip: Some(IpAddr::from(address)),
            ..refused()
        };
        let parsed = parsed(&line);
        prop_assert_eq!(&parsed["path"], &read_back(&path));
        prop_assert_eq!(parsed.get("host").and_then(Value::as_str).map(str::to_owned), host.as_deref().map(read_back));
        prop_assert_eq!(parsed.get("user_id").and_then(Value::as_str), user.as_deref());
        prop_assert_eq!(parsed.get("reason").and_then(Value::as_str), reason.as_deref());
        prop_assert_eq!(&parsed["bytes_in"], bytes_in);
        prop_assert_eq!(&parsed["status"], status);
        prop_assert_eq!(parsed["duration_ms"].as_f64(), format!("{}.{:03}", micros / 1000, micros % 1000).parse().ok());
        prop_assert_eq!(parsed["client_ip"].as_str().unwrap(), IpAddr::from(address).to_string());
        let text = written(&line, Format::Text);
        prop_assert!(text.starts_with(parsed["time"].as_str().unwrap()));
    }
}
