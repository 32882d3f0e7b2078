//! The running attempts of a worker.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use miniapp_tasks::Claim;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::attempt::{Attempt, Stop};

/// How long a cancellation is remembered for claims that are in flight. If a claim takes
/// longer, the next renewal of leases returns the cancellation.
const CANCELLATION_TTL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct RunningAttempts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Sorted, so that simulations are repeatable.
    attempts: BTreeMap<Claim, Arc<Attempt>>,
    /// Recent cancellations by task.
    canceled: HashMap<Uuid, Instant>,
    /// Unsettled messages by task.
    inflight: HashMap<Uuid, InflightMessages>,
}

#[derive(Debug, Default)]
struct InflightMessages {
    count: usize,
    /// The token of the newest claim that was begun meanwhile.
    newest_claim: Option<u64>,
}

/// Counts an unsettled message until it is dropped.
pub(crate) struct InflightGuard<'r> {
    running: &'r RunningAttempts,
    task_id: Uuid,
}

impl Drop for InflightGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.running.0.lock();
        if let Entry::Occupied(mut inflight) = state.inflight.entry(self.task_id) {
            inflight.get_mut().count -= 1;
            if inflight.get().count == 0 {
                inflight.remove();
            }
        }
    }
}

impl RunningAttempts {
    /// Tracks a message until the guard is dropped.
    pub fn track_message(&self, task_id: Uuid) -> InflightGuard<'_> {
        self.0.lock().inflight.entry(task_id).or_default().count += 1;
        InflightGuard { running: self, task_id }
    }

    /// Adds an attempt whose claim was requested at `requested_at`, and stops it if it was
    /// canceled since then. Returns `false` if another copy of the message has begun this
    /// claim, which may have ended already.
    pub fn begin(&self, attempt: &Arc<Attempt>, requested_at: Instant) -> bool {
        let mut state = self.0.lock();
        let Claim { task_id, token } = attempt.claim;
        if let Some(inflight) = state.inflight.get_mut(&task_id) {
            if inflight.newest_claim >= Some(token) {
                return false;
            }
            inflight.newest_claim = Some(token);
        }
        state.attempts.insert(attempt.claim, attempt.clone());
        if state.canceled.get(&attempt.claim.task_id).is_some_and(|at| *at >= requested_at) {
            attempt.stop(Stop::Canceled);
        }
        true
    }

    pub fn end(&self, claim: Claim) {
        self.0.lock().attempts.remove(&claim);
    }

    pub fn all(&self) -> Vec<Arc<Attempt>> {
        self.0.lock().attempts.values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.0.lock().attempts.len()
    }

    /// Stops the attempts of these tasks, including those whose claim is in flight.
    pub fn cancel(&self, tasks: &[Uuid]) {
        let now = Instant::now();
        let mut state = self.0.lock();
        state.canceled.retain(|_, at| now.duration_since(*at) < CANCELLATION_TTL);
        state.canceled.extend(tasks.iter().map(|task| (*task, now)));
        for attempt in state.attempts.values() {
            if tasks.contains(&attempt.claim.task_id) {
                attempt.stop(Stop::Canceled);
            }
        }
    }

    pub fn stop(&self, reason: Stop) {
        self.0.lock().attempts.values().for_each(|attempt| attempt.stop(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(task: u128, token: u64) -> Arc<Attempt> {
        let claim = Claim { task_id: Uuid::from_u128(task), token };
        Arc::new(Attempt::new(claim, 1, CANCELLATION_TTL, 0, Instant::now()))
    }

    #[test]
    fn cancel_stops_only_the_attempts_of_its_tasks() {
        let running = RunningAttempts::default();
        let attempts = [attempt(1, 1), attempt(2, 1), attempt(3, 1)];
        for attempt in &attempts {
            running.begin(attempt, Instant::now());
        }
        running.cancel(&[Uuid::from_u128(1), Uuid::from_u128(3), Uuid::from_u128(9)]);
        let stopped = attempts.map(|attempt| attempt.stop_reason());
        assert_eq!(stopped, [Some(Stop::Canceled), None, Some(Stop::Canceled)]);
    }

    #[tokio::test(start_paused = true)]
    async fn cancel_stops_claims_in_flight_but_not_later_ones() {
        let running = RunningAttempts::default();
        let requested_at = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        running.cancel(&[Uuid::from_u128(1)]);
        tokio::time::advance(Duration::from_millis(1)).await;
        let in_flight = attempt(1, 1);
        running.begin(&in_flight, requested_at);
        assert_eq!(in_flight.stop_reason(), Some(Stop::Canceled));
        let later = attempt(1, 2);
        running.begin(&later, Instant::now());
        assert_eq!(later.stop_reason(), None);
    }

    #[test]
    fn claim_is_begun_once_for_all_copies_of_a_message() {
        let running = RunningAttempts::default();
        let first = attempt(1, 1);
        let (message, copy) = (
            running.track_message(first.claim.task_id),
            running.track_message(first.claim.task_id),
        );
        assert!(running.begin(&first, Instant::now()));
        assert!(!running.begin(&first, Instant::now()), "it is running");
        running.end(first.claim);
        drop(message);
        assert!(!running.begin(&first, Instant::now()), "it has ended");
        assert!(running.begin(&attempt(1, 2), Instant::now()), "a newer claim");
        drop(copy);
        assert!(running.0.lock().inflight.is_empty());
    }

    #[test]
    fn ended_attempt_is_removed() {
        let running = RunningAttempts::default();
        let attempt = attempt(1, 1);
        running.begin(&attempt, Instant::now());
        assert_eq!(running.count(), 1);
        running.end(attempt.claim);
        assert_eq!(running.count(), 0);
        running.stop(Stop::Shutdown);
        assert_eq!(attempt.stop_reason(), None);
    }
}
