//! Answers: refusals and failures as the contract words them, and the last touch to what the upstream answered.
//!
//! What is not forwarded is `cold`: its code shall not lie in the midst of what nearly every request runs through (ADR 18).

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::policy::action::{Fixed, Redirect, Target};
use crate::policy::cors::CrossOrigin;
use crate::policy::denial::{Challenge, Code, Denial, Tells};
use crate::policy::preflight::Preflight;
use crate::policy::route::Route;
use crate::policy::verdict::{Allowances, Permit};
use crate::protocol::Spelling;

use super::failure::ForwardError;
use super::grpc;
use super::record::Record;
use super::response_body::{FromUpstream, ResponseBody};
use super::tunnel::Tunnel;
use super::upgrade::ClientSide;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The upstream's answer, ready for the client but for the gateway's own headers.
pub struct Answer {
    /// Its head; hop-by-hop headers are off.
    pub head: http::response::Parts,
    /// How its headers' names were written.
    pub spelling: Option<Spelling>,
    /// Its body.
    pub body: AnswerBody,
}

/// What follows the head.
pub enum AnswerBody {
    /// The upstream's body.
    Stream(FromUpstream),
    /// Nothing: the client's side becomes a tunnel.
    Tunnel(ClientSide, Tunnel),
}

/// What every answer to a request carries, whoever gives it.
#[derive(Default)]
pub struct Carried<'a> {
    /// The route, if one was found.
    pub route: Option<&'a Route>,
    /// What is left of the limits that counted the request.
    pub allowances: Allowances<'a>,
    /// What the route's CORS policy says.
    pub cross_origin: Option<CrossOrigin<'a>>,
}

impl<'a> Carried<'a> {
    /// By the route, and what the request says of its origin.
    #[must_use]
    pub fn of(route: Option<&'a Route>, allowances: Allowances<'a>, request: &HeaderMap) -> Self {
        let cors = route.and_then(|route| route.cors.as_ref());
        Self {
            route,
            allowances,
            cross_origin: cors.map(|cors| cors.judge(request)),
        }
    }
}

/// Passes the upstream's answer on.
pub fn forwarded(mut record: Box<Record>, answer: Answer, carried: &Carried<'_>) -> Response<ResponseBody> {
    let Answer {
        mut head,
        spelling,
        body,
    } = answer;
    for name in carried.route.iter().flat_map(|route| &route.headers.response_remove) {
        head.headers.remove(name);
    }
    carried.put_on(&mut head.headers, &mut record, head.status);
    if carried.route.is_some_and(|route| route.reads_tokens) {
        record.read_usage(head.status, &head.headers);
    }
    let body = match body {
        AnswerBody::Stream(stream) => ResponseBody::upstream(record, stream, spelling),
        AnswerBody::Tunnel(ClientSide::Connection, tunnel) => ResponseBody::tunnel(record, tunnel, spelling),
        AnswerBody::Tunnel(ClientSide::Stream(client), tunnel) => {
            tunnel.start(client, record);
            ResponseBody::none()
        }
    };
    Response::from_parts(head, body)
}

/// Answers a preflight.
#[cold]
pub fn preflight(mut record: Box<Record>, preflight: &Preflight<'_>) -> Response<ResponseBody> {
    record.preflight(preflight.route);
    let carried = Carried {
        route: Some(preflight.route),
        ..Carried::default()
    };
    let headers = preflight.cross_origin.preflight();
    own(record, StatusCode::NO_CONTENT, headers, Bytes::new(), &carried)
}

/// Gives the route's fixed answer.
#[cold]
pub fn fixed(
    record: Box<Record>,
    _permit: Permit<'_>,
    answer: &Fixed,
    carried: &Carried<'_>,
) -> Response<ResponseBody> {
    own(record, answer.status, answer.headers(), answer.body.clone(), carried)
}

/// Sends the client elsewhere.
#[cold]
pub fn redirect(
    record: Box<Record>,
    _permit: Permit<'_>,
    redirect: &Redirect,
    target: &Target<'_>,
    carried: &Carried<'_>,
) -> Response<ResponseBody> {
    match redirect.headers(target) {
        Some(headers) => own(record, redirect.status, headers, Bytes::new(), carried),
        None => denial(record, Denial::malformed("host_missing"), carried),
    }
}

/// Refuses the request.
#[cold]
pub fn denial(mut record: Box<Record>, denial: Denial, carried: &Carried<'_>) -> Response<ResponseBody> {
    record.denied(&denial, carried.route);
    let mut headers = HeaderMap::with_capacity(8);
    match &denial.tells {
        Tells::Nothing => {}
        Tells::Allow(methods) => set(&mut headers, header::ALLOW, methods),
        Tells::Challenge(challenge) => {
            let metadata = record.snapshot.policy.resource_metadata.as_deref();
            set(
                &mut headers,
                header::WWW_AUTHENTICATE,
                &challenge_text(challenge, metadata),
            );
        }
        Tells::RetryAfter { seconds, .. } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
    }
    if closes(denial.code) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let code = denial.code;
    refusal(record, code.status(), code.name(), code.description(), headers, carried)
}

