//! Generated pairs of a route and a request: what `explain` foretells, what the shadow says beside it and what is really answered
//! are one.

use serde_json::{Value, json};

use crate::harness::{Gateway, Issuer, Key, Request, Upstream, eventually, sha256};

const SECRET: &str = "internal-secret-0123456789";
const KEY: &str = "hok_live_0123456789";

const MODES: [&str; 9] = [
    "\"jwt\"",
    "\"internal\"",
    "\"api_key\"",
    "\"hybrid\"",
    "[\"jwt\", \"internal\"]",
    "[\"internal\", \"jwt\"]",
    "[\"api_key\", \"jwt\"]",
    "[\"jwt\", \"none\"]",
    "\"none\"",
];

const REQUIRED: [&str; 4] = [
    "",
    "require = { permissions_any = [\"tasks.create\"] }",
    "require = { scopes_any = [\"chat\"] }",
    "require = { claims = { org = \"{path.org}\" } }",
];

/// The same every time (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn of<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        &choices[usize::try_from(self.0 >> 33).unwrap() % choices.len()]
    }
}

fn routes(dice: &mut Dice, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let (enforced, shadow) = (dice.of(&MODES), dice.of(&MODES));
        let required = if enforced.contains("none\"") && !enforced.contains('[') || shadow == &"\"none\"" {
            ""
        } else {
            dice.of(&REQUIRED)
        };
        for (name, mode, more) in [
            ("a", enforced, format!("shadow = {shadow}")),
            ("b", shadow, String::new()),
        ] {
            text.push_str(&format!(
                "[[routes]]\nname = \"{name}{n}\"\npaths = [\"/{name}{n}/{{org}}\"]\nupstream = \"up\"\nauth = {mode}\n{more}\n{required}\n"
            ));
        }
    }
    text
}

/// Credentials as a request could bear them, good and bad.
fn headers(dice: &mut Dice, tokens: &[Option<String>]) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if let Some(token) = dice.of(tokens) {
        headers.push(("Authorization", format!("Bearer {token}")));
    }
    for (name, values) in [
        ("X-API-Key", [None, None, Some(KEY), Some("hok_live_wrong")]),
        (
            "X-Internal-Auth",
            [None, Some(SECRET), Some(SECRET), Some("wrong-secret")],
        ),
        ("X-User-ID", [None, None, Some("ada"), Some("bob")]),
    ] {
        headers.extend(dice.of(&values).map(|value| (name, value.to_owned())));
    }
    headers
}

struct Sent {
    route: usize,
    headers: Vec<(&'static str, String)>,
    /// Request ids at the route with the shadow, and at the one that enforces it.
    ids: [String; 2],
}

async fn agree(route_pairs: usize, requests: usize) {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let mut dice = Dice(8);
    let keys = json!({ "keys": [issuer.key.jwk()] }).to_string();
    let setup = Gateway::with(&format!(
        "[internal]\nkeys = [\"{SECRET}\"]\npermissions = [\"tasks.*\"]\n[api_keys]\nprefixes = [\"hok_live_\"]\n\
         [[api_keys.keys]]\nid = \"ci\"\nhash = \"{}\"\nuser = \"svc_ci\"\nscopes = [\"chat\"]\n{}",
        sha256(KEY),
        routes(&mut dice, route_pairs)
    ))
    .issuer("lab", &issuer)
    .upstream("up", &upstream)
    .file("keys.json", keys);
    let tokens = [
        None,
        Some(issuer.token()),
        Some(issuer.token_with(json!({ "permissions": ["tasks.create"], "scope": "chat", "org": "acme" }))),
        Some(issuer.token_with(json!({ "sub": "bob", "scope": "chat" }))),
        Some(issuer.token_with(json!({ "exp": 1_000_000_000 }))),
        Some(Key::ec("key-1").sign(&issuer.claims())),
        Some("garbage".to_owned()),
    ];
    let gateway = setup.start().await;
    let mut client = gateway.client().await;
    let mut sent = Vec::new();
    for route in 0..route_pairs {
        for _ in 0..requests {
            let headers = headers(&mut dice, &tokens);
            let mut ids = [String::new(), String::new()];
            for (name, id) in ["a", "b"].into_iter().zip(&mut ids) {
                let request = headers.iter().fold(
                    Request::get(&format!("/{name}{route}/acme")),
                    |request, (name, value)| request.header(name, value),
                );
                let response = client.send(&request).await;
                *id = response.head.first("x-request-id").unwrap().to_owned();
            }
            sent.push(Sent { route, headers, ids });
        }
    }
    let lines = eventually("all lines are written", async || {
        let lines: Vec<Value> = gateway
            .lines()
            .into_iter()
            .filter(|line| line["message"] == "request")
            .collect();
        (lines.len() >= 2 * sent.len()).then_some(lines)
    })
    .await;
    let line_of = |id: &String| lines.iter().find(|line| line["request_id"] == id.as_str()).unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for Sent { route, headers, ids } in &sent {
        let (live, enforced) = (line_of(&ids[0]), line_of(&ids[1]));
        let said = format!("a{route} {headers:?}\n{live}\n{enforced}");
        // The shadow's word is what the same mode says where it is enforced.
        assert_eq!(live["shadow_reason"], enforced["reason"], "{said}");
        let user = |line: &Value| {
            let own = line["acting_for"].as_str().or(line["user_id"].as_str());
            own.map(str::to_owned)
        };
        let difference = match (live["decision"] == "allow", enforced["decision"] == "allow") {
            (true, true) if user(live) == user(enforced) => "same",
            (true, true) => "other_identity",
            (true, false) => "would_deny",
            (false, true) => "would_allow",
            (false, false) => "same",
        };
        assert_eq!(live["shadow"], difference, "{said}");
        *seen.entry(difference).or_insert(0) += 1;
        // And so does explain.
        let url = format!("/a{route}/acme");
        let mut arguments = vec!["explain".to_owned(), "GET".to_owned(), url, "--json".to_owned()];
        arguments.extend(["--jwks".to_owned(), "keys.json".to_owned()]);
        for (name, value) in headers {
            arguments.extend(["-H".to_owned(), format!("{name}: {value}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let report: Value = serde_json::from_slice(&gateway.run(&arguments).await.stdout).unwrap();
        assert_eq!(
            (
                &report["decision"],
                &report["error"],
                &report["shadow"]["error"],
                &report["shadow"]["difference"]
            ),
            (
                &live["decision"],
                &live["reason"],
                &live["shadow_reason"],
                &live["shadow"]
            ),
            "{said}\n{report}"
        );
        assert_eq!(report["detail"], live["detail"], "{said}");
    }
    println!("{} pairs agree: {seen:?}", sent.len());
    assert!(seen.len() == 4, "each difference was met: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_shadow_and_the_live_answer_agree_on_five_hundred_generated_pairs() {
    agree(50, 10).await;
}
