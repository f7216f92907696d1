//! Limits on the wire: by whom they count, what they let pass, and that a refused request costs its caller nothing.

mod exact;
mod settled;
mod tokens;
mod told;

use serde_json::json;

use crate::harness::{
    Gateway, Issuer, Request, Setup, Upstream, eventually, left, other_text, refused, sha256, status,
};

/// Behind a proxy, so that tests choose their address; with every method, and one limit on `/limited` and `/shared`.
fn house(limit: &str) -> String {
    let key = |id: &str, secret: &str| {
        let hash = sha256(secret);
        format!(
            "[[api_keys.keys]]\nid = \"{id}\"\nhash = \"{hash}\"\nuser = \"svc\"\ntenant = \"acme\"\ntier = \"free\"\n"
        )
    };
    format!(
        r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1"]
[api_keys]
{}{}
[internal]
keys = ["a-long-secret"]
allowed_from = ["198.51.100.0/24"]
[limits.it]
{limit}
[[routes]]
name = "limited"
paths = ["/limited"]
upstream = "echo"
auth = ["jwt", "api_key", "internal", "none"]
limits = ["it"]
[[routes]]
name = "shared"
paths = ["/shared"]
upstream = "echo"
auth = ["jwt", "api_key", "internal", "none"]
limits = ["it"]
"#,
        key("one", "key-one"),
        key("two", "key-two")
    )
}

/// Somebody, who asks for `/limited`.
struct Caller<'i> {
    issuer: &'i Issuer,
}

impl Caller<'_> {
    fn at(&self, address: &str) -> Request {
        Request::get("/limited").header("X-Forwarded-For", address)
    }

    fn user(&self, user: &str, tenant: &str, address: &str) -> Request {
        let token = self
            .issuer
            .token_with(json!({ "sub": user, "tenant_id": tenant, "jti": format!("{address} {tenant}") }));
        self.at(address).bearer(&token)
    }

    fn key(&self, key: &str, address: &str) -> Request {
        self.at(address).header("X-API-Key", key)
    }

    fn service(&self, acting_for: Option<&str>, address: &str) -> Request {
        let request = self.at(address).header("X-Internal-Auth", "a-long-secret");
        acting_for
            .into_iter()
            .fold(request, |request, user| request.header("X-User-ID", user))
    }
}

/// Each pair: whether the second caller is counted with the first, under a limit of one.
async fn counts_together(limit: &str, pairs: Vec<(Request, Request, bool)>, echo: &Upstream, issuer: &Issuer) {
    for (first, second, together) in pairs {
        println!("{first:?}\n{second:?}");
        let text = house(&format!("rate = \"1/hour\"\n{limit}"));
        let gateway = Gateway::with(&text)
            .upstream("echo", echo)
            .issuer("main", issuer)
            .start()
            .await;
        assert_eq!(status(&gateway.send(&first).await), 200);
        let response = gateway.send(&second).await;
        if together {
            refused(&response, 429, "rate_limited");
        } else {
            assert_eq!(status(&response), 200);
        }
    }
}

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const INSIDE: &str = "198.51.100.1";
const INSIDE_TOO: &str = "198.51.100.2";

#[tokio::test]
async fn by_user_counts_a_user_wherever_it_is_and_nobody_by_address() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let who = Caller { issuer: &issuer };
    let pairs = vec![
        (who.user("ada", "t", A), who.user("ada", "t", B), true),
        (who.user("ada", "t", A), who.user("bob", "t", A), false),
        (who.key("key-one", A), who.key("key-two", B), true),
        (who.at(A), who.at(A), true),
        (who.at(A), who.at(B), false),
        (who.at(A), who.user("ada", "t", A), false),
        (who.service(None, INSIDE), who.service(None, INSIDE_TOO), false),
        (
            who.service(Some("ada"), INSIDE),
            who.service(Some("ada"), INSIDE_TOO),
            true,
        ),
        (
            who.service(Some("ada"), INSIDE),
            who.service(Some("bob"), INSIDE),
            false,
        ),
    ];
    counts_together("by = \"user\"", pairs, &echo, &issuer).await;
}

