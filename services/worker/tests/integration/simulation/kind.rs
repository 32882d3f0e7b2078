//! The kind of simulated tasks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use miniapp_tasks::domain::State;
use miniapp_types::task::{Kind as Description, Status};
use miniapp_worker::kinds::{Context, Kind, KindError, KindResult, parse_data, to_result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::simulation::process::ProcessHandle;

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Result,
    Retry,
    Final,
    /// Never, and ignores the stop.
    Never,
    /// The process is killed.
    Kill,
}

/// The data of a task.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub steps: u32,
    /// Milliseconds.
    pub pause: u64,
    pub end: End,
}

/// Takes steps and reports progress.
pub struct Steps(pub Arc<ProcessHandle>);

#[async_trait]
impl Kind for Steps {
    fn describe(&self) -> Description {
        Description {
            name: "steps".into(),
            description: "Takes steps.".into(),
            data_schema: json!({}),
            example: Value::Null,
        }
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        let Self(process) = self;
        let Plan { steps, pause, end } = parse_data(data)?;
        let id = context.attempt_id();
        let (task, claim) = id.rsplit_once('-').expect("an id of an attempt");
        let state =
            process.world.store.row(task.parse().expect("a UUID")).map(|row| row.task.state);
        // An attempt that has lost its lease already was claimed with fewer lost leases.
        let held =
            |state: &State| state.status == Status::Executing && state.claim.to_string() == claim;
        let lost_leases = state.filter(held).map_or(0, |state| state.lost_leases);
        let _running = match process.world.invariants.begin(process, &id, lost_leases) {
            Ok(running) => running,
            Err(broken) => {
                process.world.violation(broken);
                return Err(KindError::Stopped);
            }
        };
        for step in 0..steps {
            context.sleep(Duration::from_millis(pause)).await?;
            context.progress(f64::from(step) / f64::from(steps), format!("step {step}"));
        }
        match end {
            End::Result => to_result(&id),
            End::Retry => Err(KindError::retryable("again", "Try again")),
            End::Final => Err(KindError::permanent("broken", "It broke")),
            End::Never => std::future::pending().await,
            End::Kill => {
                process.kill();
                std::future::pending().await
            }
        }
    }
}
