//! Issuers, API keys and internal callers: what proves who calls.

use super::{Audit, Finding, is_clear_and_far, is_everywhere, is_private};
use crate::config::model::{Algorithm, Issuer, TokenSource};
use crate::config::secret::Secret;

/// What `openssl rand -hex 16` has at least.
const SHORT_SECRET: usize = 32;

const WIDEST_LEEWAY_S: u64 = 300;
const LONGEST_STALE_S: u64 = 7 * 86_400;

impl Audit<'_> {
    pub(super) fn issuers(&mut self) {
        let config = self.config;
        for (name, issuer) in &config.issuers {
            let key = |key: &str| format!("issuers.{name}.{key}");
            // Whoever judges the tokens of a `remote` issuer is the issuer.
            let own = issuer.remote.is_none();
            // An audience keeps a service from using a token that was given to it elsewhere. Who holds a shared secret signs its own.
            let unaddressed = own && issuer.audiences.is_empty();
            let finding = if is_secret_only(issuer) {
                Finding::SecretWithoutAudience
            } else {
                Finding::NoAudience
            };
            self.note_if(unaddressed, finding, key("audiences"));
            self.note_if(own && issuer.issuer.is_none(), Finding::NoIssuerName, key("issuer"));
            let untyped = own && issuer.required_claims.is_empty();
            self.note_if(untyped, Finding::AnyTokenType, key("required_claims"));
            self.note_if(own && is_symmetric(issuer), Finding::SymmetricTokens, key("secrets"));
            let endless = own && issuer.max_token_lifetime.is_zero();
            self.note_if(endless, Finding::TokensLiveForever, key("max_token_lifetime"));
            self.note_if(
                issuer.leeway.as_secs() > WIDEST_LEEWAY_S,
                Finding::WideLeeway,
                key("leeway"),
            );
            self.note_if(
                issuer.max_stale.as_secs() > LONGEST_STALE_S,
                Finding::StaleKeys,
                key("max_stale"),
            );
            let far = issuer.jwks_url.as_deref().is_some_and(is_clear_and_far);
            self.note_if(far, Finding::KeysInTheClear, key("jwks_url"));
            let in_query = |source: &TokenSource| matches!(source, TokenSource::Query(_));
            let routes = config.routes.iter().flat_map(|route| &route.token_sources);
            let queried = issuer.token_sources.iter().chain(routes).any(in_query);
            self.note_if(queried, Finding::QueryTokens, key("token_sources"));
            self.note_if(
                !issuer.origins.is_empty(),
                Finding::CookieForeignOrigins,
                key("origins"),
            );
            let validator = issuer
                .remote
                .as_ref()
                .is_some_and(|remote| is_clear_and_far(&remote.url));
            self.note_if(validator, Finding::ValidatorInTheClear, key("remote"));
            let written = self.is_written(&issuer.secrets);
            self.note_if(written, Finding::SecretInFile, key("secrets"));
        }
    }

    pub(super) fn api_keys(&mut self) {
        let config = self.config;
        let guessed = config.api_keys.is_some() || config.internal.is_some();
        let unlimited = guessed && config.auth_failures.is_none();
        self.note_if(unlimited, Finding::GuessingUnlimited, "auth_failures");
        let Some(api_keys) = &config.api_keys else { return };
        self.note_if(
            api_keys.prefixes.is_empty(),
            Finding::KeysWithoutPrefix,
            "api_keys.prefixes",
        );
        for entry in &api_keys.keys {
            let key = |key: &str| format!("api_keys.keys.{}.{key}", entry.id);
            self.note_if(entry.expires.is_none(), Finding::KeyWithoutExpiry, key("expires"));
            let expired = entry.expires.is_some_and(|expires| expires <= self.now_s);
            self.note_if(expired, Finding::KeyExpired, key("expires"));
            let all = self.grants_all(&entry.permissions, &entry.roles);
            self.note_if(all, Finding::EverythingGranted, key("permissions"));
        }
        if let Some(remote) = &api_keys.remote {
            self.note_if(
                is_clear_and_far(&remote.url),
                Finding::ValidatorInTheClear,
                "api_keys.remote.url",
            );
        }
    }

    pub(super) fn internal(&mut self) {
        let Some(internal) = &self.config.internal else { return };
        let networks = &internal.allowed_from;
        let everywhere = networks.iter().any(is_everywhere);
        self.note_if(everywhere, Finding::SecretFromEverywhere, "internal.allowed_from");
        let public = !everywhere && networks.iter().any(|network| !is_private(network));
        self.note_if(public, Finding::SecretFromPublicNetwork, "internal.allowed_from");
        let short = internal.keys.iter().any(|key| key.expose().len() < SHORT_SECRET);
        self.note_if(short, Finding::SecretShort, "internal.keys");
        self.note_if(internal.keys.len() == 1, Finding::SecretsUnrotated, "internal.keys");
        self.note_if(self.is_written(&internal.keys), Finding::SecretInFile, "internal.keys");
        let all = self.grants_all(&internal.permissions, &internal.roles);
        self.note_if(all, Finding::EverythingGranted, "internal.permissions");
    }

    /// Whether the files hold such a secret as it is.
    fn is_written(&self, secrets: &[Secret]) -> bool {
        let written = |secret: &Secret| self.texts.iter().any(|text| text.contains(secret.expose()));
        secrets.iter().any(written)
    }

    fn grants_all(&self, permissions: &[String], roles: &[String]) -> bool {
        let of_roles = roles.iter().filter_map(|role| self.config.roles.get(role)).flatten();
        permissions.iter().chain(of_roles).any(|permission| permission == "*")
    }
}

/// Without a key set, a file of one, or a place to find one.
fn is_secret_only(issuer: &Issuer) -> bool {
    let has_keys = issuer.jwks_url.is_some() || issuer.jwks_file.is_some() || issuer.discovery;
    !issuer.secrets.is_empty() && !has_keys
}

fn is_symmetric(issuer: &Issuer) -> bool {
    let symmetric = |algorithm: &Algorithm| matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    issuer.algorithms.iter().any(symmetric)
}
