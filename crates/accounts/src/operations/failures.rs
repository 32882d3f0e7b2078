//! Failed sign-ins.

use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::store::{FailureKey, Operation, Outcome, Transaction, TxResult};

/// Counts a failed sign-in, at the time of its audit entry.
#[derive(Clone, Debug)]
pub struct RecordFailure {
    pub key: FailureKey,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for RecordFailure {
    type Output = ();

    const NAME: &'static str = "record_failure";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<()>> {
        tx.insert_failure(&self.key, self.audit.account, self.audit.at).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(()))
    }
}
