//! Who is refused: one case for each way to be wrong about who one is or what one may, each wrong in that way only.

use std::io;

use serde_json::{Value, json};

use super::Wallet;
use super::case::{Case, refused};
use super::expect::{Expect, Is, is};
use crate::demo::client::Request;
use crate::demo::tokens::{self, BOB, EVE, LIFETIME, Signature, now, with};
use crate::demo::world::{KEY_PREFIX, SILENT_ISSUER, World};

/// All of them.
///
/// # Errors
/// A token could not be signed.
pub(super) fn cases(world: &World, wallet: &Wallet) -> io::Result<Vec<Case>> {
    let mut cases = credentials(wallet);
    cases.extend(bad_tokens(world)?);
    cases.extend(chains(wallet));
    cases.extend(rights(world, wallet)?);
    Ok(cases)
}

fn credentials(wallet: &Wallet) -> Vec<Case> {
    let wrong_key = format!("{KEY_PREFIX}wrong");
    let challenge = |scheme| Expect::Header("WWW-Authenticate", Is::Containing(scheme));
    vec![
        refused(
            "no-credential",
            "nothing presented: 401, with a challenge (RFC 6750)",
            Request::get("/account/me"),
            (401, "unauthorized"),
            vec![challenge("Bearer realm=\"gateway\"")],
        )
        .on_tour(),
        refused(
            "no-api-key",
            "the same where only API keys open",
            Request::get("/jobs/7"),
            (401, "unauthorized"),
            vec![challenge("ApiKey realm=\"gateway\"")],
        ),
        refused(
            "method-not-taken",
            "an API key opens no route that takes tokens only",
            Request::get("/account/me").header("X-API-Key", &wallet.api_key),
            (401, "unauthorized"),
            vec![],
        ),
        refused(
            "api-key-invalid",
            "a key that nobody knows",
            Request::get("/jobs/7").header("X-API-Key", &wrong_key),
            (401, "invalid_api_key"),
            vec![],
        )
        .on_tour(),
        refused(
            "api-key-foreign-prefix",
            "a key that does not look like one of ours",
            Request::get("/jobs/7").header("X-API-Key", "sk-somebody-elses"),
            (401, "invalid_api_key"),
            vec![],
        ),
        refused(
            "api-key-alias",
            "X_Api_Key is no credential, whatever some server behind makes of it",
            Request::get("/jobs/7").header("X_Api_Key", &wallet.api_key),
            (401, "unauthorized"),
            vec![],
        ),
        refused(
            "internal-invalid",
            "a wrong shared secret",
            Request::get("/internal/sync").header("X-Internal-Auth", "guess"),
            (401, "invalid_internal_auth"),
            vec![],
        ),
    ]
}

