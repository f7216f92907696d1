//! What clients and operators are told of limits: headers of draft-ietf-httpapi-ratelimit-headers-11, and explanations.

use serde_json::Value;

use super::{left, status};
use crate::harness::{Gateway, Request, Setup, Upstream, refused};

fn three(upstream: &Upstream) -> Setup {
    Gateway::with(
        r#"
[limits.minute]
rate = "5/min"
by = "ip"
[limits.day]
rate = "10/day"
burst = 4
by = "route"
[limits.hidden]
rate = "3/hour"
by = "global"
announce = false
[[routes]]
name = "all"
paths = ["/all"]
upstream = "up"
auth = "none"
limits = ["minute", "day", "hidden"]
[[routes]]
name = "two"
paths = ["/two"]
upstream = "up"
auth = "none"
limits = ["minute", "day"]
[[routes]]
name = "none"
paths = ["/none"]
upstream = "up"
auth = "none"
"#,
    )
    .upstream("up", upstream)
}

#[tokio::test]
async fn every_answer_says_what_is_left_of_each_limit_that_is_announced() {
    let echo = Upstream::echo().await;
    let gateway = three(&echo).start().await;
    let answer = gateway.get("/all").await;
    let one = |name| {
        let values: Vec<&str> = answer.head.all(name).collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0].to_owned()
    };
    assert_eq!(one("ratelimit-policy"), "\"minute\";q=5;w=60, \"day\";q=10;w=86400");
    assert_eq!(one("ratelimit"), "\"minute\";r=4;t=48, \"day\";r=3;t=25920");
    assert!(answer.head.first("retry-after").is_none());
    let free = gateway.get("/none").await;
    assert!(free.head.first("ratelimit").is_none() && free.head.first("ratelimit-policy").is_none());
}

#[tokio::test]
async fn a_limit_that_is_not_announced_refuses_all_the_same() {
    let echo = Upstream::echo().await;
    let gateway = three(&echo).start().await;
    for _ in 0..3 {
        assert_eq!(status(&gateway.get("/all").await), 200);
    }
    let refusal = gateway.get("/all").await;
    refused(&refusal, 429, "rate_limited");
    assert!(refusal.head.first("ratelimit").is_none() && refusal.head.first("ratelimit-policy").is_none());
    assert!(refusal.head.first("retry-after").is_some());
    // By address it had been let pass, which was given back.
    assert_eq!(left(&gateway.get("/two").await, "minute"), Some(1));
}

#[tokio::test]
async fn retry_after_is_the_time_that_the_header_gives() {
    let echo = Upstream::echo().await;
    let gateway = three(&echo).start().await;
    for _ in 0..4 {
        assert_eq!(status(&gateway.get("/two").await), 200);
    }
    let refusal = gateway.get("/two").await;
    refused(&refusal, 429, "rate_limited");
    let wait = refusal.head.first("retry-after").unwrap();
    assert_eq!(
        refusal.head.first("ratelimit").unwrap(),
        format!("\"day\";r=0;t={wait}")
    );
    assert_eq!(refusal.head.first("ratelimit-policy"), Some("\"day\";q=10;w=86400"));
    let wait: u64 = wait.parse().unwrap();
    assert!((8600..=8640).contains(&wait), "{wait}");
}

#[tokio::test]
async fn an_upstreams_own_words_on_limits_give_way_where_a_limit_applies() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRateLimit: \"theirs\";r=1\r\nRateLimit: \"more\";r=1\r\n\r\n",
    )
    .await;
    let gateway = three(&upstream).start().await;
    let of = |response: &crate::harness::Response| response.head.all("ratelimit").count();
    assert_eq!(of(&gateway.get("/two").await), 1);
    assert_eq!(of(&gateway.get("/none").await), 2);
}

#[tokio::test]
async fn explain_shows_the_refusal_of_a_limit_that_is_said_to_be_exhausted() {
    let echo = Upstream::echo().await;
    let setup = three(&echo);
    let explained = async |arguments: &[&str]| {
        let arguments = [&["explain", "GET", "/two", "--json"], arguments].concat();
        let output = setup.run(&arguments).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, report) = explained(&[]).await;
    assert_eq!(
        (code, &report["decision"], &report["limit"]),
        (Some(0), &"allow".into(), &Value::Null)
    );
    for (limit, wait) in [("minute", 12), ("day", 8640)] {
        let (code, report) = explained(&["--exhausted", limit]).await;
        assert_eq!((code, &report["error"]), (Some(2), &"rate_limited".into()), "{report}");
        assert_eq!(
            (&report["limit"], &report["retry_after"]),
            (&limit.into(), &wait.into())
        );
        assert!(report["upstream"].is_null());
    }
    let (_, report) = explained(&["--exhausted", "hidden"]).await;
    assert_eq!(report["decision"], "allow", "it is no limit of this route");
    let text = setup.run(&["explain", "GET", "/two", "--exhausted", "day"]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.starts_with("DENY 429 rate_limited (limit_exhausted, by limit day, retry after 8640 s)"),
        "{text}"
    );
    let unknown = setup.run(&["explain", "GET", "/two", "--exhausted", "dya"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there are: day, hidden, minute"));
}

#[tokio::test]
async fn keys_that_would_do_nothing_are_refused() {
    let echo = Upstream::echo().await;
    for (lines, complaint) in [
        ("concurrent = 2\nburst = 3", "limits.odd.burst: is of a `rate`"),
        (
            "concurrent = 2\ncharge_on = [401]",
            "limits.odd.charge_on: is of a `rate`",
        ),
        ("concurrent = 2\nunit = \"tokens\"", "limits.odd.unit: is of a `rate`"),
        (
            "concurrent = 2\ntiers = { pro = \"5/s\" }",
            "limits.odd.tiers.pro: can only be \"unlimited\"",
        ),
        (
            "rate = \"5/s\"\nalgorithm = \"sliding_window\"\nburst = 3",
            "limits.odd.burst: is the rate's count",
        ),
    ] {
        let checked = three(&echo)
            .and(&format!("[limits.odd]\n{lines}"))
            .run(&["check"])
            .await;
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(3), "{lines}");
        assert!(said.contains(complaint), "{said}");
    }
    let route = "[limits.odd]\nrate = \"5/s\"\nunit = \"tokens\"\n[[routes]]\nname = \"x\"\npaths = [\"/x\"]\n\
                 upstream = \"up\"\nauth = \"none\"\nlimits = [\"odd\"]";
    let checked = three(&echo).and(route).run(&["check"]).await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("routes.x.limits[0]: counts tokens (\"odd\")"), "{said}");
}

#[tokio::test]
async fn an_exhausted_limit_says_so_to_a_request_in_each_of_its_forms() {
    let echo = Upstream::echo().await;
    let gateway = three(&echo).start().await;
    let head = Request::new("HEAD", "/two");
    for _ in 0..4 {
        assert_eq!(status(&gateway.send(&head).await), 200);
    }
    let refusal = gateway.send(&head).await;
    assert_eq!((status(&refusal), refusal.body.len()), (429, 0));
    assert!(refusal.head.first("retry-after").is_some());
}
