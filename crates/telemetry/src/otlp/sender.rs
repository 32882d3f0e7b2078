//! Sends spans in batches for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender as Done;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_proto::transform::common::tonic::Attributes;
use prost::Message as _;
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::client::{Client, ExportError, Retry};
use super::dropped::{self, Reason};
use super::{SCOPE, limits, queue};
use crate::resource::Resources;
use crate::trace::CompletedSpan;

const MAX_ATTEMPTS: u32 = 4;
/// The delay before the second attempt. It doubles for each further one.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Dropped spans are logged at most this often.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// A caller that waits until all spans are sent or dropped.
pub(super) type Flush = Done<()>;

pub(super) struct Sender {
    pub queue: queue::Receiver,
    pub client: Client,
    /// Limits an attempt to send a batch, with the whole response.
    pub timeout: Duration,
    pub flushes: mpsc::UnboundedReceiver<Flush>,
    /// How long the first span of a batch waits for others.
    pub delay: Duration,
    pub resources: Resources,
    /// The longest text of a span, in characters.
    pub max_length: usize,
    pub drop_reporter: DropReporter,
}

impl Sender {
    /// Sends until the exporter is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                is_open = self.queue.ready(self.delay) => {
                    if !is_open {
                        return;
                    }
                    self.send_all(None).await;
                }
                Some(flush) = self.flushes.recv() => self.send_all(Some(flush)).await,
            }
        }
    }

    /// Sends all that is queued. While a caller waits for that, nothing is retried.
    async fn send_all(&mut self, mut flush: Option<Flush>) {
        loop {
            let batch = self.queue.take_batch();
            if batch.is_empty() {
                break;
            }
            let count = batch.len() as u64;
            let request = self.encode(batch);
            let mut attempts = 0;
            let failure = loop {
                attempts += 1;
                match self.send(request.clone()).await {
                    Ok(0) => break None,
                    Ok(rejected) => {
                        dropped::count(Reason::Refused, rejected);
                        break Some("the collector rejected some".to_owned());
                    }
                    Err(ExportError { retry: Retry::Later, .. })
                        if flush.is_none() && attempts < MAX_ATTEMPTS =>
                    {
                        flush = self.pause(attempts).await;
                    }
                    Err(error) => {
                        let is_away = error.retry == Retry::Later;
                        let reason = if is_away { Reason::Unreachable } else { Reason::Refused };
                        dropped::count(reason, count);
                        break Some(error.to_string());
                    }
                }
            };
            self.drop_reporter.report(failure);
        }
        if let Some(flush) = flush {
            // The caller may have stopped waiting.
            let _ = flush.send(());
        }
    }

    async fn send(&mut self, request: Bytes) -> Result<u64, ExportError> {
        let sent = timeout(self.timeout, self.client.send(request)).await;
        sent.unwrap_or_else(|_| Err(ExportError::timed_out()))
    }

    /// Encodes one request with the spans of each service under its resource.
    fn encode(&self, batch: Vec<CompletedSpan>) -> Bytes {
        let mut by_service: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for span in batch {
            let CompletedSpan { service, data } = span;
            let service = service.unwrap_or_default();
            let mut span = Span::from(*data);
            limits::truncate(&mut span, self.max_length);
            if let Some(spans) = by_service.get_mut(&*service) {
                spans.push(span);
            } else {
                by_service.insert(service.into_owned(), vec![span]);
            }
        }
        let resource_spans = by_service.into_iter().map(|(service, spans)| {
            let scope = InstrumentationScope { name: SCOPE.to_owned(), ..Default::default() };
            let scope_spans = ScopeSpans { scope: Some(scope), spans, ..Default::default() };
            let attributes: Vec<KeyValue> = self.resources.of(&service);
            let attributes = Attributes::from(attributes).0;
            ResourceSpans {
                resource: Some(Resource { attributes, ..Default::default() }),
                scope_spans: vec![scope_spans],
                ..Default::default()
            }
        });
        let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
        request.encode_to_vec().into()
    }

    /// Waits before another attempt, or until a caller asks for a flush.
    async fn pause(&mut self, attempts: u32) -> Option<Flush> {
        let delay = RETRY_DELAY * 2_u32.pow(attempts - 1);
        let delay = delay.mul_f64(rand::rng().random_range(0.5..=1.0));
        timeout(delay, self.flushes.recv()).await.ok().flatten()
    }
}

/// Logs dropped spans, at a limited rate.
#[derive(Debug, Default)]
pub(super) struct DropReporter {
    /// When it last logged, and how many spans had been dropped by then.
    reported: Option<(Instant, u64)>,
}

impl DropReporter {
    /// Logs if spans were dropped since the last report. Without a `failure` the queue was
    /// full.
    fn report(&mut self, failure: Option<String>) {
        let total = dropped::total();
        let (is_due, reported) = match self.reported {
            Some((at, reported)) => (at.elapsed() >= REPORT_INTERVAL, reported),
            None => (true, 0),
        };
        if total > reported && is_due {
            let reason = failure.unwrap_or_else(|| "the queue was full".to_owned());
            tracing::warn!(dropped = total - reported, reason, "dropped spans");
            self.reported = Some((Instant::now(), total));
        }
    }
}
