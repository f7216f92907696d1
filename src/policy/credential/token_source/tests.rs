//! Tokens in every place, of every issuer, on behalf of whom.

use http::Uri;

use super::*;
use crate::policy::address::Origin;
use crate::policy::facts::Now;

/// A request as its method, target and headers.
struct Asked(Method, Uri, HeaderMap);

impl Asked {
    fn new(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        Self(method.parse().unwrap(), target.parse().unwrap(), headers.collect())
    }

    fn facts(&self) -> Facts<'_> {
        let peer = [192, 0, 2, 1].into();
        let origin = Origin {
            peer,
            peer_trusted: false,
            client: peer,
        };
        let now = Now {
            unix_s: 0,
            monotonic_ns: 0,
        };
        Facts::read(&self.0, &self.1, &self.2, origin, 0, now).unwrap()
    }

    fn tokens(&self, source: &TokenSource) -> Vec<String> {
        let mut tokens = Vec::new();
        source
            .each(&self.facts(), |token| {
                tokens.push(token.to_owned());
                Ok::<_, ()>(())
            })
            .unwrap();
        tokens
    }
}

#[test]
fn a_query_has_tokens_under_the_parameters_own_name() {
    let source = TokenSource::Query("access_token".into());
    for (target, tokens) in [
        ("/", vec![]),
        ("/?a=1&access_token=t&b", vec!["t"]),
        ("/?access_token=", vec![""]),
        ("/?access_token", vec![""]),
        ("/?access_token=a&access_token=b", vec!["a", "b"]),
        ("/?Access_Token=t&xaccess_token=t&access_tokenx=t", vec![]),
        ("/?access_token=a=b", vec!["a=b"]),
        ("/?access%5Ftoken=t&%61ccess_token=u", vec!["t", "u"]),
        ("/?access%255ftoken=t&access%token=t&access_token%=t&%=t", vec![]),
    ] {
        assert_eq!(Asked::new("GET", target, &[]).tokens(&source), tokens, "{target}");
    }
}

#[test]
fn cookies_are_read_from_every_header_of_theirs() {
    let source = TokenSource::Cookie("t".into());
    for (headers, tokens) in [
        (vec!["a=1; t=x; b=2"], vec!["x"]),
        (vec!["a=1", "t=x"], vec!["x"]),
        (vec!["t=\"x\""], vec!["x"]),
        (vec!["t=x;t=y"], vec!["x", "y"]),
        (vec!["T=x; tt=x; =t; t"], vec![""]),
        (vec![], vec![]),
    ] {
        let headers: Vec<_> = headers.into_iter().map(|value| ("cookie", value)).collect();
        assert_eq!(Asked::new("GET", "/", &headers).tokens(&source), tokens, "{headers:?}");
    }
}

#[test]
fn what_follows_bearer_among_the_subprotocols_is_a_token_and_is_hidden() {
    for (headers, tokens, left) in [
        (vec!["bearer, x.y.z"], vec!["x.y.z"], Some("bearer")),
        (
            vec!["chat, Bearer, x, superchat"],
            vec!["x"],
            Some("chat, Bearer, superchat"),
        ),
        (vec!["bearer", "x, chat"], vec!["x"], Some("bearer, chat")),
        (vec!["bearer"], vec![""], Some("bearer")),
        (vec!["bearer, x, bearer, y"], vec!["x", "y"], Some("bearer, bearer")),
        (vec!["chat"], vec![], Some("chat")),
        (vec![], vec![], None),
    ] {
        let headers: Vec<_> = headers
            .into_iter()
            .map(|value| ("sec-websocket-protocol", value))
            .collect();
        let mut asked = Asked::new("GET", "/", &headers);
        assert_eq!(asked.tokens(&TokenSource::WebSocketProtocol), tokens, "{headers:?}");
        hide_websocket_tokens(&mut asked.2);
        let shown = asked.2.get(WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap());
        assert_eq!(shown, left, "{headers:?}");
    }
}

fn cookie_place() -> TokenPlace {
    let taker = |issuer: &str, origins: &[&str]| Taker {
        issuer: issuer.into(),
        origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
    };
    TokenPlace {
        source: TokenSource::Cookie("t".into()),
        takers: vec![taker("one", &["https://app.example.com"]), taker("two", &[])],
    }
}

#[test]
fn r44_a_cookie_counts_where_its_own_site_asks_or_nothing_can_change() {
    let place = cookie_place();
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
    let over_http2 = [("sec-websocket-key", "ZGVtbyBkZW1vIGRlbW8hIQ==")];
    for (method, more, origin, one, two) in [
        ("GET", &[][..], None, true, true),
        ("HEAD", &[], Some("https://evil.example"), true, true),
        ("POST", &[], None, false, false),
        ("POST", &[], Some("https://api.example.com"), true, true),
        ("POST", &[], Some("http://api.example.com"), true, true),
        ("POST", &[], Some("https://API.example.com:443"), true, true),
        ("POST", &[], Some("https://app.example.com"), true, false),
        ("DELETE", &[], Some("https://evil.example"), false, false),
        ("PUT", &[], Some("null"), false, false),
        ("PUT", &[], Some("https://api.example.com.evil.example"), false, false),
        ("PUT", &[], Some("https://api.example.com:8443"), false, false),
        ("PUT", &[], Some("https://evil.example@api.example.com"), false, false),
        ("PUT", &[], Some("api.example.com"), false, false),
        ("GET", &upgrade, None, false, false),
        ("GET", &over_http2, Some("https://evil.example"), false, false),
        ("GET", &over_http2, Some("https://api.example.com"), true, true),
        ("GET", &upgrade, Some("https://evil.example"), false, false),
        ("GET", &upgrade, Some("https://api.example.com"), true, true),
    ] {
        let mut headers = vec![("host", "api.example.com")];
        headers.extend(more);
        headers.extend(origin.map(|origin| ("origin", origin)));
        let asked = Asked::new(method, "/", &headers);
        let mut held = Places::default();
        held.add(0);
        let taken = |issuer| held.take(std::slice::from_ref(&place), issuer, &asked.facts());
        assert_eq!((taken("one"), taken("two")), (one, two), "{method} {headers:?}");
        assert_eq!(place.takes(&asked.facts()), one || two);
    }
    let twice = [
        ("host", "api.example.com"),
        ("origin", "https://api.example.com"),
        ("origin", "https://evil.example"),
    ];
    assert!(!place.takes(&Asked::new("POST", "/", &twice).facts()));
}

#[test]
fn an_issuers_token_is_taken_from_that_issuers_places() {
    let mut places = vec![cookie_place(), cookie_place()];
    if let Some(place) = places.get_mut(1) {
        place.source = TokenSource::Authorization;
        place.takers.remove(0);
    }
    let asked = Asked::new("GET", "/", &[]);
    let take = |held: &[usize], issuer| {
        let mut bits = Places::default();
        held.iter().for_each(|place| bits.add(*place));
        bits.take(&places, issuer, &asked.facts())
    };
    assert!(take(&[0], "one") && take(&[0], "two"));
    assert!(!take(&[1], "one") && take(&[1], "two"));
    assert!(take(&[0, 1], "one"));
    assert!(!take(&[], "one") && !take(&[0, 1], "three"));
}
