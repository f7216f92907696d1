//! A collector of spans: what it is sent is decoded by OpenTelemetry's own generated code, and it answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gateway::policy::digest::hex;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::Value;

use super::{Gate, Received, Response, Upstream, eventually};

/// A span that was exported.
#[derive(Debug, Clone)]
pub struct Exported {
    /// As it was sent.
    pub span: Span,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// Who sent it.
    pub resource: BTreeMap<String, Value>,
}

impl Exported {
    /// An attribute; null: it is not there.
    pub fn get(&self, key: &str) -> Value {
        self.attributes.get(key).cloned().unwrap_or_default()
    }

    /// Its trace's id, as `traceparent` has it.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Its id, as `traceparent` has it.
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// Its parent's.
    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

#[derive(Default)]
struct State {
    taken: Vec<Exported>,
    /// Instead of taking what comes next.
    answers: VecDeque<String>,
    gate: Option<Gate>,
}

/// A collector.
pub struct Collector {
    /// Its server; every request there is an export.
    pub server: Upstream,
    state: Arc<Mutex<State>>,
}

impl Collector {
    /// Starts one that takes everything.
    pub async fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let own = state.clone();
        let server = Upstream::conversing(move |mut conversation| {
            let state = own.clone();
            async move {
                while let Some(received) = conversation.request().await {
                    let gate = state.lock().gate.clone();
                    if let Some(gate) = gate {
                        gate.passed().await;
                    }
                    let refusal = state.lock().answers.pop_front();
                    let answer = refusal.unwrap_or_else(|| {
                        state.lock().taken.extend(decode(&received));
                        "200 OK\r\nContent-Type: application/x-protobuf".to_owned()
                    });
                    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                    conversation.send(answer).await;
                }
            }
        })
        .await;
        Self { server, state }
    }

    /// `[telemetry]` with this collector, and these lines.
    pub fn config(&self, lines: &str) -> String {
        format!("[telemetry]\notlp = \"http://{}\"\n{lines}\n", self.server.address)
    }

    /// Answers exports from now on with these statuses and headers, and then takes them again.
    pub fn answer(&self, answers: &[&str]) {
        let answers = answers.iter().map(|answer| (*answer).to_owned());
        self.state.lock().answers.extend(answers);
    }

    /// Answers only once the gate is open.
    pub fn wait_for(&self, gate: &Gate) {
        self.state.lock().gate = Some(gate.clone());
    }

    /// Everything that it took.
    pub fn spans(&self) -> Vec<Exported> {
        self.state.lock().taken.clone()
    }

    /// Waits for a span.
    pub async fn span(&self, is_it: impl Fn(&Exported) -> bool) -> Exported {
        eventually("the span at the collector", async || {
            self.spans().into_iter().find(|span| is_it(span))
        })
        .await
    }

    /// Waits for the span of the request that this is the answer to.
    pub async fn span_of(&self, response: &Response) -> Exported {
        let id = response
            .head
            .first("x-request-id")
            .expect("every answer has one")
            .to_owned();
        self.span(|span| span.get("gateway.request_id") == id.as_str()).await
    }
}

fn decode(received: &Received) -> Vec<Exported> {
    assert_eq!(received.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(
        received.header("content-type").as_deref(),
        Some("application/x-protobuf")
    );
    let request = ExportTraceServiceRequest::decode(&*received.body).expect("an export");
    assert_eq!(
        request.encoded_len(),
        received.body.len(),
        "nothing that it does not know"
    );
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = attributes(of_resource.resource.expect("a resource").attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Exported {
                attributes: attributes(span.attributes.clone()),
                resource: resource.clone(),
                span,
            });
        }
    }
    spans
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let count = pairs.len();
    let value = |pair: KeyValue| {
        let value = match pair.value.and_then(|value| value.value).expect("a value") {
            any_value::Value::StringValue(text) => text.into(),
            any_value::Value::IntValue(number) => number.into(),
            any_value::Value::DoubleValue(number) => number.into(),
            other => panic!("{}: {other:?}", pair.key),
        };
        (pair.key, value)
    };
    let map: BTreeMap<String, Value> = pairs.into_iter().map(value).collect();
    assert_eq!(map.len(), count, "keys are unique");
    map
}
