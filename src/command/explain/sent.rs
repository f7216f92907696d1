//! What the upstream would get, made by the rules of a running gateway; and what that adds to and takes off the client's head.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Version};

use crate::config::model::{Endpoint, HeaderCase};
use crate::policy::action::Forward;
use crate::policy::facts::Facts;
use crate::policy::headers::{Hop, address_value};
use crate::policy::hop_by_hop::upgrade_of;
use crate::policy::request_id;
use crate::policy::trace::{Onward, Parent};
use crate::policy::verdict::Permit;
use crate::protocol::{Speller, Spelling, connection_name, host_name};
use crate::runtime::upstream::{authority_of, name_of};

use super::report::Sent;
use super::request::Request;
use super::secrecy::Secrecy;
use super::verdict::Gateway;

impl Gateway<'_> {
    /// The request as the upstream's first endpoint would get it.
    pub(super) fn sent(&self, request: &Request, facts: &Facts<'_>, permit: &Permit<'_>, to: &Forward) -> Option<Sent> {
        let policy = &self.compiled.policy;
        let upstream = self.compiled.upstreams.get(to.upstream)?;
        let endpoint = upstream.config.urls.first()?;
        let target = match &to.rewrite {
            None => request.target.clone(),
            Some(rewrite) => rewrite.uri(&facts.target(permit.pattern()))?,
        };
        let secrecy = Secrecy::of(&policy.places, &request.headers);
        let target = secrecy.target(&target);
        let preserve = self.config.server.header_case == HeaderCase::Preserve;
        let spelling = preserve.then_some(&request.spelling);
        let headers = self.headers(request, facts, permit, endpoint, spelling)?;
        let shown = |(name, value): (&HeaderName, &HeaderValue)| secrecy.header(name, value, permit.identity());
        let (mut lines, mut added) = (Vec::new(), Vec::new());
        let mut client = ClientsHeaders::of(request);
        for Header { written, name, value } in &headers {
            let line = (written.clone(), shown((name, value)));
            if !client.had(name, value) {
                added.push(line.clone());
            }
            lines.push(line);
        }
        if request.chunked {
            lines.push((header::TRANSFER_ENCODING.to_string(), "chunked".to_owned()));
        }
        let url = name_of(endpoint);
        Some(Sent {
            name: upstream.name.to_string(),
            full_url: match endpoint {
                Endpoint::Http { .. } | Endpoint::Https { .. } => format!("{url}{target}"),
                // As curl and nginx write it, or close to it: a path to the socket, then the target.
                Endpoint::Unix(_) => format!("{url}:{target}"),
            },
            url,
            method: request.method.to_string(),
            target,
            headers: lines,
            added,
            removed: client.left(),
        })
    }

    /// The headers after the surgery.
    fn headers(
        &self,
        request: &Request,
        facts: &Facts<'_>,
        permit: &Permit<'_>,
        endpoint: &Endpoint,
        spelling: Option<&Spelling>,
    ) -> Option<Vec<Header>> {
        let policy = &self.compiled.policy;
        let route = permit.route();
        let new_id = HeaderValue::from_static("(a new one for each request)");
        let own_id = request_id::of_client(policy.headers.request_id.as_ref(), &request.headers);
        let hop = Hop {
            origin: &facts.origin,
            peer: &address_value(facts.origin.peer),
            believed: policy.believed(self.place),
            secret_allowed: policy.secret_allowed_from(facts.origin.client),
            secure: facts.transport.is_secure(),
            request_id: own_id.unwrap_or(&new_id),
            upgrade: upgrade_of(Version::HTTP_11, &request.method, &request.headers),
            trace: self
                .compiled
                .telemetry
                .as_ref()
                .map(|_| foretold_trace(&request.headers)),
        };
        let mut headers = request.headers.clone();
        policy
            .headers
            .to_upstream(&mut headers, &route.headers, permit.identity(), &hop);
        let mut made = Vec::new();
        if !route.headers.keeps_host(&headers) {
            headers.remove(header::HOST);
            made.push(Header {
                written: host_name(spelling).to_owned(),
                name: header::HOST,
                value: HeaderValue::try_from(authority_of(endpoint)).ok()?,
            });
        }
        let mut speller = Speller::new(spelling);
        made.extend(headers.iter().map(|(name, value)| Header {
            written: String::from_utf8_lossy(speller.spell(name, value)).into_owned(),
            name: name.clone(),
            value: value.clone(),
        }));
        if headers.contains_key(header::TE) {
            made.push(Header {
                written: connection_name(spelling).to_owned(),
                name: header::CONNECTION,
                value: HeaderValue::from_static("TE"),
            });
        }
        Some(made)
    }
}

/// What the upstream would be told of the trace, whose new ids nobody knows yet.
fn foretold_trace(headers: &HeaderMap) -> Onward {
    Onward {
        traceparent: HeaderValue::from_static("(a new one for each request)"),
        continues: Parent::of(headers).is_some(),
    }
}

/// A header that is sent.
struct Header {
    /// Its name as it is written.
    written: String,
    name: HeaderName,
    value: HeaderValue,
}

/// What the client sent, as far as it was not met again.
struct ClientsHeaders<'r> {
    left: Vec<(&'r HeaderName, &'r HeaderValue)>,
    spelling: &'r Spelling,
}

impl<'r> ClientsHeaders<'r> {
    fn of(request: &'r Request) -> Self {
        let headers: &HeaderMap = &request.headers;
        Self {
            left: headers.iter().collect(),
            spelling: &request.spelling,
        }
    }

    /// Whether a header is the client's own, unchanged.
    fn had(&mut self, name: &HeaderName, value: &HeaderValue) -> bool {
        let same = self.left.iter().position(|own| *own == (name, value));
        same.map(|place| self.left.remove(place)).is_some()
    }

    /// The names of those that do not go on as they came, as the client wrote them.
    fn left(self) -> Vec<String> {
        let mut speller = Speller::new(Some(self.spelling));
        let names = self.left.into_iter().map(|(name, value)| speller.spell(name, value));
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }
}
