//! The judgement, pure: no I/O, no clock, no logging, no `async`. Imports nothing else of the crate.

pub mod authn;
pub mod identity;
pub mod token;
