//! What one judgement costs, in instructions, and whether it allocates: a verdict of each kind, a route look-up, header surgery, a
//! charge, an access line, a span and the lack of one.
//!
//! What a route does not use costs its requests nothing: the cases `beside all features` judge a plain route in a config whose other
//! routes use every feature, and count what the same case counts without them.
//!
//! `cargo bench --bench judge [NAME…]` runs itself once a case under callgrind, which counts only what happens inside [`measured`]:
//! neither set-up nor the copies that a case consumes. Instructions do not depend on what else the machine does, so two builds can be
//! compared to the percent. Imports the crate's public items only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a broken benchmark must stop"
)]

use std::cell::OnceCell;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gateway::compile::compile;
use gateway::config::{Environment, Problems, load_text};
use gateway::demo::tokens::{self, ADA, Signature, Signer};
use gateway::observe::access_log::AccessLine;
use gateway::observe::metrics::Metrics;
use gateway::observe::span::ServerSpan;
use gateway::observe::{Decision, Format};
use gateway::policy::Policy;
use gateway::policy::address::{Believed, Origin};
use gateway::policy::authn::jwt::{KeySet, parse, verify};
use gateway::policy::credential::Credential;
use gateway::policy::denial::Code;
use gateway::policy::digest::SecretDigest;
use gateway::policy::facts::{Facts, Now};
use gateway::policy::headers::{Hop, address_value};
use gateway::policy::identity::AuthMethod;
use gateway::policy::judge::{self, Evidence};
use gateway::policy::limit::{Ask, BucketKey, Meter};
use gateway::policy::trace::{Chance, Sampling, Span, Trace};
use gateway::policy::verdict::{Effect, Verdict};
use gateway::runtime::clock::Clock;
use gateway::runtime::evidence;
use gateway::runtime::snapshot::Snapshot;
use gateway::runtime::validator;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use smallvec::SmallVec;

/// The allocator of the real thing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Repetitions that are counted, after [`WARM_UP`] that are not.
const REPETITIONS: u64 = 100;

/// Lets caches fill and lazy values be made.
const WARM_UP: u64 = 10;

/// Where a run under callgrind finds the keys and tokens that its parent made: making them would take it minutes.
const WORLD: &str = "GATEWAY_BENCH_WORLD";

/// A key that only the auth service knows.
const REMOTE_KEY: &str = "hok_live_fedcba9876543210fedcba9876543210fedcba98765";

const API_KEY: &str = "hok_live_0123456789abcdef0123456789abcdef0123456789a";
const SECRET: &str = "an-internal-secret-of-some-length";

