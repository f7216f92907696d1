//! What a request's head tells its record.

use aws_lc_rs::rand;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, header};

use crate::policy::address::{X_FORWARDED_FOR, X_REAL_IP};
use crate::policy::request_id;
use crate::policy::trace::{Chance, Trace};
use crate::runtime::snapshot::Snapshot;

/// A client's own id is kept when it is one and sound; else it is a UUIDv7 (RFC 9562), which sorts by time.
pub(super) fn id_of(snapshot: &Snapshot, headers: &HeaderMap) -> HeaderValue {
    if let Some(id) = request_id::of_client(snapshot.policy.headers.request_id.as_ref(), headers) {
        return id.clone();
    }
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The trace that it belongs to. Where no spans are made its client's passes through, and is named in the log.
pub(super) fn trace_of(snapshot: &Snapshot, headers: &HeaderMap) -> Trace {
    let sampling = snapshot.telemetry.as_ref().map(|telemetry| telemetry.sampling());
    Trace::of(headers, sampling, snapshot.config.log.access, chance)
}

fn chance() -> Option<Chance> {
    let mut bytes = [0; 24];
    rand::fill(&mut bytes).ok()?;
    Some(Chance {
        trace: *bytes.first_chunk()?,
        span: *bytes.last_chunk()?,
    })
}

/// Whether it says where it comes from, believed or not.
pub(super) fn says_where_from(headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName| [X_FORWARDED_FOR, header::FORWARDED, X_REAL_IP].contains(name);
    headers.keys().any(says)
}
