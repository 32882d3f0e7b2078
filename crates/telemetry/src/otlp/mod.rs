//! Sending spans to a collector, by OTLP, and what it takes to send anything there.
//!
//! Whoever ends a span writes it to a bounded queue and goes on; a thread of its own sends
//! what waits there. A collector that is away, slow or refuses costs the spans that find no
//! room, which are counted, and nothing else.
//!
//! OpenTelemetry's own exporter isn't used, because its queue holds spans as they are in
//! memory, several times as large as they are sent, because it copies them once more for
//! each try, and because a process has one resource there, while each part of `miniapp` is
//! to be found under its own name.

mod client;
mod encode;
mod lost;
mod queue;
mod sender;
mod target;
mod wire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

use self::queue::Queue;
use self::sender::{DropReporter, Flush, Sender};
use crate::config::TelemetryConfig;
use crate::trace::CompletedSpan;

pub(crate) use client::Client;
pub(crate) use encode::Fields;
pub use encode::SERVICE;
pub(crate) use target::{Signal, Target, pairs};
pub(crate) use wire::Limits;
use wire::Writer;

/// What the spans' library calls itself.
const SCOPE: &str = "miniapp";

/// Takes spans that are over, and has them sent.
#[derive(Clone, Debug)]
pub(crate) struct Exporter {
    queue: Arc<Queue>,
    limits: Limits,
    flushes: mpsc::UnboundedSender<Flush>,
}

impl Exporter {
    /// Begins to send where `settings` say; `None` if nowhere. `resource` says what is told
    /// about each service.
    pub fn start(
        settings: &TelemetryConfig,
        resource: impl Fn(&str) -> Vec<KeyValue> + Send + 'static,
    ) -> anyhow::Result<Option<Self>> {
        let Some(target) = Target::of(Signal::Traces, settings)? else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Whoever came first has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = {
            let _within = runtime.enter();
            Client::new(&target).with_context(|| format!("can't send spans to {}", target.url))?
        };
        let queue =
            Arc::new(Queue::new(settings.queue_size as usize, settings.batch_size as usize));
        let (flushes, asked_for) = mpsc::unbounded_channel();
        let sender = Sender {
            queue: queue.clone(),
            client,
            flushes: asked_for,
            delay: settings.batch_delay,
            resource: Box::new(move |service| encode::resource(&resource(service))),
            resources: BTreeMap::new(),
            drop_reporter: DropReporter::default(),
            buffer: Vec::new(),
        };
        lost::count("queue_full", 0);
        // A thread of its own: what the runtime of the process has to do doesn't wait for
        // this, nor the other way round.
        std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || runtime.block_on(sender.run()))
            .context("can't start the thread that sends spans")?;
        let limits = Limits { length: settings.attribute_length as usize };
        Ok(Some(Self { queue, limits, flushes }))
    }

    /// Takes a span of `service`, or counts it as lost. Doesn't wait.
    pub fn put(&self, service: &str, span: &SpanData) {
        self.put_fields(service, |to| encode::span(to, span));
    }

    /// The same for one that is over.
    pub fn enqueue_completed(&self, service: &str, span: &CompletedSpan) {
        self.put_fields(service, |to| encode::past(to, span));
    }

    fn put_fields(&self, service: &str, write: impl FnOnce(&mut Writer<'_>)) {
        thread_local! {
            static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BYTES.with_borrow_mut(|bytes| {
            bytes.clear();
            write(&mut Writer::new(bytes, self.limits));
            if !self.queue.put(service, bytes) {
                lost::count("queue_full", 1);
            }
        });
    }

    /// What is too much for a span to say.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Waits until all that was taken is sent or lost, for `patience` at most; whether that
    /// was long enough.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, is_done) = std::sync::mpsc::channel();
        self.flushes.send(done).is_ok() && is_done.recv_timeout(patience).is_ok()
    }
}

#[cfg(test)]
mod tests;
