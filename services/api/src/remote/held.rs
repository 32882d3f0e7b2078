//! What the last calls of workers have shown about their claims.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::{Claim, Task};
use miniapp_types::worker::StopReason;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The minimum interval between stored reports of an attempt.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of stored reports per attempt; each is an event of the task.
const MAX_REPORTS: u32 = 5_000;
/// Claims without a call for this long are forgotten, more than a lease can last.
const FORGET_AFTER: Duration = Duration::from_hours(2);
/// The number of claims from which on forgotten ones are searched.
const MIN_PRUNED: usize = 1024;

/// The progress of an attempt, and its message.
pub(super) type Report = (Option<f64>, Option<String>);

/// A claim of a worker.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The name of the worker.
    pub worker: Option<Arc<str>>,
    /// The number of the attempt.
    pub attempt: u32,
    pub deadline: Timestamp,
    /// The stop that was reported.
    pub stop: Option<StopReason>,
    /// The minimum interval between stored reports.
    interval: Duration,
    /// When a report was last stored.
    stored_at: Option<Instant>,
    /// The report that is not stored yet.
    report: Option<Report>,
    seen_at: Instant,
}

impl Held {
    pub fn new(task: &Task) -> Self {
        let started_at = task.state.started_at.unwrap_or(task.state.changed_at);
        Self {
            worker: task.state.worker.clone(),
            attempt: task.state.attempt,
            deadline: deadline(started_at, task.spec.ttl),
            stop: None,
            interval: MIN_INTERVAL.max(Duration::from_secs(task.spec.ttl.into()) / MAX_REPORTS),
            stored_at: None,
            report: None,
            seen_at: Instant::now(),
        }
    }
}

/// Returns the end of the ttl of an attempt.
fn deadline(started_at: Timestamp, ttl: u32) -> Timestamp {
    started_at.saturating_add(SignedDuration::from_secs(ttl.into())).unwrap_or(Timestamp::MAX)
}

#[derive(Debug, Default)]
pub(super) struct HeldClaims(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    claims: HashMap<Claim, Held>,
    /// The number of claims at which forgotten ones are searched next.
    prune_at: usize,
}

impl HeldClaims {
    /// Adds a claim. Returns `false` if it was known.
    pub fn insert(&self, claim: Claim, held: Held) -> bool {
        let mut state = self.0.lock();
        if state.claims.len() >= state.prune_at.max(MIN_PRUNED) {
            state.claims.retain(|_, held| held.seen_at.elapsed() < FORGET_AFTER);
            state.prune_at = state.claims.len() * 2;
        }
        match state.claims.entry(claim) {
            Entry::Vacant(entry) => {
                entry.insert(held);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    pub fn remove(&self, claim: Claim) {
        self.0.lock().claims.remove(&claim);
    }

    /// Returns a claim, which a call has mentioned.
    pub fn see(&self, claim: Claim) -> Option<Held> {
        let mut state = self.0.lock();
        let held = state.claims.get_mut(&claim)?;
        held.seen_at = Instant::now();
        Some(held.clone())
    }

    pub fn stop(&self, claim: Claim, reason: StopReason) {
        if let Some(held) = self.0.lock().claims.get_mut(&claim) {
            held.stop = Some(reason);
        }
    }

    /// Adds a report. Returns the one to store now, if it is time.
    pub fn report(&self, claim: Claim, newest: Report) -> Option<Report> {
        let mut state = self.0.lock();
        let held = state.claims.get_mut(&claim)?;
        let (progress, message) = held.report.take().unwrap_or_default();
        let report = (newest.0.or(progress), newest.1.or(message));
        if report == (None, None) {
            return None;
        }
        if held.stored_at.is_some_and(|at| at.elapsed() < held.interval) {
            held.report = Some(report);
            return None;
        }
        held.stored_at = Some(Instant::now());
        Some(report)
    }

    /// Returns the number of claims of a worker that were seen within a lease.
    pub fn count(&self, worker: &str, lease: SignedDuration) -> usize {
        let lease = Duration::try_from(lease).unwrap_or_default();
        let state = self.0.lock();
        let is_own =
            |held: &&Held| held.worker.as_deref() == Some(worker) && held.seen_at.elapsed() < lease;
        state.claims.values().filter(is_own).count()
    }

    pub fn contains(&self, claim: Claim) -> bool {
        self.0.lock().claims.contains_key(&claim)
    }
}
