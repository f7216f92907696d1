//! The gateway from outside: the built binary, between clients and upstreams that the tests hold in their hands.
//!
//! One binary for all subjects; [`harness`] has the builders that tests are written with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
// A test binary has no other crate that could reach its items.
#![allow(unreachable_pub)]

mod answers;
mod browser;
mod commands;
mod corpus;
mod cors;
mod drain;
mod explain;
mod faults;
#[allow(dead_code, unused_imports)] // subjects use it as they need it
mod harness;
mod http2;
mod http2_upstream;
mod keys;
mod limits;
mod logs_and_metrics;
mod migration;
mod mode;
mod nginx;
mod paths;
mod proxy_protocol;
mod reload;
mod request_headers;
mod response_headers;
mod revocation;
mod shared_limits;
mod store;
mod streams;
mod takeover;
mod tls;
mod tokens;
mod upgrades;
mod upstream_tls;
