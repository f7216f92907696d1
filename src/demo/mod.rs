//! `gateway demo`: everything around a gateway, and a stranger who tries it.
//!
//! [`World`] starts an [`identity_provider`] and [`upstreams`] on free loopback ports and writes the `gateway.toml` for them;
//! [`banner()`] shows lines to paste; [`run_script`] runs them, and many more, over sockets. The gateway itself is known here by its two
//! addresses only, so that whoever has a gateway can be tried:
//!
//! 1. `World::start()`, 2. `world.config(&Listeners::on_port(0))` and a gateway started with it, 3. `run_script(gateway, admin, …)`.
//!
//! Speaks HTTP by itself ([`wire`]), sees every byte, and imports nothing of the crate outside of this room.

pub mod client;
pub mod identity_provider;
pub mod paint;
pub mod script;
pub mod serve;
pub mod tokens;
pub mod upstreams;
pub mod websocket;
pub mod wire;

mod banner;
mod world;

pub use banner::banner;
pub use paint::Paint;
pub use script::{Report, run_script};
pub use world::{Listeners, World};
