//! Kinds that tests control.

use std::sync::Arc;
use std::time::Duration;

use miniapp_kind::{Backoff, Context, Kind, KindError};
use miniapp_worker::WorkerConfig;
use miniapp_worker::kinds::Kinds;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

/// Counts of attempts by progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub begun: u32,
    pub stopped: u32,
    pub ended: u32,
}

/// Waits until it is opened.
#[derive(Clone)]
pub struct Gate {
    counts: Arc<watch::Sender<Counts>>,
    permits: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Self {
        Self { counts: Arc::default(), permits: Arc::new(Semaphore::new(0)) }
    }

    /// Lets this many attempts end.
    pub fn open(&self, attempts: usize) {
        self.permits.add_permits(attempts);
    }

    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until the counts satisfy a condition.
    pub async fn until(&self, reached: impl Fn(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), counts.wait_for(reached)).await;
        assert!(waited.is_ok(), "still {:?}", self.counts());
    }
}

impl Kind for Gate {
    const NAME: &'static str = "gate";
    type Input = Value;
    type Output = String;

    async fn run(&self, context: &Context, _: Value) -> Result<String, KindError> {
        self.counts.send_modify(|counts| counts.begun += 1);
        let permit = match context.unless_stopped(self.permits.acquire()).await {
            Ok(permit) => permit,
            Err(stopped) => {
                self.counts.send_modify(|counts| counts.stopped += 1);
                return Err(stopped);
            }
        };
        permit.expect("never closed").forget();
        self.counts.send_modify(|counts| counts.ended += 1);
        Ok(context.attempt_id().to_owned())
    }
}

/// Panics with a long message.
struct Panics;

impl Kind for Panics {
    const NAME: &'static str = "panics";
    type Input = Value;
    type Output = ();

    async fn run(&self, _: &Context, data: Value) -> Result<(), KindError> {
        panic!("began with {data} {}", "x".repeat(300));
    }
}

/// Ignores the stop.
struct Stubborn;

impl Kind for Stubborn {
    const NAME: &'static str = "stubborn";
    type Input = Value;
    type Output = ();

    async fn run(&self, _: &Context, _: Value) -> Result<(), KindError> {
        std::future::pending().await
    }
}

/// Reports progress a thousand times, then waits for the gate.
struct Chatty(Gate);

impl Kind for Chatty {
    const NAME: &'static str = "chatty";
    type Input = Value;
    type Output = String;

    async fn run(&self, context: &Context, data: Value) -> Result<String, KindError> {
        for step in 1..=1000 {
            context.progress(f64::from(step) / 2000.0, format!("step {step}"));
            tokio::task::yield_now().await;
        }
        self.0.run(context, data).await
    }
}

/// Remembers the attempt that ran its step, then waits for the gate. Fails until attempt `failures`
/// of its data.
struct Remembers(Gate);

impl Kind for Remembers {
    const NAME: &'static str = "remembers";
    type Input = u32;
    type Output = [String; 3];

    async fn run(&self, context: &Context, failures: u32) -> Result<[String; 3], KindError> {
        let attempt = context.attempt_id().to_owned();
        let first = context.step("first", || async { Ok(attempt.clone()) }).await?;
        context.log(format_args!("the first step is of {first}"));
        self.0.run(context, Value::Null).await?;
        if context.attempt() <= failures {
            return Err(KindError::retryable("again", "As requested"));
        }
        let second = context.step("second", || async { Ok(attempt.clone()) }).await?;
        Ok([first, second, context.idempotency_key().to_owned()])
    }

    fn retry(&self, _: u32) -> Backoff {
        Backoff::new(Duration::ZERO, Duration::ZERO)
    }
}

/// Returns the standard kinds and the ones of this module.
pub fn kinds(gate: &Gate, config: &WorkerConfig) -> Kinds {
    let mut kinds = Kinds::standard(config);
    kinds.register(gate.clone());
    kinds.register(Panics);
    kinds.register(Stubborn);
    kinds.register(Chatty(gate.clone()));
    kinds.register(Remembers(gate.clone()));
    kinds
}
