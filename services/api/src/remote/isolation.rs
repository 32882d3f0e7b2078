//! Workers that run a suspect alone.
//!
//! A task that lost its workers several times has to start while its worker runs nothing else. A
//! worker over HTTP gets such a task only while it holds no other claim, as far as this replica
//! knows, and no further one as long as the task has to be alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use miniapp_tasks::{Claim, Claimed};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::held::HeldClaims;

#[derive(Debug, Default)]
pub(super) struct IsolatedWorkers(Mutex<HashMap<Arc<str>, (Claim, Instant)>>);

impl IsolatedWorkers {
    /// Reserves a worker for a suspect.
    pub fn begin(&self, worker: &Arc<str>, suspect: &Claimed) {
        let isolation = suspect.task.state.isolation().unwrap_or_default();
        let isolation = Duration::try_from(isolation).unwrap_or(Duration::MAX);
        let ttl = Duration::from_secs(suspect.task.spec.ttl.into());
        let until = Instant::now() + isolation.min(ttl);
        self.0.lock().insert(worker.clone(), (suspect.claim, until));
    }

    /// Whether a worker runs a suspect alone.
    pub fn contains(&self, worker: &str, held: &HeldClaims) -> bool {
        let mut isolated = self.0.lock();
        isolated.retain(|_, (claim, until)| *until > Instant::now() && held.contains(*claim));
        isolated.contains_key(worker)
    }
}
