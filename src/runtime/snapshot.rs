//! A config in force: the policy, and handles to all that outlives it. Swapped whole, never changed.

use std::sync::Arc;

use crate::compile::{Compiled, ModeInForce, ServerTls, ValidatorSpec};
use crate::config::model::Config;
use crate::config::secret::Secret;
use crate::observe::metrics::{CanaryMetrics, Metrics, RouteMetrics};
use crate::observe::sampler::Sampler;
use crate::policy::Policy;
use crate::policy::authn::remote::{KeyRules, RemoteTokenRules, Rules};

use super::clock::Clock;
use super::keys::Keys;
use super::meters::{Counters, Meters};
use super::revocation::Revocations;
use super::shadow::Shadow;
use super::store::Store;
use super::telemetry::Telemetry;
use super::upstream::{Upstream, name_of};
use super::validator::Validator;
use super::validator::guesses::Guesses;

/// Auth services that judge what the gateway cannot.
#[derive(Debug, Default)]
pub struct Validators {
    /// Who knows further API keys.
    pub api_keys: Option<Arc<Validator<KeyRules>>>,
    /// By place in the policy's issuers: who judges its tokens instead of keys. Empty where no issuer has one.
    pub tokens: Vec<Option<Arc<Validator<RemoteTokenRules>>>>,
    /// Look-ups that `[auth_failures]` counts; the process's.
    pub guesses: Arc<Guesses>,
}

impl Validators {
    fn new(
        api_keys: Option<ValidatorSpec<KeyRules>>,
        tokens: Vec<Option<ValidatorSpec<RemoteTokenRules>>>,
        previous: Option<&Self>,
        metrics: &Metrics,
        clock: Clock,
    ) -> Self {
        let known_keys = || previous.and_then(|old| old.api_keys.as_ref());
        let known_tokens = || previous.into_iter().flat_map(|old| &old.tokens).flatten();
        let tokens: Vec<_> = tokens
            .into_iter()
            .map(|spec| spec.map(|spec| carried_over(spec, known_tokens(), metrics, clock)))
            .collect();
        Self {
            api_keys: api_keys.map(|spec| carried_over(spec, known_keys(), metrics, clock)),
            tokens: if tokens.iter().any(Option::is_some) {
                tokens
            } else {
                Vec::new()
            },
            guesses: previous.map(|old| old.guesses.clone()).unwrap_or_default(),
        }
    }

    /// Answers are shared through this store, under this key; without either with nobody.
    fn share(&self, store: Option<&Arc<Store>>, record_key: Option<&Secret>) {
        let place = store.zip(record_key);
        if let Some(validator) = &self.api_keys {
            validator.share(place);
        }
        for validator in self.tokens.iter().flatten() {
            validator.share(place);
        }
    }
}

fn carried_over<'v, R: Rules>(
    spec: ValidatorSpec<R>,
    known: impl IntoIterator<Item = &'v Arc<Validator<R>>>,
    metrics: &Metrics,
    clock: Clock,
) -> Arc<Validator<R>> {
    let same = known.into_iter().find(|validator| *validator.spec() == spec);
    same.cloned().unwrap_or_else(|| {
        let metrics = metrics.dependency(&spec.name);
        Arc::new(Validator::new(spec, metrics, clock))
    })
}

/// A config in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the configs that were in force since the start, from 1.
    pub generation: u64,
    /// As written.
    pub config: Config,
    /// What decides.
    pub policy: Policy,
    /// By place in the policy's issuers.
    pub keys: Vec<Arc<Keys>>,
    /// Auth services that are asked.
    pub validators: Validators,
    /// By limit id.
    pub meters: Meters,
    /// By place in the routes' `upstream`.
    pub upstreams: Vec<Arc<Upstream>>,
    /// What gateways share.
    pub store: Option<Arc<Store>>,
    /// What is revoked.
    pub revocations: Option<Arc<Revocations>>,
    /// Where spans go; `None`: none are made.
    pub telemetry: Option<Arc<Telemetry>>,
    /// By route.
    pub routes: Vec<RouteMetrics>,
    /// By route: how many lines credentials that do not hold may leave.
    pub failed_credentials: Vec<Sampler>,
    /// By route: the mode in force, and why.
    pub modes: Vec<ModeInForce>,
    /// By route; `None`: it has none.
    pub shadows: Vec<Option<Shadow>>,
    /// By route; `None`: it has none.
    pub canaries: Vec<Option<CanaryMetrics>>,
    /// By listener; `None`: it is plain.
    pub tls: Vec<Option<ServerTls>>,
}

