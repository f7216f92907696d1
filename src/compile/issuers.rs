//! Issuers: their rules, and where their keys come from.

use std::sync::Arc;

use crate::config::model::{self, ClaimRule as Written, Scalar};
use crate::policy::identity::ClaimPath;
use crate::policy::token::{Algorithm, ClaimRule, IdentityClaims, TokenRules};

use super::{IssuerSpec, KeySource, Shared, validators};

/// Every issuer, in the order of their names, and its rules alone.
pub(super) fn issuers(shared: &Shared<'_>) -> (Vec<IssuerSpec>, Vec<Arc<TokenRules>>) {
    let kept = claims_that_routes_ask_for(shared);
    let specs = shared.config.issuers.iter().map(|(name, issuer)| {
        let rules = Arc::new(rules(name, issuer, shared, &kept));
        IssuerSpec {
            source: source(issuer),
            secrets: issuer.secrets.clone(),
            refresh_interval: issuer.refresh_interval,
            max_stale: issuer.max_stale,
            request_timeout: issuer.request_timeout,
            remote: validators::of_tokens(issuer, &rules),
            ca: issuer.ca.clone(),
            rules,
        }
    });
    let specs: Vec<IssuerSpec> = specs.collect();
    let rules = specs.iter().map(|spec| spec.rules.clone()).collect();
    (specs, rules)
}

fn source(issuer: &model::Issuer) -> KeySource {
    match (&issuer.jwks_url, &issuer.jwks_file, &issuer.issuer) {
        (Some(url), _, _) => KeySource::Url(url.clone()),
        (None, Some(file), _) => KeySource::File(file.clone()),
        (None, None, Some(own)) if issuer.discovery => KeySource::Discovery(own.clone()),
        (None, None, _) => KeySource::None,
    }
}

fn rules(name: &str, issuer: &model::Issuer, shared: &Shared<'_>, kept: &[ClaimPath]) -> TokenRules {
    let required = issuer.required_claims.iter();
    TokenRules {
        name: Arc::from(name),
        issuer: issuer.issuer.clone(),
        audiences: issuer.audiences.clone(),
        algorithms: issuer.algorithms.iter().copied().map(algorithm).collect(),
        required_claims: required
            .map(|(path, rule)| (ClaimPath::new(path), claim_rule(rule)))
            .collect(),
        leeway_s: seconds(issuer.leeway),
        max_lifetime_s: seconds(issuer.max_token_lifetime),
        user_prefix: issuer.user_prefix.clone(),
        claims: identity_claims(&issuer.claims),
        reserved_user: shared.config.internal.as_ref().map(|internal| internal.user.clone()),
        roles: shared.roles.clone(),
        headers: shared.identity.clone(),
        kept_claims: kept.to_vec(),
        remote: issuer.remote.is_some(),
    }
}

fn claims_that_routes_ask_for(shared: &Shared<'_>) -> Vec<ClaimPath> {
    let requirements = shared
        .config
        .routes
        .iter()
        .flat_map(|route| std::iter::once(&route.require).chain(route.rules.iter().map(|rule| &rule.require)));
    let mut paths: Vec<ClaimPath> = requirements
        .flat_map(|require| require.claims.keys())
        .map(|path| ClaimPath::new(path))
        .collect();
    paths.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    paths.dedup();
    paths
}

fn identity_claims(names: &model::ClaimNames) -> IdentityClaims {
    let paths = |names: &[String]| names.iter().map(|name| ClaimPath::new(name)).collect();
    IdentityClaims {
        user: paths(&names.user),
        tenant: paths(&names.tenant),
        client: paths(&names.client),
        scopes: paths(&names.scopes),
        permissions: paths(&names.permissions),
        roles: paths(&names.roles),
        tier: paths(&names.tier),
    }
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// A rule as JSON values, which is what tokens hold.
pub(super) fn claim_rule(rule: &Written) -> ClaimRule {
    match rule {
        Written::Present => ClaimRule::Present,
        Written::OneOf(values) => ClaimRule::OneOf(values.iter().map(json).collect()),
    }
}

pub(super) fn json(scalar: &Scalar) -> serde_json::Value {
    match scalar {
        Scalar::String(text) => text.as_str().into(),
        Scalar::Integer(number) => (*number).into(),
        Scalar::Float(number) => (*number).into(),
        Scalar::Bool(truth) => (*truth).into(),
    }
}

const fn algorithm(algorithm: model::Algorithm) -> Algorithm {
    match algorithm {
        model::Algorithm::RS256 => Algorithm::RS256,
        model::Algorithm::RS384 => Algorithm::RS384,
        model::Algorithm::RS512 => Algorithm::RS512,
        model::Algorithm::PS256 => Algorithm::PS256,
        model::Algorithm::PS384 => Algorithm::PS384,
        model::Algorithm::PS512 => Algorithm::PS512,
        model::Algorithm::ES256 => Algorithm::ES256,
        model::Algorithm::ES384 => Algorithm::ES384,
        model::Algorithm::ES512 => Algorithm::ES512,
        model::Algorithm::EdDSA => Algorithm::EdDSA,
        model::Algorithm::HS256 => Algorithm::HS256,
        model::Algorithm::HS384 => Algorithm::HS384,
        model::Algorithm::HS512 => Algorithm::HS512,
    }
}
