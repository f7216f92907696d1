//! Upstreams: endpoints, and the connections that workers keep to them.
//!
//! Each worker keeps its own idle connections, so that no request waits for another thread; the endpoints' state is shared.

mod budget;
mod resolve;
mod standing;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use parking_lot::Mutex;

use crate::compile::UpstreamSpec;
use crate::config::model::{Balance, Endpoint as Url};
use crate::observe::metrics::UpstreamMetrics;
use crate::protocol::upstream::Connection as Http1;

use super::http2_connections::{Http2Connections, Http2Stream};

pub use budget::RetryBudget;
pub use resolve::Addresses;
pub(super) use resolve::Resolver;
pub use standing::{Change, Standing};

/// Idle connections that one worker keeps to one endpoint.
const MAX_IDLE: usize = 128;

/// An idle connection is closed after this long; shorter than common servers' own keep-alive (uvicorn's is 5 s, but it says so by
/// closing, which is noticed).
const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

/// A connection to an endpoint, ready for one request.
#[derive(Debug)]
pub enum Connection {
    /// Its own.
    Http1(Http1),
    /// A stream of one that requests share.
    Http2(Http2Stream),
}

/// An upstream and its endpoints.
#[derive(Debug)]
pub struct Upstream {
    /// As configured.
    pub spec: UpstreamSpec,
    /// Its metrics.
    pub metrics: UpstreamMetrics,
    /// Its endpoints, in the order of the config.
    pub endpoints: Vec<Endpoint>,
    /// `max_in_flight`; zero: any number.
    max_in_flight: usize,
    in_flight: AtomicUsize,
    turn: AtomicUsize,
    /// What may be spent on retries.
    pub budget: RetryBudget,
}

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// As configured, without path: `http://agent-runtime:8001`.
    pub name: Arc<str>,
    /// Where.
    pub url: Url,
    /// The authority, for `Host`.
    pub authority: HeaderValue,
    /// Whether it is believed to work.
    pub standing: Standing,
    /// What its name stands for; `None`: it has no name.
    pub addresses: Option<Arc<Addresses>>,
    in_flight: AtomicUsize,
    /// By worker.
    idle: Vec<Mutex<Vec<Idle>>>,
    /// By worker; `None`: HTTP/1.1 is spoken with it.
    http2: Option<Vec<Http2Connections>>,
}

struct Idle {
    connection: Http1,
    since: Instant,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idle")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// No connection yet.
    #[must_use]
    pub fn new(spec: UpstreamSpec, metrics: UpstreamMetrics, workers: usize) -> Self {
        let urls = spec.config.urls.iter().zip(&metrics.up);
        let endpoints = urls
            .map(|(url, up)| Endpoint::new(url.clone(), Standing::new(up.clone()), workers, spec.config.http2))
            .collect();
        Self {
            metrics,
            endpoints,
            max_in_flight: spec.config.max_in_flight,
            in_flight: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            budget: RetryBudget::at_first(),
            spec,
        }
    }

    /// A place among the requests in flight, unless `max_in_flight` are.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let entered = InFlight {
            upstream: self.clone(),
            endpoint: None,
        };
        self.metrics.in_flight.inc();
        // Dropping `entered` gives the place back.
        (self.max_in_flight == 0 || before < self.max_in_flight).then_some(entered)
    }

    /// The place of the endpoint for the next attempt, none of those that were `tried`; `None`: all were. Endpoints that are
    /// not believed to work are left out, unless no other is left: then it is better to ask one than to refuse.
    #[must_use]
    pub fn pick(&self, tried: &[usize], now_ns: u64) -> Option<usize> {
        if let [_] = self.endpoints.as_slice() {
            return tried.is_empty().then_some(0);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let standing = |place: usize| self.endpoints.get(place).map(|endpoint| &endpoint.standing);
        let is_untried = |place: &usize| !tried.contains(place);
        let takes = |place: &usize| standing(*place).is_some_and(|standing| standing.takes_requests(now_ns));
        let mut picked = self.pick_among(turn, |place| is_untried(place) && takes(place));
        // At the end of a pause another request may have been faster.
        if picked.is_some_and(|place| !standing(place).is_some_and(|standing| standing.admits(now_ns))) {
            picked = self.pick_among(turn, |place| is_untried(place) && takes(place));
        }
        picked.or_else(|| self.pick_among(turn, is_untried))
    }

    fn pick_among(&self, turn: usize, fits: impl Fn(&usize) -> bool) -> Option<usize> {
        let count = self.endpoints.len();
        let from = |start: usize| {
            (start..start + count)
                .filter_map(|place| place.checked_rem(count))
                .find(&fits)
        };
        let first = from(turn.checked_rem(count)?)?;
        match self.spec.config.balance {
            Balance::RoundRobin => Some(first),
            Balance::LeastRequests => {
                // Power of two choices; the turn spreads the pairs evenly enough without a random number.
                let step = 1 + turn.checked_div(count)?.checked_rem(count - 1)?;
                let second = from((first + step).checked_rem(count)?)?;
                Some(if self.load(second) < self.load(first) {
                    second
                } else {
                    first
                })
            }
        }
    }

    fn load(&self, place: usize) -> usize {
        self.endpoints
            .get(place)
            .map_or(usize::MAX, |endpoint| endpoint.in_flight.load(Ordering::Relaxed))
    }

    /// Closes connections that were idle for too long; each worker for itself.
    pub fn sweep(&self, worker: usize) {
        for endpoint in &self.endpoints {
            if let Some(connections) = endpoint.http2(worker) {
                connections.sweep(MAX_IDLE_TIME, |address| endpoint.has(address));
            }
            if let Some(idle) = endpoint.idle.get(worker) {
                idle.lock().retain_mut(|idle| {
                    let young = idle.since.elapsed() < MAX_IDLE_TIME;
                    young && endpoint.still_has(&idle.connection) && idle.connection.is_quiet()
                });
            }
        }
    }
}

