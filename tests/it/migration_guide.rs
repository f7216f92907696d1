//! docs/migration.md, walked as whoever follows it would: its config fits together, its commands run as they are written, and what it
//! asks of Prometheus can be asked.

use std::process::Command;

use serde_json::json;

use crate::harness::{Gateway, Issuer, Key, Redis, Upstream};

const GUIDE: &str = include_str!("../../docs/migration.md");

/// What the guide takes for granted.
const HOUSE: &str = r#"
[internal]
keys = ["0123456789abcdef0123456789abcdef"]
[auth_failures]
rate = "30/min"
"#;

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let blocks = GUIDE.split(fence.as_str()).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// What stands between backticks in running text.
fn spans() -> Vec<&'static str> {
    let prose = GUIDE.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// With what each step adds.
fn config(issuer: &Issuer, step: usize) -> String {
    let [route, keys, canary] = blocks("toml").try_into().expect("three blocks of config");
    let own = keys
        .replace("https://auth.codelab.local", &issuer.name)
        .replace("http://auth-service:8003/.well-known/jwks.json", &issuer.jwks_url());
    let auth = "auth = \"internal\"";
    assert!(route.contains(auth));
    match step {
        1 => format!("{HOUSE}{route}"),
        2 => format!("{HOUSE}{own}{route}shadow = \"jwt\"\n"),
        3 => format!(
            "{HOUSE}{own}{}",
            route.replace(auth, "auth = [\"jwt\", \"internal\"]\nshadow = \"jwt\"")
        ),
        4 => format!(
            "{HOUSE}{own}{}",
            route.replace(auth, &format!("{canary}shadow = \"jwt\""))
        ),
        _ => format!(
            "{HOUSE}{own}{}",
            route.replace(auth, "auth = \"jwt\"\nshadow = \"internal\"")
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_guide_run_as_they_are_written() {
    let issuer = Issuer::with(Key::rsa("key-1")).await;
    let (upstream, redis) = (Upstream::echo().await, Redis::start().await);
    let token = issuer.token_with(json!({ "aud": "codelab-api", "type": "access" }));
    for step in 1..=5 {
        let setup = Gateway::with(&config(&issuer, step)).upstream("agent-runtime", &upstream);
        let output = setup.run(&["check"]).await;
        assert!(
            output.status.success(),
            "step {step}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let setup = Gateway::with(&config(&issuer, 4))
        .upstream("agent-runtime", &upstream)
        .and(&redis.section(""))
        .file("headers", format!("Authorization: Bearer {token}\n"));
    let gateway = setup.start().await;
    let scripts = blocks("sh").into_iter().flat_map(str::lines);
    let commands: Vec<&str> = scripts
        .map(|line| line.split('#').next().unwrap().trim())
        // A command that needs arguments and stands there without any is only spoken of.
        .chain(
            spans()
                .into_iter()
                .filter(|span| *span != "gateway explain" && *span != "gateway mode"),
        )
        .filter(|command| command.starts_with("gateway "))
        .collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let output = gateway.run(&arguments).await;
        let said = [&output.stdout[..], &output.stderr].concat();
        assert!(
            output.status.success(),
            "`{command}`: {}",
            String::from_utf8_lossy(&said)
        );
    }

    let metrics = gateway.metrics().await;
    let questions: Vec<&str> = blocks("text")
        .into_iter()
        .chain(spans().into_iter().filter(|span| span.contains("gateway_")))
        .collect();
    assert!(questions.len() >= 5, "{questions:?}");
    for question in &questions {
        let words = question.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("gateway_")) {
            assert!(
                metrics.contains(&format!("\n{name}{{")),
                "{name} is not measured: {question}"
            );
        }
    }
    sound(&questions);
}

/// Prometheus takes them.
fn sound(questions: &[&str]) {
    let rules: Vec<_> = questions
        .iter()
        .enumerate()
        .map(|(n, question)| json!({ "record": format!("guide:{n}"), "expr": question }))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    // JSON is YAML.
    let groups = json!({ "groups": [{ "name": "guide", "rules": rules }] });
    std::fs::write(file.path(), groups.to_string()).unwrap();
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(file.path())
        .output()
        .expect("promtool, which .ci/test installs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
