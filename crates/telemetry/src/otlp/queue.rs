//! The bounded queue between the code that records spans and the thread that sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::{KeyValue, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::trace::CompletedSpan;

/// Upper bound of the memory that waiting spans take, however few they are.
const MAX_QUEUED_BYTES: usize = 16 << 20;
/// Upper bound of a batch. Collectors refuse messages of more than 4 MiB.
const MAX_BATCH_BYTES: usize = 2 << 20;

/// Creates a queue of at most `capacity` spans, which are sent in batches of `batch_size`.
pub(super) fn new(capacity: usize, batch_size: usize) -> (Sender, Receiver) {
    let (sender, spans) = mpsc::channel(capacity);
    let shared = Arc::new(Shared {
        bytes: AtomicUsize::new(0),
        batch_size: batch_size.min(capacity),
        filled: Notify::new(),
    });
    (Sender { sender, shared: shared.clone() }, Receiver { spans, shared, next: None })
}

#[derive(Debug)]
struct Shared {
    /// The estimated size of all waiting spans.
    bytes: AtomicUsize,
    batch_size: usize,
    /// Notified when there is enough for a batch.
    filled: Notify,
}

#[derive(Clone, Debug)]
pub(super) struct Sender {
    sender: mpsc::Sender<CompletedSpan>,
    shared: Arc<Shared>,
}

impl Sender {
    /// Adds a span without waiting. Returns false if the queue is full.
    pub fn try_send(&self, span: CompletedSpan) -> bool {
        let size = size_of_span(&span);
        if self.shared.bytes.fetch_add(size, Relaxed) + size > MAX_QUEUED_BYTES
            || self.sender.try_send(span).is_err()
        {
            self.shared.bytes.fetch_sub(size, Relaxed);
            return false;
        }
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        // The receiver has taken one already.
        if waiting + 1 >= self.shared.batch_size {
            self.shared.filled.notify_one();
        }
        true
    }
}

#[derive(Debug)]
pub(super) struct Receiver {
    spans: mpsc::Receiver<CompletedSpan>,
    shared: Arc<Shared>,
    /// A span that was received and is in no batch yet.
    next: Option<CompletedSpan>,
}

impl Receiver {
    /// Waits for a first span, and then for `delay` or until a batch is full. Returns false if
    /// all senders are gone. Cancel safe.
    pub async fn ready(&mut self, delay: Duration) -> bool {
        if self.next.is_none() {
            self.next = self.spans.recv().await;
        }
        if self.next.is_some() && self.spans.len() + 1 < self.shared.batch_size {
            let _ = timeout(delay, self.shared.filled.notified()).await;
        }
        self.next.is_some()
    }

    /// Returns the oldest spans, at most a batch of them.
    pub fn take_batch(&mut self) -> Vec<CompletedSpan> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.shared.batch_size {
            let Some(span) = self.next.take().or_else(|| self.spans.try_recv().ok()) else {
                break;
            };
            let size = size_of_span(&span);
            if bytes > 0 && bytes + size > MAX_BATCH_BYTES {
                self.next = Some(span);
                break;
            }
            bytes += size;
            batch.push(span);
        }
        self.shared.bytes.fetch_sub(bytes, Relaxed);
        batch
    }
}

/// Estimates the memory of a span. The estimate is above what the span takes when sent.
fn size_of_span(span: &CompletedSpan) -> usize {
    let data = &span.data;
    let mut size = size_of_val(&**data) + data.name.len() + size_of_attributes(&data.attributes);
    for event in data.events.iter() {
        size += size_of_val(event) + event.name.len() + size_of_attributes(&event.attributes);
    }
    for link in data.links.iter() {
        size += size_of_val(link) + size_of_attributes(&link.attributes);
    }
    size
}

fn size_of_attributes(attributes: &[KeyValue]) -> usize {
    let heap = attributes.iter().map(|attribute| match &attribute.value {
        Value::String(text) => text.as_str().len(),
        Value::Array(_) => attribute.value.as_str().len(),
        _ => 0,
    });
    size_of_val(attributes) + heap.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures_util::FutureExt as _;
    use opentelemetry::trace::SpanContext;

    use super::*;
    use crate::trace::SpanHandle;

    const DELAY: Duration = Duration::from_hours(1);

    fn span(name: &'static str) -> CompletedSpan {
        let parent = SpanHandle::new(SpanContext::empty_context(), None);
        CompletedSpan::internal(name, &parent, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH)
    }

    fn names(batch: &[CompletedSpan]) -> Vec<&str> {
        batch.iter().map(CompletedSpan::name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn batches_keep_order_and_size() {
        let (sender, mut receiver) = new(100, 3);
        assert!(receiver.take_batch().is_empty());
        assert!(receiver.ready(DELAY).now_or_never().is_none());
        assert!(sender.try_send(span("1")));
        assert!(receiver.ready(DELAY).now_or_never().is_none(), "waits for others");
        for name in ["2", "3", "4"] {
            assert!(sender.try_send(span(name)));
        }
        assert_eq!(receiver.ready(DELAY).now_or_never(), Some(true));
        assert_eq!(names(&receiver.take_batch()), ["1", "2", "3"]);
        assert!(receiver.ready(Duration::from_millis(5)).await, "waits for the delay at most");
        assert_eq!(names(&receiver.take_batch()), ["4"]);
        assert!(receiver.take_batch().is_empty());
        drop(sender);
        assert!(!receiver.ready(DELAY).await);
    }

    #[tokio::test]
    async fn full_batch_ends_the_wait() {
        let (sender, mut receiver) = new(100, 2);
        assert!(sender.try_send(span("1")));
        let sending = async {
            tokio::task::yield_now().await;
            assert!(sender.try_send(span("2")) && sender.try_send(span("3")));
        };
        let (is_ready, ()) = tokio::join!(receiver.ready(DELAY), sending);
        assert!(is_ready);
    }

    #[test]
    fn full_queue_rejects_spans() {
        let (sender, mut receiver) = new(5, 2);
        let accepted = (0..9).filter(|_| sender.try_send(span("x"))).count();
        assert_eq!(accepted, 5);
        assert_eq!(receiver.take_batch().len(), 2);
        assert!(sender.try_send(span("x")));
    }

    #[test]
    fn large_spans_fill_queue_and_batch_sooner() {
        let large = "x".repeat(1 << 20);
        let (sender, mut receiver) = new(1000, 1000);
        let span = || span("x").with_attribute("large", large.clone());
        let accepted = (0..100).filter(|_| sender.try_send(span())).count();
        assert_eq!(accepted, (MAX_QUEUED_BYTES >> 20) - 1);
        assert_eq!(receiver.take_batch().len(), 1);
        assert!(sender.try_send(span()));
    }
}
