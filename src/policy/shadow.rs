//! The shadow of a route: a mode that judges every request too and is never obeyed. How its word differs from the enforced one is
//! the whole point of it. It counts nothing, and sets nothing on the request.

use super::Policy;
use super::credential::Credential;
use super::denial::Code;
use super::facts::Facts;
use super::identity::{AuthMethod, HeaderText, Identity};
use super::judge::{Case, Evidence};
use super::opinion::{Opinion, opine};

/// What the shadow says of a request.
#[derive(Debug)]
pub struct Shadowed {
    /// Its word.
    pub opinion: Opinion,
    /// The method further down its chain that would have accepted the caller, had not a credential before it failed.
    pub hidden: Option<AuthMethod>,
}

/// How two modes judge one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Difference {
    /// Both refuse, or both let the same caller in.
    Same,
    WouldDeny,
    WouldAllow,
    /// Both let the caller in, but as somebody else: sessions would move.
    OtherIdentity,
}

impl Difference {
    /// The name in labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::WouldDeny => "would_deny",
            Self::WouldAllow => "would_allow",
            Self::OtherIdentity => "other_identity",
        }
    }

    /// Between what is enforced and what the shadow says; each is refused by a code, or let in as somebody.
    #[must_use]
    pub fn between(
        (refused, enforced): (Option<Code>, Option<&Identity>),
        (would_refuse, shadow): (Option<Code>, Option<&Identity>),
    ) -> Self {
        match (refused, would_refuse) {
            (Some(_), Some(_)) => Self::Same,
            (None, Some(_)) => Self::WouldDeny,
            (Some(_), None) => Self::WouldAllow,
            (None, None) if same_caller(enforced, shadow) => Self::Same,
            (None, None) => Self::OtherIdentity,
        }
    }
}

/// Whether an upstream would be told of the same user, and of the same tenant where both name one.
fn same_caller(one: Option<&Identity>, other: Option<&Identity>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            let tenants = (&one.tenant, &other.tenant);
            let same_tenant = !matches!(tenants, (Some(one), Some(other)) if one != other);
            one.subject() == other.subject() && same_tenant
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Shadowed {
    /// The user that the shadow would let in, or that it proved and refused.
    #[must_use]
    pub fn user(&self) -> Option<&HeaderText> {
        self.opinion.identity.as_deref().map(Identity::subject)
    }

    /// The code by which it would refuse.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.opinion.denial.as_ref().map(|denial| denial.code)
    }
}

/// Asks the route's shadow about a case; `None`: the route has none. `known` is the evidence that the enforced judgement goes by,
/// which serves where both look at one credential; `at_hand` gives what is known of another without asking anybody.
///
/// # Errors
/// What `at_hand` says is missing.
pub fn judge<E>(
    policy: &Policy,
    facts: &Facts<'_>,
    case: &Case<'_, '_>,
    known: &Evidence,
    mut at_hand: impl FnMut(&Case<'_, '_>) -> Result<Evidence, E>,
) -> Result<Option<Shadowed>, E> {
    let Some(mode) = &case.route.shadow else {
        return Ok(None);
    };
    let mut ask = |chain: &[AuthMethod]| -> Result<(Opinion, bool), E> {
        let asked = match case.presented_to(policy, facts, chain) {
            Ok(presented) => case.of_shadow(mode, presented),
            Err(denial) => return Ok((Opinion::refusal(denial), false)),
        };
        let presented = match asked.presented.credential {
            Credential::Token(_) | Credential::ApiKey(_) | Credential::Internal(_) => true,
            Credential::Anonymous | Credential::Absent => false,
        };
        let shared = asked.presented == case.presented;
        let evidence = if shared { known.clone() } else { at_hand(&asked)? };
        Ok((opine(policy, facts, &asked, &evidence), presented))
    };
    let (opinion, presented) = ask(&mode.chain)?;
    let mut hidden = None;
    if presented && opinion.identity.is_none() {
        let after = mode
            .chain
            .iter()
            .skip_while(|method| **method != opinion.method)
            .skip(1);
        for method in after {
            let (further, presented) = ask(&[*method])?;
            if presented && further.denial.is_none() {
                hidden = Some(*method);
                break;
            }
        }
    }
    Ok(Some(Shadowed { opinion, hidden }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
