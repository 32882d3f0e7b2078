//! The claim calls that wait for tasks.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::grants::Grant;

/// What a claim call asks for.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// The name of the worker.
    pub worker: Arc<str>,
    pub kinds: Arc<HashSet<String>>,
    /// Whether it takes tasks from the queue of all tasks.
    pub takes_default: bool,
    pub max: usize,
}

/// The waiting calls, in the order of their arrival.
#[derive(Default)]
pub(super) struct Polls {
    state: Mutex<State>,
    /// Notified when a call begins or ends to wait.
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<u64, Waiting>,
    last_id: u64,
    /// Calls are answered at once, because the process stops.
    is_closed: bool,
}

struct Waiting {
    demand: Demand,
    answer: oneshot::Sender<Grant>,
}

/// A waiting call. It ends to wait when this is dropped.
pub(super) struct Poll<'p> {
    polls: &'p Polls,
    id: u64,
    pub answer: oneshot::Receiver<Grant>,
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.polls.state.lock().waiting.remove(&self.id);
        self.polls.changed.notify_waiters();
    }
}

impl Polls {
    /// Adds a call. Its answer fails when the process stops.
    pub fn begin(&self, demand: Demand) -> Poll<'_> {
        let (sender, answer) = oneshot::channel();
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        if !state.is_closed {
            state.waiting.insert(id, Waiting { demand, answer: sender });
        }
        drop(state);
        self.changed.notify_waiters();
        Poll { polls: self, id, answer }
    }

    /// Ends all calls without tasks, now and later.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.waiting.clear();
    }

    /// Waits until a call waits.
    pub async fn any(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.state.lock().waiting.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a call begins or ends to wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the number of tasks that all calls ask for.
    pub fn demand(&self) -> usize {
        self.state.lock().waiting.values().map(|poll| poll.demand.max).sum()
    }

    /// Returns the demands with their ids, the longest wait first.
    pub fn demands(&self) -> Vec<(u64, Demand)> {
        let state = self.state.lock();
        state.waiting.iter().map(|(id, poll)| (*id, poll.demand.clone())).collect()
    }

    /// Answers a call. The grant is dropped, and thereby released, if the call has ended.
    pub fn answer(&self, id: u64, grant: Grant) {
        let waiting = self.state.lock().waiting.remove(&id);
        if let Some(Waiting { answer, .. }) = waiting {
            // Fails if the call has ended.
            let _ = answer.send(grant);
        }
    }
}
