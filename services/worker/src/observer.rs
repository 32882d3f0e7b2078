//! Spans, metrics and log lines of processing a message.
//!
//! The runner passes each step through the [`Observer`] of its message, which measures it. So
//! the runner itself contains no telemetry.

use std::sync::Arc;
use std::time::SystemTime;

use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Queue};
use miniapp_tasks::{Claim, Offer, Task, Tasks, attempt_span_id};
use miniapp_telemetry::metrics::Exemplar;
use miniapp_telemetry::trace::{CompletedSpan, SpanKind, now};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::PROGRAM;
use crate::claimed::{Claimed, Commit};
use crate::metrics::AttemptTimer;
use crate::outcome::Outcome;

/// Observes the processing of one message. Has no trace if the message's is not sampled.
#[derive(Default)]
pub(crate) struct Observer(Option<Box<Trace>>);

/// The spans of a message. They are recorded together after the attempt, so that a crashed worker
/// leaves no partial attempt in the trace.
struct Trace {
    process_span: ProcessSpan,
    database: &'static str,
    /// The end of the last step.
    last_step_at: SystemTime,
    steps: Vec<CompletedSpan>,
    attempt: Option<AttemptAttributes>,
    outcome: Option<(&'static str, Option<String>)>,
    /// Another process records the attempt: a worker with a copy of the message, or the one
    /// that finds the expired lease.
    is_recorded_elsewhere: bool,
}

struct AttemptAttributes {
    claim: Claim,
    kind: String,
    generation: u32,
    attempt: u32,
    worker: Option<Arc<str>>,
}

impl Observer {
    /// Starts when a message was received.
    pub fn start(broker: &dyn Broker, queue: Queue, tasks: &Tasks, offer: &Offer) -> Self {
        let (system, delivery) = (broker.system(), &offer.delivery);
        let process_span = ProcessSpan::of_delivery(PROGRAM.name, system, queue, delivery);
        Self(process_span.map(|process_span| {
            Box::new(Trace {
                database: tasks.system(),
                last_step_at: process_span.delivered_at(),
                process_span,
                steps: Vec::new(),
                attempt: None,
                outcome: None,
                is_recorded_elsewhere: false,
            })
        }))
    }

    /// Ends the wait for a free slot.
    pub fn slot_acquired(&mut self) {
        if let Some(trace) = &mut self.0 {
            // The span is created after the claim, which determines the id of its parent.
            trace.last_step_at = now();
        }
    }

    /// Observes the claim.
    pub async fn claim(&mut self, step: impl Future<Output = Claimed>) -> Claimed {
        let claimed = step.await;
        let Some(trace) = &mut self.0 else { return claimed };
        let batch_size = match &claimed {
            Claimed::Mine(mine) => {
                trace.set_attempt(mine.claim, &mine.task);
                mine.batch_size
            }
            Claimed::Stale => None,
            Claimed::RunsAlone | Claimed::NotRun | Claimed::Stopping => return claimed,
        };
        let slot_at = trace.last_step_at;
        let process_span = &trace.process_span;
        let wait = process_span.child("wait for slot", process_span.delivered_at());
        trace.steps.push(wait.with_end(slot_at));
        trace.push_write("claim", batch_size);
        claimed
    }

    /// Observes an attempt: its span, duration and log line. `requested_at` is the time of
    /// the claim.
    pub async fn run(
        &mut self,
        task: &Task,
        is_known_kind: bool,
        requested_at: Instant,
        attempt: impl Future<Output = Outcome>,
    ) -> Outcome {
        let span = self.0.as_mut().map_or_else(Span::none, |trace| trace.attempt_span(task));
        let exemplar = Exemplar::from_span(&span);
        let timer = AttemptTimer::start(requested_at, exemplar);
        let outcome = attempt.instrument(span.clone()).await;
        record_outcome(&span, task, &outcome);
        if let Some(trace) = &mut self.0 {
            let error = outcome.error().map(|error| error.code.clone());
            trace.outcome = Some((outcome.name(), error));
            trace.last_step_at = now();
        }
        // Unknown kinds share a label: clients choose their names.
        let kind = if is_known_kind { task.spec.kind.as_str() } else { "unknown" };
        timer.stop(kind, outcome.name(), exemplar);
        outcome
    }

    /// Observes the commit of an outcome.
    pub async fn commit(&mut self, step: impl Future<Output = Commit>) {
        let commit = step.await;
        if let Some(trace) = &mut self.0 {
            trace.is_recorded_elsewhere |= commit == Commit::ClaimLost;
            let batch_size = match commit {
                Commit::Stored { batch_size } => batch_size,
                Commit::ClaimLost => None,
            };
            trace.push_write("commit outcome", batch_size);
        }
    }

    /// Leaves the attempt to another copy of the message, which runs it.
    pub fn discard_attempt(&mut self) {
        if let Some(trace) = &mut self.0 {
            trace.is_recorded_elsewhere = true;
        }
    }

    /// Acknowledges the offer of a claimed task, before its attempt runs.
    pub async fn ack(&mut self, offer: Offer) {
        if let Some(trace) = &mut self.0 {
            trace.extend_last_step();
        }
        offer.ack().await;
        self.settled("ack");
    }

