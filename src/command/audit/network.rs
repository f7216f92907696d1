//! Listeners, the admin port, upstreams and CORS: who is near, and what travels readable.

use super::{Audit, Finding, is_clear_and_far, is_everywhere, is_private};
use crate::config::model::Endpoint;

/// A client that takes longer over a head is slow on purpose.
const LONGEST_HEAD_S: u64 = 60;

impl Audit<'_> {
    pub(super) fn network(&mut self) {
        let config = self.config;
        for listener in &config.listeners {
            let key = |key: &str| format!("listeners.{}.{key}", listener.name);
            let proxies = &listener.trusted_proxies;
            let everyone = proxies.iter().any(is_everywhere);
            self.note_if(everyone, Finding::TrustsEveryone, key("trusted_proxies"));
            let public = !everyone && proxies.iter().any(|network| !is_private(network));
            self.note_if(public, Finding::TrustsPublicNetwork, key("trusted_proxies"));
            let plain = listener.certificates.is_empty() && proxies.is_empty() && !listener.address.ip().is_loopback();
            self.note_if(plain, Finding::PlainListener, key("address"));
            let slow = listener.header_timeout.as_secs() > LONGEST_HEAD_S;
            self.note_if(slow, Finding::HeadTimeoutLong, key("header_timeout"));
            let unbounded = listener.max_connections_per_address == 0 && proxies.is_empty();
            self.note_if(
                unbounded,
                Finding::AddressConnectionsUnbounded,
                key("max_connections_per_address"),
            );
        }
        let exposed = !config.admin.address.ip().is_loopback();
        self.note_if(exposed, Finding::AdminExposed, "admin.address");
        let proxied = config
            .listeners
            .iter()
            .any(|listener| !listener.trusted_proxies.is_empty());
        let at_once = proxied && config.server.drain_delay.is_zero();
        self.note_if(at_once, Finding::NoDrainDelay, "server.drain_delay");
        let collector = config
            .telemetry
            .as_ref()
            .and_then(|telemetry| telemetry.otlp.as_deref());
        let far = collector.is_some_and(is_clear_and_far);
        self.note_if(far, Finding::CollectorInTheClear, "telemetry.otlp");
        for (name, upstream) in &config.upstreams {
            let far = upstream.urls.iter().any(|url| match url {
                Endpoint::Http { host, .. } => is_clear_and_far(&format!("http://{host}")),
                Endpoint::Https { .. } | Endpoint::Unix(_) => false,
            });
            self.note_if(far, Finding::UpstreamInTheClear, format!("upstreams.{name}.urls"));
        }
        for (name, cors) in &config.cors {
            let key = format!("cors.{name}.origins");
            let any = cors.origins.iter().any(|origin| origin == "*");
            self.note_if(any, Finding::AnyOrigin, key.as_str());
            let wide = cors.credentials && cors.origins.iter().any(|origin| origin.contains('*'));
            self.note_if(wide, Finding::WideOriginWithCredentials, key);
        }
    }
}
