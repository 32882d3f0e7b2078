//! Claims on their way to a worker.

use miniapp_tasks::{Claimed, Error, Outcome, Tasks};

/// Claims that a worker has not received yet. Dropping them releases their tasks.
pub(crate) struct Grant {
    claims: Vec<Claimed>,
    tasks: Option<Tasks>,
}

impl Grant {
    pub(super) fn new(claims: Vec<Claimed>, tasks: Tasks) -> Self {
        Self { claims, tasks: Some(tasks) }
    }

    pub fn claims(&self) -> &[Claimed] {
        &self.claims
    }

    /// Keeps the claims: their worker receives them.
    pub fn keep(mut self) {
        self.claims.clear();
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Some(tasks) = self.tasks.take().filter(|_| !self.claims.is_empty()) else { return };
        let claims = std::mem::take(&mut self.claims);
        tokio::spawn(async move {
            let release = claims.iter().map(|one| tasks.commit(one.claim, Outcome::Released));
            for released in futures_util::future::join_all(release).await {
                if let Err(error @ Error::Store(_)) = released {
                    // The task continues when the lease has expired.
                    tracing::warn!(%error, "could not release a task that its worker did not receive");
                }
            }
        });
    }
}
