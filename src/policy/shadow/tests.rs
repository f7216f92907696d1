//! Differences between two judgements, each kind once.

use std::sync::Arc;

use super::*;
use crate::policy::identity::CallerKeys;

fn identity(user: &str, acting_for: Option<&str>, tenant: Option<&str>) -> Arc<Identity> {
    let text = |text: &str| HeaderText::new(text).unwrap();
    Arc::new(Identity {
        method: AuthMethod::Internal,
        user: text(user),
        acting_for: acting_for.map(text),
        tenant: tenant.map(text),
        client: None,
        scopes: Vec::new(),
        permissions: Vec::new(),
        roles: Vec::new(),
        tier: None,
        issuer: None,
        key_id: None,
        keys: CallerKeys::default(),
        headers: Vec::new(),
    })
}

#[test]
fn differences_are_told_apart() {
    let (ada, bob) = (identity("ada", None, None), identity("bob", None, None));
    let as_ada = identity("system", Some("ada"), None);
    let (acme, other) = (
        identity("ada", None, Some("acme")),
        identity("ada", None, Some("other")),
    );
    let no = Some(Code::InvalidToken);
    for (enforced, shadow, difference) in [
        ((None, Some(&ada)), (None, Some(&ada)), "same"),
        ((None, Some(&ada)), (None, Some(&bob)), "other_identity"),
        // What upstreams are told of is what counts, and a caller without tenant contradicts none.
        ((None, Some(&as_ada)), (None, Some(&ada)), "same"),
        ((None, Some(&as_ada)), (None, Some(&acme)), "same"),
        ((None, Some(&acme)), (None, Some(&other)), "other_identity"),
        ((None, None), (None, None), "same"),
        ((None, None), (None, Some(&ada)), "other_identity"),
        ((None, Some(&ada)), (no, None), "would_deny"),
        // Proven, and refused by what the route requires.
        (
            (None, Some(&ada)),
            (Some(Code::PermissionDenied), Some(&ada)),
            "would_deny",
        ),
        ((no, None), (None, Some(&ada)), "would_allow"),
        ((no, None), (Some(Code::Unauthorized), None), "same"),
    ] {
        let told = Difference::between(
            (enforced.0, enforced.1.map(|identity| &**identity)),
            (shadow.0, shadow.1.map(|identity| &**identity)),
        );
        assert_eq!(told.name(), difference, "{enforced:?} {shadow:?}");
    }
}
