//! What has to happen after the store was restored from a backup.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::Tasks;
use crate::engine::StoreError;

/// Rows per statement.
const BATCH_SIZE: u32 = 5000;

impl Tasks {
    /// Returns the owners of all tasks that are not deleted.
    pub async fn owners(&self) -> Result<BTreeSet<Uuid>, StoreError> {
        let (mut owners, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.engine.owners(after, BATCH_SIZE).await?;
            let Some(last) = page.last() else { return Ok(owners) };
            after = Some(*last);
            owners.extend(page);
        }
    }

    /// Makes all messages and claims from before void, and returns the number of unfinished tasks.
    ///
    /// A restored task repeats the versions and claims that it had after the backup. Without this,
    /// a worker or a message from that time could be mistaken for a new one.
    pub async fn void_claims(&self) -> Result<u64, StoreError> {
        // Higher than any version, also after an earlier restore: a task changes far less often than
        // once a microsecond.
        let floor = u64::try_from(self.clock.now().as_microsecond()).unwrap_or_default();
        let mut count = 0;
        loop {
            let raised = self.engine.raise_versions(floor, BATCH_SIZE).await?;
            count += raised;
            if raised < u64::from(BATCH_SIZE) {
                return Ok(count);
            }
        }
    }

    /// See [`Engine::close`](crate::Engine::close).
    pub async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}
