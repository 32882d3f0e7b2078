//! Workers that run a suspect alone.
//!
//! A task that lost its workers several times has to start while its worker runs nothing else. A
//! worker over HTTP gets such a task only while it holds no other claim, as far as this replica
//! knows, and no further one as long as the task has to be alone. A busy worker is reserved for the
//! suspect that it was offered: it gets no other task until it is free.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use miniapp_tasks::{Claim, Claimed};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::held::HeldClaims;

/// How long a worker is reserved after its suspect was last offered. Longer than it takes until a
/// returned message is delivered again.
const RESERVATION: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct IsolatedWorkers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Workers that run a suspect.
    alone: HashMap<Arc<str>, (Claim, Instant)>,
    /// Workers that finish their tasks before they get a suspect.
    reserved: HashMap<Arc<str>, (Uuid, Instant)>,
}

impl IsolatedWorkers {
    /// Isolates a worker that has claimed a suspect.
    pub fn begin(&self, worker: &Arc<str>, suspect: &Claimed) {
        let isolation = suspect.task.state.isolation().unwrap_or_default();
        let isolation = Duration::try_from(isolation).unwrap_or(Duration::MAX);
        let ttl = Duration::from_secs(suspect.task.spec.ttl.into());
        let until = Instant::now() + isolation.min(ttl);
        let mut state = self.0.lock();
        state.reserved.retain(|_, (id, _)| *id != suspect.task.id);
        state.alone.insert(worker.clone(), (suspect.claim, until));
    }

    /// Reserves a worker for a suspect, which is offered again. Another worker that was reserved
    /// for it remains so.
    pub fn reserve(&self, worker: &Arc<str>, suspect: Uuid) {
        let now = Instant::now();
        let reserved = &mut self.0.lock().reserved;
        match reserved.values_mut().find(|(id, until)| *id == suspect && *until > now) {
            Some((_, until)) => *until = now + RESERVATION,
            None => _ = reserved.insert(worker.clone(), (suspect, now + RESERVATION)),
        }
    }

    /// Whether a worker may get a task: it neither runs a suspect alone nor is reserved for
    /// another task.
    pub fn admits(&self, worker: &str, task: Uuid, held: &HeldClaims) -> bool {
        let now = Instant::now();
        let State { alone, reserved } = &mut *self.0.lock();
        alone.retain(|_, (claim, until)| *until > now && held.contains(*claim));
        reserved.retain(|_, (_, until)| *until > now);
        !alone.contains_key(worker) && reserved.get(worker).is_none_or(|(id, _)| *id == task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn worker_is_reserved_for_one_suspect() {
        let (isolated, held) = (IsolatedWorkers::default(), HeldClaims::default());
        let (suspect, other) = (Uuid::new_v4(), Uuid::new_v4());
        isolated.reserve(&"a".into(), suspect);
        isolated.reserve(&"b".into(), suspect);
        assert!(isolated.admits("a", suspect, &held) && !isolated.admits("a", other, &held));
        assert!(isolated.admits("b", other, &held), "one worker is enough");
        tokio::time::advance(RESERVATION / 2).await;
        isolated.reserve(&"b".into(), suspect);
        tokio::time::advance(RESERVATION / 2).await;
        assert!(!isolated.admits("a", other, &held), "offered again");
        tokio::time::advance(RESERVATION).await;
        assert!(isolated.admits("a", other, &held), "offered no more");
    }
}
