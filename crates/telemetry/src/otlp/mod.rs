//! Exports spans to a collector over OTLP.
//!
//! A thread of its own converts and sends what waits in a bounded [`queue`]. A collector that
//! is away, slow or unwilling costs the spans that find no room, which are [counted](dropped),
//! and nothing else.
//!
//! The messages, and the conversion of spans to them, are those of `opentelemetry-proto`. The
//! exporter of `opentelemetry-otlp` is not used: it doesn't report why a batch failed nor how
//! many spans a collector rejected, and it has one resource per exporter.

mod client;
mod dropped;
mod limits;
mod queue;
mod sender;
mod target;

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;

use self::client::Client;
use self::dropped::Reason;
use self::sender::{DropReporter, Flush, Sender};
use self::target::Target;
use crate::config::TelemetryConfig;
use crate::resource::Resources;
use crate::trace::{CompletedSpan, SpanSink};

/// The name of the instrumentation scope.
const SCOPE: &str = "miniapp";

/// Sends completed spans to a collector. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Exporter {
    queue: queue::Sender,
    flushes: mpsc::UnboundedSender<Flush>,
}

impl Exporter {
    /// Starts sending to the endpoint in `settings`. Returns `None` if there is none.
    pub fn start(settings: &TelemetryConfig, resources: Resources) -> anyhow::Result<Option<Self>> {
        let Some(target) = Target::of(settings)? else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Fails if the program has installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = {
            let _guard = runtime.enter();
            Client::new(&target).with_context(|| format!("can't send spans to {}", target.url))?
        };
        let (queue, receiver) =
            queue::new(settings.queue_size as usize, settings.batch_size as usize);
        let (flushes, flush_requests) = mpsc::unbounded_channel();
        let sender = Sender {
            queue: receiver,
            client,
            timeout: target.timeout,
            flushes: flush_requests,
            delay: settings.batch_delay,
            resources,
            max_length: settings.attribute_length as usize,
            drop_reporter: DropReporter::default(),
        };
        dropped::count(Reason::QueueFull, 0);
        // The program's runtime and the exporter don't wait for each other.
        std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || runtime.block_on(sender.run()))
            .context("can't start the thread that sends spans")?;
        Ok(Some(Self { queue, flushes }))
    }

    /// Waits until all accepted spans are sent or dropped, for `timeout` at most. Returns
    /// whether that was long enough.
    pub fn flush(&self, timeout: Duration) -> bool {
        let (done, is_done) = std::sync::mpsc::channel();
        self.flushes.send(done).is_ok() && is_done.recv_timeout(timeout).is_ok()
    }
}

impl SpanSink for Exporter {
    /// Queues the span, or counts it as dropped.
    fn accept(&self, span: CompletedSpan) {
        if !self.queue.try_send(span) {
            dropped::count(Reason::QueueFull, 1);
        }
    }
}

#[cfg(test)]
mod tests;
