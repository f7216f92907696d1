//! Anything at all as a token.

#![no_main]

#[path = "../judged.rs"]
#[allow(dead_code)]
mod judged;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judged::token(bytes));
