//! What the judge of a head says, line by line.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;

use super::*;

const ROOM: Room = Room {
    head: 32 * 1024,
    target: 8 * 1024,
};

/// The outcome is the same whether the head comes whole, in two pieces cut anywhere, or byte by byte.
fn judge(head: &[u8]) -> Result<Framing, Refusal> {
    let whole = judge_head(head);
    for cut in 0..head.len() {
        assert_eq!(
            in_pieces([cut, head.len()], head),
            whole,
            "{} cut at {cut}",
            head.escape_ascii()
        );
    }
    assert_eq!(
        in_pieces(1..=head.len(), head),
        whole,
        "{} byte by byte",
        head.escape_ascii()
    );
    whole
}

/// A whole head, of any size.
fn judge_head(head: &[u8]) -> Result<Framing, Refusal> {
    let head = Bytes::copy_from_slice(head);
    read_head_within(&head, usize::MAX, usize::MAX - REQUEST_LINE_ROOM).map(|(_, _, framing)| framing)
}

fn in_pieces(ends: impl IntoIterator<Item = usize>, head: &[u8]) -> Result<Framing, Refusal> {
    let mut judge = HeadJudge::default();
    for end in ends {
        if let Some((complete, framing)) = judge.read(&head[..end], ROOM)? {
            assert_eq!(complete, head.len());
            return Ok(framing);
        }
    }
    Err(Refusal::Malformed(Fault::Incomplete))
}

fn with(fields: &str) -> Result<Framing, Refusal> {
    judge(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
}

fn with_bytes(fields: &[u8]) -> Result<Framing, Refusal> {
    judge(&[b"GET / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n"].concat())
}

fn request_line(line: &str) -> Result<Framing, Refusal> {
    judge(format!("{line}\r\nHost: a\r\n\r\n").as_bytes())
}

fn malformed(fault: Fault) -> Result<Framing, Refusal> {
    Err(Refusal::Malformed(fault))
}

fn body_of(length: u64) -> Result<Framing, Refusal> {
    Ok(Framing {
        content_length: Some(length),
        upgrade: false,
    })
}

const CHUNKED: Result<Framing, Refusal> = Ok(Framing {
    content_length: None,
    upgrade: false,
});

#[test]
fn takes_the_requests_that_clients_send() {
    assert_eq!(with("Accept: */*\r\n"), body_of(0));
    assert_eq!(with("Content-Length: 12\r\n"), body_of(12));
    assert_eq!(with("content-length:\t 007 \r\n"), body_of(7));
    assert_eq!(with("Transfer-Encoding: chunked\r\n"), CHUNKED);
    assert_eq!(with("transfer-encoding: \t CHUNKED \r\n"), CHUNKED);
    assert_eq!(with("X-Empty:\r\nX-Tab: a\tb\r\nX-Colons: a:b:c\r\n"), body_of(0));
    assert_eq!(judge(b"GET / HTTP/1.0\r\n\r\n"), body_of(0));
    assert_eq!(judge(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), body_of(0));
    assert_eq!(judge(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), body_of(0));
}

#[test]
fn takes_every_form_of_target() {
    for target in [
        "/",
        "/a/b?c=d&e",
        "/%2e%2e/",
        "/a;b=c",
        "/{\"x\"}",
        "/?a=\\b",
        "/?q=/?{|}",
        "//a",
    ] {
        assert_eq!(request_line(&format!("GET {target} HTTP/1.1")), body_of(0), "{target}");
    }
    for target in [
        "http://a/",
        "HTTPS://a:8443/b?c",
        "http://a",
        "http://a?b",
        "http://[::1]/",
    ] {
        assert_eq!(request_line(&format!("GET {target} HTTP/1.1")), body_of(0), "{target}");
    }
    assert_eq!(request_line("OPTIONS * HTTP/1.1"), body_of(0));
    assert_eq!(request_line("PROPFIND / HTTP/1.1"), body_of(0));
}

#[test]
fn r11_refuses_targets_that_are_none() {
    let long = format!("ftp://{}/", "a".repeat(9));
    for target in [
        "*",
        "a",
        "a/b",
        "example.com:443",
        "?a",
        "http:///a",
        "http://",
        "http:/a",
        "http//a",
        "ftp://a/",
        "ws://a/",
        "http://a b/",
        "/a#b",
        "#",
        "http://a/#b",
        "/a\\b",
        "\\\\a",
        "/a\u{e9}",
        "/a\0",
        "/a\u{7f}",
        "/a\tb",
        "/<a>",
        "/?<a>",
        "http://a\\b/",
        "http://a|b@c/",
        &long,
    ] {
        let line = format!("GET {target} HTTP/1.1");
        assert!(
            matches!(
                request_line(&line),
                Err(Refusal::Malformed(Fault::Target | Fault::Version))
            ),
            "{target}"
        );
    }
}

#[test]
fn r11_refuses_two_hosts_and_none() {
    assert_eq!(with("Host: a\r\n"), malformed(Fault::HostRepeated));
    assert_eq!(with("hOST: b\r\n"), malformed(Fault::HostRepeated));
    assert_eq!(
        judge(b"GET / HTTP/1.1\r\nAccept: a\r\n\r\n"),
        malformed(Fault::HostMissing)
    );
    assert_eq!(judge(b"GET http://a/ HTTP/1.1\r\n\r\n"), malformed(Fault::HostMissing));
    assert_eq!(
        judge(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        malformed(Fault::HostRepeated)
    );
}

#[test]
fn r19_takes_bytes_above_0x7f_in_values_only() {
    assert_eq!(with_bytes(b"X-Name: \xe9\xff\x80\r\n"), body_of(0));
    assert_eq!(with_bytes(b"X-N\xe9: a\r\n"), malformed(Fault::FieldName));
    assert_eq!(
        with_bytes(b"Transfer-Encoding: chunked\xa0\r\n"),
        malformed(Fault::TransferEncoding)
    );
    assert_eq!(with_bytes(b"Content-Length: \xb2\r\n"), malformed(Fault::ContentLength));
}

#[test]
fn r30_an_upgrade_is_one_on_http_1_1_only() {
    let upgrade = Ok(Framing {
        content_length: Some(0),
        upgrade: true,
    });
    assert_eq!(with("UPGRADE: WebSocket\r\n"), upgrade);
    assert_eq!(with("Upgrade: h2c\r\nConnection: upgrade\r\n"), upgrade);
    assert_eq!(judge(b"GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n"), body_of(0));
    assert_eq!(
        with("Upgrade: websocket\r\nContent-Length: 3\r\n"),
        Ok(Framing {
            content_length: Some(3),
            upgrade: true
        })
    );
}

#[test]
fn r31_refuses_every_transfer_encoding_but_one_single_chunked() {
    for value in [
        "",
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "xchunked",
        "chunkedx",
        "\"chunked\"",
        "chunked;a=b",
        "chun ked",
    ] {
        assert_eq!(
            with(&format!("Transfer-Encoding: {value}\r\n")),
            malformed(Fault::TransferEncoding),
            "{value}"
        );
    }
    for second in ["chunked", "identity", ""] {
        let fields = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}\r\n");
        assert_eq!(with(&fields), malformed(Fault::TransferEncoding), "{second}");
    }
    assert_eq!(with("Transfer-Encoding: \x0bchunked\r\n"), malformed(Fault::FieldValue));
}

#[test]
fn r31_refuses_transfer_encoding_beside_content_length_and_on_http_1_0() {
    let both = malformed(Fault::ContentLengthWithTransferEncoding);
    assert_eq!(with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), both);
    assert_eq!(with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), both);
    assert_eq!(with("Transfer-Encoding: chunked\r\nContent-Length: x\r\n"), both);
    assert_eq!(
        judge(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        malformed(Fault::TransferEncodingOnHttp10)
    );
}

