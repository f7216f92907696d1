//! A table of tokens that must not pass, each sent to the built binary: hardening r20 and r21, class by class. Whatever can be signed
//! is signed by the issuer's own key over exactly what it is, so that nothing but the one thing is wrong.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD as BASE64};
use gateway::demo::tokens::now;
use serde_json::{Value, json};

use crate::harness::{Client, Gateway, Issuer, Key, Upstream, refused};

const SECRET: &str = "a secret of the config, 32 bytes long at least";
const PUBLISHED: &str = "a published secret is no secret at all";

/// What is wrong with it, and the token.
type Case = (String, String);

struct World {
    issuer: Issuer,
    rsa: Key,
    ec: Key,
    ed: Key,
    /// Somebody else, under the issuer's own key id.
    stranger: Key,
}

impl World {
    async fn new() -> Self {
        let issuer = Issuer::start().await;
        let (rsa, ec, ed) = (Key::rsa("rsa"), Key::ec("ec"), Key::ed("ed"));
        issuer.publish(&[&rsa, &ec, &ed, &Key::hmac("oct", PUBLISHED)]);
        let stranger = Key::ec("ec");
        Self {
            issuer,
            rsa,
            ec,
            ed,
            stranger,
        }
    }

    fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({ "aud": "codelab-api", "type": "access" });
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        self.issuer.claims_with(claims)
    }

    fn good(&self) -> Value {
        self.claims(json!({}))
    }

    /// Good claims under a header with these members; `null` leaves one out.
    fn with_header(&self, key: &Key, changes: Value) -> String {
        let mut header = key.header();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                header.as_object_mut().unwrap().remove(name);
            } else {
                header[name] = value.clone();
            }
        }
        key.sign_with(&header, &self.good().to_string())
    }

    /// Signed over these very bytes.
    fn signed(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        format!("{input}.{}", BASE64.encode(self.ed.signature(input.as_bytes())))
    }
}

fn algorithms(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    let good = world.ec.sign(&world.good());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let payload = input.split_once('.').unwrap().1;
    for name in [
        "none", "None", "NONE", "nOnE", "none ", "", "null", "ES256 ", "es256", "HS1", "RS1", "ECDH-ES", "dir",
        "A128KW", "ES256K",
    ] {
        let header = BASE64.encode(json!({ "alg": name, "kid": "ec" }).to_string());
        cases.push((format!("alg {name:?}, no signature"), format!("{header}.{payload}.")));
        cases.push((
            format!("alg {name:?}, signed"),
            world.with_header(&world.ec, json!({ "alg": name })),
        ));
    }
    for alg in [
        json!(null),
        json!(7),
        json!(["ES256"]),
        json!({ "ES256": 1 }),
        json!(true),
    ] {
        cases.push((format!("alg {alg}"), {
            let header = json!({ "alg": alg, "kid": "ec" });
            world.ec.sign_with(&header, &world.good().to_string())
        }));
    }
    cases.push(("no alg".into(), world.with_header(&world.ec, json!({ "alg": null }))));
    cases.push(("no signature".into(), format!("{input}.")));
    cases.push(("an empty signature and no dot".into(), input.to_owned()));
    cases.push((
        "a signature of zeros (CVE-2022-21449)".into(),
        format!("{input}.{}", BASE64.encode([0; 64])),
    ));
    cases.push(("half a signature".into(), format!("{input}.{}", &signature[..43])));
    cases.push(("the signature twice".into(), format!("{input}.{signature}{signature}")));
    for (key, alg) in [
        (&world.ec, "RS256"),
        (&world.ec, "HS256"),
        (&world.ec, "EdDSA"),
        (&world.ec, "ES384"),
        (&world.ec, "ES512"),
        (&world.rsa, "RS384"),
        (&world.rsa, "RS512"),
        (&world.rsa, "PS256"),
        (&world.rsa, "PS512"),
        (&world.rsa, "ES256"),
        (&world.rsa, "HS256"),
        (&world.ed, "ES256"),
        (&world.ed, "Ed448"),
        (&world.ed, "RS256"),
        (&world.ed, "HS512"),
    ] {
        let named = key.algorithm();
        cases.push((
            format!("{named} said to be {alg}"),
            world.with_header(key, json!({ "alg": alg })),
        ));
        cases.push((
            format!("{named} said to be {alg}, without kid"),
            world.with_header(key, json!({ "alg": alg, "kid": null })),
        ));
    }
    cases
}

