//! Where spans wait to be sent, as the bytes that will be.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::encode;

/// How many bytes may wait, however few the spans are.
const CAPACITY: usize = 16 << 20;
/// How many bytes are sent together: collectors refuse messages from 4 MiB on.
const TOGETHER: usize = 2 << 20;

/// Spans that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub count: usize,
    /// The spans of each service.
    pub spans: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

/// A bounded queue that never makes anybody wait.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// How many spans may wait.
    capacity: usize,
    /// How many are sent together.
    together: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    full: VecDeque<Batch>,
    open: Batch,
    /// An empty one, with the room of one that was sent.
    spare: Option<Batch>,
    count: usize,
    bytes: usize,
}

impl Queue {
    pub fn new(capacity: usize, together: usize) -> Self {
        let together = together.min(capacity);
        Self { waiting: Mutex::default(), changed: Notify::new(), capacity, together }
    }

    /// Adds a span, whose fields are `span`; `false` if there is no room.
    pub fn put(&self, service: &str, span: &[u8]) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.count >= self.capacity || waiting.bytes + span.len() > CAPACITY {
            return false;
        }
        waiting.count += 1;
        waiting.bytes += span.len();
        let open = &mut waiting.open;
        open.count += 1;
        open.bytes += span.len();
        if !open.spans.contains_key(service) {
            open.spans.insert(service.to_owned(), Vec::new());
        }
        if let Some(spans) = open.spans.get_mut(service) {
            encode::field(spans, span);
        }
        let is_full = open.count >= self.together || open.bytes >= TOGETHER;
        let is_first = open.count == 1;
        if is_full {
            let full = waiting.close();
            waiting.full.push_back(full);
        }
        drop(waiting);
        if is_full || is_first {
            self.changed.notify_one();
        }
        true
    }

    /// Waits until there is something. One at a time may wait.
    pub async fn begun(&self) {
        self.until(|waiting| waiting.count > 0).await;
    }

    /// Waits until there is as much as is sent together.
    pub async fn filled(&self) {
        self.until(|waiting| !waiting.full.is_empty()).await;
    }

    async fn until(&self, is_so: impl Fn(&Waiting) -> bool) {
        while !is_so(&self.waiting.lock()) {
            self.changed.notified().await;
        }
    }

    /// What waits for the longest time.
    pub fn take(&self) -> Option<Batch> {
        let mut waiting = self.waiting.lock();
        if waiting.count == 0 {
            return None;
        }
        let batch = waiting.full.pop_front().unwrap_or_else(|| waiting.close());
        waiting.count -= batch.count;
        waiting.bytes -= batch.bytes;
        Some(batch)
    }

    /// Takes back the memory of a batch that isn't needed any more: to grow anew costs more
    /// than what is written there.
    pub fn reuse(&self, mut batch: Batch) {
        batch.spans.values_mut().for_each(Vec::clear);
        (batch.count, batch.bytes) = (0, 0);
        self.waiting.lock().spare = Some(batch);
    }
}

impl Waiting {
    /// Ends the batch that spans are added to, and begins the next one.
    fn close(&mut self) -> Batch {
        std::mem::replace(&mut self.open, self.spare.take().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn spans_are_taken_in_their_order_and_together() {
        let queue = Queue::new(100, 3);
        assert!(queue.take().is_none() && queue.begun().now_or_never().is_none());
        assert!(queue.put("api", b"1"));
        assert!(queue.begun().now_or_never().is_some());
        assert!(queue.filled().now_or_never().is_none());
        for span in [b"2", b"3", b"4"] {
            assert!(queue.put("worker", span));
        }
        assert!(queue.filled().now_or_never().is_some());
        let first = queue.take().expect("a batch");
        assert_eq!(first.count, 3);
        assert_eq!(first.spans["api"], b"\x12\x011");
        assert_eq!(first.spans["worker"], b"\x12\x012\x12\x013");
        assert_eq!(queue.take().map(|batch| batch.count), Some(1));
        assert!(queue.take().is_none());
    }

    #[test]
    fn what_is_used_again_is_empty() {
        let queue = Queue::new(100, 2);
        for number in 0..6_u8 {
            assert!(queue.put("api", &[number]));
            if number % 2 == 1 {
                let batch = queue.take().expect("a batch");
                assert_eq!(batch.count, 2);
                let expected = [0x12, 1, number - 1, 0x12, 1, number];
                assert_eq!(batch.spans["api"], expected);
                queue.reuse(batch);
                assert!(queue.take().is_none());
            }
        }
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let queue = Queue::new(5, 2);
        let taken = (0..9).filter(|_| queue.put("api", b"x")).count();
        assert_eq!(taken, 5);
        assert_eq!(queue.take().map(|batch| batch.count), Some(2));
        assert!(queue.put("api", b"x"));
        let large = vec![0; 1 << 20];
        let queue = Queue::new(1000, 1000);
        let taken = (0..100).filter(|_| queue.put("api", &large)).count();
        assert_eq!(taken, CAPACITY >> 20);
        assert_eq!(queue.take().map(|batch| batch.count), Some(TOGETHER >> 20));
    }
}
