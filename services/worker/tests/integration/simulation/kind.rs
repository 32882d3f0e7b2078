//! The kind of simulated tasks.

use std::sync::Arc;
use std::time::Duration;

use miniapp_kind::schemars::{self, JsonSchema};
use miniapp_kind::{Context, Kind, KindError};
use miniapp_tasks::domain::State;
use miniapp_types::task::Status;
use serde::{Deserialize, Serialize};

use crate::simulation::process::ProcessHandle;

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub steps: u32,
    /// Milliseconds.
    pub pause: u64,
    pub end: End,
}

/// Takes steps and reports progress.
pub struct Steps(pub Arc<ProcessHandle>);

impl Kind for Steps {
    const NAME: &'static str = "steps";
    type Input = Plan;
    type Output = String;

    async fn run(&self, context: &Context, plan: Plan) -> Result<String, KindError> {
        let Self(process) = self;
        let Plan { steps, pause, end } = plan;
        let id = context.attempt_id().to_owned();
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
            let name = format!("step {step}");
            let remembered = context.step(&name, || async { Ok(id.clone()) }).await?;
            let key = context.step_key(&name);
            if let Err(broken) = process.world.invariants.remember(&key, &remembered) {
                process.world.violation(broken);
            }
        }
        match end {
            End::Result => Ok(id),
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

/// The same as a kind that only some workers run.
pub struct Strides(pub Steps);

impl Kind for Strides {
    const NAME: &'static str = "strides";
    type Input = Plan;
    type Output = String;

    async fn run(&self, context: &Context, plan: Plan) -> Result<String, KindError> {
        self.0.run(context, plan).await
    }
}