#[test]
fn r32_refuses_a_content_length_that_is_no_plain_number() {
    for value in [
        "",
        "+5",
        "-5",
        "5 ,",
        "5,5",
        "5, 5",
        "0x5",
        "5 5",
        "five",
        "5.0",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        assert_eq!(
            with(&format!("Content-Length: {value}\r\n")),
            malformed(Fault::ContentLength),
            "{value}"
        );
    }
    assert_eq!(with("Content-Length: 18446744073709551613\r\n"), body_of(u64::MAX - 2));
    for second in ["5", "6"] {
        let fields = format!("Content-Length: 5\r\nContent-length: {second}\r\n");
        assert_eq!(with(&fields), malformed(Fault::ContentLengthRepeated), "{second}");
    }
}

#[test]
fn r32_refuses_a_bare_lf_and_a_bare_cr() {
    let bare_lf = malformed(Fault::BareLf);
    assert_eq!(judge(b"GET / HTTP/1.1\nHost: a\r\n\r\n"), bare_lf);
    assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: a\n\r\n"), bare_lf);
    assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), bare_lf);
    assert_eq!(judge(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), bare_lf);
    assert_eq!(with("X: a\nY: b\r\n"), bare_lf);
    let bare_cr = malformed(Fault::BareCr);
    assert_eq!(judge(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), bare_cr);
    assert_eq!(judge(b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"), bare_cr);
    assert_eq!(judge(b"\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), bare_cr);
    assert_eq!(with("X: a\rY: b\r\n"), bare_cr);
    assert_eq!(with("X: a\r\r\n"), bare_cr);
    assert_eq!(with("\r\r\n"), bare_cr);
    assert_eq!(with("X\r: a\r\n"), bare_cr);
}

#[test]
fn r32_refuses_folded_lines_and_names_that_are_none() {
    assert_eq!(with("X: a\r\n b\r\n"), malformed(Fault::ObsFold));
    assert_eq!(with("X: a\r\n\tb\r\n"), malformed(Fault::ObsFold));
    assert_eq!(judge(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"), malformed(Fault::ObsFold));
    assert_eq!(with("Content-Length : 5\r\n"), malformed(Fault::SpaceBeforeColon));
    assert_eq!(with("Content-Length\t: 5\r\n"), malformed(Fault::SpaceBeforeColon));
    for line in [
        ": a", "X", "X\0: a", "X\x0b: a", "X(: a", "X,Y: a", "[X]: a", "\"X\": a", "X/Y: a", "X@: a",
    ] {
        assert_eq!(with(&format!("{line}\r\n")), malformed(Fault::FieldName), "{line:?}");
    }
    for value in ["\0", "a\0b", "a\x01", "a\x0bb", "a\x0cb", "\x1b[0m", "a\x7f", "\x08"] {
        assert_eq!(
            with(&format!("X: {value}\r\n")),
            malformed(Fault::FieldValue),
            "{value:?}"
        );
    }
}

#[test]
fn r34_refuses_connect() {
    assert_eq!(request_line("CONNECT example.com:443 HTTP/1.1"), Err(Refusal::Connect));
    assert_eq!(request_line("CONNECT / HTTP/1.1"), Err(Refusal::Connect));
    assert_eq!(
        request_line("connect example.com:443 HTTP/1.1"),
        malformed(Fault::Target)
    );
}

#[test]
fn refuses_request_lines_that_are_none() {
    for line in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / ",
        " ",
        "GET\t/\tHTTP/1.1",
        "G(T / HTTP/1.1",
        "GET\0 / HTTP/1.1",
    ] {
        let refused = request_line(line);
        assert!(
            matches!(refused, Err(Refusal::Malformed(Fault::RequestLine | Fault::Version))),
            "{line:?}: {refused:?}"
        );
    }
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/2",
        "http/1.1",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "HTTP/01.1",
        "",
    ] {
        assert_eq!(
            request_line(&format!("GET / {version}")),
            malformed(Fault::Version),
            "{version:?}"
        );
    }
    assert_eq!(judge(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), malformed(Fault::Version));
    assert_eq!(
        judge(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        malformed(Fault::BlankLines)
    );
}

#[test]
fn refuses_what_is_not_one_whole_head() {
    let incomplete = malformed(Fault::Incomplete);
    assert_eq!(judge_head(b""), incomplete);
    assert_eq!(judge_head(b"GET / HTTP/1.1\r\nHost: a\r\n"), incomplete);
    assert_eq!(judge_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nx"), incomplete);
}

#[test]
fn r38_counts_header_fields() {
    assert_eq!(with(&"X: a\r\n".repeat(MAX_FIELDS - 1)), body_of(0));
    assert_eq!(
        judge_head(format!("GET / HTTP/1.0\r\n{}\r\n", "X: a\r\n".repeat(101)).as_bytes()),
        Err(Refusal::HeadTooLarge)
    );
    let long_name = format!("GET / HTTP/1.0\r\n{}: a\r\n\r\n", "n".repeat(65_536));
    assert_eq!(judge_head(long_name.as_bytes()), Err(Refusal::HeadTooLarge));
}

#[test]
fn r38_refuses_a_head_of_too_many_bytes_wherever_it_is_cut() {
    let room = Room { head: 100, target: 8 };
    let read = |bytes: &[u8], ends: &[usize]| {
        let mut judge = HeadJudge::default();
        ends.iter()
            .map(|&end| judge.read(&bytes[..end], room))
            .find(|read| !matches!(read, Ok(None)))
    };
    let head = format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "a".repeat(77));
    assert_eq!(head.len(), 100);
    let longer = head.replace("X:", "X: ");
    let long_target = format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(61));
    for cut in 0..100 {
        assert!(
            matches!(read(head.as_bytes(), &[cut, 100]), Some(Ok(Some((100, _))))),
            "{cut}"
        );
        assert_eq!(
            read(longer.as_bytes(), &[cut, 101]),
            Some(Err(Refusal::HeadTooLarge)),
            "{cut}"
        );
        let end = long_target.len();
        assert_eq!(
            read(long_target.as_bytes(), &[cut.min(end), end]),
            Some(Err(Refusal::TargetTooLong)),
            "{cut}"
        );
    }
    assert_eq!(read(&[b'a'; 101], &[72, 73]), Some(Err(Refusal::TargetTooLong)));
    assert_eq!(
        read(&longer.as_bytes()[..101], &[101]),
        Some(Err(Refusal::HeadTooLarge))
    );
}

#[test]
fn an_empty_line_before_the_request_line_begins_no_head() {
    let mut judge = HeadJudge::default();
    assert!(!judge.begun(0));
    judge.read(b"\r\n", ROOM).unwrap();
    assert!(!judge.begun(2));
    judge.read(b"\r\nG", ROOM).unwrap();
    assert!(judge.begun(3));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = judge_head(&bytes);
    }
}
