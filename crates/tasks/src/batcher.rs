//! Requests that arrive together are answered by one run: one transaction, one query.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// How many requests may wait for a run before callers wait for room.
const QUEUE_CAPACITY: usize = 16 * 1024;
/// From this many requests in a run on, the next run waits for company.
const BUSY_BATCH: usize = 8;
/// For how many rounds of the runtime it waits at most.
const MAX_YIELDS: usize = 32;

/// Answers many requests at once, in their order.
pub trait BatchHandler<Q, A>: Send + 'static {
    /// One answer a request.
    fn handle(&mut self, requests: Vec<Q>) -> impl Future<Output = Vec<A>> + Send;
}

/// An answer, and how many requests were answered together with it.
type Answered<A> = (A, usize);

/// Gathers concurrent requests into runs; each caller waits for its own answer.
///
/// While one run is under way, requests gather for the next. An idle batcher starts at
/// once; a busy one first lets everything else that is ready to run add its requests,
/// because a run costs more than what it carries. No timer is involved: those are too
/// coarse for runs that take a fraction of a millisecond.
#[derive(Debug)]
pub struct Batcher<Q, A> {
    requests: mpsc::Sender<(Q, oneshot::Sender<Answered<A>>)>,
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts the task that runs `handler`, at most `limit` requests at a time. It ends
    /// when the last clone is gone and everything has been answered.
    pub fn start(limit: usize, mut handler: impl BatchHandler<Q, A>) -> Self {
        let (requests, mut waiting) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(async move {
            let mut gathered = Vec::with_capacity(limit);
            let mut busy = false;
            while gather(&mut waiting, &mut gathered, limit, busy).await {
                busy = gathered.len() >= BUSY_BATCH;
                let together = gathered.len();
                let (batch, callers): (Vec<Q>, Vec<oneshot::Sender<Answered<A>>>) =
                    gathered.drain(..).unzip();
                for (caller, answer) in callers.into_iter().zip(handler.handle(batch).await) {
                    // A caller that went away doesn't want its answer any more.
                    let _ = caller.send((answer, together));
                }
            }
        });
        Self { requests }
    }

    /// Whether requests are still answered: they aren't once the handler has panicked.
    pub fn is_running(&self) -> bool {
        !self.requests.is_closed()
    }

    /// The answer to `request`; `None` if the handler is gone or panicked.
    pub async fn call(&self, request: Q) -> Option<A> {
        self.call_with_batch_size(request).await.map(|(answer, _)| answer)
    }

    /// The same, with the number of requests that were answered together.
    pub async fn call_with_batch_size(&self, request: Q) -> Option<Answered<A>> {
        let (caller, answer) = oneshot::channel();
        self.requests.send((request, caller)).await.ok()?;
        answer.await.ok()
    }
}

/// Waits for the next batch; `false` when there will be none.
async fn gather<T>(
    waiting: &mut mpsc::Receiver<T>,
    gathered: &mut Vec<T>,
    limit: usize,
    busy: bool,
) -> bool {
    if waiting.recv_many(gathered, limit).await == 0 {
        return false;
    }
    if busy {
        // As long as the others that are ready to run bring more, let them.
        for _ in 0..MAX_YIELDS {
            let before = gathered.len();
            tokio::task::yield_now().await;
            while gathered.len() < limit
                && let Ok(one) = waiting.try_recv()
            {
                gathered.push(one);
            }
            if gathered.len() == before || gathered.len() >= limit {
                break;
            }
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
    async fn concurrent_requests_share_runs_and_get_their_own_answers() {
        let batcher = Batcher::start(16, Sizes);
        let calls = (0..40).map(|n| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.call(n).await })
        });
        let mut largest = 0;
        for (n, call) in (0..).zip(calls.collect::<Vec<_>>()) {
            let (echo, size) = call.await.expect("no panic").expect("an answer");
            assert_eq!(echo, n);
            largest = largest.max(size);
        }
        assert!((2..=16).contains(&largest), "runs of up to {largest}");
    }

    struct Panics;

    impl BatchHandler<(), ()> for Panics {
        async fn handle(&mut self, _: Vec<()>) -> Vec<()> {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_dead_runner_is_told() {
        let batcher = Batcher::start(1, Panics);
        assert_eq!(batcher.call(()).await, None);
        assert_eq!(batcher.call(()).await, None);
    }
}