impl Endpoint {
    fn new(url: Url, standing: Standing, workers: usize, http2: bool) -> Self {
        let authority = authority_of(&url);
        Self {
            standing,
            addresses: url.name().map(|_| Arc::default()),
            name: Arc::from(name_of(&url)),
            authority: HeaderValue::try_from(authority).unwrap_or_else(|_| HeaderValue::from_static("upstream")),
            url,
            in_flight: AtomicUsize::new(0),
            idle: std::iter::repeat_with(Mutex::default).take(workers).collect(),
            // One more for the control runtime's health checks: a connection lives on the thread that made it.
            http2: http2.then(|| {
                std::iter::repeat_with(Http2Connections::default)
                    .take(workers + 1)
                    .collect()
            }),
        }
    }

    /// This worker's HTTP/2 connections to it; `None`: HTTP/1.1 is spoken with it.
    #[must_use]
    pub fn http2(&self, worker: usize) -> Option<&Http2Connections> {
        self.http2.as_ref()?.get(worker)
    }

    /// An idle connection of this worker's, the one used last: the others may then grow old and close.
    #[must_use]
    pub fn take_idle(&self, worker: usize) -> Option<Connection> {
        if let Some(connections) = self.http2(worker) {
            return connections.take(|address| self.has(address)).map(Connection::Http2);
        }
        let mut idle = self.idle.get(worker)?.lock();
        loop {
            let mut connection = idle.pop()?.connection;
            if self.still_has(&connection) && connection.is_quiet() {
                return Some(Connection::Http1(connection));
            }
        }
    }

    /// Whether the endpoint's name still points to this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.as_ref().is_none_or(|addresses| addresses.has(address))
    }

    fn still_has(&self, connection: &Http1) -> bool {
        connection.address().is_none_or(|address| self.has(address))
    }

    /// An exchange with it failed at `now_ns`, and not for the client's sake.
    pub fn failed(&self, now_ns: u64) {
        self.say(self.standing.failed(now_ns));
    }

    /// It answered.
    pub fn succeeded(&self) {
        self.say(self.standing.succeeded());
    }

    /// What health checks found of it, once that has changed.
    pub fn checked(&self, healthy: bool) {
        self.say(self.standing.checked(healthy));
    }

    fn say(&self, change: Change) {
        match change {
            Change::None => {}
            Change::Down => tracing::warn!(endpoint = %self.name, "upstream endpoint down"),
            Change::Up => tracing::info!(endpoint = %self.name, "upstream endpoint up"),
        }
    }

    /// Keeps a connection whose request and response both ended cleanly (hardening r33).
    pub fn keep(&self, worker: usize, connection: Connection) {
        let connection = match connection {
            Connection::Http1(connection) => connection,
            // Only the stream ended.
            Connection::Http2(_) => return,
        };
        if let Some(idle) = self.idle.get(worker) {
            let mut idle = idle.lock();
            if idle.len() < MAX_IDLE {
                idle.push(Idle {
                    connection,
                    since: Instant::now(),
                });
            }
        }
    }
}

