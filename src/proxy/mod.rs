//! Sockets and bytes: what happens between a client's connection and an upstream's.

pub mod head_guard;