#[tokio::test]
async fn by_ip_counts_addresses_and_ipv6_by_network() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let who = Caller { issuer: &issuer };
    let pairs = vec![
        (who.at(A), who.user("ada", "t", A), true),
        (who.at(A), who.at(B), false),
        (who.at("2001:db8:0:1::1"), who.at("2001:db8:0:1:ffff::2"), true),
        (who.at("2001:db8:0:1::1"), who.at("2001:db8:0:2::1"), false),
        (who.at("::ffff:192.0.2.1"), who.at(A), true),
    ];
    counts_together("by = \"ip\"", pairs, &echo, &issuer).await;
    let pairs = vec![(who.at("2001:db8:0:1::1"), who.at("2001:db8:0:2::1"), true)];
    counts_together("by = \"ip\"\nipv6_prefix = 48", pairs, &echo, &issuer).await;
}

#[tokio::test]
async fn by_credential_tenant_route_header_and_globally() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let who = Caller { issuer: &issuer };
    let elsewhere = |mut request: Request| {
        request.target = "/shared".to_owned();
        request
    };
    let pairs = vec![
        (who.key("key-one", A), who.key("key-one", B), true),
        (who.key("key-one", A), who.key("key-two", A), false),
    ];
    counts_together("by = \"credential\"", pairs, &echo, &issuer).await;
    let token = issuer.token();
    let pairs = vec![(who.at(A).bearer(&token), who.at(A).bearer(&other_text(&token)), true)];
    counts_together("by = \"credential\"", pairs, &echo, &issuer).await;
    let pairs = vec![
        (who.user("ada", "acme", A), who.user("bob", "acme", B), true),
        (who.user("ada", "acme", A), who.key("key-one", B), true),
        (who.user("ada", "acme", A), who.user("ada", "other", A), false),
    ];
    counts_together("by = \"tenant\"", pairs, &echo, &issuer).await;
    let pairs = vec![(who.at(A), who.at(B), true), (who.at(A), elsewhere(who.at(A)), false)];
    counts_together("by = \"route\"", pairs, &echo, &issuer).await;
    let pairs = vec![(who.at(A), elsewhere(who.user("ada", "t", B)), true)];
    counts_together("by = \"global\"", pairs, &echo, &issuer).await;
    let team = |request: Request, team| request.header("x-TEAM", team);
    let pairs = vec![
        (team(who.at(A), "red"), team(who.at(B), "red"), true),
        (team(who.at(A), "red"), team(who.at(A), "blue"), false),
        (who.at(A), who.at(A), true),
        (who.at(A), who.at(B), false),
    ];
    counts_together("by = \"header:X-Team\"", pairs, &echo, &issuer).await;
}

#[tokio::test]
async fn all_routes_that_name_a_limit_share_its_buckets() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = Gateway::with(&house("rate = \"2/hour\"\nby = \"ip\""))
        .upstream("echo", &echo)
        .issuer("main", &issuer);
    let gateway = gateway.start().await;
    assert_eq!(status(&gateway.get("/limited").await), 200);
    assert_eq!(status(&gateway.get("/shared").await), 200);
    refused(&gateway.get("/limited").await, 429, "rate_limited");
}

