//! All that the demo's gateway needs around it: the identity provider, the upstreams, an API key, an internal secret, and the
//! `gateway.toml` that names them. Depends on its neighbours in this room.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use aws_lc_rs::digest::{SHA256, digest};

use super::identity_provider::IdentityProvider;
use super::tokens::{self, AUDIENCE, Person, Signature};
use super::upstreams::Upstreams;
use super::upstreams::echo::hex;

/// The `iss` of an issuer whose keys cannot be fetched.
pub(super) const SILENT_ISSUER: &str = "https://silent.example";
/// What the demo's API keys begin with.
pub(super) const KEY_PREFIX: &str = "hok_demo_";

/// Everything but the gateway; all of it ends when this is dropped.
pub struct World {
    /// Who signs tokens.
    pub identity_provider: IdentityProvider,
    /// What is behind the gateway.
    pub upstreams: Upstreams,
    /// A good API key.
    pub api_key: String,
    /// A good internal secret.
    pub internal_secret: String,
}

/// What differs between the config that is started and the one that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    /// The gateway's address.
    pub public: SocketAddr,
    /// The operators' address.
    pub admin: SocketAddr,
    /// Whether requests are logged.
    pub access_log: bool,
}

impl Listeners {
    /// Loopback: this port for the gateway (0: any free one), any free one for operators.
    pub fn on_port(port: u16) -> Self {
        Self {
            public: (Ipv4Addr::LOCALHOST, port).into(),
            admin: (Ipv4Addr::LOCALHOST, 0).into(),
            access_log: false,
        }
    }
}

impl World {
    /// Starts the services and makes the secrets.
    ///
    /// # Errors
    /// No port or no randomness could be had.
    pub async fn start() -> io::Result<Self> {
        Ok(Self {
            identity_provider: IdentityProvider::start().await?,
            upstreams: Upstreams::start().await?,
            api_key: format!("{KEY_PREFIX}{}", tokens::random_text()?),
            internal_secret: tokens::random_text()?,
        })
    }

    /// The `gateway.toml`.
    ///
    /// # Errors
    /// The system does not say where a service listens.
    pub fn config(&self, listeners: &Listeners) -> io::Result<String> {
        let upstreams = &self.upstreams;
        let values = [
            ("listener", listeners.public.to_string()),
            ("admin", listeners.admin.to_string()),
            ("access_log", listeners.access_log.to_string()),
            ("issuer", self.identity_provider.issuer.clone()),
            ("admin_token", self.identity_provider.admin_token.clone()),
            ("silent_issuer", SILENT_ISSUER.to_owned()),
            ("audience", AUDIENCE.to_owned()),
            ("key_prefix", KEY_PREFIX.to_owned()),
            ("api_key_hash", hex(digest(&SHA256, self.api_key.as_bytes()).as_ref())),
            ("internal_secret", self.internal_secret.clone()),
            ("echo", upstreams.echo.address.to_string()),
            ("events", upstreams.events.address.to_string()),
            ("chat", upstreams.chat.address.to_string()),
            ("socket", upstreams.socket.address.to_string()),
            ("down", upstreams.down()?.to_string()),
        ];
        let template = include_str!("gateway.toml").to_owned();
        Ok(values.into_iter().fold(template, |text, (name, value)| {
            text.replace(&format!("{{{{{name}}}}}"), &value)
        }))
    }

    /// A token as the provider would give it to this person, under either of its keys.
    ///
    /// # Errors
    /// The signature could not be made.
    pub fn token(&self, person: &Person, signature: Signature) -> io::Result<String> {
        let claims = tokens::claims(&self.identity_provider.issuer, person);
        self.identity_provider.signer.sign(&claims, signature)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_config_is_toml_with_every_blank_filled_in() {
        let world = World::start().await.unwrap();
        let text = world.config(&Listeners::on_port(8080)).unwrap();
        assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
        assert!(
            !text.contains(&world.api_key),
            "only the hash of the key stands in the config"
        );
        let config: toml::Table = text.parse().unwrap();
        assert_eq!(config["listeners"][0]["address"].as_str(), Some("127.0.0.1:8080"));
        let hash = config["api_keys"]["keys"][0]["hash"].as_str().unwrap();
        assert_eq!(hash.len(), "sha256:".len() + 64);
    }

    #[tokio::test]
    async fn every_route_names_an_upstream_that_is_there() {
        let world = World::start().await.unwrap();
        let config: toml::Table = world.config(&Listeners::on_port(0)).unwrap().parse().unwrap();
        for route in config["routes"].as_array().unwrap() {
            let upstream = route["upstream"].as_str().unwrap();
            assert!(config["upstreams"].get(upstream).is_some(), "{upstream}");
        }
    }
}
