//! What the fuzz targets do with their bytes, and `tests/it/malformed.rs` with bytes that it changes by itself: judge them, and hold
//! what must be true of every judgement, whatever came.

mod config;
mod readers;
mod token;
mod whole;

pub use config::config;
pub use readers::{credential, forwarded, head, path, proxy};
pub use token::{World, jwks, token};
pub use whole::judge;