/// A case: its name, and what is measured in one repetition.
type Case = (&'static str, fn(&World, &mut Count));

const CASES: &[Case] = &[
    ("verdict, none", |world, count| world.allow(count, "/open", &[])),
    ("verdict, internal", |world, count| {
        world.allow(count, "/hybrid", &[("x-internal-auth", SECRET)]);
    }),
    ("verdict, api_key", |world, count| {
        world.allow(count, "/hybrid", &[("x-api-key", API_KEY)]);
    }),
    ("verdict, api_key, known from the auth service", World::allow_remote),
    ("verdict, jwt, known token", |world, count| {
        world.allow(count, "/hybrid", &[("authorization", &world.rs256)]);
    }),
    ("verdict, jwt, known token, permission and limit", |world, count| {
        world.allow(count, "/tasks", &[("authorization", &world.rs256)]);
    }),
    ("verdict, jwt, new RS256 token", |world, count| {
        world.allow_anew(count, &world.rs256)
    }),
    ("verdict, jwt, new ES256 token", |world, count| {
        world.allow_anew(count, &world.es256)
    }),
    ("refusal, no route", |world, count| {
        world.refuse(count, "/nowhere", &[], Code::NoRoute)
    }),
    ("refusal, no credential", |world, count| {
        world.refuse(count, "/hybrid", &[], Code::Unauthorized);
    }),
    ("refusal, internal, wrong secret", |world, count| {
        world.refuse(
            count,
            "/hybrid",
            &[("x-internal-auth", "wrong")],
            Code::InvalidInternalAuth,
        );
    }),
    ("refusal, api_key, unknown", |world, count| {
        world.refuse(
            count,
            "/hybrid",
            &[("x-api-key", "hok_live_wrong")],
            Code::InvalidApiKey,
        );
    }),
    ("refusal, jwt, no token at all", |world, count| {
        world.refuse(
            count,
            "/hybrid",
            &[("authorization", "Bearer x.y.z")],
            Code::InvalidToken,
        );
    }),
    ("refusal, jwt, bad RS256 signature", |world, count| {
        world.refuse(
            count,
            "/hybrid",
            &[("authorization", &world.forged)],
            Code::InvalidToken,
        );
    }),
    ("refusal, jwt, known token, no permission", |world, count| {
        world.refuse(
            count,
            "/admin",
            &[("authorization", &world.rs256)],
            Code::PermissionDenied,
        );
    }),
    ("refusal, jwt, known token, limit exhausted", |world, count| {
        world.refuse(count, "/scarce", &[("authorization", &world.rs256)], Code::RateLimited);
    }),
    ("route look-up among 10", |world, count| {
        world.look_up(count, &world.snapshot.policy);
    }),
    ("route look-up among 1,000", |world, count| {
        let large = world.large.get_or_init(|| snapshot(&config(1000), &world.metrics));
        world.look_up(count, &large.policy);
    }),
    ("header surgery, 15 headers", |world, count| {
        world.operate(count, &world.snapshot, None)
    }),
    ("header surgery, 15 headers, within a span", |world, count| {
        world.operate(count, &world.snapshot, span(&usual_headers()).span());
    }),
    ("trace, none made and none told", |_, count| {
        follow(count, None, false);
    }),
    ("trace, none made, the client's told", |_, count| {
        follow(count, None, true);
    }),
    ("trace, continued", |_, count| {
        follow(count, Some(Sampling::ratio(0.1)), true);
    }),
    ("span, written", World::tell),
    ("verdict, none, beside all features", |world, count| {
        world.allow_by(count, world.featured(), "/open", &[]);
    }),
    ("verdict, jwt, known token, beside all features", |world, count| {
        world.allow_by(count, world.featured(), "/hybrid", &[("authorization", &world.rs256)]);
    }),
    ("refusal, no route, beside all features", |world, count| {
        world.refuse_by(count, world.featured(), "/nowhere", &[], Code::NoRoute);
    }),
    ("header surgery, 15 headers, beside all features", |world, count| {
        world.operate(count, world.featured(), None);
    }),
    ("limit, gcra", |world, count| world.charge(count, "per-user", false)),
    ("limit, sliding window of 5", |world, count| {
        world.charge(count, "window", true)
    }),
    ("limit, sliding window of 1,000,000", |world, count| {
        world.charge(count, "wide-window", false);
    }),
    ("limit, concurrent, in and out", |world, count| {
        world.charge(count, "at-once", true)
    }),
    ("access line, JSON", World::line),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if let Some(folder) = std::env::var_os(WORLD) {
        return repeat(Path::new(&folder), arguments.first().expect("a case"));
    }
    if asked("--list") {
        // A test runner asks for tests; there are none.
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().expect("a folder for keys and tokens");
    World::make(folder.path());
    if asked("--bench") {
        let wanted: Vec<String> = arguments
            .into_iter()
            .filter(|argument| !argument.starts_with('-'))
            .collect();
        return compare(folder.path(), &wanted);
    }
    // `cargo test --benches`: whether each case still does what its name says.
    for (name, _) in CASES {
        let _ = repeat(folder.path(), name);
    }
    ExitCode::SUCCESS
}

/// Under callgrind: one case, again and again.
fn repeat(folder: &Path, name: &str) -> ExitCode {
    let world = World::load(folder);
    let (_, case) = CASES.iter().find(|(known, _)| *known == name).expect("a known case");
    for repetition in 0..WARM_UP + REPETITIONS {
        let mut count = Count(repetition >= WARM_UP);
        case(&world, &mut count);
    }
    ExitCode::SUCCESS
}

/// Whether a repetition is counted.
struct Count(bool);

impl Count {
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if self.0 { measured(work) } else { black_box(work()) }
    }
}

/// What happens in here is counted: callgrind is told this name.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Runs every case whose name has one of `wanted` in it, and prints the table.
fn compare(folder: &Path, wanted: &[String]) -> ExitCode {
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        eprintln!(
            "valgrind cannot be run ({error}); install it: apt-get install valgrind, dnf install valgrind, brew install valgrind"
        );
        return ExitCode::FAILURE;
    }
    println!("{:<52}{:>14}{:>14}", "", "instructions", "allocations");
    let chosen = CASES
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part)));
    for (name, _) in chosen {
        match counted(folder, name) {
            Ok((instructions, allocates)) => println!(
                "{name:<52}{:>14}{:>14}",
                grouped(instructions / REPETITIONS),
                if allocates { "some" } else { "none" }
            ),
            Err(message) => {
                eprintln!("{name}: {message}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Instructions in all repetitions of a case, and whether it allocates.
fn counted(folder: &Path, name: &str) -> Result<(u64, bool), String> {
    let profile = folder.join("profile");
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .args(["--collect-atstart=no", "--toggle-collect=*judge*measured*"])
        .arg(this)
        .arg(name)
        .env(WORLD, folder)
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&run.stderr);
    let counted = said
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .filter(|count| *count > 0 && run.status.success());
    let instructions = counted.ok_or_else(|| format!("callgrind counted nothing:\n{said}"))?;
    let profile = std::fs::read_to_string(&profile).map_err(|error| error.to_string())?;
    Ok((instructions, allocates(&profile)))
}

/// Whether anything in there called an allocator: Rust's, or libc's, which aws-lc-rs uses. How often is not told: callgrind counts
/// the calls of a whole run, but shows none that cost nothing in what is counted.
fn allocates(profile: &str) -> bool {
    let is_allocator = |function: &str| {
        let own = function.trim_start_matches('_');
        let of_mimalloc = own.starts_with("mi_") && own.contains("alloc");
        of_mimalloc || ["malloc", "calloc", "realloc"].contains(&own)
    };
    let mut called = profile.lines().filter_map(|line| line.strip_prefix("cfn="));
    called.any(is_allocator)
}

fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A gateway without sockets, and what its callers send.
struct World {
    snapshot: Snapshot,
    /// With 1,000 routes; made for the case that asks.
    large: OnceCell<Snapshot>,
    /// With an auth service that was asked about [`REMOTE_KEY`].
    remote: OnceCell<Snapshot>,
    /// With [`FEATURES`] on other routes.
    featured: OnceCell<Snapshot>,
    metrics: Metrics,
    jwks: String,
    keys: KeySet,
    rs256: String,
    es256: String,
    forged: String,
    now: Now,
}

impl World {
    const ISSUER: &str = "https://auth.example.com";

    /// Makes keys and tokens, once for all cases.
    fn make(folder: &Path) {
        let signer = Signer::generate().expect("keys");
        // About 800 bytes as a token, with RS256.
        let claims = tokens::with(tokens::claims(Self::ISSUER, &ADA), "jti", "f".repeat(120));
        let sign = |signature| signer.sign(&claims, signature).expect("a token");
        let rs256 = sign(Signature::Rs256);
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
        write("jwks.json", &signer.jwks().to_string());
        write("rs256", &format!("Bearer {rs256}"));
        write("es256", &format!("Bearer {}", sign(Signature::Es256)));
        write(
            "forged",
            &format!("Bearer {}", tokens::tampered(&rs256, &claims, "eve")),
        );
    }

    fn load(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
        let jwks = read("jwks.json");
        let metrics = Metrics::new("bench").expect("metrics");
        let snapshot = with_keys(&config(10), &jwks, &metrics);
        let clock = Clock::start();
        Self {
            snapshot,
            large: OnceCell::new(),
            remote: OnceCell::new(),
            featured: OnceCell::new(),
            metrics,
            keys: KeySet::from_jwks(jwks.as_bytes()).expect("keys").0,
            jwks,
            rs256: read("rs256"),
            es256: read("es256"),
            forged: read("forged"),
            now: clock.now(),
        }
    }

    fn facts<'r>(&self, target: &'r Uri, headers: &'r HeaderMap) -> Facts<'r> {
        Facts::read(&Method::GET, target, headers, ORIGIN, 0, self.now).expect("a sound request")
    }

    fn featured(&self) -> &Snapshot {
        let make = || with_keys(&format!("{}{FEATURES}", config(10)), &self.jwks, &self.metrics);
        self.featured.get_or_init(make)
    }

    /// The whole judgement, as the proxy asks for it.
    fn judge_by<'w>(&self, snapshot: &'w Snapshot, target: &Uri, headers: &HeaderMap) -> Result<Verdict<'w>, Code> {
        let facts = self.facts(target, headers);
        let Snapshot { policy, meters, .. } = snapshot;
        let mut case = judge::open(policy, &facts, meters).map_err(|refused| refused.denial.code)?;
        let evidence = match evidence::known(&self.metrics, snapshot, &facts, &case) {
            Ok(evidence) => evidence,
            Err(unknown) => at_once(evidence::ask(&self.metrics, snapshot, &facts, &mut case, unknown)),
        };
        let undecided = judge::decide(policy, &facts, case, &evidence, meters);
        assert!(undecided.asks().is_empty(), "no limit is shared here");
        Ok(undecided.conclude(Ok(SmallVec::new()), meters, self.now.monotonic_ns))
    }

    fn allow(&self, count: &mut Count, path: &'static str, credential: &[(&'static str, &str)]) {
        self.allow_by(count, &self.snapshot, path, credential);
    }

    fn allow_by(
        &self,
        count: &mut Count,
        snapshot: &Snapshot,
        path: &'static str,
        credential: &[(&'static str, &str)],
    ) {
        let (target, headers) = request(path, credential);
        let verdict = count.of(|| self.judge_by(snapshot, &target, &headers));
        assert!(verdict.is_ok_and(|verdict| matches!(verdict.effect, Effect::Permit(_))));
    }

    fn allow_remote(&self, count: &mut Count) {
        let snapshot = self.remote.get_or_init(|| with_auth_service(&self.metrics));
        self.allow_by(count, snapshot, "/hybrid", &[("x-api-key", REMOTE_KEY)]);
    }

    fn refuse(&self, count: &mut Count, path: &'static str, credential: &[(&'static str, &str)], code: Code) {
        self.refuse_by(count, &self.snapshot, path, credential, code);
    }

    fn refuse_by(
        &self,
        count: &mut Count,
        snapshot: &Snapshot,
        path: &'static str,
        credential: &[(&'static str, &str)],
        code: Code,
    ) {
        let (target, headers) = request(path, credential);
        let verdict = count.of(|| self.judge_by(snapshot, &target, &headers));
        let refused = verdict.map_or_else(Some, |verdict| match verdict.effect {
            Effect::Permit(_) => None,
            Effect::Denial(denial) => Some(denial.code),
        });
        // The first of a limited caller's requests are allowed.
        assert!(refused == Some(code) || !count.0, "{refused:?}");
    }

    /// A token that is in no cache: parsed, and its signature checked. Putting it into the cache is left out.
    fn allow_anew(&self, count: &mut Count, bearer: &str) {
        let (target, headers) = request("/hybrid", &[("authorization", bearer)]);
        let Snapshot { policy, meters, .. } = &self.snapshot;
        let rules = policy.issuers.first().unwrap();
        let verdict = count.of(|| {
            let facts = self.facts(&target, &headers);
            let case = judge::open(policy, &facts, meters).expect("a case");
            let Credential::Token(token) = case.presented.credential else {
                panic!("no token");
            };
            let verified = parse(token).and_then(|parsed| verify(&parsed, rules, &self.keys));
            let evidence = Evidence::Token(verified.map(Arc::new));
            judge::decide(policy, &facts, case, &evidence, meters).alone(meters, self.now.monotonic_ns)
        });
        assert!(matches!(verdict.effect, Effect::Permit(_)));
    }

    fn look_up(&self, count: &mut Count, policy: &Policy) {
        let (target, headers) = request("/api/v1/service-3/models/42", &[]);
        let facts = self.facts(&target, &headers);
        let found = count.of(|| policy.table(0).find(&facts).expect("a route").route);
        assert_eq!(&*policy.routes.get(found).unwrap().name, "service-3");
    }

    fn operate(&self, count: &mut Count, snapshot: &Snapshot, span: Option<&Span>) {
        let (target, headers) = request("/hybrid", &[("authorization", &self.rs256)]);
        let verdict = self.judge_by(snapshot, &target, &headers).expect("a verdict");
        let Effect::Permit(permit) = verdict.effect else {
            panic!("refused");
        };
        assert_eq!(headers.len(), 15);
        let mut headers = headers;
        let hop = Hop {
            origin: &ORIGIN,
            peer: &address_value(ORIGIN.peer),
            believed: Believed::XForwardedFor,
            secret_allowed: false,
            secure: false,
            request_id: &HeaderValue::from_static("0198b7a0-0000-7000-8000-000000000000"),
            upgrade: None,
            trace: span.and_then(Span::onward),
        };
        let rules = &snapshot.policy.headers;
        count.of(|| rules.to_upstream(&mut headers, &permit.route().headers, permit.identity(), &hop));
        assert_eq!(headers.get("x-user-id").unwrap(), "ada");
    }

    /// One limit asked and charged; with what gives the unit back, where it would be used up.
    fn charge(&self, count: &mut Count, name: &str, gives_back: bool) {
        let mut limits = self
            .snapshot
            .policy
            .routes
            .iter()
            .flat_map(|route| &route.caller_limits);
        let limit = limits.find(|limit| *limit.name == *name).unwrap();
        let ask = Ask {
            limit,
            plan: &limit.plan,
            key: BucketKey(7),
        };
        let (meters, now_ns) = (&self.snapshot.meters, self.now.monotonic_ns);
        let charged = count.of(|| {
            let answer = meters.admit(&[ask], now_ns);
            if let (true, Ok(grants)) = (gives_back, &answer) {
                for grant in grants {
                    meters.refund(&grant.charge, &limit.plan.measure, now_ns);
                }
            }
            answer
        });
        assert!(charged.is_ok());
    }

    fn line(&self, count: &mut Count) {
        let line = self.access_line();
        let mut out = Vec::with_capacity(1024);
        count.of(|| line.write(Format::Json, &mut out));
        assert!(out.ends_with(b"}\n"));
    }

    fn tell(&self, count: &mut Count) {
        let line = self.access_line();
        let trace = span(&usual_headers());
        let span = ServerSpan {
            span: trace.span().expect("a span"),
            began_ns: 1_000_000_000,
            ended_ns: 2_000_000_000,
            secure: true,
            line: &line,
        };
        let mut out = Vec::with_capacity(2048);
        count.of(|| span.write(&mut out));
        assert!(out.len() > 500);
    }

    fn access_line(&self) -> AccessLine<'static> {
        AccessLine {
            time_ms: self.now.unix_s * 1000,
            request_id: "0198b7a0-0000-7000-8000-000000000000",
            listener: "public",
            protocol: "HTTP/1.1",
            host: Some(b"api.example.com"),
            route: Some("hybrid"),
            method: Some("GET"),
            path: Some(b"/api/v1/chat/completions"),
            status: StatusCode::OK,
            bytes_out: 1500,
            duration: Duration::from_micros(12_345),
            upstream_duration: Some(Duration::from_micros(12_000)),
            client_ip: Some(ORIGIN.client),
            auth_mode: Some("hybrid"),
            auth_method: Some(AuthMethod::Jwt),
            decision: Some(Decision::Allow),
            user_id: Some("ada"),
            issuer: Some("main"),
            tenant: Some("acme"),
            upstream: Some("runtime"),
            endpoint: Some("http://agent-runtime:8001"),
            ..AccessLine::default()
        }
    }
}

