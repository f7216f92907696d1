//! What is sent is what arrives: byte for byte between two that speak HTTP/1.1, for thousands of generated sets of headers each way;
//! and the same meaning wherever a side speaks HTTP/2, with bodies and trailers.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use gateway::demo::client::Connection;
use gateway::demo::wire::Head;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;

use crate::harness::http2::{self, Http2, Http2Upstream};
use crate::harness::{Client, Dice, Gateway, Upstream, soon};

/// Connections that share the sets of headers.
const CONNECTIONS: usize = 8;

/// Exchanges of each pair of versions.
const EXCHANGES: usize = 100;

const OPEN: &str =
    "[log]\naccess = false\n[[routes]]\nname = \"open\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = \"none\"\n";

type Fields = Vec<(String, Vec<u8>)>;

/// The same cases on every run.
fn cases(place: usize) -> Dice {
    Dice::new(0x9e37_79b9_7f4a_7c15 ^ u64::try_from(place).unwrap())
}

/// Visible bytes mostly, some tabs and spaces, some of obs-text (RFC 9110 §5.5).
fn value(dice: &mut Dice) -> Vec<u8> {
    let mut byte = || match dice.below(10) {
        0 => 0x80 | dice.byte(),
        1 => dice.one_of(b" \t,;="),
        _ => b'!' + u8::try_from(dice.below(94)).unwrap(),
    };
    let length = usize::from(byte() & 0x3f);
    let value: Vec<u8> = (0..length).map(|_| byte()).collect();
    value.trim_ascii().to_vec()
}

/// Names that the contract speaks of begin otherwise. Some come several times, in several spellings.
fn fields(dice: &mut Dice, token: &[u8], often: &[&str]) -> Fields {
    let count = dice.below(20);
    let mut one = || {
        if dice.below(3) == 0 {
            return (dice.one_of(often).to_owned(), value(dice));
        }
        let rest: String = (0..dice.below(24)).map(|_| char::from(dice.one_of(token))).collect();
        let first = if token.contains(&b'Q') {
            dice.one_of(&["q", "Q"])
        } else {
            "q"
        };
        (format!("{first}{rest}"), value(dice))
    };
    (0..count).map(|_| one()).collect()
}

const TOKEN: &[u8] = b"!#$%&'*+.^_`|~0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const OFTEN: [&str; 5] = ["Q-Dup", "q-dup", "Q-DUP", "qq", "QQ"];

/// As HTTP/2 has them.
const LOWER: &[u8] = b"!#$%&'*+.^_`|~0123456789-abcdefghijklmnopqrstuvwxyz";
const LOWER_OFTEN: [&str; 2] = ["q-dup", "qq"];

