//! Answers as the APIs give them, in every cut; and answers that would like to be taken for something else.

use proptest::prelude::*;

use super::*;

fn reader(content_type: &str) -> UsageReader {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    UsageReader::of(StatusCode::OK, &headers).unwrap()
}

/// What is read of a body that comes in pieces of this size.
fn tokens_in(content_type: &str, body: &str, piece: usize) -> Option<Tokens> {
    let mut reader = reader(content_type);
    for piece in body.as_bytes().chunks(piece) {
        reader.read(piece);
    }
    reader.tokens(400)
}

/// The same in whatever pieces it comes.
#[track_caller]
fn says(content_type: &str, body: &str, expected: Option<(u32, u32, bool)>) {
    for piece in [1, 2, 3, 7, 64, body.len().max(1)] {
        let read = tokens_in(content_type, body, piece);
        let read = read.map(|tokens| (tokens.input, tokens.output, tokens.estimated));
        assert_eq!(read, expected, "in pieces of {piece}: {body}");
    }
}

const JSON: &str = "application/json; charset=utf-8";
const EVENTS: &str = "text/event-stream";

#[test]
fn whole_answers_of_both_kinds() {
    says(
        JSON,
        r#"{"id":"x","choices":[{"message":{"role":"assistant","content":"hi"}}],
            "usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
                     "prompt_tokens_details":{"cached_tokens":7},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
        Some((19, 10, false)),
    );
    says(
        JSON,
        r#"{"type":"message","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":12,
            "cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":6}}"#,
        Some((1112, 6, false)),
    );
    says(
        JSON,
        r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#,
        Some((3, 4, false)),
    );
    // Embeddings write nothing.
    says(
        JSON,
        r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        Some((8, 0, false)),
    );
    says(JSON, r#"{"object":"list","data":[{"id":"gpt"}]}"#, None);
    says(JSON, "", None);
}

#[test]
fn streams_of_both_kinds() {
    let openai = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n\
                  data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"usage\":null}\r\n\r\n\
                  data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n\
                  data: [DONE]\n\n";
    says(EVENTS, openai, Some((5, 2, false)));
    let anthropic = "event: message_start\n\
        data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
        event: ping\ndata: {\"type\": \"ping\"}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hello\"}}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    says(EVENTS, anthropic, Some((25, 15, false)));
    let responses = "event: response.created\ndata: {\"response\":{\"usage\":null}}\n\n\
        event: response.completed\n\
        data: {\"response\":{\"output\":[{\"usage\":{\"input_tokens\":99}}],\"usage\":{\"input_tokens\":36,\"output_tokens\":87}}}\n\n";
    says(EVENTS, responses, Some((36, 87, false)));
    let in_two_lines = "data: {\"usage\":\ndata: {\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    says(EVENTS, in_two_lines, Some((1, 2, false)));
}

#[test]
fn what_a_stream_does_not_say_is_estimated() {
    let silent = "data: {\"choices\":[]}\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n";
    says(EVENTS, silent, Some((100, 3, true)));
    let cut_off = "data: {\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
                   data: {\"delta\":1}\n\ndata: {\"delta\":2}\n\ndata: {\"del";
    says(EVENTS, cut_off, Some((25, 4, true)));
    says(EVENTS, ": nothing yet\n\n", None);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
    headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
    let mut compressed = UsageReader::of(StatusCode::OK, &headers).unwrap();
    compressed.read(&[0; 80]);
    let tokens = compressed.tokens(40).unwrap();
    assert_eq!((tokens.input, tokens.output, tokens.estimated), (10, 20, true));
}

#[test]
fn what_is_no_usage_is_not_read_as_one() {
    for text in [
        // What the model wrote.
        r#"{"content":"\"usage\":{\"prompt_tokens\":7}","note":"usage: {\\"}"#,
        r#"{"choices":[{"usage":{"prompt_tokens":7}}]}"#,
        r#"[{"usage":{"prompt_tokens":7}}]"#,
        r#"{"usage":[{"prompt_tokens":7}]}"#,
        r#"{"usage":{"prompt_tokens":"7"}}"#,
        r#"{"usage":{"prompt_tokens":-7}}"#,
        r#"{"usage":{"details":{"prompt_tokens":7}}}"#,
        r#"{"usage":null,"prompt_tokens":7}"#,
        r#"{"usage":"x","y":{"prompt_tokens":7}}"#,
        r#"{"x":{"usage":{"prompt_tokens":7}}}"#,
    ] {
        says(JSON, text, None);
    }
}

#[test]
fn only_successful_json_and_events_are_read() {
    let of = |status: u16, content_type: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        UsageReader::of(StatusCode::from_u16(status).unwrap(), &headers).is_some()
    };
    assert!(of(200, "Application/JSON") && of(201, EVENTS));
    assert!(!of(200, "text/html") && !of(429, JSON) && !of(500, EVENTS));
    assert!(UsageReader::of(StatusCode::OK, &HeaderMap::new()).is_none());
}

#[test]
fn a_count_beyond_all_numbers_is_the_largest() {
    says(
        JSON,
        r#"{"usage":{"output_tokens":99999999999999999999}}"#,
        Some((0, u32::MAX, false)),
    );
}

proptest! {
    /// Held against a parser that keeps the whole document.
    #[test]
    fn it_reads_what_a_parser_reads(
        content in ".{0,40}", input in 0u32..1_000_000, output in 0u32..1_000_000, piece in 1usize..40, pretty in any::<bool>()
    ) {
        let document = serde_json::json!({
            "content": [{ "text": content, "usage": { "output_tokens": 1 } }],
            content.clone(): { "usage": { "input_tokens": 2 } },
            "usage": { "input_tokens": input, "deeper": { "input_tokens": 9_999_999 }, "output_tokens": output },
        });
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        let expected = Tokens { input, output, estimated: false };
        prop_assume!(content != "usage" && content != "message" && content != "response" && content != "content");
        prop_assert_eq!(tokens_in(JSON, &text.unwrap(), piece), Some(expected));
    }

    #[test]
    fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..20) {
        for content_type in [JSON, EVENTS] {
            let mut reader = reader(content_type);
            for piece in bytes.chunks(piece) {
                reader.read(piece);
            }
            let _ = reader.tokens(0);
        }
    }
}
