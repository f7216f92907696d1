//! The gateway from outside: the built binary, between clients and upstreams that the tests hold in their hands.
//!
//! One binary for all subjects; [`harness`] has the builders that tests are written with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
// A test binary has no other crate that could reach its items.
#![allow(unreachable_pub)]

mod answers;
mod api_keys;
mod audit;
mod browser;
mod chains;
mod chaos;
mod commands;
mod corpus;
mod cors;
mod drain;
mod everyday_load;
mod exactness;
mod expiry;
mod explain;
mod faults;
mod first_look;
#[allow(dead_code, unused_imports)] // subjects use it as they need it
mod harness;
mod http2;
mod http2_upstream;
mod http2_upstream_stalls;
mod keys;
mod limits;
mod logs_and_metrics;
mod malformed;
mod managed_keys;
mod migration;
mod migration_guide;
mod migration_pairs;
mod migration_under_load;
mod mode;
mod nginx;
mod paths;
mod peers;
mod proxy_protocol;
mod refused_tokens;
mod reload;
mod remote_tokens;
mod request_headers;
mod resource;
mod response_headers;
mod revocation;
mod shared_answers;
mod shared_limits;
mod shared_modes;
mod stalls;
mod status_page;
mod store;
mod streams;
mod takeover;
mod telemetry;
mod tls;
mod token_places;
mod tokens;
mod upgrades;
mod upstream_tls;
mod upstreams;