/// The trace of a request is looked for, and followed where spans are made.
fn follow(count: &mut Count, sampling: Option<Sampling>, is_told: bool) {
    let headers = usual_headers();
    let trace = count.of(|| Trace::of(&headers, sampling, is_told, || Some(Chance::default())));
    assert_eq!(trace.id().is_some(), sampling.is_some() || is_told);
}

fn span(headers: &HeaderMap) -> Trace {
    Trace::of(headers, Some(Sampling::ratio(0.1)), true, || Some(Chance::default()))
}

fn usual_headers() -> HeaderMap {
    request("/hybrid", &[]).1
}

const ORIGIN: Origin = Origin {
    peer: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    peer_trusted: false,
    client: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
};

/// What a browser's application sends: 14 headers, and a credential.
fn request(path: &'static str, credential: &[(&'static str, &str)]) -> (Uri, HeaderMap) {
    let usual = [
        ("host", "api.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        ),
        ("accept", "application/json, text/plain, */*"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://app.example.com/tasks"),
        ("origin", "https://app.example.com"),
        ("connection", "keep-alive"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "same-site"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-user-id", "root"),
        ("cache-control", "no-cache"),
    ];
    let headers = usual.into_iter().chain(credential.iter().copied());
    let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
    (Uri::from_static(path), headers.collect())
}

/// The outcome of what has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("had to wait"),
    }
}

fn snapshot(config: &str, metrics: &Metrics) -> Snapshot {
    let loaded = load_text(&PathBuf::from("bench.toml"), config, &Environment::default()).expect("a sound config");
    let mut problems = Problems::new(loaded.sources);
    match compile(&loaded.config, &mut problems) {
        Some(compiled) => Snapshot::new(loaded.config, compiled, None, metrics, Clock::start(), 1),
        None => panic!("{}", problems.into_errors()),
    }
}

/// A snapshot whose issuer has published its keys.
fn with_keys(config: &str, jwks: &str, metrics: &Metrics) -> Snapshot {
    let snapshot = snapshot(config, metrics);
    let issuer = snapshot.keys.first().expect("an issuer");
    issuer.publish(Ok(jwks.as_bytes())).expect("keys");
    snapshot
}

/// A snapshot whose auth service has said whose [`REMOTE_KEY`] is: over a socket, once, before anything is counted.
fn with_auth_service(metrics: &Metrics) -> Snapshot {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a bound port");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the question");
        let _ = stream.read(&mut [0; 4096]);
        let body = r#"{"user_id":"svc_ci","scopes":["model:read"],"key_id":"k-1"}"#;
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").expect("the answer");
    });
    let remote = format!("[api_keys.remote]\nurl = \"http://{address}/validate\"\ntimeout = \"60s\"\n\n[internal]");
    let snapshot = snapshot(&config(10).replace("[internal]", &remote), metrics);
    let validator = snapshot.validators.api_keys.clone().expect("an auth service");
    let digest = SecretDigest::of(REMOTE_KEY.as_bytes());
    let asked = validator.asked(REMOTE_KEY, digest, ORIGIN.client, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.expect("a runtime").block_on(async {
        tokio::spawn(validator::serve(
            Arc::downgrade(&validator),
            validator.queue().expect("unused"),
        ));
        validator.ask(&asked, None).await
    });
    assert!(answer.expect("no limit").said.is_ok());
    snapshot
}

