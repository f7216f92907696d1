//! Answers of auth services, as they are written in the wild, and what must not pass for one.

use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

fn path(text: &str) -> ClaimPath {
    ClaimPath::new(text)
}

fn claims(user: &str) -> IdentityClaims {
    let one = |name: &str| vec![path(name)];
    IdentityClaims {
        user: one(user),
        tenant: one("tenant_id"),
        client: Vec::new(),
        scopes: one("scopes"),
        permissions: one("permissions"),
        roles: one("roles"),
        tier: one("tier"),
    }
}

fn key_rules() -> KeyRules {
    KeyRules {
        fields: claims("user_id"),
        valid: Some(path("valid")),
        key_id: Some(path("key_id")),
        expires: Some(path("expires_at")),
        reserved_user: Some("system".to_owned()),
        roles: Arc::default(),
        headers: Arc::default(),
    }
}

fn read(rules: &KeyRules, answer: Value) -> Result<KnownKey, NoProof<KeyFault>> {
    let Value::Object(members) = answer else {
        panic!("an object")
    };
    rules.read(&members, 7, NOW)
}

#[test]
fn a_valid_key_is_its_owner_with_all_that_was_said() {
    let known = read(
        &key_rules(),
        json!({
            "valid": true, "user_id": 42, "tenant_id": "acme", "scopes": ["model:read"], "permissions": "a b",
            "roles": "user", "tier": "pro", "key_id": "k-1", "expires_at": "2030-01-01T00:00:00Z",
        }),
    )
    .unwrap();
    let identity = &known.identity;
    assert_eq!((identity.method, identity.user.as_str()), (AuthMethod::ApiKey, "42"));
    assert_eq!(
        (identity.key_id.as_deref(), identity.tier.as_deref()),
        (Some("k-1"), Some("pro"))
    );
    assert_eq!((identity.scopes.len(), identity.permissions.len()), (1, 2));
    assert_eq!(known.expires, Some(1_893_456_000));
    assert!(known.judge_time(1_893_455_999).is_ok() && known.judge_time(1_893_456_000).is_err());
}

#[test]
fn fields_are_paths_and_what_is_absent_or_null_is_not_there() {
    let mut rules = key_rules();
    rules.fields.user = vec![path("data.owner.id")];
    rules.expires = Some(path("data.until"));
    let known = read(
        &rules,
        json!({ "data": { "owner": { "id": "ada" }, "until": null }, "tier": null }),
    )
    .unwrap();
    assert_eq!((known.identity.user.as_str(), known.expires), ("ada", None));
}

#[test]
fn a_key_that_does_not_hold_is_refused() {
    for (answer, fault) in [
        (json!({ "valid": false }), KeyFault::Unknown),
        (json!({ "valid": false, "user_id": "ada" }), KeyFault::Unknown),
        (json!({ "user_id": "ada", "expires_at": NOW }), KeyFault::Expired),
        (
            json!({ "user_id": "ada", "expires_at": "2020-01-01T00:00:00" }),
            KeyFault::Expired,
        ),
        (json!({ "user_id": "system" }), KeyFault::Unfit),
        (json!({ "user_id": "a\r\nX-User-ID: root" }), KeyFault::Unfit),
        (json!({ "user_id": ["ada"] }), KeyFault::Unfit),
        (json!({ "user_id": "ada", "scopes": [1] }), KeyFault::Unfit),
        (json!({ "user_id": "ada", "roles": "a,b" }), KeyFault::Unfit),
    ] {
        assert_eq!(
            read(&key_rules(), answer.clone()),
            Err(NoProof::Refused(fault)),
            "{answer}"
        );
    }
}

#[test]
fn an_answer_that_is_none_is_the_auth_services_failure_and_never_a_key() {
    for answer in [
        json!({}),
        json!({ "valid": true }),
        json!({ "user_id": null }),
        json!({ "user_id": "" }),
        json!({ "valid": "true", "user_id": "ada" }),
        json!({ "valid": 1, "user_id": "ada" }),
        json!({ "valid": null, "user_id": "ada" }),
        json!({ "user_id": "ada", "expires_at": "soon" }),
        json!({ "user_id": "ada", "expires_at": true }),
        json!({ "user_id": "ada", "expires_at": -1 }),
    ] {
        let said = read(&key_rules(), answer.clone());
        assert!(matches!(said, Err(NoProof::Nonsense(_))), "{answer}: {said:?}");
    }
}

