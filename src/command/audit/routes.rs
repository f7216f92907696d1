//! Routes: who is let in, what is required, and what a rollback would do to their callers.

use super::{Audit, Finding};
use crate::compile::DecidedBy;
use crate::config::model::{AuthMethod, Limit, LimitBy, Route, TierRate};
use crate::policy::identity::Identity;

impl Audit<'_> {
    pub(super) fn routes(&mut self) {
        let (config, compiled) = (self.config, self.compiled);
        for (route, mode) in config.routes.iter().zip(&compiled.modes) {
            let key = |key: &str| format!("routes.{}.{key}", route.name);
            let chain = &route.auth.chain;
            let open = chain == &[AuthMethod::None];
            let everywhere = route.hosts.is_empty() && route.paths.iter().any(|path| path == "/*");
            self.note_if(open && everywhere, Finding::OpenToAll, key("auth"));
            self.note_if(open && route.limits.is_empty(), Finding::OpenUnlimited, key("limits"));
            self.note_if(
                !open && chain.contains(&AuthMethod::None),
                Finding::OpenFallback,
                key("auth"),
            );
            let requires = compiled
                .policy
                .routes
                .iter()
                .any(|own| *own.name == *route.name && !own.requirements.is_empty());
            let anybody = chain.contains(&AuthMethod::Jwt) && !requires;
            self.note_if(anybody, Finding::NothingRequired, key("require"));
            self.note_if(!open && route.limits.is_empty(), Finding::NoLimit, key("limits"));
            self.note_if(route.max_body == 0, Finding::BodyUnbounded, key("max_body"));
            self.note_if(
                route.allow_encoded_slash,
                Finding::EncodedSlash,
                key("allow_encoded_slash"),
            );
            self.note_if(!open && !route.access_log, Finding::NotLogged, key("access_log"));
            let idle = route.shadow.as_ref().is_some_and(|shadow| *shadow == route.auth);
            self.note_if(idle, Finding::IdleShadow, key("shadow"));
            let overridden = matches!(mode.by, DecidedBy::Overrides | DecidedBy::Shared);
            self.note_if(overridden, Finding::OverrideInForce, key("auth"));
        }
        let by_address = |route: &Route| {
            let mut limits = route.limits.iter().filter_map(|name| config.limits.get(name));
            limits.any(|limit| limit.by == LimitBy::Ip)
        };
        let proven = |route: &&Route| route.auth.chain.contains(&AuthMethod::Jwt);
        let bare = config.routes.iter().filter(proven).any(|route| !by_address(route));
        self.note_if(bare, Finding::NoAddressLimit, "limits");
        self.note_if(
            !config.server.use_jwt_auth,
            Finding::JwtSwitchedOff,
            "server.use_jwt_auth",
        );
    }

    /// A service that reads a header for which the gateway has no name reads what strangers write.
    pub(super) fn identity(&mut self) {
        let config = self.config;
        for (name, usual, key) in [
            (&config.identity.user_header, "X-User-ID", "identity.user_header"),
            (&config.identity.tenant_header, "X-Tenant-ID", "identity.tenant_header"),
        ] {
            let removes = |route: &Route| route.remove_headers.iter().any(|name| name.eq_ignore_ascii_case(usual));
            let passes = name.is_empty() && !config.routes.iter().all(removes);
            self.note_if(passes, Finding::IdentityFromStrangers, key);
        }
    }

    /// What `use_jwt_auth = false` or `gateway mode ROUTE internal` would do: routes that take tokens are asked for the secret.
    pub(super) fn fallbacks(&mut self) {
        let (config, compiled) = (self.config, self.compiled);
        let (Some(internal), Some(callers)) = (&config.internal, &compiled.policy.internal) else {
            return;
        };
        let both = config.routes.iter().zip(&compiled.policy.routes);
        for (route, own) in both.filter(|(route, _)| takes_tokens(route)) {
            let identity: &Identity = &callers.identity;
            let refused = |requirement: &crate::policy::authz::Requirement| {
                requirement
                    .judge(Some(identity), None, |_| Some(String::new()))
                    .is_err()
            };
            let forbidden = own.requirements.iter().any(|(_, requirement)| refused(requirement));
            self.note_if(
                forbidden,
                Finding::FallbackForbidden,
                format!("routes.{}.require", route.name),
            );
            let one_bucket = |limit: &Limit| {
                let apart = match limit.by {
                    LimitBy::User | LimitBy::Ip | LimitBy::Route | LimitBy::Global | LimitBy::Header(_) => true,
                    LimitBy::Credential => false,
                    LimitBy::Tenant => internal.tenant.is_empty(),
                };
                !apart && limit.tiers.get(&internal.tier) != Some(&TierRate::Unlimited)
            };
            let limits = route.limits.iter().filter_map(|name| config.limits.get(name));
            let shared = limits.into_iter().any(one_bucket);
            self.note_if(
                shared,
                Finding::FallbackOneBucket,
                format!("routes.{}.limits", route.name),
            );
        }
    }
}

fn takes_tokens(route: &Route) -> bool {
    route.auth.chain.contains(&AuthMethod::Jwt) || route.auth_in_file.chain.contains(&AuthMethod::Jwt)
}
