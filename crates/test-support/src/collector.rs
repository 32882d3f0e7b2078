//! An OTLP collector that records spans: gRPC and HTTP on one port.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use axum::routing::post;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::eventually;
use crate::traces::{Span, Trace, from_otlp};

/// How the collector behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Accepts everything.
    Willing,
    /// Responds that it is unavailable.
    Unavailable,
    /// Rejects every request for good.
    Refusing,
    /// Rejects this number of spans of each request.
    Picky(i64),
    /// Accepts everything after this delay.
    Slow(Duration),
    /// Responds with headers only.
    Silent,
}

/// A running collector; ends when it is dropped.
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    mood: Mutex<Mood>,
    spans: Mutex<Vec<Span>>,
    requests: Mutex<VecDeque<Request>>,
}

/// The parts of a request that tests check.
#[derive(Clone, Debug)]
pub struct Request {
    pub headers: HeaderMap,
    pub message: ExportTraceServiceRequest,
}

impl Collector {
    /// Starts a collector that accepts everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Willing),
            spans: Mutex::default(),
            requests: Mutex::default(),
        });
        let grpc = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let router = Router::new()
            .route(grpc, post(take_grpc))
            .route("/v1/traces", post(take_http))
            .with_state(shared.clone());
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { address, shared, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the behaviour.
    pub fn behave(&self, mood: Mood) {
        *self.shared.mood.lock() = mood;
    }

    /// The latest requests, accepted or not.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().iter().cloned().collect()
    }

    /// All accepted spans.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.spans.lock().clone()
    }

    /// The spans of a trace so far.
    pub fn trace(&self, id: &str) -> Trace {
        Trace::of(id, self.spans())
    }

    /// Waits until the trace `is_whole` and every span has its parent. Each process exports in its
    /// own intervals, so that an effect may arrive before its cause.
    pub async fn trace_when(&self, id: &str, is_whole: impl Fn(&Trace) -> bool) -> Trace {
        self.spans_when(id, |trace| trace.is_tree() && is_whole(trace)).await
    }

    /// Waits until the spans of the trace are `enough`; its root may have been exported elsewhere.
    pub async fn spans_when(&self, id: &str, is_enough: impl Fn(&Trace) -> bool) -> Trace {
        // Printed if the wait times out.
        let what = fmt::from_fn(|f| write!(f, "there is more of {}", self.trace(id)));
        eventually(what, async || Some(self.trace(id)).filter(|trace| is_enough(trace))).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    /// Handles a request. Returns the gRPC status and the number of rejected spans.
    async fn take(&self, headers: HeaderMap, body: &[u8]) -> Result<i64, Mood> {
        const REMEMBERED: usize = 100;
        let mood = *self.mood.lock();
        if let Mood::Slow(pause) = mood {
            tokio::time::sleep(pause).await;
        }
        let message = ExportTraceServiceRequest::decode(body).expect("a request");
        let spans = from_otlp(&message);
        {
            let mut requests = self.requests.lock();
            requests.push_back(Request { headers, message });
            if requests.len() > REMEMBERED {
                requests.pop_front();
            }
        }
        match mood {
            Mood::Unavailable | Mood::Refusing | Mood::Silent => return Err(mood),
            Mood::Willing | Mood::Slow(_) | Mood::Picky(_) => self.spans.lock().extend(spans),
        }
        Ok(if let Mood::Picky(left_out) = mood { left_out } else { 0 })
    }
}

fn answer(left_out: i64) -> Vec<u8> {
    let partial_success = (left_out > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: left_out,
        error_message: "too many".to_owned(),
    });
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

async fn take_http(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = if headers.contains_key("content-encoding") { unpacked(&body) } else { body };
    let (status, body) = match shared.take(headers, &body).await {
        Ok(left_out) => (StatusCode::OK, answer(left_out)),
        Err(Mood::Unavailable) => (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
        Err(Mood::Silent) => return Response::new(silent_body()),
        Err(_) => (StatusCode::BAD_REQUEST, Vec::new()),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

/// A unary call: a flag and a length before each message, and the status in the trailers.
async fn take_grpc(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    const INVALID_ARGUMENT: &str = "3";
    const UNAVAILABLE: &str = "14";
    let message = if body[0] == 1 { unpacked(&body[5..]) } else { body.slice(5..) };
    let taken = shared.take(headers, &message).await;
    let status = match taken {
        Ok(_) => "0",
        Err(Mood::Unavailable) => UNAVAILABLE,
        Err(_) => INVALID_ARGUMENT,
    };
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = Vec::new();
    if let Ok(left_out) = taken {
        let answer = answer(left_out);
        let length = u32::try_from(answer.len()).expect("a short answer");
        let message = [&[0], &length.to_be_bytes()[..], &answer].concat();
        frames.push(Ok(Frame::data(message.into())));
    }
    let trailers = [(HeaderName::from_static("grpc-status"), status.parse().expect("a number"))];
    frames.push(Ok(Frame::trailers(trailers.into_iter().collect())));
    let body = match taken {
        Err(Mood::Silent) => silent_body(),
        _ => Body::new(StreamBody::new(stream::iter(frames))),
    };
    let mut response = Response::new(body);
    let grpc = "application/grpc".parse().expect("a type");
    response.headers_mut().insert("content-type", grpc);
    response
}

/// Returns a body that never comes.
fn silent_body() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
}

fn unpacked(body: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(body);
    std::io::Read::read_to_end(&mut gzip, &mut bytes).expect("gzip");
    bytes.into()
}
