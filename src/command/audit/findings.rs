//! The findings: one table of names, severities, what each says and how it is mended. `docs/audit.md` has the whys.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::command) enum Severity {
    /// A door is open.
    High,
    /// A wall is thin.
    Medium,
    /// A habit to mend.
    Low,
}

impl Severity {
    /// The name in the output.
    pub(in crate::command) const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// From one table: the findings, and what is said of each.
macro_rules! findings {
    ($($finding:ident $severity:ident $name:literal: $says:literal; $mend:literal.)*) => {
        /// A kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::command) enum Finding {
            $($finding,)*
        }

        impl Finding {
            /// Every kind.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$finding),*];

            /// Its name, which does not change.
            pub(in crate::command) const fn name(self) -> &'static str {
                match self {
                    $(Self::$finding => $name,)*
                }
            }

            /// How bad it is.
            pub(in crate::command) const fn severity(self) -> Severity {
                match self {
                    $(Self::$finding => Severity::$severity,)*
                }
            }

            /// What is so.
            pub(in crate::command) const fn says(self) -> &'static str {
                match self {
                    $(Self::$finding => $says,)*
                }
            }

            /// What to do.
            pub(in crate::command) const fn mend(self) -> &'static str {
                match self {
                    $(Self::$finding => $mend,)*
                }
            }
        }
    };
}

