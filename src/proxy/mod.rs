//! The path of a request: from a client's connection to the upstream's, and back.
//!
//! [`worker`] accepts, [`arrival`] finds out what a connection speaks, [`connection`] serves one client with what `protocol` reads
//! and writes, [`handler`] is the path of one request: [`judging`] it (facts, case, evidence, verdict),
//! then [`forward`] or [`respond`], and [`record`] at its end. May import everything but `command`, `demo` and `admin`.

pub mod arrival;
pub mod connection;
pub mod dial;
pub mod dial_http2;
mod expiry;
pub mod failure;
pub mod forward;
pub mod grpc;
pub mod handler;
mod holds;
pub mod http2;
pub mod judging;
pub mod listener;
mod location;
pub mod peeked;
pub mod probe;
pub mod record;
pub mod reply;
pub mod respond;
pub mod response_body;
pub mod send;
pub mod send_http2;
mod standstill;
pub mod tunnel;
pub mod upgrade;
pub mod worker;
