//! Calls to auth that concurrent requests share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::sessions::MAX_AGE;

/// The answer, or `None` if the call has panicked.
pub(super) type SharedAnswer<T> = Shared<BoxFuture<'static, Option<T>>>;

type Calls<K, T> = Arc<Mutex<HashMap<K, Call<T>>>>;

/// The running calls by subject.
pub(super) struct SharedCalls<K: Eq + Hash, T: Clone>(Calls<K, T>);

struct Call<T: Clone> {
    started_at: Instant,
    answer: SharedAnswer<T>,
}

/// Removes a call when it ends, also by a panic.
struct Entry<K: Eq + Hash, T: Clone> {
    calls: Calls<K, T>,
    subject: K,
    started_at: Instant,
}

impl<K: Eq + Hash, T: Clone> Default for SharedCalls<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, T> SharedCalls<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Returns the answer of a running call, unless that may be older than a known state may be.
    pub fn join(&self, subject: &K) -> Option<SharedAnswer<T>> {
        recent(&self.0.lock(), subject)
    }

    /// Joins a running call, or starts one. It completes even if no caller waits for it any more.
    pub fn join_or_start<F>(&self, subject: K, call: impl FnOnce() -> F) -> SharedAnswer<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut calls = self.0.lock();
        if let Some(answer) = recent(&calls, &subject) {
            return answer;
        }
        let started_at = Instant::now();
        let (running, own, call) = (self.0.clone(), subject.clone(), call());
        let work = async move {
            let _entry = Entry { calls: running, subject: own, started_at };
            call.await
        };
        let answer = tokio::spawn(work.in_current_span()).map(Result::ok).boxed().shared();
        calls.insert(subject, Call { started_at, answer: answer.clone() });
        answer
    }
}

fn recent<K: Eq + Hash, T: Clone>(
    calls: &HashMap<K, Call<T>>,
    subject: &K,
) -> Option<SharedAnswer<T>> {
    let call = calls.get(subject).filter(|call| call.started_at.elapsed() <= MAX_AGE)?;
    Some(call.answer.clone())
}

impl<K: Eq + Hash, T: Clone> Drop for Entry<K, T> {
    fn drop(&mut self) {
        let mut calls = self.calls.lock();
        // A later call may have replaced it.
        if calls.get(&self.subject).is_some_and(|call| call.started_at == self.started_at) {
            calls.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::advance;

    use super::*;

    /// Starts a call that answers what it receives.
    fn start(calls: &SharedCalls<u8, u32>) -> (oneshot::Sender<u32>, SharedAnswer<u32>) {
        let (sender, receiver) = oneshot::channel();
        let answer = calls.join_or_start(1, || async { receiver.await.expect("an answer") });
        (sender, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn recent_call_is_joined() {
        let calls = SharedCalls::default();
        let (sender, first) = start(&calls);
        advance(MAX_AGE).await;
        let (unused, second) = start(&calls);
        assert!(unused.is_closed() && calls.join(&2).is_none());
        sender.send(7).expect("a running call");
        assert_eq!((first.await, second.await), (Some(7), Some(7)));
        assert!(calls.join(&1).is_none(), "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn older_call_is_replaced() {
        let calls = SharedCalls::default();
        let (old, first) = start(&calls);
        advance(MAX_AGE + Duration::from_millis(1)).await;
        assert!(calls.join(&1).is_none());
        let (new, second) = start(&calls);
        old.send(1).expect("a running call");
        assert_eq!(first.await, Some(1));
        let joined = calls.join(&1).expect("the later call");
        new.send(2).expect("a running call");
        assert_eq!((second.await, joined.await), (Some(2), Some(2)));
        assert!(calls.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn panic_ends_only_its_call() {
        let calls = SharedCalls::default();
        let (sender, failed) = start(&calls);
        drop(sender);
        assert_eq!(failed.await, None);
        let (sender, next) = start(&calls);
        sender.send(3).expect("a running call");
        assert_eq!(next.await, Some(3));
    }
}
