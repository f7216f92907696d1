//! Anything at all as a whole request.

#![no_main]

#[path = "../judged/mod.rs"]
#[allow(dead_code, unused_imports)]
mod judged;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judged::judge(bytes));
