//! What is settled when the answer is known or has ended: limits that count statuses, and places among those in flight.

use serde_json::json;

use super::{left, status};
use crate::harness::{Client, Gate, Gateway, Request, Setup, Upstream, refused};

/// One limit on every path.
fn limited(limit: &str, upstream: &Upstream) -> Setup {
    Gateway::with(&format!(
        "[limits.it]\nby = \"ip\"\n{limit}\n[[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"up\"\n\
         auth = \"none\"\nlimits = [\"it\"]\n"
    ))
    .upstream("up", upstream)
}

/// Says 200 for `/right`, else 401.
async fn door() -> Upstream {
    Upstream::answering(|received| {
        let status = if received.line.contains("/right") {
            "200 OK"
        } else {
            "401 Unauthorized"
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    })
    .await
}

mod charge_on {
    use super::*;

    #[tokio::test]
    async fn failed_logins_are_counted_and_others_are_not() {
        let door = door().await;
        for algorithm in ["gcra", "sliding_window"] {
            let lines = format!("rate = \"5/hour\"\nalgorithm = \"{algorithm}\"\ncharge_on = [401, 403]");
            let gateway = limited(&lines, &door).start().await;
            for failed in 0..5 {
                for _ in 0..3 {
                    let right = gateway.get("/right").await;
                    assert_eq!(
                        (status(&right), left(&right, "it")),
                        (200, Some(5 - failed)),
                        "{algorithm}"
                    );
                }
                let wrong = gateway.get("/wrong").await;
                assert_eq!(
                    (status(&wrong), left(&wrong, "it")),
                    (401, Some(4 - failed)),
                    "{algorithm}"
                );
            }
            refused(&gateway.get("/wrong").await, 429, "rate_limited");
            refused(&gateway.get("/right").await, 429, "rate_limited");
            assert!(gateway.get("/right").await.head.first("retry-after").is_some());
        }
    }

    #[tokio::test]
    async fn guessing_side_by_side_gains_nothing() {
        let door = door().await;
        let gateway = limited("rate = \"5/hour\"\ncharge_on = [401]", &door)
            .and("[server]\nworkers = 2")
            .start()
            .await;
        let mut clients = Vec::new();
        for _ in 0..64 {
            clients.push(gateway.client().await);
        }
        for client in &mut clients {
            client.write(Request::get("/wrong").bytes(gateway.address)).await;
        }
        let mut answers = Vec::new();
        for client in &mut clients {
            answers.push(status(&client.response().await));
        }
        answers.sort_unstable();
        assert_eq!(answers[..5], [401; 5]);
        assert_eq!(answers[5..], [429; 59]);
        assert_eq!(door.count(), 5, "the others were not even asked");
    }

    #[tokio::test]
    async fn refusals_of_the_gateway_count_by_their_status_too() {
        let door = door().await;
        let gateway = limited("rate = \"2/hour\"\ncharge_on = [401]", &door)
            .and(
                "[internal]\nkeys = [\"a-long-secret\"]\n[[routes]]\nname = \"inner\"\npaths = [\"/inner\"]\n\
                  upstream = \"up\"\nauth = \"internal\"\nlimits = [\"it\"]",
            )
            .start()
            .await;
        let guess = Request::get("/inner").header("X-Internal-Auth", "wrong-secret");
        for _ in 0..2 {
            refused(&gateway.send(&guess).await, 401, "invalid_internal_auth");
        }
        refused(&gateway.send(&guess).await, 429, "rate_limited");
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_the_answer_is_not_counted() {
        let gate = Gate::shut();
        let door = gate.clone();
        let upstream = Upstream::conversing(move |mut conversation| {
            let door = door.clone();
            async move {
                while conversation.request().await.is_some() {
                    door.passed().await;
                    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            }
        })
        .await;
        let lines = "rate = \"1/hour\"\nalgorithm = \"sliding_window\"\ncharge_on = [401]";
        let gateway = limited(lines, &upstream).start().await;
        let mut leaving = gateway.client().await;
        leaving.write(Request::get("/").bytes(gateway.address)).await;
        upstream.got(1).await;
        refused(&gateway.get("/").await, 429, "rate_limited");
        leaving.reset();
        gate.open();
        gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
        assert_eq!(status(&gateway.get("/").await), 200);
    }
}

mod concurrent {
    use super::*;
    use gateway::demo::websocket::{self, Frame, opcode};

    /// Answers with the head and one piece at once, with the rest when the gate opens.
    async fn slow(gate: &Gate) -> Upstream {
        let gate = gate.clone();
        Upstream::conversing(move |mut conversation| {
            let gate = gate.clone();
            async move {
                while conversation.request().await.is_some() {
                    conversation
                        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
                        .await;
                    gate.passed().await;
                    conversation.send("3\r\ntwo\r\n0\r\n\r\n").await;
                }
            }
        })
        .await
    }

    async fn begun(gateway: &Gateway) -> Client {
        let mut client = gateway.client().await;
        client.write(Request::get("/slow").bytes(gateway.address)).await;
        let head = client.head().await;
        assert_eq!(head.status(), 200, "{head:?}");
        client
    }

    #[tokio::test]
    async fn a_place_is_held_until_the_body_has_ended() {
        let gate = Gate::shut();
        let upstream = slow(&gate).await;
        let gateway = limited("concurrent = 2", &upstream).start().await;
        let mut first = gateway.client().await;
        first.write(Request::get("/slow").bytes(gateway.address)).await;
        let head = first.head().await;
        assert_eq!(
            head.first("ratelimit-policy"),
            Some("\"it\";q=2;qu=\"concurrent-requests\"")
        );
        assert_eq!(head.first("ratelimit"), Some("\"it\";r=1"));
        let mut second = begun(&gateway).await;
        let refusal = gateway.get("/slow").await;
        refused(&refusal, 429, "rate_limited");
        assert_eq!(refusal.head.first("retry-after"), Some("1"));
        assert_eq!(upstream.count(), 2);
        gate.open();
        for client in [&mut first, &mut second] {
            client.exactly("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n".len()).await;
        }
        gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
        for _ in 0..5 {
            assert_eq!(status(&gateway.get("/slow").await), 200);
            gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
        }
        assert_eq!(gateway.metric("gateway_rate_limit_keys{limit=\"it\"}").await, Some(0.0));
    }

    #[tokio::test]
    async fn a_client_that_dies_leaves_its_place() {
        let upstream = Upstream::conversing(|mut conversation| async move {
            conversation.request().await;
            conversation.send("HTTP/1.1 200 OK\r\n\r\n").await;
            // That a client is gone shows when it is written to.
            while conversation.connection.send(&[b'x'; 1024]).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let gateway = limited("concurrent = 1", &upstream).start().await;
        for _ in 0..3 {
            let client = begun(&gateway).await;
            refused(&gateway.get("/slow").await, 429, "rate_limited");
            client.reset();
            gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
        }
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_forwarded_leaves_its_place() {
        let nobody = Upstream::nobody().await;
        let gateway = Gateway::with(
            "[limits.it]\nconcurrent = 1\n[[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"up\"\n\
             auth = \"none\"\nlimits = [\"it\"]\n",
        )
        .upstream_with("up", nobody, "")
        .start()
        .await;
        for _ in 0..5 {
            refused(&gateway.get("/").await, 503, "upstream_unavailable");
        }
    }

    #[tokio::test]
    async fn a_websocket_holds_its_place_until_it_is_closed() {
        let upstream = Upstream::conversing(|mut conversation| async move {
            conversation.request().await;
            conversation
                .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                .await;
            while let Ok(frame) = websocket::read(&mut conversation.connection).await {
                websocket::write(&mut conversation.connection, &frame, None)
                    .await
                    .unwrap();
                if frame.opcode() == opcode::CLOSE {
                    return;
                }
            }
        })
        .await;
        let gateway = limited("concurrent = 1", &upstream).start().await;
        let upgrade = Request::get("/ws")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "ZGVtbyBkZW1vIGRlbW8hIQ==");
        for _ in 0..2 {
            let mut client = gateway.client().await;
            client.write(upgrade.bytes(gateway.address)).await;
            assert_eq!(client.head().await.status(), 101);
            refused(&gateway.get("/ws").await, 429, "rate_limited");
            let close = Frame::whole(opcode::CLOSE, &1000_u16.to_be_bytes());
            websocket::write(&mut client.connection, &close, Some([1, 2, 3, 4]))
                .await
                .unwrap();
            client.until_close().await;
            gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
        }
    }

    #[tokio::test]
    async fn services_may_be_let_off() {
        let gate = Gate::shut();
        let upstream = slow(&gate).await;
        let gateway = Gateway::with(
            "[internal]\nkeys = [\"a-long-secret\"]\n[limits.it]\nconcurrent = 1\nby = \"global\"\n\
             tiers = { internal = \"unlimited\" }\n[[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"up\"\n\
             auth = [\"internal\", \"none\"]\nlimits = [\"it\"]\n",
        )
        .upstream("up", &upstream)
        .start()
        .await;
        let _first = begun(&gateway).await;
        refused(&gateway.get("/slow").await, 429, "rate_limited");
        gate.open();
        let service = Request::get("/slow").header("X-Internal-Auth", "a-long-secret");
        let response = gateway.send(&service).await;
        assert_eq!((status(&response), left(&response, "it")), (200, None));
    }
}

#[tokio::test]
async fn the_status_tells_of_each_limit() {
    let door = door().await;
    let gateway = limited("rate = \"2/hour\"\nmax_keys = 7", &door).start().await;
    for _ in 0..3 {
        gateway.get("/right").await;
    }
    let status = gateway.ask_admin("/status.json").await.json();
    let expected = json!([{
        "name": "it", "rate": "2/hour", "by": "ip", "keys": 1, "max_keys": 7, "allowed": 2, "refused": 1,
    }]);
    assert_eq!(status["limits"], expected);
    gateway
        .metric_becomes("gateway_rate_limit_keys{limit=\"it\"}", 1.0)
        .await;
}
