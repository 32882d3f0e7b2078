//! The claim calls that wait for tasks.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::futures::Notified;
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
    /// It waits only until the queue has been read once.
    pub is_brief: bool,
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
    /// Tasks are being claimed for it.
    is_served: bool,
    /// It has waited long enough.
    has_ended: bool,
}

/// A waiting call. It ends to wait when this is dropped.
pub(super) struct Poll<'p> {
    polls: &'p Polls,
    id: u64,
    pub answer: oneshot::Receiver<Grant>,
}

impl Poll<'_> {
    /// Ends to wait. If tasks are being claimed for the call, they are its answer.
    pub async fn finish(mut self) -> Option<Grant> {
        self.polls.end(|id, _| *id == self.id);
        (&mut self.answer).await.ok()
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.polls.state.lock().waiting.remove(&self.id);
        self.polls.changed.notify_waiters();
    }
}

/// Calls for which tasks are being claimed, until this is dropped. Those without an answer by then
/// wait on, if their time has not ended.
pub(super) struct Serving<'p> {
    polls: &'p Polls,
    ids: Vec<u64>,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut state = self.polls.state.lock();
        for id in &self.ids {
            if let Some(poll) = state.waiting.get_mut(id) {
                poll.is_served = false;
            }
        }
        state.waiting.retain(|_, poll| poll.is_served || !poll.has_ended);
        drop(state);
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
            let waiting = Waiting { demand, answer: sender, is_served: false, has_ended: false };
            state.waiting.insert(id, waiting);
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

    /// Returns when a call begins or ends to wait after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Whether a call waits only until the queue has been read once.
    pub fn has_brief(&self) -> bool {
        self.state.lock().waiting.values().any(|poll| poll.demand.is_brief)
    }

    /// Ends the brief calls: the queue has been read.
    pub fn end_brief(&self) {
        self.end(|_, demand| demand.is_brief);
    }

    /// Ends calls without tasks, or with those that are being claimed for them.
    fn end(&self, is_ended: impl Fn(&u64, &Demand) -> bool) {
        self.state.lock().waiting.retain(|id, poll| {
            poll.has_ended |= is_ended(id, &poll.demand);
            poll.is_served || !poll.has_ended
        });
        self.changed.notify_waiters();
    }

    /// Marks calls for which tasks are about to be claimed.
    pub fn serve(&self, ids: impl IntoIterator<Item = u64>) -> Serving<'_> {
        let ids: Vec<u64> = ids.into_iter().collect();
        let mut state = self.state.lock();
        for id in &ids {
            if let Some(poll) = state.waiting.get_mut(id) {
                poll.is_served = true;
            }
        }
        Serving { polls: self, ids }
    }

    /// Returns the number of tasks that all calls ask for.
    pub fn demand(&self) -> usize {
        self.demands().iter().map(|(_, demand)| demand.max).sum()
    }

    /// Returns the demands with their ids, the longest wait first.
    pub fn demands(&self) -> Vec<(u64, Demand)> {
        let state = self.state.lock();
        let waiting = state.waiting.iter().filter(|(_, poll)| !poll.is_served);
        waiting.map(|(id, poll)| (*id, poll.demand.clone())).collect()
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
