//! Attempts of a worker.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_types::worker::{ClaimedTask, Heartbeat, StopReason};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// The minimum interval of heartbeats with progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A heartbeat shows the end of the ttl, a moment after it.
const DEADLINE_DELAY: Duration = Duration::from_millis(100);

/// Why an attempt has to stop. The first reason is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its task is canceled, or its ttl has ended.
    Requested,
    Lost,
    Shutdown,
}

impl From<StopReason> for Stop {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Canceled | StopReason::Expired => Self::Requested,
            StopReason::Lost => Self::Lost,
        }
    }
}

/// The progress of an attempt and its message.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub progress: Option<f64>,
    pub message: Option<String>,
}

/// A claimed task whose outcome is not accepted yet.
#[derive(Debug)]
pub(super) struct Attempt {
    pub task_id: Uuid,
    pub claim: u64,
    lease: Duration,
    stop: OnceLock<Stop>,
    stopped: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    report: Option<Report>,
    beat_at: Instant,
    renewed_at: Instant,
    /// When the next heartbeat shows the end of the ttl.
    deadline_at: Option<Instant>,
}

impl Attempt {
    pub fn new(claimed: &ClaimedTask) -> Self {
        let now = Instant::now();
        let ttl = Duration::from_secs(claimed.ttl.into());
        // By the clock of the platform alone: the one of this machine may be wrong.
        let started_at =
            claimed.deadline.saturating_sub(SignedDuration::from_secs(claimed.ttl.into()));
        let lease = started_at.map(|started_at| claimed.lease_until.duration_since(started_at));
        let lease = lease.ok().and_then(|lease| Duration::try_from(lease).ok()).unwrap_or_default();
        let state = State {
            report: None,
            beat_at: now,
            renewed_at: now,
            deadline_at: Some(now + ttl + DEADLINE_DELAY),
        };
        Self {
            task_id: claimed.task_id,
            claim: claimed.claim,
            lease: lease.max(Duration::from_millis(500)),
            stop: OnceLock::new(),
            stopped: CancellationToken::new(),
            state: Mutex::new(state),
        }
    }

    pub fn stop(&self, reason: Stop) {
        if self.stop.set(reason).is_ok() {
            self.stopped.cancel();
        }
    }

    pub fn stop_reason(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Replaces the report that is not sent yet.
    pub fn report(&self, newest: Report) {
        let mut state = self.state.lock();
        let report = state.report.get_or_insert_default();
        report.progress = newest.progress.or(report.progress);
        report.message = newest.message.or(report.message.take());
    }

    /// Returns the heartbeat, if one is due.
    pub fn due_heartbeat(&self, now: Instant) -> Option<Heartbeat> {
        let mut state = self.state.lock();
        let since = now.duration_since(state.beat_at);
        let has_report = state.report.is_some() && since >= REPORT_INTERVAL;
        let has_expired = state.deadline_at.is_some_and(|at| at <= now);
        if !has_report && !has_expired && since < MAX_HEARTBEAT_INTERVAL.min(self.lease / 3) {
            return None;
        }
        state.beat_at = now;
        if has_expired {
            state.deadline_at = None;
        }
        let Report { progress, message } = state.report.take().unwrap_or_default();
        Some(Heartbeat { task_id: self.task_id, claim: self.claim, progress, message })
    }

    pub fn renewed(&self, at: Instant) {
        self.state.lock().renewed_at = at;
    }

    /// Whether the lease has ended, because no heartbeat has reached the platform.
    pub fn is_overdue(&self) -> bool {
        self.state.lock().renewed_at.elapsed() > self.lease
    }
}

/// The attempts whose claims are renewed.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<(Uuid, u64), Arc<Attempt>>>);

impl Attempts {
    pub fn insert(&self, attempt: &Arc<Attempt>) {
        self.0.lock().insert((attempt.task_id, attempt.claim), attempt.clone());
    }

    pub fn remove(&self, attempt: &Attempt) {
        self.0.lock().remove(&(attempt.task_id, attempt.claim));
    }

    pub fn all(&self) -> Vec<Arc<Attempt>> {
        self.0.lock().values().cloned().collect()
    }

    pub fn stop_all(&self, reason: Stop) {
        self.0.lock().values().for_each(|attempt| attempt.stop(reason));
    }
}