#[tokio::test]
async fn a_burst_passes_at_once_and_then_one_each_interval() {
    let echo = Upstream::echo().await;
    let issuer = Issuer::start().await;
    let text = house("rate = \"10/s\"\nburst = 3\nby = \"global\"");
    let gateway = Gateway::with(&text)
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    let mut client = gateway.client().await;
    let request = Request::get("/limited");
    let passed = eventually("the burst is spent", async || {
        (status(&client.send(&request).await) == 429).then(|| echo.count())
    })
    .await;
    assert!(passed >= 3, "a burst of three let {passed} pass");
    eventually("an interval passes", async || {
        (status(&client.send(&request).await) == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_when_to_come_again_and_names_its_limit_in_the_log() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let text = house("rate = \"60/hour\"\nburst = 1\nby = \"ip\"");
    let gateway = Gateway::with(&text)
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    gateway.get("/limited").await;
    let response = gateway.get("/limited").await;
    refused(&response, 429, "rate_limited");
    let wait: u64 = response.head.first("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    let line = gateway.access_line_of(&response).await;
    assert_eq!(
        (&line["limit"], &line["reason"]),
        (&json!("it"), &json!("rate_limited"))
    );
    for (decision, count) in [("allow", 1.0), ("deny", 1.0)] {
        let series = format!("gateway_rate_limit_decisions_total{{decision=\"{decision}\",limit=\"it\"}}");
        assert_eq!(gateway.metric(&series).await, Some(count));
    }
    assert_eq!(echo.count(), 1);
}

#[tokio::test]
async fn tiers_have_rates_of_their_own() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let text = house("rate = \"1/hour\"\nby = \"user\"\ntiers = { free = \"2/hour\", internal = \"unlimited\" }");
    let gateway = Gateway::with(&text)
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    let who = Caller { issuer: &issuer };
    let passes = async |request: Request| {
        let mut count = 0;
        while count < 5 && status(&gateway.send(&request).await) == 200 {
            count += 1;
        }
        count
    };
    assert_eq!(passes(who.user("ada", "t", A)).await, 1);
    assert_eq!(passes(who.key("key-one", A)).await, 2);
    assert_eq!(passes(who.service(None, INSIDE)).await, 5);
    let free = issuer.token_with(json!({ "sub": "bob", "tier": "free" }));
    assert_eq!(passes(who.at(A).bearer(&free)).await, 2);
}

/// What one plan counted says nothing under another: a window of a second forgets what one of an hour must remember, and a debt at five
/// an hour is no debt at ten a second.
#[tokio::test]
async fn tiers_are_counted_apart_even_where_they_would_share_a_bucket() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let who = Caller { issuer: &issuer };
    let of = |tier: &str| {
        who.at(A)
            .bearer(&issuer.token_with(json!({ "sub": "ada", "tier": tier })))
    };
    for (measure, by) in [
        ("algorithm = \"sliding_window\"", "user"),
        ("burst = 5", "user"),
        ("algorithm = \"sliding_window\"", "route"),
        ("burst = 5", "global"),
    ] {
        let text = house(&format!(
            "rate = \"5/hour\"\n{measure}\nby = \"{by}\"\ntiers = {{ pro = \"50/s\" }}"
        ));
        let gateway = Gateway::with(&text)
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        for _ in 0..5 {
            assert_eq!(status(&gateway.send(&of("free")).await), 200, "{measure} {by}");
        }
        for _ in 0..3 {
            refused(&gateway.send(&of("free")).await, 429, "rate_limited");
            assert_eq!(status(&gateway.send(&of("pro")).await), 200, "{measure} {by}");
        }
    }
}

#[tokio::test]
async fn several_limits_charge_all_or_none() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let text = r#"
[limits.wide]
rate = "10/hour"
by = "user"
[limits.narrow]
rate = "1/hour"
by = "user"
[defaults]
upstream = "echo"
auth = "jwt"
[[routes]]
name = "both"
paths = ["/both"]
limits = ["wide", "narrow"]
max_body = "1B"
rules = [{ methods = ["DELETE"], require = { roles_any = ["admin"] } }]
[[routes]]
name = "wide"
paths = ["/wide"]
limits = ["wide"]
"#;
    let gateway = Gateway::with(text)
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    let token = issuer.token();
    let ask = async |method: &str, target: &str, body: &str| {
        gateway
            .send(&Request::new(method, target).bearer(&token).body(body))
            .await
    };
    refused(&ask("DELETE", "/both", "").await, 403, "permission_denied");
    refused(&ask("POST", "/both", "long").await, 413, "body_too_large");
    let first = ask("GET", "/both", "").await;
    assert_eq!(
        (status(&first), left(&first, "wide"), left(&first, "narrow")),
        (200, Some(9), Some(0))
    );
    for _ in 0..3 {
        let refusal = ask("GET", "/both", "").await;
        refused(&refusal, 429, "rate_limited");
        assert_eq!(
            (left(&refusal, "wide"), left(&refusal, "narrow")),
            (None, Some(0)),
            "it names what refused"
        );
    }
    let next = ask("GET", "/wide", "").await;
    assert_eq!(
        (status(&next), left(&next, "wide")),
        (200, Some(8)),
        "the refused ones were not charged"
    );
}

#[tokio::test]
async fn r39_when_the_places_are_taken_strangers_share_one_and_get_no_fresh_allowance() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let text = house("rate = \"1/hour\"\nby = \"ip\"\nmax_keys = 2");
    let gateway = Gateway::with(&text)
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    let who = Caller { issuer: &issuer };
    let mut passed = 0;
    for last in 1..=200 {
        passed += usize::from(status(&gateway.send(&who.at(&format!("192.0.2.{last}"))).await) == 200);
    }
    assert!(passed < 20, "{passed} of 200 addresses got an allowance of their own");
    for last in 1..=20 {
        let known = gateway.send(&who.at(&format!("192.0.2.{last}"))).await;
        assert_eq!(status(&known), 429, "nobody's count was thrown away");
    }
}