/// An endpoint as in the config: its name in labels and logs.
#[must_use]
pub fn name_of(url: &Url) -> String {
    match url {
        Url::Http { .. } => format!("http://{}", authority_of(url)),
        Url::Https { .. } => format!("https://{}", authority_of(url)),
        Url::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Host and port, without the scheme's own port.
#[must_use]
pub fn authority_of(url: &Url) -> String {
    match url {
        Url::Http { host, port: 80 } | Url::Https { host, port: 443 } => host.clone(),
        Url::Http { host, port } | Url::Https { host, port } => format!("{host}:{port}"),
        Url::Unix(_) => "localhost".to_owned(),
    }
}

/// A request in flight to an upstream, and at one of its endpoints; its places are given back when this is dropped.
#[derive(Debug)]
pub struct InFlight {
    upstream: Arc<Upstream>,
    endpoint: Option<usize>,
}

impl InFlight {
    /// The upstream.
    #[must_use]
    pub const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The endpoint that the request is at, or was at last.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.and_then(|place| self.upstream.endpoints.get(place))
    }

    /// The endpoint's place in the config.
    #[must_use]
    pub const fn endpoint_place(&self) -> Option<usize> {
        self.endpoint
    }

    /// The request goes to another endpoint.
    pub fn goes_to(&mut self, place: usize) {
        self.leave();
        self.endpoint = Some(place);
        if let Some(endpoint) = self.endpoint() {
            endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn leave(&mut self) {
        if let Some(endpoint) = self.endpoint() {
            endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        self.endpoint = None;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.leave();
        self.upstream.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.upstream.metrics.in_flight.dec();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, load_text};
    use crate::observe::metrics::Metrics;

    fn upstream(balance: &str) -> Arc<Upstream> {
        let text = format!(
            "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
             [upstreams.u]\nurls = [\"http://a\", \"http://b\"]\nbalance = \"{balance}\"\n\
             [[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"u\"\nauth = \"none\"\n"
        );
        let loaded = load_text(Path::new("gateway.toml"), &text, &Environment::default()).unwrap();
        let spec = UpstreamSpec {
            name: Arc::from("u"),
            config: loaded.config.upstreams["u"].clone(),
            tls: None,
        };
        Arc::new(Upstream::new(
            spec,
            Metrics::new("test")
                .unwrap()
                .upstream("u", &["http://a".to_owned(), "http://b".to_owned()]),
            1,
        ))
    }

    const SECOND: u64 = 1_000_000_000;

    fn break_down(upstream: &Upstream, place: usize) {
        for _ in 0..10 {
            upstream.endpoints[place].standing.failed(0);
        }
    }

    #[test]
    fn turns_go_round_all_endpoints() {
        let upstream = upstream("round_robin");
        let picked: Vec<_> = (0..4).filter_map(|_| upstream.pick(&[], 0)).collect();
        assert_eq!(picked, [0, 1, 0, 1]);
    }

    #[test]
    fn no_endpoint_is_tried_twice() {
        for balance in ["round_robin", "least_requests"] {
            let upstream = upstream(balance);
            for _ in 0..4 {
                assert_eq!(upstream.pick(&[0], 0), Some(1), "{balance}");
                assert_eq!(upstream.pick(&[1, 0], 0), None, "{balance}");
            }
        }
    }

    #[test]
    fn the_endpoint_with_fewer_requests_in_flight_is_taken() {
        let upstream = upstream("least_requests");
        let mut request = upstream.enter().unwrap();
        request.goes_to(0);
        for _ in 0..4 {
            assert_eq!(upstream.pick(&[], 0), Some(1));
        }
    }

    #[test]
    fn an_endpoint_that_does_not_work_is_left_out_until_one_request_finds_that_it_does() {
        for balance in ["round_robin", "least_requests"] {
            let upstream = upstream(balance);
            break_down(&upstream, 0);
            for _ in 0..4 {
                assert_eq!(upstream.pick(&[], 0), Some(1), "{balance}");
            }
            let picked: Vec<_> = (0..4).filter_map(|_| upstream.pick(&[], SECOND)).collect();
            assert_eq!(
                picked.iter().filter(|place| **place == 0).count(),
                1,
                "{balance}: {picked:?}"
            );
            upstream.endpoints[0].standing.succeeded();
            assert!((0..4).any(|_| upstream.pick(&[], SECOND) == Some(0)), "{balance}");
        }
    }

    #[test]
    fn when_no_endpoint_works_one_is_asked_all_the_same() {
        let upstream = upstream("least_requests");
        break_down(&upstream, 0);
        break_down(&upstream, 1);
        assert!(upstream.pick(&[], 0).is_some());
        assert_eq!(upstream.pick(&[0], 0), Some(1));
    }

    #[test]
    fn a_request_counts_at_one_endpoint_until_it_is_dropped() {
        let upstream = upstream("least_requests");
        let loads = || [upstream.load(0), upstream.load(1)];
        let mut request = upstream.enter().unwrap();
        request.goes_to(0);
        assert_eq!(loads(), [1, 0]);
        request.goes_to(1);
        assert_eq!(loads(), [0, 1]);
        drop(request);
        assert_eq!(loads(), [0, 0]);
    }
}
