//! `gateway check`: what it says of a config that holds, and the shape of one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Gateway, OPEN};

/// The names of the findings.
async fn found(config: &str) -> (i32, BTreeSet<String>) {
    let (exit, stdout, stderr) = Gateway::with(config).says(&["check", "--audit"]).await;
    assert!(exit < 2, "{stderr}");
    let names = stdout
        .lines()
        .filter_map(|line| line.split([' ', ':']).nth(1))
        .map(str::to_owned);
    (exit, names.collect())
}

/// Everything that could be better, at once.
const CARELESS: &str = r#"
[server]
use_jwt_auth = false
[admin]
address = "0.0.0.0:0"
[[listeners]]
name = "public"
address = "0.0.0.0:0"
header_timeout = "2m"
[[listeners]]
name = "behind"
address = "127.0.0.1:0"
trusted_proxies = ["0.0.0.0/0"]
[[listeners]]
name = "far"
address = "127.0.0.1:0"
trusted_proxies = ["203.0.113.0/24"]
[identity]
user_header = ""
[issuers.any]
jwks_url = "http://keys.example.com/jwks"
leeway = "10m"
max_stale = "30d"
[issuers.shared]
issuer = "https://shared.test"
secrets = ["0123456789abcdef0123456789abcdef"]
[internal]
keys = ["internal-1"]
allowed_from = ["0.0.0.0/0"]
permissions = ["*"]
tenant = "us"
[api_keys]
[[api_keys.keys]]
id = "old"
hash = "sha256:bda8a2dca265fc02108431666c2b7bbba2b03ccc636b53d7c1fcffa1699b1284"
user = "old"
expires = 2020-01-01T00:00:00Z
[[api_keys.keys]]
id = "forever"
hash = "sha256:bda8a2dca265fc02108431666c2b7bbba2b03ccc636b53d7c1fcffa1699b1285"
user = "forever"
[telemetry]
otlp = "http://otel.example.com:4318"
[limits.per-tenant]
rate = "5/min"
by = "tenant"
[upstreams.up]
urls = ["http://up.example.com"]
[[routes]]
name = "everything"
paths = ["/*"]
upstream = "up"
auth = "none"
[[routes]]
name = "maybe"
paths = ["/maybe/*"]
upstream = "up"
auth = ["api_key", "none"]
allow_encoded_slash = true
access_log = false
[[routes]]
name = "tokens"
paths = ["/tokens/*"]
upstream = "up"
auth = "jwt"
shadow = "jwt"
limits = ["per-tenant"]
[[routes]]
name = "orgs"
paths = ["/orgs/{org}"]
upstream = "up"
auth = "jwt"
require = { claims = { org = "{path.org}" } }
"#;

/// The same of what is asked over the network and kept there.
const CARELESS_WITH_OTHERS: &str = r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
[issuers.browsers]
issuer = "https://browsers.test"
jwks_url = "https://keys.example.com/jwks"
audiences = ["api"]
token_sources = ["query:access_token", "cookie:session"]
origins = ["https://elsewhere.example.com"]
[issuers.asked]
issuer = "https://asked.test"
remote = { url = "http://auth.example.com/validate", kind = "bearer" }
[internal]
keys = ["0123456789abcdef0123456789abcdef"]
allowed_from = ["203.0.113.0/24"]
[api_keys]
[api_keys.remote]
url = "http://auth.example.com/keys"
[redis]
url = "redis://redis.example.com"
[revocation]
keys = ["gateway:revoked:jti:{jti}"]
[limits.own]
rate = "5/min"
[cors.all]
origins = ["*"]
[cors.wide]
origins = ["https://*.example.com"]
credentials = true
[upstreams.up]
urls = ["http://up:8001"]
[[routes]]
name = "all"
paths = ["/all"]
upstream = "up"
auth = "hybrid"
limits = ["own"]
cors = "all"
[[routes]]
name = "wide"
paths = ["/wide"]
upstream = "up"
auth = "hybrid"
cors = "wide"
"#;

