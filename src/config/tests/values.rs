//! Each kind of value: what it takes, what it refuses and what it says then.

use std::time::Duration;

use super::{LEAST, assert_wrong, config, config_in, route, wrong, wrong_with};
use crate::config::Environment;
use crate::config::model::{AuthMethod, ClaimRule, Endpoint, KeySource, LimitBy, Scalar, TierRate, TokenSource};

/// Every one of the values is refused, with that in the message.
#[track_caller]
fn refuses(template: &str, values: &[&str], expected: &str) {
    for value in values {
        let mut errors = wrong(&template.replace('?', value));
        errors.retain(|error| !error.contains("not available in this version"));
        assert_wrong(&errors, &[expected]);
    }
}

#[test]
fn durations() {
    for (text, milliseconds) in [
        ("0s", 0),
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
    ] {
        let config = config(&format!("[server]\ndrain_delay = '{text}'"));
        assert_eq!(config.server.drain_delay, Duration::from_millis(milliseconds));
    }
    refuses(
        "[server]\ndrain_delay = '?'",
        &[
            "",
            "30",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "1S",
            "1m30s",
            "366d",
            "99999999999999999999s",
            "184467440737095517d",
        ],
        "a duration such as",
    );
    refuses(
        "[upstreams.b]\nurls = ['http://b']\nconnect_timeout = '?'",
        &["0s", "0ms"],
        "zero would leave no time at all",
    );
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0B", 0),
        ("512KB", 512_000),
        ("64KiB", 65_536),
        ("1MiB", 1 << 20),
        ("1GiB", 1 << 30),
    ] {
        assert_eq!(route(&format!("max_body = '{text}'")).max_body, bytes);
    }
    refuses(
        "max_body = '?'",
        &["", "0", "1kb", "1 MiB", "-1B", "99999999TiB"],
        "a size such as",
    );
    let listener = |size: &str| {
        LEAST.replace(
            "name = \"public\"",
            &format!("name = \"public\"\nmax_header_bytes = '{size}'"),
        )
    };
    for size in ["0B", "1023B", "2MiB"] {
        assert_wrong(
            &wrong_with(&listener(size), &Environment::default()),
            &["a size from \"1KiB\" to \"1MiB\""],
        );
    }
}

#[test]
fn rates() {
    for (text, count, seconds) in [
        ("100/s", 100, 1),
        ("5/min", 5, 60),
        ("5/m", 5, 60),
        ("3/hour", 3, 3600),
        ("10000/day", 10_000, 86_400),
    ] {
        let rate = config(&format!("[limits.a]\nrate = '{text}'")).limits["a"]
            .rate
            .unwrap();
        assert_eq!((rate.count, rate.per), (count, Duration::from_secs(seconds)));
    }
    refuses(
        "[limits.a]\nrate = '?'",
        &["", "5", "0/s", "-1/s", "5/week", "5 / s", "1.5/s", "4294967296/s"],
        "a rate such as",
    );
    let tiers = config("[limits.a]\nrate = '1/s'\ntiers = { a = 'unlimited', b = '2/s' }").limits["a"]
        .tiers
        .clone();
    assert_eq!(tiers["a"], TierRate::Unlimited);
    assert!(matches!(tiers["b"], TierRate::Rate(rate) if rate.count == 2));
    refuses(
        "[limits.a]\nrate = '1/s'\ntiers = { a = '?' }",
        &["", "no"],
        "or \"unlimited\"",
    );
}

#[test]
fn networks() {
    let networks =
        route("allowed_from = ['10.0.0.0/8', '192.0.2.1', '2001:db8::1', 'fc00::/7', '0.0.0.0/0']").allowed_from;
    let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128", "fc00::/7", "0.0.0.0/0"]
    );
    refuses(
        "allowed_from = ['?']",
        &["", "10.0.0.0/33", "10.0.0", "localhost", "::/129"],
        "a network such as",
    );
    assert_wrong(
        &wrong("allowed_from = ['10.1.2.3/8']"),
        &["found \"10.1.2.3/8\", which has host bits set; the network is \"10.0.0.0/8\""],
    );
}

#[test]
fn socket_addresses() {
    assert_eq!(
        config("[admin]\naddress = '[::1]:0'").admin.address.to_string(),
        "[::1]:0"
    );
    refuses(
        "[admin]\naddress = '?'",
        &["", "9090", ":9090", "localhost:9090", "127.0.0.1", "127.0.0.1:99999"],
        "an address and port",
    );
}

#[test]
fn endpoints() {
    let urls = config("[upstreams.b]\nurls = ['http://b', 'https://b.example', 'http://[::1]:81', 'https://b:8443']")
        .upstreams["b"]
        .urls
        .clone();
    assert_eq!(
        urls[0],
        Endpoint::Http {
            host: "b".to_owned(),
            port: 80
        }
    );
    assert_eq!(
        urls[1],
        Endpoint::Https {
            host: "b.example".to_owned(),
            port: 443
        }
    );
    assert_eq!(
        urls[2],
        Endpoint::Http {
            host: "[::1]".to_owned(),
            port: 81
        }
    );
    assert_eq!(
        urls[3],
        Endpoint::Https {
            host: "b".to_owned(),
            port: 8443
        }
    );
    refuses(
        "[upstreams.b]\nurls = ['?']",
        &[
            "",
            "b",
            "b:80",
            "ftp://b",
            "http://",
            "http://b/",
            "http://b/x",
            "http://b?q",
            "http://b#f",
            "http://u:p@b",
            "http://b:0",
            "http://b:99999",
            "http://b:",
            "unix:run/b",
        ],
        "\"http://host:port\"",
    );
}

