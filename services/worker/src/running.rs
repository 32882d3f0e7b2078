//! The attempts that a worker runs now.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use miniapp_tasks::Claim;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::attempt::{Attempt, Stop};

/// For how long a cancel is remembered that may concern a claim that is under way.
/// Should one take longer, the next renewal tells of the cancel.
const REMEMBERED: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In an order of their own, so that a run can be repeated.
    attempts: BTreeMap<Claim, Arc<Attempt>>,
    /// Cancels of late, by task.
    canceled: HashMap<Uuid, Instant>,
    /// Tasks that messages in hand are about.
    in_hand: HashMap<Uuid, InHand>,
}

#[derive(Debug, Default)]
struct InHand {
    messages: usize,
    /// The newest claim on the task whose attempt began meanwhile.
    begun: Option<u64>,
}

/// A message about a task is in hand until this is dropped.
pub(crate) struct Holding<'r> {
    running: &'r Running,
    task_id: Uuid,
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut state = self.running.0.lock();
        if let Entry::Occupied(mut in_hand) = state.in_hand.entry(self.task_id) {
            in_hand.get_mut().messages -= 1;
            if in_hand.get().messages == 0 {
                in_hand.remove();
            }
        }
    }
}

impl Running {
    /// Notes that a message about a task is in hand.
    pub fn hold(&self, task_id: Uuid) -> Holding<'_> {
        self.0.lock().in_hand.entry(task_id).or_default().messages += 1;
        Holding { running: self, task_id }
    }

    /// Adds an attempt whose claim was asked for at `asked_at`. `false`: it began before, by
    /// another copy of the message in hand, and may have ended since. A cancel that came in
    /// the meantime, before anybody could know the attempt, stops it.
    pub fn begin(&self, attempt: &Arc<Attempt>, asked_at: Instant) -> bool {
        let mut state = self.0.lock();
        let Claim { task_id, token } = attempt.claim;
        if let Some(in_hand) = state.in_hand.get_mut(&task_id) {
            if in_hand.begun >= Some(token) {
                return false;
            }
            in_hand.begun = Some(token);
        }
        state.attempts.insert(attempt.claim, attempt.clone());
        if state.canceled.get(&attempt.claim.task_id).is_some_and(|at| *at >= asked_at) {
            attempt.stop(Stop::Canceled);
        }
        true
    }

    /// Removes an attempt.
    pub fn end(&self, claim: Claim) {
        self.0.lock().attempts.remove(&claim);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Attempt>> {
        self.0.lock().attempts.values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().attempts.len()
    }

    /// Stops the attempts of these tasks.
    pub fn cancel(&self, tasks: &[Uuid]) {
        let now = Instant::now();
        let mut state = self.0.lock();
        state.canceled.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        state.canceled.extend(tasks.iter().map(|task| (*task, now)));
        for attempt in state.attempts.values() {
            if tasks.contains(&attempt.claim.task_id) {
                attempt.stop(Stop::Canceled);
            }
        }
    }

    /// Stops all attempts.
    pub fn stop(&self, reason: Stop) {
        self.0.lock().attempts.values().for_each(|attempt| attempt.stop(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(task: u128, token: u64) -> Arc<Attempt> {
        let claim = Claim { task_id: Uuid::from_u128(task), token };
        Arc::new(Attempt::new(claim, 1, REMEMBERED, 0, Instant::now()))
    }

    #[test]
    fn a_cancel_stops_the_attempts_of_its_tasks_alone() {
        let running = Running::default();
        let attempts = [attempt(1, 1), attempt(2, 1), attempt(3, 1)];
        for attempt in &attempts {
            running.begin(attempt, Instant::now());
        }
        running.cancel(&[Uuid::from_u128(1), Uuid::from_u128(3), Uuid::from_u128(9)]);
        let stopped = attempts.map(|attempt| attempt.stop_reason());
        assert_eq!(stopped, [Some(Stop::Canceled), None, Some(Stop::Canceled)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_reaches_a_claim_under_way_and_no_later_one() {
        let running = Running::default();
        let asked_at = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        running.cancel(&[Uuid::from_u128(1)]);
        tokio::time::advance(Duration::from_millis(1)).await;
        let under_way = attempt(1, 1);
        running.begin(&under_way, asked_at);
        assert_eq!(under_way.stop_reason(), Some(Stop::Canceled));
        let later = attempt(1, 2);
        running.begin(&later, Instant::now());
        assert_eq!(later.stop_reason(), None);
    }

    #[test]
    fn a_claim_begins_once_for_all_messages_in_hand() {
        let running = Running::default();
        let first = attempt(1, 1);
        let (message, copy) =
            (running.hold(first.claim.task_id), running.hold(first.claim.task_id));
        assert!(running.begin(&first, Instant::now()));
        assert!(!running.begin(&first, Instant::now()), "it is running");
        running.end(first.claim);
        drop(message);
        assert!(!running.begin(&first, Instant::now()), "it has ended");
        assert!(running.begin(&attempt(1, 2), Instant::now()), "a newer claim");
        drop(copy);
        assert!(running.0.lock().in_hand.is_empty());
    }

    #[test]
    fn what_ended_is_gone() {
        let running = Running::default();
        let attempt = attempt(1, 1);
        running.begin(&attempt, Instant::now());
        assert_eq!(running.count(), 1);
        running.end(attempt.claim);
        assert_eq!(running.count(), 0);
        running.stop(Stop::Shutdown);
        assert_eq!(attempt.stop_reason(), None);
    }
}
