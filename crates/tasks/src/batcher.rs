//! Batching of concurrent requests: one transaction or query serves many callers.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// Maximum number of queued requests; further callers wait.
const QUEUE_CAPACITY: usize = 16 * 1024;
/// After a batch of this size, the next one waits for further requests.
const BUSY_BATCH_SIZE: usize = 8;
/// Maximum number of times a busy batcher yields to the runtime before it starts a batch.
const MAX_YIELDS: usize = 32;

/// A batch is complete when its requests reach this many bytes.
const MAX_BYTES: usize = 1 << 20;

/// Handles a batch of requests.
pub trait BatchHandler<Q, A>: Send + 'static {
    /// Returns about how many bytes a request has, if that matters.
    fn size(_request: &Q) -> usize {
        0
    }

    /// Returns one response per request, in the same order.
    fn handle(&mut self, requests: Vec<Q>) -> impl Future<Output = Vec<A>> + Send;
}

/// A response and the size of its batch.
type Batched<A> = (A, usize);

/// Collects concurrent requests into batches; each caller awaits its own response.
///
/// While a batch is in progress, requests queue up for the next one. An idle batcher starts
/// immediately. A busy one first yields to the runtime so that other ready tasks can add
/// their requests, because a batch costs far more than a single request in it. Timers are
/// not used: they are too coarse for batches that take a fraction of a millisecond.
#[derive(Debug)]
pub struct Batcher<Q, A> {
    requests: mpsc::Sender<(Q, oneshot::Sender<Batched<A>>)>,
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Spawns a task that passes at most `limit` requests at a time to `handler`. The task
    /// ends when all clones are dropped and all requests have a response.
    pub fn start<H: BatchHandler<Q, A>>(limit: usize, mut handler: H) -> Self {
        let (requests, mut queue) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(limit);
            let mut busy = false;
            let size = |(request, _): &(Q, _)| H::size(request);
            while collect(&mut queue, &mut batch, limit, size, busy).await {
                let size = batch.len();
                busy = size >= BUSY_BATCH_SIZE;
                let (requests, callers): (Vec<Q>, Vec<oneshot::Sender<Batched<A>>>) =
                    batch.drain(..).unzip();
                for (caller, response) in callers.into_iter().zip(handler.handle(requests).await) {
                    // Fails if the caller was dropped.
                    let _ = caller.send((response, size));
                }
            }
        });
        Self { requests }
    }

    /// Returns `false` once the handler has panicked.
    pub fn is_running(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Returns the response, or `None` if the handler has panicked.
    pub async fn call(&self, request: Q) -> Option<A> {
        self.call_with_batch_size(request).await.map(|(response, _)| response)
    }

    /// Returns the response and the number of requests in its batch.
    pub async fn call_with_batch_size(&self, request: Q) -> Option<Batched<A>> {
        let (caller, response) = oneshot::channel();
        self.requests.send((request, caller)).await.ok()?;
        response.await.ok()
    }
}

/// Receives the next batch. Returns `false` if the queue is closed and empty.
async fn collect<T>(
    queue: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    limit: usize,
    size: impl Fn(&T) -> usize,
    busy: bool,
) -> bool {
    let mut bytes = 0;
    // Returns whether the batch is full.
    let mut add = |batch: &mut Vec<T>, request: T| {
        bytes += size(&request);
        batch.push(request);
        batch.len() >= limit || bytes >= MAX_BYTES
    };
    let Some(first) = queue.recv().await else { return false };
    let mut is_full = add(batch, first);
    // A busy batcher continues while other ready tasks add requests.
    let yields = if busy { MAX_YIELDS } else { 0 };
    for pass in 0..=yields {
        let before = batch.len();
        if pass > 0 {
            tokio::task::yield_now().await;
        }
        while !is_full && let Ok(request) = queue.try_recv() {
            is_full = add(batch, request);
        }
        if is_full || (pass > 0 && batch.len() == before) {
            break;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sizes;

    impl BatchHandler<u32, (u32, usize)> for Sizes {
        async fn handle(&mut self, requests: Vec<u32>) -> Vec<(u32, usize)> {
            let size = requests.len();
            tokio::task::yield_now().await;
            requests.into_iter().map(|request| (request, size)).collect()
        }
    }

    #[tokio::test]
    async fn concurrent_calls_share_batches_and_get_their_own_responses() {
        let batcher = Batcher::start(16, Sizes);
        let calls = (0..40).map(|n| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.call(n).await })
        });
        let mut largest = 0;
        for (n, call) in (0..).zip(calls.collect::<Vec<_>>()) {
            let (echo, size) = call.await.expect("no panic").expect("a response");
            assert_eq!(echo, n);
            largest = largest.max(size);
        }
        assert!((2..=16).contains(&largest), "largest batch: {largest}");
    }

    struct Large;

    impl BatchHandler<usize, usize> for Large {
        fn size(request: &usize) -> usize {
            *request
        }

        async fn handle(&mut self, requests: Vec<usize>) -> Vec<usize> {
            tokio::task::yield_now().await;
            let total: usize = requests.iter().sum();
            vec![total; requests.len()]
        }
    }

    #[tokio::test]
    async fn batches_are_bounded_by_bytes() {
        let batcher = Batcher::start(256, Large);
        let request = MAX_BYTES / 4 - 1;
        let calls = (0..50).map(|_| batcher.call(request));
        let totals = futures_util::future::join_all(calls).await;
        assert!(totals.iter().all(|total| total.is_some_and(|it| it < MAX_BYTES + request)));
        assert!(totals.iter().any(|total| total.is_some_and(|it| it > MAX_BYTES)), "{totals:?}");
    }

    struct Panics;

    impl BatchHandler<(), ()> for Panics {
        async fn handle(&mut self, _: Vec<()>) -> Vec<()> {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn call_returns_none_after_handler_panic() {
        let batcher = Batcher::start(1, Panics);
        assert_eq!(batcher.call(()).await, None);
        assert_eq!(batcher.call(()).await, None);
    }
}
