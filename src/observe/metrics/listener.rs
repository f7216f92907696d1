//! What one listener counts. Depends on `prometheus` only.

use prometheus::{IntCounter, IntGauge};

use super::families::Families;

/// The metrics of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    /// Open connections.
    pub connections: IntGauge,
    /// Requests whose forwarding headers nobody trusted.
    pub untrusted_forwarding: IntCounter,
    /// By place in [`Refused::ALL`].
    refused: [IntCounter; Refused::ALL.len()],
}

/// Why a connection was closed before a request could come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `max_connections` were open.
    MaxConnections,
    /// `max_connections_per_address` were open from there.
    MaxConnectionsPerAddress,
    /// It is no TLS, no certificate was shown that had to be, or it took too long.
    TlsHandshake,
    /// A trusted proxy said nothing, or nonsense, of whom it speaks for.
    ProxyProtocol,
}

impl Refused {
    /// Every reason, in the order of declaration.
    const ALL: [Self; 4] = [
        Self::MaxConnections,
        Self::MaxConnectionsPerAddress,
        Self::TlsHandshake,
        Self::ProxyProtocol,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::MaxConnectionsPerAddress => "max_connections_per_address",
            Self::TlsHandshake => "tls_handshake",
            Self::ProxyProtocol => "proxy_protocol",
        }
    }
}

impl ListenerMetrics {
    pub(super) fn new(families: &Families, name: &str) -> Self {
        Self {
            connections: families.connections.with_label_values(&[name]),
            untrusted_forwarding: families.untrusted_forwarding.with_label_values(&[name]),
            refused: Refused::ALL.map(|why| families.connections_refused.with_label_values(&[name, why.name()])),
        }
    }

    /// Counts a connection that was closed before a request could come.
    pub fn count_refused(&self, why: Refused) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.inc();
        }
    }
}
