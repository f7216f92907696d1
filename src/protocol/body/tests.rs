//! Where bodies end, and which cannot be framed.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use super::*;

const ROOM: usize = 64;

/// How many bytes belong to a body, framing and data together, and what then.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    count: usize,
    then: Then,
}

impl Body {
    fn take(&mut self, bytes: &[u8]) -> Taken {
        let mut count = 0;
        loop {
            let Step { framing, data, then } = self.step(&bytes[count..]);
            count += framing + data;
            if data == 0 || then != Then::More {
                return Taken { count, then };
            }
        }
    }
}

/// How far a chunked body goes; the same whole, in two pieces, or byte by byte.
fn chunked(bytes: &[u8]) -> Taken {
    let whole = Body::chunked(ROOM).take(bytes);
    for cut in 0..=bytes.len() {
        assert_eq!(
            in_pieces([cut, bytes.len()], bytes),
            whole,
            "{} cut at {cut}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(
        in_pieces(1..=bytes.len(), bytes),
        whole,
        "{} byte by byte",
        bytes.escape_ascii()
    );
    whole
}

fn in_pieces(ends: impl IntoIterator<Item = usize>, bytes: &[u8]) -> Taken {
    let mut body = Body::chunked(ROOM);
    let mut taken = Taken {
        count: 0,
        then: Then::More,
    };
    for end in ends {
        let next = body.take(&bytes[taken.count..end]);
        taken = Taken {
            count: taken.count + next.count,
            then: next.then,
        };
        if taken.then != Then::More {
            break;
        }
    }
    taken
}

fn whole(bytes: &str) {
    let behind = format!("{bytes}GET");
    assert_eq!(
        chunked(behind.as_bytes()),
        Taken {
            count: bytes.len(),
            then: Then::End
        },
        "{bytes:?}"
    );
}

#[track_caller]
fn broken(sound: &str, rest: &str, fault: &'static str) {
    let bytes = format!("{sound}{rest}");
    assert_eq!(
        chunked(bytes.as_bytes()),
        Taken {
            count: sound.len(),
            then: Then::Broken(fault)
        },
        "{bytes:?}"
    );
}

#[test]
fn counts_a_content_length() {
    let mut body = Body::Length(5);
    assert_eq!(
        body.take(b"abc"),
        Taken {
            count: 3,
            then: Then::More
        }
    );
    assert_eq!(
        body.take(b""),
        Taken {
            count: 0,
            then: Then::More
        }
    );
    assert_eq!(
        body.take(b"deGET"),
        Taken {
            count: 2,
            then: Then::End
        }
    );
    assert_eq!(
        Body::Length(0).take(b"GET"),
        Taken {
            count: 0,
            then: Then::End
        }
    );
}

#[test]
fn finds_the_end_of_chunks() {
    whole("0\r\n\r\n");
    whole("5\r\nhello\r\n0\r\n\r\n");
    whole("A\r\n0\r\n\r\n0\r\n\r\n\r\n00000\r\n\r\n");
    whole("000000000000000a\r\n0123456789\r\n0\r\n\r\n");
    whole("1;name=value;other=\"a b\"\r\na\r\n0;last\r\n\r\n");
    whole("0\r\nX-Sum: 1\r\nEmpty:\r\nY: \u{e9}\t\r\n\r\n");
}

#[test]
fn r31_refuses_chunk_sizes_that_others_could_read_otherwise() {
    let size = "invalid chunk size";
    for rest in ["\r\n", "x", "+5\r\n", "-1\r\n", " 5\r\n", ";a\r\n", "\n"] {
        broken("", rest, size);
    }
    broken("5", " \r\nhello", size);
    broken("5", "\nhello", size);
    broken("0", "x5\r\n", size);
    broken("0000000000000000", "5\r\n", size);
    broken("ffffffffffffffff", "f\r\n", size);
}

#[test]
fn r31_refuses_chunks_without_their_crlf() {
    let crlf = "CRLF of a chunk is missing";
    broken("5\r", "hello", crlf);
    broken("5\r", "\r\nhello", crlf);
    broken("5\r\nhello", "0\r\n\r\n", crlf);
    broken("5\r\nhello", "\n0\r\n\r\n", crlf);
    broken("5\r\nhello\r", "0\r\n\r\n", crlf);
    broken("0\r\n\r", "G", crlf);
}

#[test]
fn r31_refuses_extensions_with_line_ends_or_without_end() {
    let extension = "invalid chunk extension";
    broken("5;a", "\nhello", extension);
    broken("5;a", "\0\r\n", extension);
    broken(&format!("5;{}", "a".repeat(256)), "a\r\n", extension);
    broken("5;a\r", "b\r\n", "CRLF of a chunk is missing");
    whole(&format!("1;{}\r\na\r\n0\r\n\r\n", "a".repeat(256)));
}

#[test]
fn r32_holds_trailers_to_the_rules_of_a_head() {
    let trailer = "invalid trailer";
    broken("0\r\n", "\nX", trailer);
    broken("0\r\n", ": a\r\n", trailer);
    broken("0\r\n", " X: a\r\n", trailer);
    broken("0\r\nX", " : a\r\n", trailer);
    broken("0\r\nX", "\r\n", trailer);
    broken("0\r\nX: a", "\n\r\n", trailer);
    broken("0\r\nX: a", "\0\r\n", trailer);
    broken("0\r\nX: a\r", "b\r\n", trailer);
    broken("0\r\nX: a\r\n", " b\r\n", trailer);
    broken(
        &format!("0\r\nX:{}", "a".repeat(ROOM - 2)),
        "a\r\n\r\n",
        "trailers too large",
    );
}

/// What a body brings, cut into pieces of so many bytes.
fn read(mut body: Body, bytes: &[u8], piece: usize) -> (Vec<u8>, Option<HeaderMap>) {
    let (mut data, mut trailers, mut held) = (Vec::new(), None, BytesMut::new());
    let mut pieces = bytes.chunks(piece);
    loop {
        match body.next(&mut held) {
            Next::Data(some) => data.extend_from_slice(&some),
            Next::Trailers(map) => trailers = Some(map),
            Next::End => return (data, trailers),
            Next::Starved => held.extend_from_slice(pieces.next().unwrap_or_default()),
            Next::Broken(fault) => panic!("{fault}"),
        }
    }
}

#[test]
fn data_and_trailers_come_without_their_framing() {
    let text = b"5\r\nhello\r\n1;x\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 7\r\nX-End: \r\n\r\n";
    for piece in 1..=text.len() {
        let (data, trailers) = read(Body::chunked(ROOM), text, piece);
        assert_eq!(data, b"hello world");
        let trailers = trailers.unwrap();
        assert_eq!(trailers["x-sum"], "7");
        assert_eq!(trailers["x-end"], "");
        assert_eq!(trailers.len(), 2);
    }
    let (data, trailers) = read(Body::Length(5), b"helloGET", 3);
    assert_eq!((data.as_slice(), trailers), (&b"hello"[..], None));
    let (data, trailers) = read(Body::chunked(ROOM), b"1\r\na\r\n0\r\n\r\n", 4);
    assert_eq!((data.as_slice(), trailers), (&b"a"[..], None));
}