/// The request was allowed, and could not be forwarded.
#[cold]
pub fn failure(mut record: Box<Record>, error: ForwardError, carried: &Carried<'_>) -> Response<ResponseBody> {
    record.failed(&error);
    let mut headers = HeaderMap::with_capacity(8);
    if error.is_clients() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    refusal(
        record,
        error.status(),
        error.name(),
        error.description(),
        headers,
        carried,
    )
}

/// A refusal or failure, in JSON or as gRPC has it. `code` and `description` are ours and need no escaping; the id is of sound
/// characters. What is told and counted is `status` in both cases.
fn refusal(
    record: Box<Record>,
    status: StatusCode,
    code: &'static str,
    description: &'static str,
    mut headers: HeaderMap,
    carried: &Carried<'_>,
) -> Response<ResponseBody> {
    if record.is_grpc {
        grpc::tell(&mut headers, status, description);
        let mut response = own(record, status, headers, Bytes::new(), carried);
        *response.status_mut() = StatusCode::OK;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let id = record.request_id.to_str().unwrap_or_default();
    let text = format!("{{\"error\":\"{code}\",\"error_description\":\"{description}\",\"request_id\":\"{id}\"}}\n");
    own(record, status, headers, Bytes::from(text), carried)
}

/// An answer of the gateway's own.
fn own(
    mut record: Box<Record>,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    carried: &Carried<'_>,
) -> Response<ResponseBody> {
    carried.put_on(&mut headers, &mut record, status);
    let mut response = Response::new(ResponseBody::own(record, body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

impl Carried<'_> {
    fn put_on(&self, headers: &mut HeaderMap, record: &mut Record, status: StatusCode) {
        for (name, setting) in self.route.iter().flat_map(|route| &route.headers.response_set) {
            if let Some(value) = setting.value(&record.subject()) {
                headers.insert(name.clone(), value);
            }
        }
        if let Some(cross_origin) = &self.cross_origin {
            cross_origin.put_on(headers);
        }
        match record.answered(status, &self.allowances) {
            Some(settled) => announce(headers, &settled),
            None => announce(headers, &self.allowances),
        }
        identify(headers, record);
    }
}

/// Whether a refusal closes the connection: what follows on it cannot be trusted, or nobody reads it.
const fn closes(code: Code) -> bool {
    matches!(
        code,
        Code::MalformedRequest
            | Code::RequestTimeout
            | Code::TargetTooLong
            | Code::HeadTooLarge
            | Code::NotImplemented
            | Code::BodyTooLarge
    )
}

/// RFC 6750 §3, and where more is to be learned (RFC 9728 §5.1). Nothing in it holds a quote or a backslash: it is ours, or was judged
/// at compile time.
fn challenge_text(challenge: &Challenge, metadata: Option<&str>) -> String {
    let mut text = match challenge {
        Challenge::Bearer => "Bearer realm=\"gateway\"".to_owned(),
        Challenge::InvalidToken(description) => {
            format!("Bearer realm=\"gateway\", error=\"invalid_token\", error_description=\"{description}\"")
        }
        Challenge::Scope(scope) => format!("Bearer realm=\"gateway\", error=\"insufficient_scope\", scope=\"{scope}\""),
        Challenge::ApiKey => return "ApiKey realm=\"gateway\"".to_owned(),
    };
    if let Some(metadata) = metadata {
        text.push_str(", resource_metadata=\"");
        text.push_str(metadata);
        text.push('"');
    }
    text
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The response carries the id that the request went by, whatever the upstream said.
fn identify(headers: &mut HeaderMap, record: &Record) {
    if let Some(name) = &record.snapshot.policy.headers.request_id {
        headers.insert(name.clone(), record.request_id.clone());
    }
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11): what was allowed, and what is left.
fn announce(headers: &mut HeaderMap, allowances: &Allowances<'_>) {
    let mut announced = allowances.iter().filter(|allowance| allowance.limit.announce);
    let Some(first) = announced.next() else { return };
    let mut left = String::with_capacity(48);
    let mut policies = None;
    item(&mut left, first);
    for allowance in announced {
        left.push_str(", ");
        item(&mut left, allowance);
        let policies = policies.get_or_insert_with(|| first.plan.policy.as_bytes().to_vec());
        policies.extend_from_slice(b", ");
        policies.extend_from_slice(allowance.plan.policy.as_bytes());
    }
    let policy = policies.and_then(|policies| HeaderValue::try_from(policies).ok());
    headers.insert(RATE_LIMIT_POLICY, policy.unwrap_or_else(|| first.plan.policy.clone()));
    if let Ok(left) = HeaderValue::try_from(left) {
        headers.insert(RATE_LIMIT, left);
    }
}

fn item(text: &mut String, allowance: &crate::policy::verdict::Allowance<'_>) {
    let mut digits = itoa::Buffer::new();
    text.push('"');
    text.push_str(&allowance.limit.name);
    text.push_str("\";r=");
    text.push_str(digits.format(allowance.left.remaining));
    if let Some(seconds) = allowance.left.window_s {
        text.push_str(";t=");
        text.push_str(digits.format(seconds));
    }
}
