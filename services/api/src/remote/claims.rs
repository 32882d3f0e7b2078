//! Claim calls.

use std::sync::Arc;
use std::time::Duration;

use miniapp_http::Problem;
use miniapp_tasks::{Claimed, StoreError, attempt_span_id};
use miniapp_telemetry::trace::child_context;
use miniapp_types::name::QueueName;
use miniapp_types::problem::FieldError;
use miniapp_types::worker::{ClaimRequest, ClaimedTask};
use tokio::time::{Instant, interval, timeout_at};

use super::demand::Demand;
use super::grants::Grant;
use super::held::Held;
use super::registry::{self, Call};
use super::{RemoteWorkers, Shared};
use crate::error::store_problem;
use crate::schema::DataSchema;

/// How long a call without `waitSeconds` waits at most until the queue has been read.
const BRIEF_WAIT: Duration = Duration::from_secs(2);

impl RemoteWorkers {
    /// Waits for tasks. Lists the worker meanwhile. `version` is that of its program.
    pub(crate) async fn claim(
        &self,
        request: ClaimRequest,
        version: &str,
    ) -> Result<Option<Grant>, Problem> {
        let shared = &*self.0;
        let ClaimRequest { worker, kinds, queues, max, wait_seconds } = request;
        let is_brief = wait_seconds == 0;
        let wait = if is_brief { BRIEF_WAIT } else { Duration::from_secs(wait_seconds.into()) };
        let wait_until = Instant::now() + wait;
        let demanded = kinds.iter().map(|kind| kind.name.clone()).collect();
        let call = shared.registry.call(&worker, &kinds, shared.clock.now());
        if call.has_new_kinds {
            check_schemas(&kinds)?;
            shared.tasks.announce_kinds(&registry::catalog(&kinds)).await.map_err(store_problem)?;
            shared.registry.set_kinds(&call, kinds);
        }
        let max = max as usize;
        let queues = queues.unwrap_or_default();
        let queues: Vec<QueueName> = queues.iter().filter_map(|name| name.parse().ok()).collect();
        let worker = call.name.clone();
        let reported = queues.clone();
        let demand = Demand { worker, kinds: Arc::new(demanded), queues, max, is_brief };
        shared.report(&call, version, &reported, max).await.map_err(store_problem)?;
        let mut poll = shared.polls.begin(demand);
        let mut reports = interval(registry::INTERVAL);
        loop {
            tokio::select! {
                biased;
                granted = timeout_at(wait_until, &mut poll.answer) => {
                    return Ok(match granted {
                        Ok(granted) => granted.ok(),
                        Err(_) => poll.finish().await,
                    });
                }
                _ = reports.tick() => {
                    if let Err(error) = shared.report(&call, version, &reported, max).await {
                        tracing::debug!(%error, "could not report a worker over HTTP");
                    }
                }
            }
        }
    }
}

impl Shared {
    async fn report(
        &self,
        call: &Call<'_>,
        version: &str,
        queues: &[QueueName],
        free: usize,
    ) -> Result<(), StoreError> {
        let running = self.held.count(&call.name, self.lease);
        let now = self.clock.now();
        match self.registry.due_report(&call.name, version, queues, running, free, now) {
            Some(report) => self.tasks.report_worker(&report).await,
            None => Ok(()),
        }
    }
}

fn check_schemas(kinds: &[miniapp_types::worker::WorkerKind]) -> Result<(), Problem> {
    let is_invalid = |kind: &miniapp_types::worker::WorkerKind| {
        let schema = kind.data_schema.clone();
        schema.is_some_and(|schema| DataSchema::new(&kind.name, schema).is_none())
    };
    let error = |(index, _)| FieldError {
        field: format!("kinds[{index}].dataSchema"),
        message: "is not a JSON Schema that can be used".to_owned(),
    };
    let invalid = kinds.iter().enumerate().filter(|(_, kind)| is_invalid(kind)).map(error);
    let errors: Vec<FieldError> = invalid.collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

/// Returns what a worker needs to run a claimed task.
pub(crate) fn describe(claimed: &Claimed) -> ClaimedTask {
    let Claimed { claim, task, .. } = claimed;
    let (spec, state) = (&task.spec, &task.state);
    let trace = child_context(&spec.trace, attempt_span_id(task.id, claim.token));
    let deadline = Held::new(task).deadline;
    ClaimedTask {
        task_id: task.id,
        claim: claim.token,
        kind: spec.kind.clone(),
        data: spec.data.clone(),
        attempt: state.attempt,
        max_attempts: spec.max_attempts,
        generation: state.generation,
        attempt_id: claim.attempt_id(),
        idempotency_key: task.idempotency_key(),
        ttl: spec.ttl,
        deadline,
        lease_until: state.lease_until.unwrap_or(deadline),
        traceparent: trace.traceparent.map(String::from),
    }
}
