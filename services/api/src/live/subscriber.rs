//! The queue of events for one stream.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::sse::SseChunk;

/// The limit of queued bytes. A slower stream drops them and reads the store instead.
const MAX_BYTES: usize = 4 << 20;
const MAX_CHUNKS: usize = 4096;

/// A queue bounded by bytes. It drops everything when it is full, and reports that.
///
/// `tokio::sync::broadcast` is bounded by the number of messages only, and a message may have
/// hundreds of kilobytes.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Arc<SseChunk>>,
    bytes: usize,
    has_gap: bool,
}

#[derive(Debug)]
pub(super) enum Received {
    /// Events in order.
    Chunks(Vec<Arc<SseChunk>>),
    /// Events were dropped; the store has them.
    Gap,
}

impl Subscriber {
    pub fn send(&self, chunk: &Arc<SseChunk>) {
        let mut queue = self.queue.lock();
        let bytes = queue.bytes + chunk.bytes.len();
        if queue.chunks.len() >= MAX_CHUNKS || (bytes > MAX_BYTES && !queue.chunks.is_empty()) {
            *queue = Queue { has_gap: true, ..Queue::default() };
        } else {
            queue.bytes = bytes;
            queue.chunks.push_back(chunk.clone());
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Records a gap. Drops queued events, because the store has them, too.
    pub fn mark_gap(&self) {
        *self.queue.lock() = Queue { has_gap: true, ..Queue::default() };
        self.changed.notify_one();
    }

    /// Waits for events and returns up to `max_bytes` of them, or a single larger chunk.
    pub async fn receive(&self, max_bytes: usize) -> Received {
        loop {
            if let Some(received) = self.queue.lock().take(max_bytes) {
                return received;
            }
            self.changed.notified().await;
        }
    }
}

impl Queue {
    fn take(&mut self, max_bytes: usize) -> Option<Received> {
        if mem::take(&mut self.has_gap) {
            return Some(Received::Gap);
        }
        let mut taken = Vec::new();
        let mut size = 0;
        while let Some(chunk) = self
            .chunks
            .pop_front_if(|next| taken.is_empty() || size + next.bytes.len() <= max_bytes)
        {
            size += chunk.bytes.len();
            taken.push(chunk);
        }
        self.bytes -= size;
        (!taken.is_empty()).then_some(Received::Chunks(taken))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    use super::*;

    fn chunk(size: usize) -> Arc<SseChunk> {
        Arc::new(SseChunk { bytes: Bytes::from(vec![b'x'; size]), offsets: Vec::new() })
    }

    fn taken(subscriber: &Subscriber, bytes: usize) -> Option<Vec<usize>> {
        match subscriber.receive(bytes).now_or_never()? {
            Received::Chunks(chunks) => {
                Some(chunks.iter().map(|chunk| chunk.bytes.len()).collect())
            }
            Received::Gap => Some(Vec::new()),
        }
    }

    #[test]
    fn receive_batches_queued_chunks() {
        let subscriber = Subscriber::default();
        for size in [1, 2, 3, 100] {
            subscriber.send(&chunk(size));
        }
        assert_eq!(taken(&subscriber, 10), Some(vec![1, 2, 3]));
        assert_eq!(taken(&subscriber, 10), Some(vec![100]));
        assert_eq!(taken(&subscriber, 10), None);
    }

    #[test]
    fn full_queue_is_dropped_and_reported() {
        let subscriber = Subscriber::default();
        subscriber.send(&chunk(MAX_BYTES + 1));
        assert_eq!(taken(&subscriber, 10), Some(vec![MAX_BYTES + 1]));
        subscriber.send(&chunk(MAX_BYTES));
        subscriber.send(&chunk(1));
        subscriber.send(&chunk(2));
        assert_eq!(taken(&subscriber, 10), Some(vec![]));
        assert_eq!(taken(&subscriber, 10), Some(vec![2]));
        subscriber.send(&chunk(1));
        subscriber.mark_gap();
        assert_eq!(taken(&subscriber, 10), Some(vec![]));
        assert_eq!(taken(&subscriber, 10), None);
    }
}
