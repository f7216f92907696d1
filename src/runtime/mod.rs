//! What lives longer than a snapshot of the config: keys, counters, connections, and the swap itself.
//!
//! May import `observe`, `compile`, `policy`, `config` and `protocol`.

pub mod clock;
pub mod evidence;
pub mod gateway;
pub mod http2_connections;
pub mod http_client;
pub mod keys;
pub mod log;
pub mod meters;
mod pause;
pub mod published;
mod record_key;
mod refresh;
pub mod reload;
pub mod request_body;
pub mod revocation;
pub mod shadow;
pub mod shared_modes;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod validator;
