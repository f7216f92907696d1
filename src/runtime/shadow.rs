//! The shadows of routes at work: asked with what is at hand, compared, counted, and where they disagree, told.

use std::convert::Infallible;

use crate::observe::metrics::ShadowMetrics;
use crate::observe::sampler::Sampler;
use crate::policy::denial::Code;
use crate::policy::facts::Facts;
use crate::policy::identity::{AuthMethod, HeaderText, Identity};
use crate::policy::judge::{Case, Evidence};
use crate::policy::shadow::{self, Difference, Shadowed};
use crate::policy::verdict::{Effect, Verdict};

use super::evidence;
use super::snapshot::Snapshot;

/// What a route's shadow came to so far.
#[derive(Debug)]
pub struct Shadow {
    /// Its counters.
    pub metrics: ShadowMetrics,
    disagreements: Sampler,
}

/// How one request was judged by a shadow, for the access line.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// What lies between.
    pub difference: Difference,
    /// Why the shadow would refuse.
    pub refused: Option<Code>,
}

impl Shadow {
    /// Nothing was told yet.
    #[must_use]
    pub fn new(metrics: ShadowMetrics) -> Self {
        Self {
            metrics,
            disagreements: Sampler::default(),
        }
    }

    /// Counts what a shadow said beside what is enforced, and tells of a disagreement.
    pub fn compare(&self, facts: &Facts<'_>, request_id: &str, verdict: &Verdict<'_>, shadowed: &Shadowed) -> Compared {
        let (enforced, refused) = (verdict.identity.as_deref(), shadowed.code());
        let difference = Difference::between(
            (verdict.unfit, enforced),
            (refused, shadowed.opinion.identity.as_deref()),
        );
        self.metrics.count(verdict.unfit, refused, difference);
        if shadowed.hidden.is_some() {
            self.metrics.hidden.inc();
        }
        if difference != Difference::Same
            && let Some(untold) = self.disagreements.admit()
        {
            tell(facts, request_id, verdict, shadowed, difference, untold);
        }
        Compared { difference, refused }
    }
}

/// Asks the shadow of the case's route, which costs no look beyond this process; `None`: there is none.
#[must_use]
pub fn ask(snapshot: &Snapshot, facts: &Facts<'_>, case: &Case<'_, '_>, known: &Evidence) -> Option<Shadowed> {
    let at_hand = |asked: &Case<'_, '_>| Ok::<_, Infallible>(evidence::at_hand(snapshot, facts, asked));
    match shadow::judge(&snapshot.policy, facts, case, known, at_hand) {
        Ok(shadowed) => shadowed,
        Err(never) => match never {},
    }
}

/// One flat line, so that "who would break?" is one query.
fn tell(
    facts: &Facts<'_>,
    request_id: &str,
    verdict: &Verdict<'_>,
    shadowed: &Shadowed,
    difference: Difference,
    untold: u64,
) {
    let text = |text: Option<&HeaderText>| text.map(|text| text.as_str().to_owned()).unwrap_or_default();
    let enforced = verdict.identity.as_deref();
    let shadow = shadowed.opinion.identity.as_deref();
    let known = enforced.or(shadow);
    let enforced_detail = match &verdict.effect {
        Effect::Denial(denial) => denial.detail,
        Effect::Permit(_) => "",
    };
    let client = |identity: &Identity| identity.client.as_ref().map(|client| client.as_str().to_owned());
    tracing::warn!(
        route = %verdict.route,
        request_id,
        difference = difference.name(),
        enforced = verdict.unfit.map_or("allow", Code::name),
        enforced_detail,
        enforced_method = verdict.method.name(),
        shadow = shadowed.code().map_or("allow", Code::name),
        shadow_detail = shadowed.opinion.denial.as_ref().map_or("", |denial| denial.detail),
        shadow_method = shadowed.opinion.method.name(),
        hidden_method = shadowed.hidden.map_or("", AuthMethod::name),
        user_id = text(enforced.map(Identity::subject)),
        shadow_user_id = text(shadowed.user()),
        client_id = known.and_then(client).unwrap_or_default(),
        key_id = known.and_then(|identity| identity.key_id.as_deref()).unwrap_or_default(),
        client_ip = %facts.origin.client,
        untold,
        "shadow disagrees"
    );
}
