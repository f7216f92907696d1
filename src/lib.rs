//! Gateway: an authenticating reverse proxy. This is the map of the crate.
//!
//! ```text
//! command            args → command → exit code
//!   ├─ demo          the demo's world and script; knows nothing of the rest
//!   ├─ admin         health, metrics, status
//!   ├─ proxy         the path of one request, from connection to connection
//!   │    └─ runtime  what outlives a config: keys, counters, connections
//!   │         ├─ protocol  HTTP/1.1 on sockets, both sides of it
//!   │         ├─ observe   reads verdicts: metrics, log lines
//!   │         └─ compile   Config → Policy; the only place that knows both
//!   │              ├─ policy   PURE: facts, routes, credentials, the judge
//!   │              └─ config   what the operator wrote
//! ```
//!
//! Imports go down only; `tests/tidy.rs` holds it.

pub mod admin;
pub mod command;
pub mod compile;
pub mod config;
pub mod demo;
pub mod observe;
pub mod policy;
pub mod protocol;
pub mod proxy;
pub mod runtime;
