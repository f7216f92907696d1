//! Names of endpoints, resolved on the control runtime and again whenever their TTL has ended, so that requests never wait for
//! DNS and an address that is gone is left.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Between look-ups at least, whatever the TTL.
const SHORTEST: Duration = Duration::from_secs(1);

/// Between look-ups at most: names of the hosts file have no TTL, and the file may change.
const LONGEST: Duration = Duration::from_secs(300);

/// After a look-up failed; doubled each time, up to `LONGEST_RETRY`.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The addresses of a name.
#[derive(Debug, Default)]
pub struct Addresses {
    known: ArcSwapOption<Vec<IpAddr>>,
    turn: AtomicUsize,
}

impl Addresses {
    /// All that are known, each connection beginning with another; `None`: not resolved yet.
    #[must_use]
    pub fn in_turn(&self) -> Option<Vec<IpAddr>> {
        let mut known = self.known.load().as_ref()?.to_vec();
        let first = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(known.len())?;
        known.rotate_left(first);
        Some(known)
    }

    /// Whether connections to this address are still to be used.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.known.load().as_ref().is_none_or(|known| known.contains(&address))
    }

    fn publish(&self, addresses: Vec<IpAddr>) -> bool {
        let changed = self.known.load().as_ref().is_none_or(|known| **known != addresses);
        if changed {
            self.known.store(Some(Arc::new(addresses)));
        }
        changed
    }
}

/// Who is asked for names.
#[derive(Clone)]
pub(in crate::runtime) struct Resolver(Option<TokioResolver>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Resolver").field(&self.0.is_some()).finish()
    }
}

impl Resolver {
    /// Asks these servers; none: those of the system, with its search domains and its hosts file. A system that has none
    /// leaves names to getaddrinfo(3), at each connection.
    #[must_use]
    pub(in crate::runtime) fn new(servers: &[SocketAddr]) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio().ok()
        } else {
            let servers = servers.iter().map(|server| {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                config
                    .connections
                    .iter_mut()
                    .for_each(|connection| connection.port = server.port());
                config
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            Some(TokioResolver::builder_with_config(
                config,
                TokioRuntimeProvider::default(),
            ))
        };
        Self(builder.and_then(|mut builder| {
            // This module is the cache.
            builder.options_mut().cache_size = 0;
            builder.build().ok()
        }))
    }

    /// Keeps `addresses` to what `name` stands for, until nobody needs them any more. What was known stays when a look-up fails.
    pub(in crate::runtime) async fn keep(self, name: String, addresses: Weak<Addresses>) {
        let Some(resolver) = self.0 else { return };
        let mut retry = FIRST_RETRY;
        loop {
            let answer = resolver.lookup_ip(name.as_str()).await;
            let Some(addresses) = addresses.upgrade() else { return };
            let pause = match answer {
                Ok(answer) => {
                    retry = FIRST_RETRY;
                    // Sorted: servers rotate their answers, which is no change.
                    let mut found: Vec<IpAddr> = answer.iter().collect();
                    found.sort_unstable();
                    if !found.is_empty() && addresses.publish(found) {
                        tracing::debug!(name = %name, "upstream resolved");
                    }
                    let ttl = answer.valid_until().saturating_duration_since(Instant::now());
                    ttl.clamp(SHORTEST, LONGEST)
                }
                Err(error) => {
                    tracing::warn!(name = %name, error = %error, "upstream name not resolved");
                    let pause = retry;
                    retry = (2 * retry).min(LONGEST_RETRY);
                    pause
                }
            };
            drop(addresses);
            tokio::time::sleep(pause).await;
        }
    }
}
