//! A fair queue for expensive work.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Waiting requests of one client. A further one replaces the oldest.
const MAX_WAITING: usize = 1000;

/// Grants a limited number of permits at a time. Clients take turns, so that a client with many
/// requests delays only itself. The newest request of a client is first: under overload the
/// older ones have waited so long that they are likely to be given up.
#[derive(Debug)]
pub(crate) struct FairQueue<K: Clone + Eq + Hash>(Arc<Mutex<State<K>>>);

#[derive(Debug)]
struct State<K: Clone + Eq + Hash> {
    free: usize,
    /// The clients with waiting requests, in the order of their turns.
    turns: VecDeque<K>,
    /// The waiting requests of each client, oldest first. Never empty.
    waiting: HashMap<K, VecDeque<oneshot::Sender<Permit<K>>>>,
}

/// The right to do the work. Dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Permit<K: Clone + Eq + Hash>(FairQueue<K>);

impl<K: Clone + Eq + Hash> FairQueue<K> {
    pub fn new(permits: usize) -> Self {
        let (turns, waiting) = (VecDeque::new(), HashMap::new());
        Self(Arc::new(Mutex::new(State { free: permits, turns, waiting })))
    }

    /// Waits for a permit. Returns `None` if too many newer requests of the client wait, too.
    pub async fn acquire(&self, client: K) -> Option<Permit<K>> {
        let granted = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Some(Permit(self.clone()));
            }
            state.enqueue(client)
        };
        granted.await.ok()
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn enqueue(&mut self, client: K) -> oneshot::Receiver<Permit<K>> {
        let (sender, receiver) = oneshot::channel();
        let requests = self.waiting.entry(client.clone()).or_default();
        if requests.is_empty() {
            self.turns.push_back(client);
        } else if requests.len() == MAX_WAITING {
            requests.pop_front();
        }
        requests.push_back(sender);
        receiver
    }

    /// Removes the next request that still waits.
    fn next(&mut self) -> Option<oneshot::Sender<Permit<K>>> {
        while let Some(client) = self.turns.pop_front() {
            let requests = self.waiting.get_mut(&client)?;
            let next = loop {
                match requests.pop_back() {
                    Some(request) if request.is_closed() => {}
                    next => break next,
                }
            };
            if requests.is_empty() {
                self.waiting.remove(&client);
            } else {
                self.turns.push_back(client);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl<K: Clone + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.0.lock();
            let next = state.next();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // A request that was given up at this moment drops the permit, which passes it on.
            let _ = next.send(Permit(self.0.clone()));
        }
    }
}

impl<K: Clone + Eq + Hash> Clone for FairQueue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Requests permits in this order, one at a time, and returns the order of the grants.
    async fn order(requests: &[(char, u32)]) -> Vec<(char, u32)> {
        let queue = FairQueue::new(1);
        let held = queue.acquire('-').await;
        let granted = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = JoinSet::new();
        for &(client, number) in requests {
            let (queue, granted) = (queue.clone(), granted.clone());
            waiting.spawn(async move {
                let _permit = queue.acquire(client).await.expect("a permit");
                granted.lock().push((client, number));
            });
            tokio::task::yield_now().await;
        }
        drop(held);
        waiting.join_all().await;
        Arc::try_unwrap(granted).expect("no other owner").into_inner()
    }

    #[tokio::test]
    async fn clients_take_turns_and_newest_request_is_first() {
        let requests = [('a', 1), ('a', 2), ('a', 3), ('b', 1), ('c', 1), ('b', 2)];
        let expected = [('a', 3), ('b', 2), ('c', 1), ('a', 2), ('b', 1), ('a', 1)];
        assert_eq!(order(&requests).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_requests_do_not_lose_permits() {
        let queue = FairQueue::new(1);
        let held = queue.acquire('a').await.expect("a permit");
        for _ in 0..3 {
            assert!(timeout(Duration::from_secs(1), queue.acquire('a')).await.is_err());
        }
        drop(held);
        let mut waiting = JoinSet::new();
        for seconds in [1, 2, 3] {
            let queue = queue.clone();
            waiting.spawn(async move {
                let _permit = queue.acquire('a').await;
                sleep(Duration::from_secs(seconds)).await;
            });
        }
        tokio::task::yield_now().await;
        waiting.abort_all();
        while waiting.join_next().await.is_some() {}
        assert!(timeout(Duration::from_secs(1), queue.acquire('b')).await.is_ok());
        let state = queue.0.lock();
        assert_eq!((state.free, state.turns.len(), state.waiting.len()), (1, 0, 0));
    }

    #[tokio::test]
    async fn oldest_request_gives_way_above_the_limit() {
        let queue = FairQueue::new(1);
        let _held = queue.acquire('a').await;
        let oldest = tokio::spawn({
            let queue = queue.clone();
            async move { queue.acquire('a').await.is_none() }
        });
        tokio::task::yield_now().await;
        let mut receivers = Vec::new();
        for _ in 0..MAX_WAITING {
            receivers.push(queue.0.lock().enqueue('a'));
        }
        assert!(oldest.await.expect("no panic"));
        assert_eq!(queue.0.lock().waiting[&'a'].len(), MAX_WAITING);
    }
}