#[test]
fn an_expiry_is_seconds_or_iso_8601_and_utc_without_an_offset() {
    for (value, seconds) in [
        (json!(1_893_456_000), 1_893_456_000),
        (json!(1_893_456_000.9), 1_893_456_000),
        (json!("2030-01-01T00:00:00Z"), 1_893_456_000),
        (json!("2030-01-01T02:00:00+02:00"), 1_893_456_000),
        (json!("2030-01-01T00:00:00"), 1_893_456_000),
        (json!("2030-01-01 00:00:00.123456"), 1_893_456_000),
        (json!("2030-01-01"), 1_893_456_000),
    ] {
        assert_eq!(moment(&value), Some(seconds), "{value}");
    }
}

fn token_rules(introspection: bool) -> RemoteTokenRules {
    let issuer = TokenRules {
        name: Arc::from("remote"),
        issuer: Some("https://auth.test".to_owned()),
        audiences: vec!["api".to_owned()],
        algorithms: Vec::new(),
        required_claims: Vec::new(),
        leeway_s: 30,
        max_lifetime_s: 0,
        user_prefix: "r:".to_owned(),
        claims: claims("sub"),
        reserved_user: Some("system".to_owned()),
        roles: Arc::default(),
        headers: Arc::default(),
        kept_claims: vec![path("org")],
        remote: true,
    };
    RemoteTokenRules::new(Arc::new(issuer), introspection)
}

fn read_token(rules: &RemoteTokenRules, answer: Value) -> Result<VerifiedToken, NoProof<TokenFault>> {
    let Value::Object(members) = answer else {
        panic!("an object")
    };
    rules.read(&members, 7, NOW)
}

#[test]
fn an_active_token_is_its_subject_until_its_exp() {
    let answer = json!({ "active": true, "sub": "ada", "aud": "api", "exp": NOW + 60, "org": "acme" });
    let token = read_token(&token_rules(true), answer).unwrap();
    assert_eq!((token.identity.user.as_str(), token.exp), ("r:ada", NOW + 60));
    assert_eq!(token.kept_claim(&path("org")), Some(&json!("acme")));
    assert_eq!(RemoteTokenRules::ends(&token), Some(NOW + 60));
    let endless = read_token(&token_rules(false), json!({ "sub": "ada", "aud": ["api"] })).unwrap();
    assert_eq!(RemoteTokenRules::ends(&endless), None);
    assert!(endless.judge_time(NOW).is_ok());
}

#[test]
fn a_token_that_does_not_hold_is_refused_and_a_broken_answer_is_nobodys_word() {
    let refused = |fault| Err(NoProof::Refused(fault));
    for (answer, expected) in [
        (json!({ "active": false }), refused(TokenFault::NotActive)),
        (
            json!({ "active": true, "sub": "ada", "aud": "other" }),
            refused(TokenFault::WrongAudience),
        ),
        (
            json!({ "active": true, "sub": "ada", "aud": "api", "exp": NOW }),
            refused(TokenFault::Expired),
        ),
        (
            json!({ "active": true, "sub": "ada", "aud": "api", "exp": "x" }),
            refused(TokenFault::BadExpiry),
        ),
        (
            json!({ "active": true, "sub": "ada", "aud": "api", "iss": "https://other.test" }),
            refused(TokenFault::UnknownIssuer),
        ),
    ] {
        let said = read_token(&token_rules(true), answer.clone()).map(|token| token.exp);
        assert_eq!(said, expected, "{answer}");
    }
    for answer in [
        json!({ "sub": "ada" }),
        json!({ "active": "true", "sub": "ada" }),
        json!({ "active": true }),
    ] {
        let said = read_token(&token_rules(true), answer.clone());
        assert!(matches!(said, Err(NoProof::Nonsense(_))), "{answer}: {said:?}");
    }
}

#[test]
fn the_members_that_are_looked_at_are_enough_to_read_an_answer_by() {
    let rules = key_rules();
    let answer = json!({ "valid": true, "user_id": "ada", "api_key": "the key itself", "tenant_id": "acme" });
    let Value::Object(members) = answer else {
        panic!("an object")
    };
    let kept: Members = rules
        .members()
        .into_iter()
        .filter_map(|path| Some((path.as_str().to_owned(), path.find(&members)?.clone())))
        .collect();
    assert!(!kept.contains_key("api_key"));
    assert_eq!(rules.read(&kept, 7, NOW), rules.read(&members, 7, NOW));
}
