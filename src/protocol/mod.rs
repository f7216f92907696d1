//! HTTP/1.1 on sockets, both sides of it: how a head and a body are read and written, and nothing of what is decided about them.
//!
//! ```text
//! client ── Downstream ── request_head, body ──▶ Request + Spelling          …judged, and sent on by…
//!   ▲                                                                               │
//!   └────── outbox ◀── Response + Spelling ── response_head, body ── Exchange ── upstream
//! ```
//!
//! What hyper tolerates and the contract refuses is refused here, once, while it is read: there is no second parser behind this
//! one that could read it otherwise. An idle connection holds no buffer; one in use holds what was sent and not yet taken.
//!
//! May depend on: tokio's and http's types; nothing of the crate.

pub mod alarm;
mod body;
mod clock;
pub mod downstream;
pub mod exchange;
mod fields;
mod octets;
mod outbox;
pub mod refusal;
pub mod relay;
mod request_head;
mod request_line;
mod response_head;
mod scratch;
pub mod stream;
pub mod turn;
pub mod upstream;

pub use fields::{Speller, Spelling};
pub use outbox::declared_trailers;
pub use request_head::{Framing, read_head_within};
pub use request_line::{REQUEST_LINE_ROOM, is_target};
pub use scratch::give_back_map;
pub use upstream::{connection_name, host_name};

/// Most fields of one head, and of one body's trailers. hyper's own default, as Envoy's and about HAProxy's.
pub const MAX_FIELDS: usize = 100;

/// Upper bound of a head's bytes, whatever is configured.
pub const MAX_HEAD_BYTES: usize = 400 * 1024;

/// Upper bound of a target's bytes: what `http::Uri` can hold, less the rest of the request line.
pub const MAX_TARGET_BYTES: usize = u16::MAX as usize - 1 - REQUEST_LINE_ROOM;