fn written(fields: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in fields {
        text.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    text
}

/// Those that the test made, by name: what each said in its order (the order across names is free).
fn grouped(fields: &[(String, Vec<u8>)]) -> Fields {
    let mut made: Fields = fields
        .iter()
        .filter(|(name, _)| name.starts_with(['Q', 'q']))
        .cloned()
        .collect();
    made.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    made
}

/// The fields of a head as it stood on the wire.
fn read(head: &[u8]) -> Fields {
    let text = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .map(field)
        .collect()
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
    let name = String::from_utf8(line[..colon].to_vec()).expect("a token");
    (name, line[colon + 1..].trim_ascii().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sets_of_headers_pass_byte_for_byte_in_either_direction() {
    pass_byte_for_byte(1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute: .ci/long"]
async fn ten_thousand_sets_of_headers_pass_byte_for_byte_in_either_direction() {
    pass_byte_for_byte(10_000).await;
}

async fn pass_byte_for_byte(sets: usize) {
    // Answers with the fields that it finds in the body.
    let upstream = Upstream::answering(|received| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
        [head, received.body.as_slice(), b"\r\n"].concat()
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut talks = Vec::new();
    for place in 0..CONNECTIONS {
        let mut client = gateway.client().await;
        talks.push(tokio::spawn(async move {
            let (mut dice, mut sent) = (cases(place), Vec::new());
            for set in 0..sets / CONNECTIONS {
                let there = fields(&mut dice, TOKEN, &OFTEN);
                let back = fields(&mut dice, TOKEN, &OFTEN);
                let line = format!("POST /{place}/{set}?q HTTP/1.1");
                let answer = written(&back);
                let length = format!("\r\nHost: a\r\nContent-Length: {}\r\n", answer.len());
                let request = [line.as_bytes(), length.as_bytes(), &written(&there), b"\r\n", &answer].concat();
                client.write(&request).await;
                let response = client.response().await;
                let came = grouped(&read(&response.head.bytes));
                assert_eq!(came, grouped(&back), "{}", answer.escape_ascii());
                sent.push((line, there));
            }
            sent
        }));
    }
    let mut sent = HashMap::new();
    for talk in talks {
        sent.extend(talk.await.unwrap());
    }
    let got = upstream.requests();
    assert_eq!((got.len(), sent.len()), (sets, sets));
    let own =
        |name: &str| ["host", "content-length", "x-request-id"].contains(&name) || name.starts_with("x-forwarded-");
    for received in got {
        assert_eq!(
            grouped(&received.headers),
            grouped(&sent[&received.line]),
            "{}",
            received.line
        );
        let names = received.headers.iter().map(|(name, _)| name);
        let mut added = names.filter(|name| !name.starts_with(['Q', 'q']) && !own(&name.to_ascii_lowercase()));
        assert_eq!(added.next(), None, "{:?}", received.headers);
    }
}

/// One side of an exchange, whatever it is written in.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    fields: Fields,
    /// In the pieces in which it is sent; what came is one.
    body: Vec<Vec<u8>>,
    /// Its length is said.
    fixed: bool,
    trailers: Fields,
}

impl Message {
    fn any(dice: &mut Dice) -> Self {
        let pieces = dice.below(4);
        let mut piece = || (0..=dice.below(3000)).map(|_| dice.byte()).collect();
        let body: Vec<Vec<u8>> = (0..pieces).map(|_| piece()).collect();
        let mut trailers = fields(dice, LOWER, &LOWER_OFTEN);
        trailers.truncate(dice.below(4));
        Self {
            fields: fields(dice, LOWER, &LOWER_OFTEN),
            fixed: trailers.is_empty() && dice.below(2) == 0,
            body,
            trailers,
        }
    }

    fn length(&self) -> usize {
        self.body.iter().map(Vec::len).sum()
    }

    /// What must be the same on both ends.
    fn meaning(&self) -> (Fields, Vec<u8>, Fields) {
        (grouped(&self.fields), self.body.concat(), grouped(&self.trailers))
    }

    fn declared(&self) -> Option<String> {
        let names: Vec<&str> = self.trailers.iter().map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Behind a start line.
    fn http1(&self) -> Vec<u8> {
        let mut text = written(&self.fields);
        if let Some(names) = self.declared() {
            text.extend_from_slice(format!("Trailer: {names}\r\n").as_bytes());
        }
        if self.fixed {
            text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.length()).as_bytes());
            text.extend_from_slice(&self.body.concat());
            return text;
        }
        text.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in &self.body {
            text.extend_from_slice(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        [text.as_slice(), b"0\r\n", &written(&self.trailers), b"\r\n"].concat()
    }

    fn head(&self, headers: &mut HeaderMap) {
        append(headers, &self.fields);
        if let Some(names) = self.declared() {
            headers.insert("trailer", names.parse().unwrap());
        }
        if self.fixed {
            headers.insert("content-length", self.length().into());
        }
    }

    /// Behind the head on a stream.
    fn http2(&self, stream: &mut h2::SendStream<Bytes>) {
        for piece in &self.body {
            stream.send_data(piece.clone().into(), false).unwrap();
        }
        if self.trailers.is_empty() {
            return stream.send_data(Bytes::new(), true).unwrap();
        }
        let mut trailers = HeaderMap::new();
        append(&mut trailers, &self.trailers);
        stream.send_trailers(trailers).unwrap();
    }

    async fn from_http1(head: &Head, connection: &mut Connection) -> Self {
        let mut came = Self {
            fields: read(&head.bytes),
            ..Self::default()
        };
        if let Some(length) = head.first("content-length") {
            came.body
                .push(connection.exactly(length.parse().unwrap()).await.unwrap().to_vec());
        } else if head.has_token("transfer-encoding", "chunked") {
            loop {
                let size = usize::from_str_radix(std::str::from_utf8(&line(connection).await).unwrap(), 16).unwrap();
                if size == 0 {
                    break;
                }
                came.body.push(connection.exactly(size).await.unwrap().to_vec());
                assert_eq!(line(connection).await, b"");
            }
            loop {
                let trailer = line(connection).await;
                if trailer.is_empty() {
                    break;
                }
                came.trailers.push(field(&trailer));
            }
        }
        came
    }

    async fn from_http2(headers: &HeaderMap, stream: &mut h2::RecvStream) -> Self {
        let body = http2::read(stream).await.unwrap();
        let trailers = soon("trailers or none", stream.trailers()).await.unwrap();
        Self {
            fields: of(headers),
            body: vec![body],
            fixed: false,
            trailers: of(&trailers.unwrap_or_default()),
        }
    }
}

async fn line(connection: &mut Connection) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend_from_slice(&connection.exactly(1).await.unwrap());
    }
    line.truncate(line.len() - 2);
    line
}

fn append(headers: &mut HeaderMap, fields: &[(String, Vec<u8>)]) {
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
}

fn of(headers: &HeaderMap) -> Fields {
    let fields = headers.iter();
    fields
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// What the upstream is to answer, by path, and what it got.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<HashMap<String, Scene>>>);

type Scene = (Message, Option<Message>);

impl Script {
    fn play(&self, path: &str, got: Message) -> Message {
        let mut scenes = self.0.lock();
        let (answer, place) = scenes.get_mut(path).expect("a path of this test's");
        assert!(place.replace(got).is_none(), "{path} came twice");
        answer.clone()
    }

    async fn over_http1(&self) -> Upstream {
        let script = self.clone();
        Upstream::conversing(move |mut conversation| {
            let script = script.clone();
            async move {
                while let Ok(Some(head)) = conversation.connection.head().await {
                    let got = Message::from_http1(&head, &mut conversation.connection).await;
                    let path = head.line.split(' ').nth(1).unwrap();
                    let answer = script.play(path, got).http1();
                    conversation
                        .send([b"HTTP/1.1 200 OK\r\n", answer.as_slice()].concat())
                        .await;
                }
            }
        })
        .await
    }

    async fn over_http2(&self) -> Http2Upstream {
        let script = self.clone();
        Http2Upstream::serving(100, move |(request, mut respond)| {
            let script = script.clone();
            async move {
                let (head, mut body) = request.into_parts();
                let got = Message::from_http2(&head.headers, &mut body).await;
                let answer = script.play(head.uri.path(), got);
                let mut response = http::Response::new(());
                answer.head(response.headers_mut());
                answer.http2(&mut respond.send_response(response, false).unwrap());
            }
        })
        .await
    }
}

/// A client of either version.
enum Asks {
    Http1(Box<Client>),
    Http2(Box<Http2>),
}

impl Asks {
    async fn ask(&mut self, method: &Method, path: &str, message: &Message) -> Message {
        match self {
            Self::Http1(client) => {
                let line = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n");
                client.write([line.as_bytes(), &message.http1()].concat()).await;
                let head = client.head().await;
                assert_eq!(head.status(), 200, "{path}");
                soon("the answer", Message::from_http1(&head, &mut client.connection)).await
            }
            Self::Http2(client) => {
                let mut request = http2::request(method.clone(), &format!("http://a{path}"), &[("te", "trailers")]);
                message.head(request.headers_mut());
                let (answer, mut stream) = client.open(request, false).await;
                message.http2(&mut stream);
                let (head, mut body) = soon("an answer", answer).await.unwrap().into_parts();
                assert_eq!(head.status, 200, "{path}");
                Message::from_http2(&head.headers, &mut body).await
            }
        }
    }
}

async fn mean_the_same(script: &Script, mut client: Asks, place: usize) {
    let mut dice = cases(place);
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    for set in 0..EXCHANGES {
        let path = format!("/{set}");
        let (there, back) = (Message::any(&mut dice), Message::any(&mut dice));
        script.0.lock().insert(path.clone(), (back.clone(), None));
        let came = client.ask(&methods[set % methods.len()], &path, &there).await;
        assert_eq!(came.meaning(), back.meaning(), "the answer to {path}");
        let (_, got) = script.0.lock().remove(&path).unwrap();
        assert_eq!(got.expect("it came").meaning(), there.meaning(), "{path}");
    }
}

#[tokio::test]
async fn messages_mean_the_same_on_both_sides_whichever_versions_they_speak() {
    let script = Script::default();
    let (old, new) = (script.over_http1().await, script.over_http2().await);
    let before_old = Gateway::with(OPEN).upstream("up", &old).start().await;
    let before_new = Gateway::with(OPEN)
        .upstream_with("up", new.address, "http2 = true")
        .start()
        .await;
    // Each connects when its turn has come: one that asks nothing is closed.
    mean_the_same(&script, over_http1(&before_old).await, 100).await;
    mean_the_same(&script, over_http2(&before_old).await, 101).await;
    mean_the_same(&script, over_http1(&before_new).await, 102).await;
    mean_the_same(&script, over_http2(&before_new).await, 103).await;
}

async fn over_http1(gateway: &Gateway) -> Asks {
    Asks::Http1(Box::new(gateway.client().await))
}

async fn over_http2(gateway: &Gateway) -> Asks {
    Asks::Http2(Box::new(Http2::plain(gateway.address).await))
}