mod auth_failures {
    use super::*;

    fn guarded(lines: &str) -> Setup {
        Gateway::with(&house("rate = \"1000/s\"\nby = \"ip\""))
            .and(&format!("[auth_failures]\nrate = \"3/hour\"\n{lines}"))
    }

    #[tokio::test]
    async fn who_guesses_is_stopped_and_known_keys_from_there_still_pass() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = guarded("")
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        let who = Caller { issuer: &issuer };
        let guess = |key: &str, address| who.key(key, address);
        refused(&gateway.send(&guess("wrong-1", A)).await, 401, "invalid_api_key");
        refused(&gateway.send(&who.service(None, A)).await, 401, "invalid_internal_auth");
        refused(&gateway.send(&guess("wrong-2", A)).await, 401, "invalid_api_key");
        for request in [guess("wrong-3", A), who.service(None, A), guess("", A)] {
            let refusal = gateway.send(&request).await;
            refused(&refusal, 429, "rate_limited");
            assert!(refusal.head.first("retry-after").is_some());
            assert!(
                refusal.head.first("www-authenticate").is_none(),
                "whether it was right is not told"
            );
        }
        assert_eq!(
            status(&gateway.send(&who.key("key-one", A)).await),
            200,
            "a known key passes"
        );
        assert_eq!(
            status(&gateway.send(&who.user("ada", "t", A)).await),
            200,
            "a token is no guess"
        );
        assert_eq!(status(&gateway.send(&who.at(A)).await), 200, "nor is nothing");
        refused(&gateway.send(&guess("wrong-4", B)).await, 401, "invalid_api_key");
        let bad_token = who.at(A).bearer("bad");
        refused(&gateway.send(&bad_token).await, 401, "invalid_token");
    }

    #[tokio::test]
    async fn failed_tokens_count_when_that_is_asked_for_but_expired_ones_do_not() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = guarded("include_jwt = true")
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        let who = Caller { issuer: &issuer };
        let known = who.user("ada", "t", A);
        assert_eq!(status(&gateway.send(&known).await), 200);
        let expired = who.at(A).bearer(&issuer.token_with(json!({ "exp": 1, "iat": 0 })));
        for _ in 0..5 {
            refused(&gateway.send(&expired).await, 401, "token_expired");
        }
        for _ in 0..3 {
            refused(&gateway.send(&who.at(A).bearer("bad")).await, 401, "invalid_token");
        }
        refused(&gateway.send(&who.at(A).bearer("bad")).await, 429, "rate_limited");
        assert_eq!(
            status(&gateway.send(&known).await),
            200,
            "a token that was verified before passes"
        );
        refused(&gateway.send(&who.user("bob", "t", A)).await, 429, "rate_limited");
        assert_eq!(status(&gateway.send(&who.user("bob", "t", B)).await), 200);
    }

    #[tokio::test]
    async fn a_credential_of_another_route_is_no_guess() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let open = "[[routes]]\nname = \"open\"\npaths = [\"/open\"]\nupstream = \"echo\"\nauth = \"none\"";
        let gateway = guarded("")
            .and(open)
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        for _ in 0..5 {
            let request = Request::get("/open")
                .header("X-API-Key", "theirs")
                .header("X-Forwarded-For", A);
            assert_eq!(status(&gateway.send(&request).await), 200);
        }
        let first = Caller { issuer: &issuer }.key("wrong", A);
        refused(&gateway.send(&first).await, 401, "invalid_api_key");
    }
}