impl Snapshot {
    /// Puts a compiled config in force. What `previous` has with the same spec is carried over as it is; what changed is new;
    /// what is gone goes with the last request that uses it.
    #[must_use]
    pub fn new(
        config: Config,
        compiled: Compiled,
        previous: Option<&Self>,
        metrics: &Metrics,
        clock: Clock,
        workers: usize,
    ) -> Self {
        let mut issuers = compiled.issuers;
        let remote = issuers.iter_mut().map(|spec| spec.remote.take()).collect();
        let known = previous.map(|old| &old.validators);
        let validators = Validators::new(compiled.api_keys, remote, known, metrics, clock);
        let keys = issuers.into_iter().map(|spec| {
            let same = previous.and_then(|old| old.keys.iter().find(|keys| *keys.spec() == spec));
            same.cloned().unwrap_or_else(|| {
                let metrics = metrics.issuer(&spec.rules.name);
                let named_alike = |old: &&Arc<Keys>| old.spec().rules.name == spec.rules.name;
                let old = previous.and_then(|old| old.keys.iter().find(named_alike)).cloned();
                Arc::new(Keys::new(spec, metrics, clock, old.as_deref()))
            })
        });
        let store = compiled.store.map(|spec| {
            let same = previous.and_then(|old| old.store.as_ref().filter(|store| *store.spec() == spec));
            same.cloned()
                .unwrap_or_else(|| Arc::new(Store::start(spec, metrics.store())))
        });
        let meters = compiled.limits.into_iter().map(|spec| {
            let same = previous.and_then(|old| {
                old.meters
                    .0
                    .iter()
                    .find(|counters| counters.are_of(&spec, store.as_ref()))
            });
            same.cloned().unwrap_or_else(|| {
                let metrics = metrics.limit(&spec.name);
                Arc::new(Counters::new(spec, metrics, store.as_ref()))
            })
        });
        let upstreams = compiled.upstreams.into_iter().map(|spec| {
            let same = previous.and_then(|old| old.upstreams.iter().find(|upstream| upstream.spec == spec));
            same.cloned().unwrap_or_else(|| {
                let endpoints: Vec<String> = spec.config.urls.iter().map(name_of).collect();
                let metrics = metrics.upstream(&spec.name, &endpoints);
                Arc::new(Upstream::new(spec, metrics, workers))
            })
        });
        // Carried over for its session tickets: they are honoured by what issued them.
        let tls = compiled.tls.into_iter().enumerate().map(|(place, tls)| {
            let old = previous.and_then(|old| old.tls.get(place));
            old.filter(|old| **old == tls).cloned().unwrap_or(tls)
        });
        let revocations = compiled.revocation.zip(store.clone()).map(|(spec, store)| {
            let known = previous.and_then(|old| old.revocations.as_ref());
            let same = known.filter(|revocations| revocations.are_of(&spec, &store));
            same.cloned().unwrap_or_else(|| {
                let metrics = metrics.revocations();
                Arc::new(Revocations::start(spec, store, metrics, clock, known.map(|old| &**old)))
            })
        });
        let telemetry = compiled.telemetry.map(|spec| {
            let old = previous.and_then(|old| old.telemetry.as_ref());
            let same = old.filter(|old| *old.spec() == spec).cloned();
            same.unwrap_or_else(|| {
                let metrics = metrics.telemetry.clone();
                Arc::new(Telemetry::new(spec, workers, metrics, old.map(|old| &**old)))
            })
        });
        let record_key = config.redis.as_ref().and_then(|redis| redis.record_key.as_ref());
        validators.share(store.as_ref(), record_key);
        let routes = compiled.policy.routes.iter().map(|route| {
            let written = config
                .routes
                .get(route.index)
                .map_or(&[][..], |written| &written.methods);
            let methods: Vec<http::Method> = written.iter().filter_map(|name| name.parse().ok()).collect();
            if route.reads_tokens {
                metrics.llm_route(&route.name, &methods)
            } else {
                metrics.route(&route.name, &methods)
            }
        });
        let routes: Vec<RouteMetrics> = routes.collect();
        let shadows = compiled.policy.routes.iter().map(|route| {
            let shadow = route.shadow.as_ref()?;
            let metrics = metrics.shadow(&route.name, &route.enforced_methods(), &shadow.chain);
            Some(Shadow::new(metrics))
        });
        let canaries = compiled.policy.routes.iter().map(|route| {
            let canary = route.canary.as_ref();
            canary.map(|_| metrics.canary(&route.name))
        });
        Self {
            generation: previous.map_or(1, |old| old.generation + 1),
            keys: keys.collect(),
            validators,
            meters: Meters(meters.collect()),
            upstreams: upstreams.collect(),
            tls: tls.collect(),
            store,
            revocations,
            failed_credentials: routes.iter().map(|_| Sampler::default()).collect(),
            telemetry,
            routes,
            shadows: shadows.collect(),
            canaries: canaries.collect(),
            modes: compiled.modes,
            policy: compiled.policy,
            config,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
