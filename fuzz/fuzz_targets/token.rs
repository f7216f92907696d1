//! Anything at all as a token.

#![no_main]

#[path = "../judged/mod.rs"]
#[allow(dead_code, unused_imports)]
mod judged;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judged::token(bytes));
