//! The authenticators, one file a method. Each accepts with an identity or rejects with a denial; whether its credential is there
//! at all was answered before, by [`super::credential`]. None does I/O.

pub mod api_key;
mod claims;
pub mod internal;
pub mod jwt;
pub mod remote;
pub mod unique_json;