#[tokio::test]
async fn careless_configs_are_told_of_each_thing_and_a_high_one_fails() {
    let (exit, mut names) = found(CARELESS).await;
    assert_eq!(exit, 1);
    let (exit, others) = found(CARELESS_WITH_OTHERS).await;
    assert_eq!(exit, 1);
    names.extend(others);
    // What no file alone can have, and has a test of its own.
    names.insert("override-in-force".to_owned());
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md")).unwrap();
    let rows = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    assert!(documented.len() >= 25, "{documented:?}");
    let never: Vec<_> = documented.difference(&names).collect();
    assert!(
        never.is_empty(),
        "these findings have no config that they are found in: {never:?}"
    );
}

#[tokio::test]
async fn a_careful_config_has_no_high_finding_and_a_rollback_that_cannot_work_is_warned_of_unasked() {
    let careful = r#"
[issuers.lab]
issuer = "https://lab.test"
jwks_url = "http://lab.internal:8003/jwks"
audiences = ["api"]
required_claims = { type = "access" }
[internal]
keys = ["${env:OLD}"]
[auth_failures]
rate = "30/min"
[limits.flood]
rate = "50/s"
by = "ip"
[upstreams.up]
urls = ["http://up:8001"]
[[routes]]
name = "tasks"
paths = ["/tasks/*"]
upstream = "up"
auth = "jwt"
limits = ["flood"]
max_body = "1MiB"
require = { permissions_any = ["tasks.create"] }
"#;
    let setup = Gateway::with(careful).env("OLD", "0123456789abcdef0123456789abcdef");
    let (exit, stdout, stderr) = setup.says(&["check", "--audit"]).await;
    assert_eq!(exit, 0, "{stdout}{stderr}");
    assert!(
        stdout.contains("medium fallback-forbidden: ") && stdout.contains(": routes.tasks.require: "),
        "{stdout}"
    );
    let (exit, _, stderr) = setup.says(&["check"]).await;
    assert!(
        exit == 0 && stderr.contains(": warning: ") && stderr.contains("routes.tasks.require"),
        "{stderr}"
    );
    let able = careful.replace("[auth_failures]", "permissions = [\"tasks.*\"]\n[auth_failures]");
    let setup = Gateway::with(&able).env("OLD", "0123456789abcdef0123456789abcdef");
    assert_eq!(setup.says(&["check"]).await.2, "");
}

#[tokio::test]
async fn who_calls_is_no_strangers_to_say_where_the_gateway_does_not_say_it() {
    let config = |more: &str| {
        format!("[identity]\nuser_header = \"\"\n[upstreams.up]\nurls = [\"http://up:8001\"]\n{OPEN}{more}")
    };
    let finding = "medium identity-from-strangers: ";
    let (_, stdout, _) = Gateway::with(&config("")).says(&["check", "--audit"]).await;
    assert!(
        stdout.contains(finding) && stdout.contains("identity.user_header"),
        "{stdout}"
    );
    assert!(!stdout.contains("identity.tenant_header"), "it is written: {stdout}");
    let removed = config("remove_headers = [\"x-user-id\"]\n");
    let (_, stdout, stderr) = Gateway::with(&removed).says(&["check", "--audit"]).await;
    assert!(
        stdout.contains("medium ") && !stdout.contains(finding),
        "{stdout}{stderr}"
    );
}

#[tokio::test]
async fn an_override_in_force_is_a_finding() {
    let setup = Gateway::with(&CARELESS.replace("use_jwt_auth = false", ""))
        .file("gateway.overrides.toml", "[routes.tokens]\nauth = \"internal\"\n");
    let (_, stdout, _) = setup.says(&["check", "--audit"]).await;
    assert!(stdout.contains("low override-in-force: "), "{stdout}");
}