fn bad_tokens(world: &World) -> io::Result<Vec<Case>> {
    let issuer = &world.identity_provider.issuer;
    let good = tokens::claims(issuer, &BOB);
    let sign = |claims: Value, signature| world.identity_provider.signer.sign(&claims, signature);
    let expired = with(with(good.clone(), "iat", now() - LIFETIME), "exp", now() - 3600);
    let signed = sign(good.clone(), Signature::Rs256)?;
    let changed = |name, value: Value| sign(with(good.clone(), name, value), Signature::Rs256);
    let invalid = [
        (
            "jwt-wrong-audience",
            "a token for another service",
            changed("aud", json!("other-api"))?,
        ),
        (
            "jwt-wrong-issuer",
            "a token of an issuer nobody here knows",
            changed("iss", json!("https://evil.example"))?,
        ),
        (
            "jwt-refresh-token",
            "a token that is no access token",
            changed("type", json!("refresh"))?,
        ),
        (
            "jwt-not-yet-valid",
            "a token that starts in an hour",
            changed("nbf", json!(now() + 3600))?,
        ),
        (
            "jwt-exp-as-text",
            "a token whose exp is no number",
            changed("exp", json!("9999999999"))?,
        ),
        (
            "jwt-names-system",
            "a token whose user is the one that services are",
            changed("sub", json!("system"))?,
        ),
        (
            "jwt-unknown-key",
            "a token under a kid that the issuer never published",
            sign(good.clone(), Signature::Stranger)?,
        ),
        (
            "jwt-stolen-kid",
            "a token under the issuer's kid, but not by its key",
            sign(good.clone(), Signature::StrangerAsProvider)?,
        ),
        (
            "jwt-alg-none",
            "a token that nobody signed (alg none)",
            sign(good.clone(), Signature::None)?,
        ),
        (
            "jwt-hs256-with-public-key",
            "a token signed with the public key as a secret",
            sign(good.clone(), Signature::HmacOfPublicKey)?,
        ),
        (
            "jwt-tampered",
            "a token whose user was changed after signing",
            tokens::tampered(&signed, &good, "ada"),
        ),
        ("jwt-garbage", "what is no token at all", "not.a.token".to_owned()),
    ];
    let challenge = || {
        vec![Expect::Header(
            "WWW-Authenticate",
            Is::Containing("error=\"invalid_token\""),
        )]
    };
    let me = |token: &str| Request::get("/account/me").bearer(token);
    let first = refused(
        "jwt-expired",
        "a token that ended an hour ago",
        me(&sign(expired, Signature::Rs256)?),
        (401, "token_expired"),
        challenge(),
    );
    let silent = refused(
        "jwt-silent-issuer",
        "a token of an issuer whose keys cannot be had: 503, for nobody can tell",
        me(&changed("iss", json!(SILENT_ISSUER))?),
        (503, "auth_unavailable"),
        vec![],
    );
    let rest = invalid
        .into_iter()
        .map(|(name, shows, token)| refused(name, shows, me(&token), (401, "invalid_token"), challenge()));
    Ok(std::iter::once(first.on_tour()).chain(rest).chain([silent]).collect())
}

/// A credential that was presented and failed ends the chain, whatever good one stands beside it.
fn chains(wallet: &Wallet) -> Vec<Case> {
    let chat = || Request::get("/api/v1/chat/messages");
    let Wallet {
        api_key,
        internal_secret,
        ..
    } = wallet;
    vec![
        refused(
            "bad-jwt-good-api-key",
            "a bad token is not made good by an API key",
            chat().bearer("not.a.token").header("X-API-Key", api_key),
            (401, "invalid_token"),
            vec![],
        )
        .on_tour(),
        refused(
            "bad-jwt-good-internal",
            "… nor by the shared secret",
            chat().bearer("not.a.token").header("X-Internal-Auth", internal_secret),
            (401, "invalid_token"),
            vec![],
        ),
        refused(
            "bad-api-key-good-internal",
            "a bad API key is not made good by the shared secret",
            chat()
                .header("X-API-Key", &format!("{KEY_PREFIX}wrong"))
                .header("X-Internal-Auth", internal_secret),
            (401, "invalid_api_key"),
            vec![],
        ),
        refused(
            "empty-api-key",
            "an empty credential was presented, and failed",
            chat()
                .header("X-API-Key", "")
                .header("X-Internal-Auth", internal_secret),
            (401, "invalid_api_key"),
            vec![],
        ),
    ]
}

/// Known, but not allowed.
fn rights(world: &World, wallet: &Wallet) -> io::Result<Vec<Case>> {
    let eve = world.token(&EVE, Signature::Rs256)?;
    Ok(vec![
        refused(
            "insufficient-scope",
            "a good token without the scope: 403, and which one is missing",
            Request::get("/reports/2026").bearer(&wallet.bob),
            (403, "insufficient_scope"),
            vec![
                Expect::Header("WWW-Authenticate", Is::Containing("error=\"insufficient_scope\"")),
                Expect::Header("WWW-Authenticate", Is::Containing("reports:read")),
            ],
        )
        .on_tour(),
        refused(
            "permission-denied",
            "a viewer may not write; the rule is for POST",
            Request::new("POST", "/api/v1/chat/messages").bearer(&eve).body("{}"),
            (403, "permission_denied"),
            vec![],
        ),
        Case::exchange(
            "viewer-may-read",
            "… but may read",
            Request::get("/api/v1/chat/messages").bearer(&eve),
            vec![Expect::Status(200), Expect::Upstream("X-User-ID", is("eve"))],
        ),
        refused(
            "role-missing",
            "a user is no admin",
            Request::get("/admin/users").bearer(&wallet.bob),
            (403, "permission_denied"),
            vec![],
        ),
    ])
}
