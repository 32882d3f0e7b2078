//! What a context needs from the worker that runs an attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::KindError;

/// The facts about an attempt that do not change.
#[derive(Clone, Debug)]
pub struct AttemptInfo {
    pub task_id: Uuid,
    /// Unique per attempt.
    pub attempt_id: String,
    /// The same for all attempts of a generation.
    pub idempotency_key: String,
    /// The number of the attempt, starting with 1.
    pub attempt: u32,
    pub max_attempts: u32,
    /// The time limit of the attempt.
    pub ttl: Duration,
    /// The seed of randomness, which differs per attempt.
    pub seed: u64,
}

/// Runs an attempt: a worker, or a test.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Replaces the latest progress report. It is called frequently.
    fn progress(&self, progress: f64, message: String);

    /// Writes a line to the log.
    fn log(&self, line: &str);

    /// Returns the remembered steps of the generation by name. Waits for the store, until the
    /// attempt has to stop.
    async fn steps(&self) -> Result<BTreeMap<String, Box<RawValue>>, KindError>;

    /// Remembers the result of a step. Fails if the attempt has lost its claim.
    async fn remember_step(&self, name: &str, result: &RawValue) -> Result<(), KindError>;
}