async fn schema() -> Value {
    let setup = Gateway::with("this is no config");
    let (exit, stdout, stderr) = setup.says(&["check", "--schema"]).await;
    assert_eq!(exit, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Whether a value fits; what it does not fit is told. As much of JSON Schema as ours has, but for patterns other than a
/// reference's.
fn judge(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{at}: {why}"));
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| judge(choice, value, at).is_ok());
        return if fits { Ok(()) } else { wrong("fits no choice") };
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return wrong("is none of the words");
    }
    if schema["pattern"] == "\\$\\{" && !value.as_str().is_some_and(|text| text.contains("${")) {
        return wrong("is no reference");
    }
    match (schema["type"].as_str(), value) {
        (None, _) | (Some("string"), Value::String(_)) | (Some("boolean"), Value::Bool(_)) => Ok(()),
        (Some("number"), Value::Number(_)) => Ok(()),
        (Some("integer"), Value::Number(number)) => {
            let within = number.as_i64().is_some_and(|number| {
                schema["minimum"].as_i64().is_none_or(|least| number >= least)
                    && schema["maximum"].as_i64().is_none_or(|most| number <= most)
            });
            if within { Ok(()) } else { wrong("is out of range") }
        }
        (Some("array"), Value::Array(items)) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(place, item)| judge(&schema["items"], item, &format!("{at}[{place}]")))
        }
        (Some("object"), Value::Object(keys)) => {
            for required in schema["required"].as_array().into_iter().flatten() {
                if !keys.contains_key(required.as_str().unwrap()) {
                    return wrong(&format!("lacks {required}"));
                }
            }
            keys.iter().try_for_each(|(key, value)| {
                let at = format!("{at}.{key}");
                match (schema["properties"].get(key), &schema["additionalProperties"]) {
                    (Some(own), _) => judge(own, value, &at),
                    (None, Value::Bool(false)) => Err(format!("{at}: unknown key")),
                    (None, others) => judge(others, value, &at),
                }
            })
        }
        (Some(kind), _) => wrong(&format!("is no {kind}")),
    }
}

fn json(text: &str) -> Value {
    fn plain(value: toml::Value) -> Value {
        match value {
            toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, plain(value))).collect(),
            toml::Value::Array(items) => items.into_iter().map(plain).collect(),
            toml::Value::Datetime(moment) => moment.to_string().into(),
            other => serde_json::to_value(other).unwrap(),
        }
    }
    plain(toml::Value::Table(text.parse().unwrap()))
}

#[tokio::test]
async fn the_schema_takes_the_shipped_config_and_refuses_planted_mistakes() {
    let schema = schema().await;
    let root = env!("CARGO_MANIFEST_DIR");
    let shipped = std::fs::read_to_string(format!("{root}/gateway.toml")).unwrap();
    let reference = std::fs::read_to_string(format!("{root}/src/config/tests/reference.toml")).unwrap();
    for text in [&shipped, &reference, &CARELESS.to_owned()] {
        assert_eq!(judge(&schema, &json(text), "gateway.toml"), Ok(()));
    }
    let published = std::fs::read_to_string(format!("{root}/docs/gateway.schema.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&published).unwrap(),
        schema,
        "write `gateway check --schema` to docs/gateway.schema.json"
    );
    for (good, mistake, why) in [
        (
            "drain_timeout = \"30s\"",
            "drain_timeuot = \"30s\"",
            "drain_timeuot: unknown key",
        ),
        ("name = \"public\"", "nam = \"public\"", "nam"),
        ("max_body = \"10MiB\"", "max_body = 10", "max_body: is no string"),
        (
            "access_log = false",
            "access_log = \"no\"",
            "access_log: fits no choice",
        ),
        ("level = \"info\"", "level = \"loud\"", "level: fits no choice"),
        ("retries = 0 ", "retries = 99", "retries: fits no choice"),
        (
            "[upstreams.mlflow]",
            "[upstreams.mlflow]\nurl = \"http://x\"",
            "url: unknown key",
        ),
    ] {
        assert!(shipped.contains(good), "{good}");
        let refused = judge(&schema, &json(&shipped.replace(good, mistake)), "gateway.toml").unwrap_err();
        assert!(refused.contains(why), "{mistake}: {refused}");
    }
}

#[tokio::test]
async fn the_config_is_found_by_the_environment() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("other.toml");
    std::fs::write(&path, "[[routes]]\nname = \"x\"\n").unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg("check")
        .env_clear()
        .env("GATEWAY_CONFIG", &path)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("other.toml"));
}