    /// Acknowledges the offer of a task that cannot be claimed.
    pub async fn drop_stale(mut self, offer: Offer) {
        offer.ack().await;
        self.settled("ack");
        self.end("stale");
    }

    /// Acknowledges the offer of a task that is back in the store.
    pub async fn give_back(mut self, offer: Offer) {
        offer.ack().await;
        self.settled("ack");
        self.end("returned");
    }

    pub async fn release(mut self, offer: Offer) {
        offer.release().await;
        self.settled("nack");
        self.end("released");
    }

    pub async fn reject(mut self, offer: Offer) {
        offer.reject().await;
        self.settled("reject");
        self.end("unreadable");
    }

    fn settled(&mut self, operation: &'static str) {
        if let Some(trace) = &mut self.0 {
            trace.steps.push(trace.process_span.settle_span(operation, trace.last_step_at));
            trace.last_step_at = now();
        }
    }

    /// Ends without an attempt.
    fn end(mut self, outcome: &'static str) {
        if let Some(trace) = &mut self.0 {
            trace.outcome = Some((outcome, None));
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let Some(trace) = self.0.take() else { return };
        let Trace { process_span, steps, attempt, outcome, is_recorded_elsewhere, .. } = *trace;
        let is_aborted = attempt.is_some() && outcome.is_none();
        if is_recorded_elsewhere || is_aborted {
            return;
        }
        // Until the last step is recorded, too.
        let _pending = process_span.handle().pending_span();
        process_span.end(|mut span| {
            if let Some(attempt) = attempt {
                let Claim { task_id, token } = attempt.claim;
                span = attempt.describe(span);
                if let Some(previous) = token.checked_sub(1).filter(|token| *token > 0) {
                    span = span.with_link(attempt_span_id(task_id, previous));
                }
            }
            match outcome {
                Some((outcome, Some(error))) => {
                    span.with_attribute("task.outcome", outcome).with_error(error)
                }
                Some((outcome, None)) => span.with_attribute("task.outcome", outcome),
                None => span,
            }
        });
        steps.into_iter().for_each(CompletedSpan::record);
    }
}

impl Trace {
    fn set_attempt(&mut self, claim: Claim, task: &Task) {
        self.process_span.set_span_id(attempt_span_id(claim.task_id, claim.token));
        let Task { spec, state, .. } = task;
        self.attempt = Some(AttemptAttributes {
            claim,
            kind: spec.kind.clone(),
            generation: state.generation,
            attempt: state.attempt,
            worker: state.worker.clone(),
        });
    }

    /// Moves the end of the last step to now: what prepared the attempt is a part of its claim,
    /// so that no time between them is unexplained.
    fn extend_last_step(&mut self) {
        self.last_step_at = now();
        if let Some(step) = self.steps.pop() {
            self.steps.push(step.with_end(self.last_step_at));
        }
    }

    fn attempt_span(&self, task: &Task) -> Span {
        let span = info_span!(
            "attempt",
            otel.name = format!("run {}", task.spec.kind),
            otel.status_code = Empty,
            service.name = PROGRAM.name,
            task.id = %task.id,
            task.kind = task.spec.kind,
            task.attempt = task.state.attempt,
            task.generation = task.state.generation,
            task.outcome = Empty,
            error.type = Empty,
        );
        self.process_span.handle().set_as_parent_of(&span);
        span
    }

    /// Adds the span of a write to the store, which ends now.
    fn push_write(&mut self, name: &'static str, batch_size: Option<usize>) {
        let batch_size = batch_size.and_then(|size| i64::try_from(size).ok());
        let span = self
            .process_span
            .child(name, self.last_step_at)
            .with_kind(SpanKind::Client)
            .with_attribute("db.system.name", self.database)
            .with_attribute("db.operation.name", "UPDATE")
            .with_attribute("db.collection.name", "tasks")
            .with_optional_attribute("db.operation.batch.size", batch_size);
        self.steps.push(span);
        self.last_step_at = now();
    }
}

impl AttemptAttributes {
    fn describe(self, span: CompletedSpan) -> CompletedSpan {
        span.with_attribute("task.id", self.claim.task_id.to_string())
            .with_attribute("task.kind", self.kind)
            .with_attribute("task.generation", i64::from(self.generation))
            .with_attribute("task.attempt", i64::from(self.attempt))
            .with_optional_attribute("task.worker", self.worker)
    }
}

/// Records the outcome of an attempt in its span and, if it failed, in the log.
fn record_outcome(span: &Span, task: &Task, outcome: &Outcome) {
    let (kind, attempt) = (task.spec.kind.as_str(), task.state.attempt);
    let name = outcome.name();
    span.record("task.outcome", name);
    let Some(error) = outcome.error() else {
        tracing::debug!(task.id = %task.id, kind, attempt, outcome = name, "attempt ended");
        return;
    };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.code.as_str());
    span.in_scope(|| {
        tracing::info!(task.id = %task.id, kind, attempt, error = error.code, "attempt failed");
    });
}