#[test]
fn urls() {
    let url = |text: &str| {
        config(&format!("[issuers.a]\njwks_url = '{text}'")).issuers["a"]
            .jwks_url
            .clone()
            .unwrap()
    };
    assert_eq!(
        url("http://a:8003/.well-known/jwks.json?v=1"),
        "http://a:8003/.well-known/jwks.json?v=1"
    );
    refuses(
        "[issuers.a]\njwks_url = '?'",
        &[
            "",
            "a",
            "/jwks",
            "ftp://a/x",
            "http://",
            "http://u:p@a/x",
            "https://a/x#f",
            "http://a b",
        ],
        "a URL",
    );
}

#[test]
fn header_names_and_values() {
    let config = config("[identity]\nuser_header = ''\nclaims = { x-user-email = '', X-Org = 'org' }");
    assert_eq!(config.identity.user_header, "");
    assert_eq!(config.identity.claims["x-user-email"], "");
    assert_eq!(config.identity.claims.len(), 2);
    refuses(
        "[identity]\nuser_header = '?'",
        &["X User", "X:User", "ü", "X-User\\n"],
        "a header's name",
    );
    refuses(
        "[identity]\nuser_header = '?'",
        &["Connection", "content-length", "Host", "Transfer-Encoding"],
        "end-to-end header",
    );
    refuses(
        "set_headers = { X = \"?\" }",
        &["a\\nb", "a\\u0000", "ü", " a"],
        "a header's value",
    );
    refuses(
        "set_headers = { ? = 'a' }",
        &["\"X Y\"", "\"\""],
        "as a name, expected a header's name",
    );
    assert_wrong(
        &wrong("[identity]\ntenant_header = 'x_user.id'"),
        &["identity: the header x_user.id would carry two values"],
    );
}

#[test]
fn methods_hosts_origins_and_statuses() {
    assert_eq!(route("methods = ['GET', 'M-SEARCH']").methods, ["GET", "M-SEARCH"]);
    refuses(
        "methods = ['?']",
        &["", "get", "Get", "G ET", "GET,POST"],
        "a method in upper case",
    );
    let hosts = ["api.example.com", "*.example.com", "192.0.2.1", "[::1]", "localhost"];
    assert_eq!(route(&format!("hosts = {hosts:?}")).hosts, hosts);
    refuses(
        "hosts = ['?']",
        &[
            "",
            "*",
            "a:80",
            "https://a",
            "a.*.b",
            "a..b",
            "a/b",
            "*.",
            "[::1",
            "ü.example",
        ],
        "a host without a port",
    );
    refuses(
        "[cors.a]\norigins = ['?']",
        &["", "https://a/", "a", "null", "https://a*.b", "ftp://a", "https://u@a"],
        "an origin such as",
    );
    refuses(
        "[limits.a]\nrate = '1/s'\ncharge_on = [?]",
        &["99", "600", "'401'"],
        "a whole number from 100 to 599",
    );
}

#[test]
fn auth_modes() {
    use AuthMethod::{ApiKey, Internal, Jwt, None};
    for (text, chain) in [
        ("'none'", vec![None]),
        ("'internal'", vec![Internal]),
        ("'api_key'", vec![ApiKey]),
        ("'jwt'", vec![Jwt]),
        ("'hybrid'", vec![Jwt, ApiKey, Internal]),
        ("['internal', 'jwt', 'none']", vec![Internal, Jwt, None]),
    ] {
        let text = LEAST.replace("\"none\"", text);
        assert_eq!(super::load(&text).unwrap().config.routes[0].auth.chain, chain);
    }
    for text in [
        "''",
        "'JWT'",
        "[]",
        "['none', 'jwt']",
        "['jwt', 'jwt']",
        "['hybrid']",
        "['hybrid', 'none']",
        "['none', 'none']",
        "['jwt', '']",
        "true",
        "'jwt,none'",
    ] {
        let errors = wrong_with(&LEAST.replace("\"none\"", text), &Environment::default());
        assert_wrong(&errors, &["routes.chat.auth: expected \"none\""]);
    }
}

#[test]
fn sources_of_credentials() {
    let config = config(
        "[issuers.a]\njwks_url = 'https://a'\ntoken_sources = ['header', 'header:X-Token']\n[api_keys]\nsources = ['header:X-K', 'bearer', 'basic']",
    );
    assert_eq!(
        config.issuers["a"].token_sources,
        [TokenSource::Authorization, TokenSource::Header("X-Token".to_owned())]
    );
    assert_eq!(
        config.api_keys.unwrap().sources,
        [KeySource::Header("X-K".to_owned()), KeySource::Bearer, KeySource::Basic]
    );
    refuses(
        "[api_keys]\nsources = ['?']",
        &["", "header", "header:", "query:key", "Bearer"],
        "\"header:NAME\", \"bearer\" or \"basic\"",
    );
    refuses(
        "token_sources = ['?']",
        &["", "body:token", "header:", "cookie:", "websocket"],
        "\"websocket_protocol\"",
    );
}

