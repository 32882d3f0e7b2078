//! Kinds without their types.

use async_trait::async_trait;
use miniapp_kind::{Backoff, Context, KindError};
use serde_json::value::RawValue;

use super::Description;

/// The result of an attempt in JSON, or the error that ended it.
pub type KindResult = Result<Box<RawValue>, KindError>;

/// A kind whose input and output are JSON. [`miniapp_kind::Kind`] is the trait with types.
#[async_trait]
pub trait ErasedKind: Send + Sync + 'static {
    /// Returns the kind's name, documentation and data schema, as clients see them.
    fn describe(&self) -> Description;

    /// Runs one attempt of a task with this `data`.
    async fn run(&self, context: &Context, data: &RawValue) -> KindResult;

    /// Returns the delays after failed attempts, of which the one after `attempt` is used.
    fn retry(&self, attempt: u32) -> Backoff {
        let _ = attempt;
        Backoff::default()
    }
}
