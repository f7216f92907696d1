//! What the operator wrote: `gateway.toml` as values ([`model`]), secrets kept out of sight ([`secret`]).
//!
//! Imports nothing of the crate.

pub mod model;
pub mod secret;
