//! Claims on their way to a worker.

use std::sync::Arc;

use futures_util::future::join_all;
use miniapp_tasks::{Claimed, Error, Outcome};

use super::Shared;

/// Claims that a worker has not received yet. Dropping them releases their tasks.
pub(crate) struct Grant {
    claims: Vec<Claimed>,
    shared: Arc<Shared>,
}

impl Grant {
    pub(super) fn new(claimed: Claimed, shared: Arc<Shared>) -> Self {
        Self { claims: vec![claimed], shared }
    }

    /// Adds the claims of another grant.
    pub(super) fn add(&mut self, mut other: Self) {
        self.claims.append(&mut other.claims);
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
        let claims = std::mem::take(&mut self.claims);
        if claims.is_empty() {
            return;
        }
        for claimed in &claims {
            self.shared.held.remove(claimed.claim);
        }
        let tasks = self.shared.tasks.clone();
        tokio::spawn(async move {
            let release = claims.iter().map(|one| tasks.commit(one.claim, Outcome::Released));
            for released in join_all(release).await {
                if let Err(error @ Error::Store(_)) = released {
                    // The task continues when the lease has expired.
                    tracing::warn!(%error, "could not release a task that its worker did not receive");
                }
            }
        });
    }
}
