//! Kinds that tests control.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use miniapp_worker::WorkerConfig;
use miniapp_worker::kinds::{Context, Description, Kind, KindResult, Kinds, to_result};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

fn describe(name: &str) -> Description {
    Description {
        name: name.to_owned(),
        description: "For tests.".into(),
        data_schema: json!({}),
        example: Value::Null,
    }
}

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

#[async_trait]
impl Kind for Gate {
    fn describe(&self) -> Description {
        describe("gate")
    }

    async fn run(&self, context: &Context, _: &RawValue) -> KindResult {
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
        to_result(&context.attempt_id())
    }
}

/// Panics with a long message.
struct Panics;

#[async_trait]
impl Kind for Panics {
    fn describe(&self) -> Description {
        describe("panics")
    }

    async fn run(&self, _: &Context, data: &RawValue) -> KindResult {
        panic!("began with {data} {}", "x".repeat(300));
    }
}

/// Ignores the stop.
struct Stubborn;

#[async_trait]
impl Kind for Stubborn {
    fn describe(&self) -> Description {
        describe("stubborn")
    }

    async fn run(&self, _: &Context, _: &RawValue) -> KindResult {
        std::future::pending().await
    }
}

/// Reports progress a thousand times, then waits for the gate.
struct Chatty(Gate);

#[async_trait]
impl Kind for Chatty {
    fn describe(&self) -> Description {
        describe("chatty")
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        for step in 1..=1000 {
            context.progress(f64::from(step) / 2000.0, format!("step {step}"));
            tokio::task::yield_now().await;
        }
        self.0.run(context, data).await
    }
}

/// Returns the standard kinds and the ones of this module.
pub fn kinds(gate: &Gate, config: &WorkerConfig) -> Kinds {
    let mut kinds = Kinds::standard(config);
    kinds.register(gate.clone());
    kinds.register(Panics);
    kinds.register(Stubborn);
    kinds.register(Chatty(gate.clone()));
    kinds
}
