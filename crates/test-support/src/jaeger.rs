//! The real Jaeger.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Url;
use serde_json::Value;
use tempfile::TempDir;

use crate::eventually;
use crate::http::{Answer, client};
use crate::ports;
use crate::traces::{Span, Trace};

/// A running Jaeger with storage in memory. Dropping it kills the process.
pub struct Jaeger {
    child: Child,
    otlp: u16,
    query: u16,
    _home: TempDir,
}

/// The program that `MINIAPP_JAEGER` names, or `jaeger` in the `PATH`.
pub fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MINIAPP_JAEGER").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        assert!(named.exists(), "MINIAPP_JAEGER names {}, which isn't there", named.display());
        return Some(named);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("jaeger")).find(|file| file.is_file())
}

impl Jaeger {
    /// Starts it on free ports and waits until it answers.
    pub async fn start() -> Self {
        let program = program().expect("Jaeger is not installed: ./test traces builds it");
        let home = tempfile::tempdir().expect("a directory");
        let [otlp, query, query_grpc] = [(); 3].map(|()| ports::free());
        let file = home.path().join("jaeger.yaml");
        std::fs::write(&file, configuration(otlp, query, query_grpc)).expect("written");
        let child = Command::new(program)
            .arg("--config")
            .arg(&file)
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Jaeger starts");
        let jaeger = Self { child, otlp, query, _home: home };
        let services = format!("{}/api/services", jaeger.url());
        eventually("Jaeger answers", async || {
            let answer = Answer::try_to(client().get(&services)).await.ok()?;
            let listens = tokio::net::TcpStream::connect(("127.0.0.1", jaeger.otlp)).await;
            (answer.status == 200 && listens.is_ok()).then_some(())
        })
        .await;
        jaeger
    }

    /// The endpoint for spans over gRPC.
    pub fn otlp(&self) -> String {
        format!("http://127.0.0.1:{}", self.otlp)
    }

    /// The URL of its query API and pages.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.query)
    }

    /// A trace by the newest query API.
    pub async fn trace(&self, id: &str) -> Trace {
        let answer = self.get(&format!("/api/v3/traces/{id}")).await;
        let mut spans = Vec::new();
        for of_resource in items(&answer["result"]["resourceSpans"]) {
            let resource = attributes(&of_resource["resource"]["attributes"]);
            for scope in items(&of_resource["scopeSpans"]) {
                spans.extend(items(&scope["spans"]).map(|span| from_otlp_json(span, &resource)));
            }
        }
        Trace::of(id, spans)
    }

    /// A trace by the older query API, which Jaeger's own pages use.
    pub async fn trace_of_old(&self, id: &str) -> Trace {
        let answer = self.get(&format!("/api/traces/{id}")).await;
        let trace = &answer["data"][0];
        let spans = items(&trace["spans"]).map(|span| from_jaeger_json(span, &trace["processes"]));
        Trace::of(id, spans)
    }

    /// The ids of traces in which a span of `service` has an attribute `key` with this value.
    pub async fn search(&self, service: &str, key: &str, value: &str) -> Vec<String> {
        let tags = serde_json::json!({ key: value }).to_string();
        let parameters = [("service", service), ("tags", &tags)];
        let url = Url::parse_with_params(&format!("{}/api/traces", self.url()), parameters);
        let answer = Answer::to(client().get(url.expect("a URL"))).await.expect(200).json();
        items(&answer["data"]).map(|trace| text(&trace["traceID"])).collect()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = Answer::to(client().get(format!("{}{path}", self.url()))).await;
        if answer.status == 200 { answer.json() } else { Value::Null }
    }
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(otlp: u16, query: u16, query_grpc: u16) -> String {
    format!(
        "service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [jaeger_storage_exporter]
  telemetry:
    metrics:
      level: none
extensions:
  jaeger_storage:
    backends:
      memory:
        memory:
          max_traces: 100000
  jaeger_query:
    storage:
      traces: memory
    http:
      endpoint: 127.0.0.1:{query}
    grpc:
      endpoint: 127.0.0.1:{query_grpc}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:{otlp}
exporters:
  jaeger_storage_exporter:
    trace_storage: memory
"
    )
}

fn from_otlp_json(span: &Value, resource: &Attributes) -> Span {
    Span {
        service: resource.get("service.name").cloned().unwrap_or_default(),
        trace: text(&span["traceId"]),
        id: text(&span["spanId"]),
        parent: text(&span["parentSpanId"]),
        name: text(&span["name"]),
        kind: span["kind"]
            .as_i64()
            .and_then(|kind| SpanKind::try_from(i32::try_from(kind).ok()?).ok())
            .unwrap_or_default(),
        start: text(&span["startTimeUnixNano"]).parse().unwrap_or_default(),
        end: text(&span["endTimeUnixNano"]).parse().unwrap_or_default(),
        failed: span["status"]["code"] == 2,
        attributes: attributes(&span["attributes"]),
        resource: resource.clone(),
        links: items(&span["links"]).map(|link| text(&link["spanId"])).collect(),
    }
}

fn from_jaeger_json(span: &Value, processes: &Value) -> Span {
    let process = &processes[text(&span["processID"])];
    let tags = |tags: &Value| {
        items(tags).map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect::<Attributes>()
    };
    let attributes = tags(&span["tags"]);
    let references = |kind: &str| {
        let of_kind = items(&span["references"]).filter(move |other| other["refType"] == *kind);
        of_kind.map(|other| text(&other["spanID"])).collect::<Vec<_>>()
    };
    let microseconds = |value: &Value| value.as_u64().unwrap_or_default();
    let (start, took) = (microseconds(&span["startTime"]), microseconds(&span["duration"]));
    Span {
        service: text(&process["serviceName"]),
        trace: text(&span["traceID"]),
        id: text(&span["spanID"]),
        parent: references("CHILD_OF").into_iter().next().unwrap_or_default(),
        name: text(&span["operationName"]),
        kind: match attributes.get("span.kind").map(String::as_str) {
            Some("server") => SpanKind::Server,
            Some("client") => SpanKind::Client,
            Some("producer") => SpanKind::Producer,
            Some("consumer") => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        start: start * 1000,
        end: (start + took) * 1000,
        failed: attributes.get("error").is_some_and(|error| error == "true"),
        attributes,
        resource: tags(&process["tags"]),
        links: references("FOLLOWS_FROM"),
    }
}

type Attributes = std::collections::BTreeMap<String, String>;

fn attributes(list: &Value) -> Attributes {
    let pair = |attribute: &Value| {
        let value = attribute["value"].as_object().and_then(|value| value.values().next());
        (text(&attribute["key"]), value.map(text).unwrap_or_default())
    };
    items(list).map(pair).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
