//! Limits that count tokens: read from answers as they pass, charged when these have ended.

use serde_json::json;

use super::{left, status};
use crate::harness::{Gate, Gateway, Request, Response, Setup, Upstream, refused};

fn llm(limit: &str, upstream: &Upstream) -> Setup {
    Gateway::with(&format!(
        "[limits.tokens]\nunit = \"tokens\"\nby = \"ip\"\n{limit}\n[[routes]]\nname = \"llm\"\npaths = [\"/v1/*\"]\n\
         upstream = \"up\"\nauth = \"none\"\nllm = \"openai\"\nlimits = [\"tokens\"]\n"
    ))
    .upstream("up", upstream)
}

fn whole(usage: &str) -> String {
    let body =
        format!("{{\"choices\":[{{\"text\":\"\\\"usage\\\":{{\\\"prompt_tokens\\\":9}}\"}}],\"usage\":{usage}}}");
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

async fn ask(gateway: &Gateway) -> Response {
    gateway
        .send(&Request::new("POST", "/v1/chat/completions").body("{\"messages\":[]}"))
        .await
}

#[tokio::test]
async fn what_an_answer_cost_is_charged_when_it_has_ended() {
    let upstream = Upstream::saying(&whole(
        "{\"prompt_tokens\":30,\"completion_tokens\":15,\"total_tokens\":45}",
    ))
    .await;
    for algorithm in ["gcra", "sliding_window"] {
        let lines = format!("rate = \"100/hour\"\nalgorithm = \"{algorithm}\"");
        let gateway = llm(&lines, &upstream).start().await;
        for (round, remaining) in [100, 55, 10].into_iter().enumerate() {
            let answer = ask(&gateway).await;
            assert_eq!(
                (status(&answer), left(&answer, "tokens")),
                (200, Some(remaining)),
                "{algorithm} {round}"
            );
            let policy = "\"tokens\";q=100;qu=\"tokens\";w=3600";
            assert_eq!(answer.head.first("ratelimit-policy"), Some(policy));
            let line = gateway.access_line_of(&answer).await;
            assert_eq!(
                (&line["input_tokens"], &line["output_tokens"]),
                (&json!(30), &json!(15))
            );
            assert_eq!(line["tokens_estimated"], json!(null));
        }
        let refusal = ask(&gateway).await;
        refused(&refusal, 429, "rate_limited");
        let wait: u64 = refusal.head.first("retry-after").unwrap().parse().unwrap();
        // 35 too many, and one more: 36 of 100 an hour; or until the first two answers are over.
        let least = if algorithm == "gcra" { 36 * 36 - 30 } else { 3500 };
        assert!((least..=3600).contains(&wait), "{algorithm}: {wait}");
        for (kind, count) in [("input", 90.0), ("output", 45.0)] {
            let series = format!("gateway_llm_tokens_total{{kind=\"{kind}\",route=\"llm\"}}");
            gateway.metric_becomes(&series, count).await;
        }
    }
}

#[tokio::test]
async fn a_stream_is_read_as_it_passes_and_kept_by_nobody() {
    let gate = Gate::shut();
    let door = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let door = door.clone();
        async move {
            while conversation.request().await.is_some() {
                conversation
                    .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await;
                let piece = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n";
                conversation.connection.send_chunk(piece).await.unwrap();
                door.passed().await;
                // The count is cut in two.
                for piece in [
                    "data: {\"usage\":{\"prompt_tok",
                    "ens\":7,\"completion_tokens\":4",
                    "2}}\n\ndata: [DONE]\n\n",
                ] {
                    conversation.connection.send_chunk(piece.as_bytes()).await.unwrap();
                }
                conversation.send("0\r\n\r\n").await;
            }
        }
    })
    .await;
    let gateway = llm("rate = \"49/hour\"", &upstream).start().await;
    let mut client = gateway.client().await;
    client.write(Request::get("/v1/x").bytes(gateway.address)).await;
    let mut body = client.head().await.response_body().unwrap();
    let first = client.connection.piece(&mut body).await.unwrap().unwrap();
    assert!(
        first.starts_with(b"data: {\"choices\""),
        "it came before the rest was there"
    );
    gate.open();
    client.connection.rest(body).await.unwrap();
    let line = gateway.access_line(|line| line["output_tokens"] == 42).await;
    assert_eq!(line["input_tokens"], 7);
    refused(&ask(&gateway).await, 429, "rate_limited");
}

#[tokio::test]
async fn who_leaves_before_the_count_comes_is_charged_by_estimate() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let event = b"16\r\ndata: {\"choices\":[]}\n\n\r\n";
        while conversation.connection.send(event).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let gateway = llm("rate = \"20/hour\"", &upstream).start().await;
    let mut client = gateway.client().await;
    client.write(Request::get("/v1/x").bytes(gateway.address)).await;
    let mut body = client.head().await.response_body().unwrap();
    let mut came = Vec::new();
    while came.len() < 20 * 22 {
        came.extend(client.connection.piece(&mut body).await.unwrap().unwrap());
    }
    client.reset();
    let line = gateway.access_line(|line| line["tokens_estimated"] == true).await;
    assert!(line["output_tokens"].as_u64().unwrap() >= 20, "{line}");
    refused(&ask(&gateway).await, 429, "rate_limited");
}

#[tokio::test]
async fn failures_cost_no_tokens_and_charge_on_chooses() {
    let answer = whole("{\"prompt_tokens\":50,\"completion_tokens\":50}");
    let upstream = Upstream::answering(move |received| {
        let answer = if received.line.contains("/v1/fail") {
            answer.replace("200 OK", "500 No")
        } else {
            answer.clone()
        };
        answer.into_bytes()
    })
    .await;
    let gateway = llm("rate = \"100/hour\"", &upstream).start().await;
    for _ in 0..3 {
        assert_eq!(status(&gateway.get("/v1/fail").await), 500);
    }
    assert_eq!(status(&gateway.get("/v1/x").await), 200);
    gateway
        .metric_becomes("gateway_llm_tokens_total{kind=\"input\",route=\"llm\"}", 50.0)
        .await;
    refused(&gateway.get("/v1/x").await, 429, "rate_limited");
    let gateway = llm("rate = \"100/hour\"\ncharge_on = [201]", &upstream).start().await;
    for _ in 0..3 {
        let answer = gateway.get("/v1/x").await;
        assert_eq!((status(&answer), left(&answer, "tokens")), (200, Some(100)));
    }
}