fn keys(world: &World) -> Vec<Case> {
    let claims = world.good();
    let (pem, jwk) = (world.rsa.public_pem(), world.rsa.jwk().to_string());
    let modulus = world.rsa.jwk()["n"].as_str().unwrap().to_owned();
    let mut cases = Vec::new();
    for (what, secret) in [
        ("the public key as PEM", pem.as_bytes()),
        ("that without its last line end", pem.trim_end().as_bytes()),
        ("the public key as JWK", jwk.as_bytes()),
        ("the modulus", modulus.as_bytes()),
        ("the modulus' bytes", &BASE64.decode(&modulus).unwrap()),
        ("nothing", b""),
        ("a byte of zero", b"\0"),
        ("a secret of the published set", PUBLISHED.as_bytes()),
        ("the key id", b"rsa"),
        ("the right secret and more", format!("{SECRET}\n").as_bytes()),
        ("a piece of the right secret", &SECRET.as_bytes()[1..]),
    ] {
        for kid in ["rsa", "oct", "any"] {
            cases.push((
                format!("HS256 with {what}, kid {kid}"),
                Key::hmac(kid, secret).sign(&claims),
            ));
        }
    }
    let stranger = &world.stranger;
    cases.push(("a stranger's under our kid".into(), stranger.sign(&claims)));
    cases.push((
        "a stranger's without kid".into(),
        world.with_header(stranger, json!({ "kid": null })),
    ));
    for (name, value) in [
        ("jwk", stranger.jwk()),
        ("jwks", json!({ "keys": [stranger.jwk()] })),
        ("jku", json!(world.issuer.jwks_url())),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("abc")),
    ] {
        cases.push((
            format!("a stranger's with its {name}"),
            world.with_header(stranger, json!({ name: value })),
        ));
        cases.push((
            format!("a stranger's with its {name}, without kid"),
            world.with_header(stranger, json!({ name: value, "kid": null })),
        ));
    }
    for kid in [
        "",
        "rsa",
        "ed",
        "EC",
        "ec ",
        "ec\u{0}",
        "../ec",
        "/dev/null",
        "ec' OR '1'='1",
        "unknown",
    ] {
        cases.push((
            format!("kid {kid:?}"),
            world.with_header(&world.ec, json!({ "kid": kid })),
        ));
    }
    for kid in [json!(7), json!(["ec"]), json!({ "ec": 1 }), json!(true)] {
        cases.push((
            format!("kid {kid}"),
            world.with_header(&world.ec, json!({ "kid": kid })),
        ));
    }
    cases
}

fn headers(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for changes in [
        json!({ "crit": ["exp"] }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "crit": ["b64"], "b64": true }),
        json!({ "crit": [] }),
        json!({ "crit": "exp" }),
        json!({ "crit": ["unknown"], "unknown": 1 }),
        json!({ "b64": false }),
        json!({ "zip": "DEF" }),
        json!({ "enc": "A128GCM" }),
        json!({ "cty": "JWT" }),
        json!({ "typ": 7 }),
        json!({ "typ": "logout+jwt" }),
        json!({ "typ": "dpop+jwt" }),
        json!({ "typ": "secevent+jwt" }),
        json!({ "typ": "JOSE" }),
        json!({ "typ": "application/id+jwt" }),
        json!({ "typ": "" }),
    ] {
        cases.push((format!("header {changes}"), world.with_header(&world.ec, changes)));
    }
    let payload = world.good().to_string();
    for header in [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "7",
        "{}",
        "{\"alg\":\"EdDSA\",\"kid\":\"ed\"",
        "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}x",
        "{\"alg\":\"EdDSA\",\"alg\":\"none\",\"kid\":\"ed\"}",
        "{\"alg\":\"none\",\"alg\":\"EdDSA\",\"kid\":\"ed\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"x\",\"kid\":\"ed\"}",
        "{'alg':'EdDSA','kid':'ed'}",
        "\u{feff}{\"alg\":\"EdDSA\",\"kid\":\"ed\"}",
    ] {
        cases.push((
            format!("header text {header:?}"),
            world.signed(header.as_bytes(), payload.as_bytes()),
        ));
    }
    cases.push((
        "a header that is not UTF-8".into(),
        world.signed(b"{\"alg\":\"EdDSA\",\"kid\":\"ed\xff\"}", payload.as_bytes()),
    ));
    cases
}