/// A config with that many routes; at least ten.
fn config(routes: usize) -> String {
    use std::fmt::Write as _;
    let mut text = CONFIG.to_owned();
    for number in 0..routes.saturating_sub(NAMED_ROUTES) {
        let route = "[[routes]]\nupstream = \"runtime\"\nauth = \"hybrid\"\n";
        writeln!(
            text,
            "{route}name = \"service-{number}\"\npaths = [\"/api/v1/service-{number}/*\"]"
        )
        .unwrap();
    }
    text
}

/// Routes in [`CONFIG`].
const NAMED_ROUTES: usize = 6;

const CONFIG: &str = r#"
[[listeners]]
name = "public"
address = "127.0.0.1:8080"

[issuers.main]
issuer = "https://auth.example.com"
jwks_url = "http://127.0.0.1:9/jwks.json"
audiences = ["demo-api"]
algorithms = ["RS256", "ES256"]
required_claims = { type = "access" }

[api_keys]
prefixes = ["hok_live_"]
[[api_keys.keys]]
id = "ci-runner"
hash = "sha256:6caeb314c8d52f80674c88241322d6000761cfcef0e1bece732bbbcf13fdaf70"
user = "svc_ci"

[internal]
keys = ["an-internal-secret-of-some-length"]

[roles]
admin = ["tasks.*"]