findings! {
    TrustsEveryone High "trusts-everyone": "anybody may say where a request comes from";
        "name your load balancers' networks in trusted_proxies".
    TrustsPublicNetwork Medium "trusts-public-network": "a network of the internet may say where a request comes from";
        "narrow trusted_proxies to the addresses of your own proxies".
    IdentityFromStrangers Medium "identity-from-strangers": "the header that tells who calls is not written, and a client's own passes";
        "name it in [identity], or take X-User-ID and X-Tenant-ID off with remove_headers".
    SecretFromEverywhere High "secret-from-everywhere": "the internal secret is believed from every address";
        "set internal.allowed_from to the networks of your own services".
    SecretFromPublicNetwork Medium "secret-from-public-network": "the internal secret is believed from networks of the internet";
        "narrow internal.allowed_from to private networks".
    SecretShort Medium "secret-short": "an internal secret has fewer than 32 bytes";
        "make one with `openssl rand -hex 32`".
    SecretInFile Medium "secret-in-file": "a secret stands in the config file itself";
        "write ${env:NAME} or ${file:PATH} in its place".
    SecretsUnrotated Low "secret-single": "there is one internal secret, so that it cannot be changed without an outage";
        "add the next one to internal.keys, move callers, then remove the old one".
    AdminExposed Medium "admin-exposed": "the admin port listens beyond this machine";
        "bind admin.address to loopback, or keep the port inside by a network policy".
    PlainListener Medium "plain-listener": "a listener takes requests in the clear from anywhere";
        "add [[listeners.certificates]], or name the load balancer that ends TLS in trusted_proxies".
    HeadTimeoutLong Medium "head-timeout-long": "a client may take more than a minute over a request head";
        "set header_timeout to 10s".
    AddressConnectionsUnbounded Low "address-connections-unbounded": "one address may take every connection of a listener";
        "set max_connections_per_address".
    NoDrainDelay Low "no-drain-delay": "after SIGTERM the port closes at once";
        "set server.drain_delay to what your load balancer needs to notice, 5s say".
    NoAudience High "no-audience": "an issuer's tokens for any service are taken";
        "set audiences to the name that this service has there".
    SecretWithoutAudience Medium "secret-without-audience": "tokens that a shared secret signed for any service are taken";
        "set audiences, once the tokens name this service".
    NoIssuerName Medium "no-issuer-name": "tokens without `iss` are taken";
        "set issuer to the token's `iss`".
    AnyTokenType Medium "any-token-type": "an issuer's tokens of any kind are taken";
        "set required_claims, type = \"access\" say, or use an issuer that types its tokens".
    SymmetricTokens Medium "symmetric-tokens": "tokens are signed with a secret that is shared";
        "move to RS256, ES256 or EdDSA with a JWKS; docs/migration.md has the way".
    TokensLiveForever Low "tokens-live-long": "a token may live as long as its issuer likes";
        "set max_token_lifetime to what you expect, 1h say".
    WideLeeway Medium "wide-leeway": "more than five minutes of clock skew are forgiven";
        "set leeway to 30s and mend the clocks".
    StaleKeys Medium "stale-keys": "keys serve for more than a week while their issuer is away";
        "set max_stale to 24h".
    KeysInTheClear High "keys-in-the-clear": "signing keys are fetched in the clear over a network that is not yours";
        "use https:// for jwks_url".
    QueryTokens Medium "query-tokens": "tokens are taken from the query";
        "use websocket_protocol or a cookie for browsers".
    CookieForeignOrigins Medium "cookie-foreign-origins": "foreign origins may use cookie tokens";
        "keep origins to sites that are as trusted as this one".
    ValidatorInTheClear High "validator-in-the-clear": "credentials are sent in the clear to a validator that is not near";
        "use https:// for it".
    KeysWithoutPrefix Medium "keys-without-prefix": "API keys have no prefix";
        "set api_keys.prefixes and make new keys with `gateway key new --prefix`".
    KeyWithoutExpiry Low "key-without-expiry": "an API key never expires";
        "set expires".
    KeyExpired Low "key-expired": "an API key has expired";
        "remove its entry".
    EverythingGranted Medium "everything-granted": "a caller that is no person is granted every permission";
        "name the permissions that it needs".
    GuessingUnlimited Medium "guessing-unlimited": "wrong API keys and secrets are not counted";
        "add [auth_failures] with rate = \"30/min\"".
    OpenToAll High "open-to-all": "a route lets everybody in at every path";
        "give the route an auth, or narrow its paths".
    OpenUnlimited Medium "open-unlimited": "a route lets everybody in, without a limit";
        "name a limit by = \"ip\" in its limits".
    OpenFallback Low "open-fallback": "a route lets callers without a credential in";
        "drop `none` from its chain, unless it is meant".
    NothingRequired Low "nothing-required": "any token of its issuers opens a route";
        "set require: scopes_any, permissions_any, roles_any or claims".
    NoLimit Low "no-limit": "a route has no limit";
        "name one in its limits, or in [defaults]".
    NoAddressLimit Medium "no-address-limit": "no limit stands before authentication";
        "add a limit with by = \"ip\" to [defaults]".
    BodyUnbounded Low "body-unbounded": "a route takes bodies of any length";
        "set max_body".
    EncodedSlash Medium "encoded-slash": "%2F is part of a segment on a route";
        "make sure that the upstream reads it so too, or switch allow_encoded_slash off".
    NotLogged Low "not-logged": "a route that needs a credential writes no access line";
        "set access_log = true".
    UpstreamInTheClear Medium "upstream-in-the-clear": "requests go in the clear to an upstream that is not near";
        "use https:// in urls".
    IdleShadow Low "idle-shadow": "a shadow is the mode that is enforced";
        "remove it".
    OverrideInForce Low "override-in-force": "a mode is in force that the file does not have";
        "write it into the file and `gateway mode --reset`, or take it back".
    JwtSwitchedOff Medium "jwt-switched-off": "server.use_jwt_auth is false";
        "switch it on again once tokens work".
    FallbackForbidden Medium "fallback-forbidden": "when tokens are switched off, nobody would pass a route";
        "give [internal] the permissions, scopes or roles that the route requires".
    FallbackOneBucket Medium "fallback-one-bucket": "when tokens are switched off, all callers of a route would share one bucket of a limit";
        "count by user or ip there, or give tier `internal` its own rate".
    StoreInTheClear Medium "store-in-the-clear": "the shared store is spoken to in the clear over a network that is not yours";
        "use rediss:// in redis.url".
    CollectorInTheClear Medium "collector-in-the-clear": "spans are sent in the clear to a collector that is not near";
        "use https:// in telemetry.otlp".
    ModesUnsigned Medium "modes-unsigned": "routes' modes are shared through the store without a key of their own";
        "set redis.record_key to 32 random bytes".
    RevocationServesOn Low "revocation-serves-on": "while the store is away, what was last known of revocations serves";
        "set revocation.on_store_error = \"deny\" where a revoked token must never pass".
    AnswersUnshared Low "answers-unshared": "each gateway asks the auth service for itself, though they share a store";
        "set redis.record_key to 32 random bytes".
    LimitsOfOneProcess Low "limits-of-one-process": "a limit is counted by each gateway alone, though they share a store";
        "set store = \"redis\" on it".
    AnyOrigin Low "any-origin": "pages of every origin may read answers";
        "name the origins in cors".
    WideOriginWithCredentials Medium "wide-origin-with-credentials": "pages of every subdomain may use credentials";
        "name the origins instead of a wildcard".
}

#[cfg(test)]
mod tests {
    use super::Finding;

    #[test]
    fn the_document_has_every_finding_with_its_severity_and_no_other() {
        let document = include_str!("../../../docs/audit.md");
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
        for finding in Finding::ALL {
            let (name, severity) = (finding.name(), finding.severity().name());
            let start = format!("| `{name}` | {severity} | {} |", finding.says());
            let row = rows.iter().find(|row| row.starts_with(&start));
            assert!(
                row.is_some_and(|row| row.ends_with(&format!("| {} |", finding.mend()))),
                "docs/audit.md: {start}"
            );
        }
        assert_eq!(rows.len(), Finding::ALL.len());
    }
}
