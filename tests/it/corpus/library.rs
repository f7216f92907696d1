//! A case judged by the library's own functions, with the keys as evidence.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gateway::compile::{Compiled, KeySource, compile};
use gateway::config::{Environment, Problems, load_text};
use gateway::demo::tokens::now;
use gateway::policy::address::Origin;
use gateway::policy::authn::jwt::{KeySet, parse, verify};
use gateway::policy::credential::Credential;
use gateway::policy::denial::Denial;
use gateway::policy::facts::{Facts, Now};
use gateway::policy::identity::{AuthMethod, HeaderText};
use gateway::policy::judge::{self, Case as Opened, Evidence, Refused};
use gateway::policy::limit::DryMeter;
use gateway::policy::preflight::preflight;
use gateway::policy::token::TokenFault;
use gateway::policy::verdict::Effect;
use gateway::protocol::read_head_within;
use gateway::proxy::handler::refused_head;

use super::Verdict;
use super::case::{Case, Corpus};

/// `max_header_bytes` by default.
const MAX_HEAD: usize = 32 * 1024;

/// Judges a case.
pub fn judge(config: &str, corpus: &Corpus, case: &Case) -> Verdict {
    let loaded = load_text(Path::new("corpus.toml"), config, &Environment::default()).unwrap();
    let mut problems = Problems::new(loaded.sources.clone());
    let compiled = compile(&loaded.config, &mut problems).unwrap_or_else(|| panic!("{}", problems.into_errors()));
    judged(&compiled, corpus, case).unwrap_or_else(|denial| refused(&denial))
}

fn judged(compiled: &Compiled, corpus: &Corpus, case: &Case) -> Result<Verdict, Denial> {
    let head: Bytes = case.head("gateway.test").into();
    let (request, ..) = read_head_within(&head, MAX_HEAD, MAX_HEAD).map_err(refused_head)?;
    let policy = &compiled.policy;
    let origin: Origin = policy.listeners[0].0.origin(case.peer(), request.headers());
    let time = Now {
        unix_s: now(),
        monotonic_ns: 3_600_000_000_000,
    };
    let facts = Facts::read(request.method(), request.uri(), request.headers(), origin, 0, time)?;
    match preflight(policy, &facts) {
        Ok(None) => {}
        Ok(Some(preflight)) => {
            return Ok(Verdict {
                route: Some(preflight.route.name.to_string()),
                ..Verdict::default()
            });
        }
        Err(early) => return Ok(refused_early(&early)),
    }
    let meter = DryMeter::default();
    let opened = match judge::open(policy, &facts, &meter) {
        Ok(opened) => opened,
        Err(early) => return Ok(refused_early(&early)),
    };
    let route = Some(opened.route.name.to_string());
    let evidence = gather(compiled, &opened, corpus);
    let verdict = judge::decide(policy, &facts, opened, &evidence, &meter).alone(&meter, time.monotonic_ns);
    let identity = verdict.identity.as_deref();
    let text = |text: &HeaderText| text.as_str().to_owned();
    let base = match &verdict.effect {
        Effect::Permit(_) => Verdict::default(),
        Effect::Denial(denial) => refused(denial),
    };
    Ok(Verdict {
        route,
        method: Some(verdict.method)
            .filter(|method| *method != AuthMethod::None)
            .map(|method| method.name().to_owned()),
        user: identity.map(|identity| text(&identity.user)),
        acting_for: identity.and_then(|identity| identity.acting_for.as_ref()).map(text),
        ..base
    })
}

fn refused_early(early: &Refused<'_>) -> Verdict {
    Verdict {
        route: early.route.map(|route| route.name.to_string()),
        ..refused(&early.denial)
    }
}

fn refused(denial: &Denial) -> Verdict {
    Verdict {
        status: denial.code.status().as_u16().into(),
        error: Some(denial.code.name().to_owned()),
        detail: Some(denial.detail.to_owned()),
        ..Verdict::default()
    }
}

fn gather(compiled: &Compiled, opened: &Opened<'_, '_>, corpus: &Corpus) -> Evidence {
    let Credential::Token(token) = opened.presented.credential else {
        return Evidence::None;
    };
    let verified = parse(token).and_then(|parsed| {
        let place = compiled.policy.issuer_of(opened.route, parsed.issuer());
        let spec = &compiled.issuers[place.ok_or(TokenFault::UnknownIssuer)?];
        let published = match &spec.source {
            KeySource::None => Some(KeySet::default()),
            KeySource::File(path) if path.ends_with("keys.json") => Some(corpus.keys()),
            KeySource::Url(url) if *url == corpus.jwks_url() => Some(corpus.keys()),
            KeySource::File(_) | KeySource::Url(_) | KeySource::Discovery(_) => None,
        };
        if published.is_none() && !parsed.algorithm().is_symmetric() {
            return Err(TokenFault::KeysUnavailable);
        }
        let keys = spec.with_secrets(published.unwrap_or_default());
        verify(&parsed, &spec.rules, &keys)
    });
    Evidence::Token(verified.map(Arc::new))
}
