//! Gateway: an authenticating reverse proxy.

pub mod config;
pub mod observe;
pub mod policy;
