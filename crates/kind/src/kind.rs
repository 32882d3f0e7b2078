//! The trait of kinds.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Backoff, Context, KindError};

/// The queue of kinds that name none.
pub const DEFAULT_QUEUE: &str = "default";

/// A kind of task.
///
/// One value serves all attempts of a worker, so it can hold clients and pools.
pub trait Kind: Send + Sync + 'static {
    /// The name that tasks give: 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`.
    const NAME: &'static str;
    /// A sentence for the list of kinds.
    const DESCRIPTION: &'static str = "";
    /// The queue of tasks that name none.
    const QUEUE: &'static str = DEFAULT_QUEUE;
    /// The data of a task. Its schema is published and enforced before
    /// [`run`](Kind::run) is called. The first of its `examples` is shown to clients.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// The result of a task.
    type Output: Serialize;

    /// Runs one attempt. A panic is a failed attempt and does not stop the worker.
    fn run(
        &self,
        cx: &Context,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, KindError>> + Send;

    /// Returns the delays after failed attempts. The one after attempt number `attempt`, which
    /// starts with 1, is used. By default they double from 1 second to 10 minutes.
    fn retry(&self, attempt: u32) -> Backoff {
        let _ = attempt;
        Backoff::default()
    }
}
