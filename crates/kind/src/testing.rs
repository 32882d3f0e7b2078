//! Runs kinds without a platform.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{AttemptInfo, Context, Host, KindError};

/// An attempt without a worker, for tests of kinds. Steps are remembered in memory.
///
/// ```
/// # async fn example(kind: impl miniapp_kind::Kind<Input = String, Output = String>) {
/// use miniapp_kind::testing::TestAttempt;
///
/// let test = TestAttempt::new();
/// let output = kind.run(&test.context(), "input".into()).await;
/// assert_eq!(output.as_deref(), Ok("output"));
/// assert_eq!(test.lines(), ["a line of the log"]);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestAttempt {
    info: AttemptInfo,
    generation: u32,
    stopped: CancellationToken,
    record: Record,
}

/// What the kind has reported and remembered.
#[derive(Clone, Debug, Default)]
struct Record {
    progress: Arc<Mutex<Option<(f64, String)>>>,
    lines: Arc<Mutex<Vec<String>>>,
    steps: Arc<Mutex<BTreeMap<String, Box<RawValue>>>>,
}

impl Default for TestAttempt {
    fn default() -> Self {
        Self::new()
    }
}

impl TestAttempt {
    /// Creates the first of three attempts, with a ttl of a minute.
    pub fn new() -> Self {
        let info = AttemptInfo {
            task_id: Uuid::from_u128(7),
            attempt_id: "7-1".into(),
            idempotency_key: "7.1".into(),
            attempt: 1,
            max_attempts: 3,
            ttl: Duration::from_mins(1),
            seed: 0,
        };
        Self { info, generation: 1, stopped: CancellationToken::new(), record: Record::default() }
    }

    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.info.ttl = ttl;
        self
    }

    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.info.seed = seed;
        self
    }

    /// Returns the next attempt, which has the steps of this one.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        let attempt = self.info.attempt + 1;
        let attempt_id = format!("7-{attempt}");
        let info = AttemptInfo { attempt_id, attempt, ..self.info.clone() };
        Self { info, stopped: CancellationToken::new(), ..self.clone() }
    }

    /// Returns the first attempt after a restart of the task.
    #[must_use]
    pub fn restarted(&self) -> Self {
        let generation = self.generation + 1;
        let idempotency_key = format!("7.{generation}");
        let info = AttemptInfo { attempt: 1, idempotency_key, ..self.info.clone() };
        Self { info, generation, stopped: CancellationToken::new(), record: Record::default() }
    }

    pub fn context(&self) -> Context {
        Context::new(self.info.clone(), self.stopped.clone(), self.record.clone())
    }

    /// Signals the kind to stop.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// Returns the latest progress report.
    pub fn progress(&self) -> Option<(f64, String)> {
        self.record.progress.lock().clone()
    }

    /// Returns the lines of the log.
    pub fn lines(&self) -> Vec<String> {
        self.record.lines.lock().clone()
    }
}

#[async_trait]
impl Host for Record {
    fn progress(&self, progress: f64, message: String) {
        *self.progress.lock() = Some((progress, message));
    }

    fn log(&self, line: &str) {
        self.lines.lock().push(line.to_owned());
    }

    async fn steps(&self) -> Result<BTreeMap<String, Box<RawValue>>, KindError> {
        Ok(self.steps.lock().clone())
    }

    async fn remember_step(&self, name: &str, result: &RawValue) -> Result<(), KindError> {
        self.steps.lock().insert(name.to_owned(), result.to_owned());
        Ok(())
    }
}
