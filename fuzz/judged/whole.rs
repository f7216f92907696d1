//! Bytes as a whole request, from its head to the verdict and the upstream's headers: only who brought a credential is let in, and
//! nobody tells the upstream who they are but the gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use gateway::compile::compile;
use gateway::config::{Environment, Problems, load_text};
use gateway::observe::metrics::Metrics;
use gateway::policy::address::Believed;
use gateway::policy::digest::SecretDigest;
use gateway::policy::facts::{Facts, Now};
use gateway::policy::headers::{Hop, address_value};
use gateway::policy::identity::AuthMethod;
use gateway::policy::judge;
use gateway::policy::verdict::Effect;
use gateway::protocol::read_head_within;
use gateway::runtime::clock::Clock;
use gateway::runtime::evidence;
use gateway::runtime::snapshot::Snapshot;
use http::{HeaderMap, HeaderValue};

use super::readers::origin_of;
use super::token::World;

const KEY: &str = "hok_live_0123456789abcdef0123456789abcdef0123456789a";
const SECRET: &str = "an-internal-secret-of-some-length";

/// When RFC 7515's example tokens still hold.
const NOW: Now = Now {
    unix_s: 1_300_819_000,
    monotonic_ns: 0,
};

const CONFIG: &str = r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
[issuers.main]
issuer = "joe"
jwks_url = "http://127.0.0.1/jwks.json"
algorithms = ["RS256", "ES256", "ES512", "EdDSA", "PS384"]
token_sources = ["header", "header:X-Token", "query:access_token", "cookie:session", "websocket_protocol"]
claims = { user = "iss" }
[[api_keys.keys]]
id = "ci-runner"
hash = "sha256:KEY_HASH"
user = "svc_ci"
[internal]
keys = ["an-internal-secret-of-some-length"]
allowed_from = ["127.0.0.0/8"]
[upstreams.u]
urls = ["http://127.0.0.1"]
[[routes]]
name = "open"
paths = ["/open/*"]
upstream = "u"
auth = "none"
[[routes]]
name = "hybrid"
paths = ["/hybrid/*", "/api/{org}/tasks"]
upstream = "u"
auth = "hybrid"
[[routes]]
name = "perhaps"
paths = ["/perhaps/*"]
upstream = "u"
auth = ["jwt", "api_key", "none"]
[[routes]]
name = "scoped"
hosts = ["a.example", "*.b.example"]
paths = ["/*"]
methods = ["GET", "POST"]
upstream = "u"
auth = ["api_key", "internal"]
require = { scopes_all = ["internal"] }
"#;

fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let config = CONFIG.replace("KEY_HASH", &SecretDigest::of(KEY.as_bytes()).hex());
        let loaded = load_text(Path::new("gateway.toml"), &config, &Environment::default()).expect("a config");
        let mut problems = Problems::new(loaded.sources);
        let compiled = compile(&loaded.config, &mut problems).expect("a policy");
        let metrics = Metrics::new("fuzz").expect("metrics");
        let snapshot = Snapshot::new(loaded.config, compiled, None, &metrics, Clock::start(), 1);
        let keys = snapshot.keys.first().expect("an issuer");
        keys.publish(Ok(&World::get().jwks)).expect("keys");
        snapshot
    })
}

/// Who the peer is, in the first byte; then the head of a request.
pub fn judge(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let head = Bytes::copy_from_slice(bytes);
    let Ok((request, _, _)) = read_head_within(&head, 32 << 10, 16 << 10) else {
        return;
    };
    let local = choice % 2 == 0;
    let peer = if local {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::new(203, 0, 113, 7)
    };
    let origin = origin_of(IpAddr::from(peer));
    let snapshot = snapshot();
    let mut headers = request.headers().clone();
    let Ok(facts) = Facts::read(request.method(), request.uri(), request.headers(), origin, 0, NOW) else {
        return;
    };
    let Ok(case) = judge::open(&snapshot.policy, &facts, &snapshot.meters) else {
        return;
    };
    let evidence = evidence::at_hand(snapshot, &facts, &case);
    let undecided = judge::decide(&snapshot.policy, &facts, case, &evidence, &snapshot.meters);
    let verdict = undecided.alone(&snapshot.meters, 0);
    let Effect::Permit(permit) = verdict.effect else { return };
    let route: &str = verdict.route;
    let brought = |credential: &str| {
        bytes
            .windows(credential.len())
            .any(|window| window == credential.as_bytes())
    };
    let proven = match verdict.method {
        AuthMethod::Jwt => World::get().tokens.iter().any(|token| brought(token)),
        AuthMethod::ApiKey => brought(KEY),
        AuthMethod::Internal => brought(SECRET) && local,
        AuthMethod::None => route == "open" || route == "perhaps",
    };
    assert!(proven, "let in by {:?} on {route}", verdict.method);
    let hop = Hop {
        origin: &origin,
        peer: &address_value(origin.peer),
        believed: Believed::XForwardedFor,
        secret_allowed: local,
        secure: false,
        request_id: &HeaderValue::from_static("0198b7a0-0000-7000-8000-000000000000"),
        upgrade: None,
        trace: None,
    };
    let rules = &snapshot.policy.headers;
    rules.to_upstream(&mut headers, &permit.route().headers, permit.identity(), &hop);
    is_the_gateways_word(&headers, verdict.method, local);
}

/// What an upstream believes is there once, under its own name only, and only of somebody who was proven.
fn is_the_gateways_word(headers: &HeaderMap, method: AuthMethod, local: bool) {
    let fold = |name: &str| name.replace(['_', '.'], "-");
    let said = |wanted: &str| headers.keys().filter(|name| fold(name.as_str()) == wanted).count();
    let copies = |name: &str| headers.get_all(name).iter().count();
    for name in [
        "x-user-id",
        "x-tenant-id",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-user-email",
    ] {
        assert!(copies(name) <= 1 && said(name) == copies(name), "{name}: {headers:?}");
    }
    assert_eq!(copies("x-request-id"), 1);
    assert_eq!(copies("x-forwarded-for"), 1);
    match method {
        AuthMethod::None => assert_eq!(copies("x-user-id"), 0, "a stranger has a name: {headers:?}"),
        AuthMethod::Jwt | AuthMethod::ApiKey => assert_eq!(copies("x-user-id"), 1),
        AuthMethod::Internal => {}
    }
    assert!(
        local || said("x-internal-auth") == 0,
        "a secret from where none may come"
    );
    for gone in [
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "forwarded",
    ] {
        assert_eq!(said(gone), 0, "{gone}: {headers:?}");
    }
}
