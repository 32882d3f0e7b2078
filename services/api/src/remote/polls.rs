//! The claim calls that wait for tasks.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use super::demand::Demand;
use super::grants::Grant;
use super::sources::Source;

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
    /// What is consumed for the calls.
    sources: BTreeSet<Source>,
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
    /// Sources that had no task for it.
    silent: BTreeSet<Source>,
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
        self.polls.end(self.id);
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
            let waiting = Waiting {
                demand,
                answer: sender,
                is_served: false,
                has_ended: false,
                silent: BTreeSet::new(),
            };
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

    /// Sets what is consumed for the calls.
    pub fn set_sources<'s>(&self, sources: impl Iterator<Item = &'s Source>) {
        self.state.lock().sources = sources.cloned().collect();
    }

    /// Waits until a call waits that `is_wanted`.
    pub async fn any(&self, is_wanted: impl Fn(&Demand) -> bool) {
        loop {
            let changed = self.changed();
            if self.demands().iter().any(|(_, demand)| is_wanted(demand)) {
                return;
            }
            changed.await;
        }
    }

    /// Returns when a call begins or ends to wait after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Whether a call waits only until this source has been read once.
    pub fn has_brief(&self, source: &Source) -> bool {
        let is_brief = |poll: &Waiting| {
            poll.demand.is_brief && source.serves(&poll.demand) && !poll.silent.contains(source)
        };
        self.state.lock().waiting.values().any(is_brief)
    }

    /// Ends the brief calls whose sources have all been read; this one was read now.
    pub fn end_brief(&self, source: &Source) {
        let State { waiting, sources, .. } = &mut *self.state.lock();
        waiting.retain(|_, poll| {
            if poll.demand.is_brief && source.serves(&poll.demand) {
                poll.silent.insert(source.clone());
                let mut own = sources.iter().filter(|source| source.serves(&poll.demand));
                poll.has_ended |= own.all(|source| poll.silent.contains(source));
            }
            poll.is_served || !poll.has_ended
        });
    }

    fn end(&self, ended: u64) {
        self.state.lock().waiting.retain(|id, poll| {
            poll.has_ended |= *id == ended;
            poll.is_served || !poll.has_ended
        });
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

    /// Returns the number of tasks of a source that calls ask for.
    pub fn demand(&self, source: &Source) -> usize {
        let demands = self.demands().into_iter();
        demands.filter(|(_, demand)| source.serves(demand)).map(|(_, demand)| demand.max).sum()
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