#[test]
fn what_limits_count_by() {
    for (text, by) in [
        ("user", LimitBy::User),
        ("ip", LimitBy::Ip),
        ("global", LimitBy::Global),
        ("header:X-Org", LimitBy::Header("X-Org".to_owned())),
    ] {
        assert_eq!(
            config(&format!("[limits.a]\nrate = '1/s'\nby = '{text}'")).limits["a"].by,
            by
        );
    }
    refuses(
        "[limits.a]\nrate = '1/s'\nby = '?'",
        &["", "User", "header:", "cookie:x"],
        "\"header:NAME\"",
    );
    refuses(
        "[auth_failures]\nrate = '1/s'\nby = '?'",
        &["user", ""],
        "expected \"ip\"",
    );
}

#[test]
fn claims_that_must_hold() {
    let rules = route("require = { claims = { a = 'x', b = ['x', 1], c = true, d = false, e = 1.5 } }")
        .require
        .claims;
    assert_eq!(rules["a"], ClaimRule::OneOf(vec![Scalar::String("x".to_owned())]));
    assert_eq!(
        rules["b"],
        ClaimRule::OneOf(vec![Scalar::String("x".to_owned()), Scalar::Integer(1)])
    );
    assert_eq!(rules["c"], ClaimRule::Present);
    assert_eq!(rules["d"], ClaimRule::OneOf(vec![Scalar::Bool(false)]));
    assert_eq!(rules["e"], ClaimRule::OneOf(vec![Scalar::Float(1.5)]));
    refuses(
        "require = { claims = { a = ? } }",
        &["[]", "[[]]", "{}", "1979-05-27"],
        "a value, a list of values, or true",
    );
}

#[test]
fn dates_need_their_offset() {
    let keys = |expires: &str| {
        let hash = "0".repeat(64);
        format!("[api_keys]\n[[api_keys.keys]]\nid = 'a'\nuser = 'u'\nhash = 'sha256:{hash}'\nexpires = {expires}")
    };
    for (text, seconds) in [
        ("1970-01-01T00:00:10Z", 10),
        ("1970-01-01T01:00:10+01:00", 10),
        ("'1970-01-01T00:00:10Z'", 10),
    ] {
        assert_eq!(config(&keys(text)).api_keys.unwrap().keys[0].expires, Some(seconds));
    }
    for text in ["1970-01-01T00:00:10", "1970-01-01", "00:00:10", "10", "'never'"] {
        assert_wrong(
            &wrong(&keys(text)),
            &["api_keys.keys.a.expires: expected a date and time with its offset"],
        );
    }
}

#[test]
fn hashes() {
    let hash = |hash: &str| format!("[api_keys]\n[[api_keys.keys]]\nid = 'a'\nuser = 'u'\nhash = '{hash}'");
    let keys = config(&hash(&format!("sha256:{}fF", "00".repeat(31))))
        .api_keys
        .unwrap()
        .keys;
    assert_eq!(keys[0].hash[31], 0xff);
    for text in [
        "",
        "sha256:",
        &"0".repeat(64),
        &format!("sha256:{}", "0".repeat(63)),
        &format!("sha256:{}", "0".repeat(65)),
        &format!("sha256:{}", "g".repeat(64)),
        &format!("sha1:{}", "0".repeat(64)),
    ] {
        assert_wrong(&wrong(&hash(text)), &["the 64 hex digits of SHA-256"]);
    }
}

#[test]
fn references_are_replaced_wherever_a_string_stands() {
    let environment = Environment::from([("HOST", "b.internal"), ("RETRIES", "4"), ("EMPTY", ""), ("ON", "false")]);
    let config = config_in(
        "[upstreams.b]\nurls = ['http://${env:HOST}:${env:PORT:-8080}']\nretries = '${env:RETRIES}'\n\
         [log]\naccess = '${env:ON}'\nlevel = '${env:EMPTY:-warn}'\n[roles]\nr = ['${env:EMPTY}x', '$x', '{y}', '${env:NOT_SET:-a:-b}']",
        &environment,
    );
    assert_eq!(
        config.upstreams["b"].urls,
        [Endpoint::Http {
            host: "b.internal".to_owned(),
            port: 8080
        }]
    );
    assert_eq!(config.upstreams["b"].retries, 4);
    assert!(!config.log.access);
    assert_eq!(config.roles["r"], ["x", "$x", "{y}", "a:-b"]);
}

#[test]
fn a_plain_string_is_no_number() {
    assert_wrong(
        &wrong("[upstreams.b]\nurls = ['http://b']\nretries = '4'"),
        &["a whole number from 0 to 10, found \"4\""],
    );
}