fn shapes(world: &World) -> Vec<Case> {
    let header = world.ed.header().to_string();
    let good = world.signed(header.as_bytes(), world.good().to_string().as_bytes());
    let parts: Vec<&str> = good.split('.').collect();
    let recoded = |engine: &base64::engine::GeneralPurpose| {
        let recode = |part: &&str| engine.encode(BASE64.decode(part).unwrap());
        parts.iter().map(recode).collect::<Vec<_>>().join(".")
    };
    let mut cases: Vec<Case> = [
        ("nothing", String::new()),
        ("dots", "..".into()),
        ("a word", "x".into()),
        ("two parts", parts[..2].join(".")),
        ("four parts", format!("{good}.{}", parts[2])),
        ("five parts, as of a JWE", format!("{good}.{}.{}", parts[0], parts[2])),
        ("a dot at the end", format!("{good}.")),
        ("a dot at the front", format!(".{good}")),
        ("a character more", format!("{good}A")),
        ("a character less", good[..good.len() - 1].into()),
        ("padding", format!("{good}=")),
        ("its scheme twice", format!("Bearer {good}")),
        ("in quotes", format!("\"{good}\"")),
        ("two tokens", format!("{good},{good}")),
        ("two tokens apart", format!("{good} {good}")),
        ("a percent-encoded dot", good.replacen('.', "%2e", 1)),
        (
            "the header as the payload",
            format!("{}.{}.{}", parts[0], parts[0], parts[2]),
        ),
        (
            "the payload as the header",
            format!("{}.{}.{}", parts[1], parts[1], parts[2]),
        ),
        ("a detached payload", format!("{}..{}", parts[0], parts[2])),
        ("a tab within", good.replacen('.', ".\t", 1)),
        (
            "as JSON",
            json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] }).to_string(),
        ),
        ("too long", "x".repeat(17_000)),
    ]
    .map(|(name, token)| (name.to_owned(), token))
    .into();
    for (name, token) in [
        ("padded base64url", recoded(&URL_SAFE)),
        ("plain base64", recoded(&STANDARD)),
    ] {
        if token != good {
            cases.push((name.to_owned(), token));
        }
    }
    cases
}

fn payloads(world: &World) -> Vec<Case> {
    let header = world.ed.header().to_string();
    let good = world.good().to_string();
    let inner = good.trim_start_matches('{');
    let mut cases = Vec::new();
    for payload in [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "7".into(),
        format!("[{good}]"),
        format!("{good}{good}"),
        format!("{good},"),
        good.trim_end_matches('}').to_owned(),
        format!("{{\"sub\":\"root\",{inner}"),
        format!("{{\"exp\":1,{inner}"),
        format!("{{\"\\u0073ub\":\"root\",{inner}"),
        format!("{{\"aud\":\"codelab-api\",{inner}"),
        format!("\u{feff}{good}"),
        format!("{{\"deep\":{}{},{inner}", "[".repeat(300), "]".repeat(300)),
        format!("{{\"x\":NaN,{inner}"),
        format!("{{\"x\":01,{inner}"),
        format!("{{\"x\":\"\u{1}\",{inner}"),
        format!("{{\"x\":\"\\ud800\",{inner}"),
        format!("{{/**/{inner}"),
    ] {
        cases.push((
            format!("payload {payload:.60}"),
            world.signed(header.as_bytes(), payload.as_bytes()),
        ));
    }
    cases.push(("a payload that is not UTF-8".into(), {
        world.signed(header.as_bytes(), &[b"{\"x\":\"\xff\",", inner.as_bytes()].concat())
    }));
    cases
}