[limits.per-user]
rate = "1000000/s"

[limits.scarce]
rate = "1/hour"

[limits.window]
rate = "5/min"
algorithm = "sliding_window"

[limits.wide-window]
rate = "1000000/day"
algorithm = "sliding_window"

[limits.at-once]
concurrent = 5

[upstreams.runtime]
urls = ["http://agent-runtime:8001"]

[[routes]]
name = "open"
paths = ["/open"]
upstream = "runtime"
auth = "none"

[[routes]]
name = "hybrid"
paths = ["/hybrid"]
upstream = "runtime"
auth = "hybrid"

[[routes]]
name = "tasks"
paths = ["/tasks"]
upstream = "runtime"
auth = "hybrid"
require = { permissions_any = ["tasks.read"] }
limits = ["per-user"]

[[routes]]
name = "admin"
paths = ["/admin"]
upstream = "runtime"
auth = "hybrid"
require = { permissions_any = ["admin.read"] }

[[routes]]
name = "counted"
paths = ["/counted"]
upstream = "runtime"
auth = "hybrid"
limits = ["window", "wide-window", "at-once"]

[[routes]]
name = "scarce"
paths = ["/scarce"]
upstream = "runtime"
auth = "hybrid"
limits = ["scarce"]
"#;

/// Routes that use what the routes of [`CONFIG`] do not.
const FEATURES: &str = r#"
[cors.app]
origins = ["https://app.example.com", "https://*.example.com"]
credentials = true

