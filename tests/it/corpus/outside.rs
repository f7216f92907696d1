//! A case judged by the built binary: by `gateway explain --json`, and by a gateway that it is sent to.

use std::net::SocketAddr;

use gateway::demo::wire::Wire;
use serde_json::Value;
use tokio::net::TcpSocket;

use super::Verdict;
use super::case::{Answer, Case, Corpus, Head};
use crate::harness::{Client, Gateway, Received, Setup, soon};

/// What a way said.
pub struct Said {
    /// The verdict.
    pub verdict: Verdict,
    /// The head that the upstream gets.
    pub head: Option<Head>,
    /// The target that it gets.
    pub target: Option<String>,
    /// The gateway's own answer.
    pub answer: Option<Answer>,
}

/// Asks `gateway explain`.
pub async fn explain(setup: &Setup, corpus: &Corpus, case: &Case) -> Said {
    let (method, url) = case.method_and_url();
    let from = case.peer().to_string();
    let mut arguments = vec!["explain", method, url, "--json", "--from", &from];
    arguments.extend(case.headers.iter().flat_map(|line| ["-H", line.as_str()]));
    arguments.extend(corpus.explain.iter().map(String::as_str));
    let output = setup.run(&arguments).await;
    let code = output.status.code().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}: {}", case.name, String::from_utf8_lossy(&output.stderr)));
    no_credential_in(&output.stdout, case);
    let text = |name| Verdict::text(&report, name);
    let asked = report["chain"].as_array().unwrap().iter();
    let deciding = asked
        .filter(|step| !matches!(step["outcome"].as_str(), Some("absent" | "not_reached")))
        .find_map(|step| step["method"].as_str().filter(|method| *method != "none"));
    let mut verdict = Verdict {
        status: report["status"].as_u64().unwrap_or_default(),
        error: text("error"),
        detail: text("detail"),
        route: text("route"),
        method: deciding.map(str::to_owned),
        user: Verdict::text(&report["identity"], "user"),
        acting_for: Verdict::text(&report["identity"], "acting_for"),
    };
    let decision = report["decision"].as_str().unwrap();
    assert_eq!(
        code,
        ["allow", "-", "deny", "-", "unknown"]
            .iter()
            .position(|name| *name == decision)
            .unwrap() as i32,
        "{}",
        case.name
    );
    if decision == "unknown" {
        // A gateway whose keys are out of reach knows no better, and says 503.
        assert!(report["missing"].is_string(), "{}", case.name);
        verdict.status = 503;
        verdict.error = Some("auth_unavailable".to_owned());
        verdict.detail = Some("keys_unavailable".to_owned());
    }
    let lines = |headers: &Value| -> Option<Head> {
        let text = |text: &Value| text.as_str().unwrap().to_owned();
        let headers = headers.as_array()?.iter();
        Some(headers.map(|line| (text(&line[0]), text(&line[1]))).collect())
    };
    let answer = &report["answer"];
    Said {
        verdict,
        head: lines(&report["upstream"]["headers"]),
        target: Verdict::text(&report["upstream"], "target"),
        answer: lines(&answer["headers"]).map(|headers| Answer {
            status: answer["status"].as_u64().unwrap(),
            headers,
        }),
    }
}

/// Credentials are never echoed (r12).
fn no_credential_in(said: &[u8], case: &Case) {
    let said = String::from_utf8_lossy(said);
    for line in &case.headers {
        let (name, value) = line.split_once(':').unwrap_or_default();
        let credential = value.split_whitespace().last().unwrap_or_default();
        let is_one =
            ["authorization", "x-api-key", "x-internal-auth", "cookie"].contains(&name.to_lowercase().as_str());
        assert!(
            !is_one || credential.len() < 6 || !said.contains(credential),
            "{}: {said}",
            case.name
        );
    }
}

/// Sends it to a gateway. What the answer does not tell is read in the access log.
pub async fn send(gateway: &Gateway, corpus: &Corpus, case: &Case) -> Said {
    let mut client = client_at(case, gateway.address).await;
    let before = corpus.upstream.count();
    client.write(case.head(&gateway.address.to_string())).await;
    client.write(&case.body).await;
    let head = client.head().await;
    let id = head.first("x-request-id").unwrap().to_owned();
    let line = gateway.access_line(|line| line["request_id"] == id.as_str()).await;
    let text = |name| Verdict::text(&line, name);
    let refused = line["decision"] == "deny";
    let answered = u64::from(head.status());
    let forwarded = !refused && case.answers.is_empty();
    assert_eq!(
        corpus.upstream.count() - before,
        usize::from(forwarded),
        "{}: reached the upstream",
        case.name
    );
    assert!(!forwarded || answered == 200, "{}: {line}", case.name);
    let received = forwarded.then(|| corpus.upstream.last());
    let shown = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let lines = |received: &Received| {
        let headers = received.headers.iter();
        headers.map(|(name, value)| (name.clone(), shown(value))).collect()
    };
    let target = |received: &Received| received.line.split(' ').nth(1).unwrap().to_owned();
    Said {
        verdict: Verdict {
            status: if refused { answered } else { 0 },
            // Of an allowed request it says what became of it.
            error: text("reason").filter(|_| refused),
            detail: text("detail"),
            route: text("route"),
            method: text("auth_method").filter(|method| method != "none"),
            user: text("user_id"),
            acting_for: text("acting_for"),
        },
        head: received.as_ref().map(lines),
        target: received.as_ref().map(target),
        answer: Some(Answer {
            status: answered,
            headers: head.headers,
        }),
    }
}

/// A client whose connections come from the case's peer.
async fn client_at(case: &Case, to: SocketAddr) -> Client {
    if case.from.is_none() {
        return Client::of(to).await;
    }
    // A port that is chosen before the other side is known must be free of every other: old connections may keep it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::new(case.peer(), 0)).unwrap();
    let stream = soon("a connection", socket.connect(to))
        .await
        .expect("somebody listens");
    stream.set_nodelay(true).unwrap();
    Client {
        to,
        connection: Wire::new(stream),
    }
}

/// Whether the upstream got the very head that was foretold: order across names is free, and what is never shown may be
/// anything.
pub fn compare(case: &Case, foretold: Option<Head>, received: Option<Head>) -> Option<String> {
    let (Some(foretold), Some(received)) = (foretold, received) else {
        return None;
    };
    let hostless = case.host_and_target().0.is_none();
    let sorted = |mut head: Head| {
        // A bare path has no host to be told of.
        head.retain(|(name, _)| !(hostless && name == "x-forwarded-host"));
        head.sort_by(|a, b| a.0.cmp(&b.0));
        head
    };
    let (foretold, received) = (sorted(foretold), sorted(received));
    let same = foretold.len() == received.len()
        && foretold.iter().zip(&received).all(|(told, is)| {
            let hidden =
                told.1.contains("(as received)") || told.1.contains("(set by") || told.1.contains("(a new one");
            told.0 == is.0 && (hidden || told.1 == is.1)
        });
    (!same).then(|| format!("explain foretold\n  {foretold:?}\nand the upstream got\n  {received:?}"))
}