fn claims(world: &World) -> Vec<Case> {
    let (soon, hour) = (now() + 60, 3600);
    let lists = [
        json!({ "scope": 7 }),
        json!({ "scope": { "a": 1 } }),
        json!({ "scope": ["a b"] }),
        json!({ "permissions": ["a", 1] }),
    ];
    let mut all = vec![
        json!({ "exp": null }),
        json!({ "exp": soon.to_string() }),
        json!({ "exp": "9999999999" }),
        json!({ "exp": [soon] }),
        json!({ "exp": { "a": soon } }),
        json!({ "exp": -1 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": true }),
        json!({ "exp": u64::MAX }),
        json!({ "exp": 1e19 }),
        json!({ "exp": "" }),
        json!({ "nbf": "x" }),
        json!({ "nbf": now() + hour }),
        json!({ "nbf": [] }),
        json!({ "nbf": -1 }),
        json!({ "nbf": 1e300 }),
        json!({ "nbf": true }),
        json!({ "iat": now() + hour }),
        json!({ "iat": "now" }),
        json!({ "iat": null }),
        json!({ "iat": [1] }),
        json!({ "iat": -5 }),
        json!({ "exp": now() + 3 * hour }),
        json!({ "iss": null }),
        json!({ "iss": "" }),
        json!({ "iss": [world.issuer.name] }),
        json!({ "iss": 7 }),
        json!({ "iss": format!("{}/", world.issuer.name) }),
        json!({ "iss": world.issuer.name.to_uppercase() }),
        json!({ "iss": format!("{}\u{0}", world.issuer.name) }),
        json!({ "aud": null }),
        json!({ "aud": "codelab" }),
        json!({ "aud": "codelab-api-2" }),
        json!({ "aud": "CODELAB-API" }),
        json!({ "aud": "codelab-api other" }),
        json!({ "aud": [] }),
        json!({ "aud": [7] }),
        json!({ "aud": ["codelab-api", 7] }),
        json!({ "aud": { "codelab-api": 1 } }),
        json!({ "aud": true }),
        json!({ "type": "refresh" }),
        json!({ "type": null }),
        json!({ "type": ["refresh"] }),
        json!({ "type": true }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 1.5 }),
        json!({ "sub": ["ada"] }),
        json!({ "sub": true }),
        json!({ "sub": { "id": 1 } }),
        json!({ "sub": "a\r\nX-User-ID: root" }),
        json!({ "sub": "a\u{0}" }),
        json!({ "sub": "\u{e9}" }),
        json!({ "sub": "a".repeat(257) }),
        json!({ "sub": "system" }),
        json!({ "tenant_id": "a\nb" }),
        json!({ "tenant_id": ["a"] }),
        json!({ "roles": { "admin": true } }),
        json!({ "roles": ["a,b"] }),
        json!({ "roles": 7 }),
        json!({ "jti": 7 }),
        json!({ "jti": ["a"] }),
        json!({ "email": ["a@b"] }),
        json!({ "email": "a\u{7f}b" }),
        json!({ "client_id": {} }),
        json!({ "tier": [] }),
    ];
    all.extend(lists);
    let case = |changes: Value| (format!("claims {changes:.80}"), world.ec.sign(&world.claims(changes)));
    all.into_iter().map(case).collect()
}

#[tokio::test]
async fn r20_r21_no_token_of_the_table_passes() {
    let (echo, world) = (Upstream::echo().await, World::new().await);
    let lines = format!(
        "algorithms = [\"RS256\", \"ES256\", \"EdDSA\", \"HS256\"]\nsecrets = [\"{SECRET}\"]\naudiences = [\"codelab-api\"]\n\
         required_claims = {{ type = \"access\" }}\nleeway = \"0s\"\nmax_token_lifetime = \"1h\"\nrequest_timeout = \"1s\""
    );
    let route = "[[routes]]\nname = \"tokens\"\npaths = [\"/*\"]\nupstream = \"echo\"\nauth = \"jwt\"\n[internal]\nkeys = [\"a-long-secret\"]\n";
    let gateway = Gateway::with(route)
        .upstream("echo", &echo)
        .issuer_with("main", &world.issuer, &lines)
        .start()
        .await;
    let mut client = Client::of(gateway.address).await;
    let send = async |client: &mut Client, token: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        client.write(head).await;
        client.response().await
    };
    for key in [&world.rsa, &world.ec, &world.ed, &Key::hmac("any", SECRET)] {
        let response = send(&mut client, &key.sign(&world.good())).await;
        assert_eq!(response.head.status(), 200, "{}", key.algorithm());
    }
    let tables = [
        algorithms(&world),
        keys(&world),
        headers(&world),
        shapes(&world),
        payloads(&world),
        claims(&world),
    ];
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, token) in tables.concat() {
        count += 1;
        let response = send(&mut client, &token).await;
        if response.head.status() == 401 && response.json()["error"] == "invalid_token" {
            refused(&response, 401, "invalid_token");
        } else {
            wrong.push(format!(
                "{name}: {} {}",
                response.head.status(),
                String::from_utf8_lossy(&response.body)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 250, "{count} tokens");
    assert_eq!(echo.count(), 4, "nothing else got through");
}