[limits.flood]
rate = "50/s"
by = "ip"

[limits.failures]
rate = "5/min"
algorithm = "sliding_window"
by = "ip"
charge_on = [401, 403]

[[routes]]
name = "cross-origin"
paths = ["/cross-origin/*"]
upstream = "runtime"
auth = "hybrid"
cors = "app"
response_headers = { set = { Strict-Transport-Security = "max-age=31536000", X-Caller = "{user}" }, remove = ["Server"] }

[[routes]]
name = "ruled"
paths = ["/ruled/{org}/*"]
upstream = "runtime"
auth = "hybrid"
require = { scopes_any = ["a", "b"], audiences = ["demo-api"], claims = { org_id = "{path.org}" } }
rules = [{ methods = ["POST"], require = { permissions_any = ["tasks.create"] } }]
allowed_from = ["10.0.0.0/8", "127.0.0.0/8"]
limits = ["flood", "failures", "per-user"]
max_body = "10MiB"

[[routes]]
name = "rewritten"
paths = ["/rewritten/*"]
upstream = "runtime"
auth = "jwt"
strip_prefix = "/rewritten"
preserve_host = true
set_headers = { X-Caller = "{user}", X-Where-From = "{client_ip}" }
remove_headers = ["Authorization", "Cookie"]
allow_encoded_slash = true

[[routes]]
name = "replaced"
paths = ["/replaced/{name}"]
upstream = "runtime"
auth = "jwt"
replace_path = "/items/{name}"
token_sources = ["header", "query:access_token", "cookie:session", "websocket_protocol"]
close_on_expiry = true

[[routes]]
name = "on-trial"
paths = ["/on-trial/*"]
upstream = "runtime"
auth = "internal"
shadow = "jwt"
canary = { auth = "hybrid", percent = 10 }

[[routes]]
name = "model"
paths = ["/model/*"]
upstream = "runtime"
auth = "hybrid"
llm = "openai"

[[routes]]
name = "fixed"
paths = ["/fixed"]
respond = { body = "ok" }
auth = "none"

[[routes]]
name = "moved"
paths = ["/moved/*"]
redirect = { to = "https://{host}{uri}" }
auth = "none"
"#;
