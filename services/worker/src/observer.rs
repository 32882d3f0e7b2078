//! What a trace shows of a worker: the processing of a message, and in it each step from
//! the wait for a free slot to the word that it is done.

use std::sync::Arc;
use std::time::SystemTime;

use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Delivery, Queue};
use miniapp_tasks::{Claim, Task, Tasks, attempt_span_id};
use miniapp_telemetry::trace::{CompletedSpan, now};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::PROGRAM;
use crate::outcome::Outcome;

/// The processing of a message, where its trace is recorded.
#[derive(Default)]
pub(crate) struct Traced(Option<Box<Steps>>);

/// What there will be to tell. Nothing of it is recorded before the whole is over, lest a
/// part be known of an attempt whose worker didn't live to tell the rest.
struct Steps {
    processing: ProcessSpan,
    database: &'static str,
    /// When the step before ended.
    at: SystemTime,
    over: Vec<CompletedSpan>,
    claimed: Option<Claimed>,
    outcome: Option<(&'static str, Option<String>)>,
    /// Its claim is lost, or will be; whoever finds that out tells of the attempt.
    is_forfeit: bool,
}

/// The attempt that the message led to.
struct Claimed {
    claim: Claim,
    kind: String,
    generation: u32,
    attempt: u32,
    worker: Option<Arc<str>>,
}

impl Claimed {
    fn describe(self, span: CompletedSpan) -> CompletedSpan {
        span.with_attribute("task.id", self.claim.task_id)
            .with_attribute("task.kind", &self.kind)
            .with_attribute("task.generation", self.generation)
            .with_attribute("task.attempt", self.attempt)
            .with_optional_attribute("task.worker", self.worker.as_deref())
    }
}

impl Traced {
    /// Begins with a message that has just come.
    pub fn begin(broker: &dyn Broker, tasks: &Tasks, delivery: &Delivery) -> Self {
        let system = broker.system();
        let processing = ProcessSpan::of_delivery(PROGRAM.name, system, Queue::Tasks, delivery);
        Self(processing.map(|processing| {
            Box::new(Steps {
                database: tasks.system(),
                at: processing.delivered_at(),
                processing,
                over: Vec::new(),
                claimed: None,
                outcome: None,
                is_forfeit: false,
            })
        }))
    }

    /// There is room for an attempt.
    pub fn has_slot(&mut self) {
        if let Some(steps) = &mut self.0 {
            // Recorded with the claim, whose id the processing takes.
            steps.at = now();
        }
    }

    /// The store has answered the claim, in a `batch` of that size.
    pub fn claimed(&mut self, claimed: Option<&(Claim, Task)>, batch: usize) {
        let Some(steps) = &mut self.0 else { return };
        if let Some((claim, task)) = claimed {
            steps.processing.set_span_id(attempt_span_id(claim.task_id, claim.token));
            let Task { spec, state, .. } = task;
            steps.claimed = Some(Claimed {
                claim: *claim,
                kind: spec.kind.clone(),
                generation: state.generation,
                attempt: state.attempt,
                worker: state.worker.clone(),
            });
        }
        let slot_at = steps.at;
        let waited = steps.processing.child("wait for slot", steps.processing.delivered_at());
        steps.over.push(waited.with_end(slot_at));
        steps.stored("claim", batch);
    }

    /// An attempt, which is about to begin.
    pub fn attempt(&self, task: &Task) -> Span {
        let Some(steps) = &self.0 else { return Span::none() };
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
        steps.processing.handle().set_as_parent_of(&span);
        span
    }

    /// The attempt has ended.
    pub fn ran(&mut self, outcome: &Outcome) {
        if let Some(steps) = &mut self.0 {
            let error = outcome.error().map(|error| error.code.clone());
            steps.outcome = Some((outcome.name(), error));
            steps.at = now();
        }
    }

    /// The store has answered the outcome, in a `batch` of that size. Where the claim was
    /// lost, somebody else told of the attempt, or will.
    pub fn committed(&mut self, was_lost: bool, batch: usize) {
        if let Some(steps) = &mut self.0 {
            steps.is_forfeit |= was_lost;
            steps.stored("commit outcome", batch);
        }
    }

    /// Somebody else tells of the attempt.
    pub fn forfeit(&mut self) {
        if let Some(steps) = &mut self.0 {
            steps.is_forfeit = true;
        }
    }

    /// The broker has been told.
    pub fn settled(mut self, operation: &'static str) {
        if let Some(steps) = &mut self.0 {
            steps.over.push(steps.processing.settle_span(operation, steps.at));
            let nothing_ran = match operation {
                "ack" => "stale",
                "nack" => "released",
                _ => "unreadable",
            };
            steps.outcome.get_or_insert((nothing_ran, None));
        }
    }
}

impl Steps {
    fn stored(&mut self, name: &'static str, batch: usize) {
        let stored = self.processing.child(name, self.at);
        let stored = stored.with_kind(miniapp_telemetry::trace::SpanKind::Client);
        let stored = stored
            .with_attribute("db.system.name", self.database)
            .with_attribute("db.operation.name", "UPDATE")
            .with_attribute("db.collection.name", "tasks")
            .with_optional_attribute(
                "db.operation.batch.size",
                i64::try_from(batch).ok().filter(|size| *size > 0),
            );
        self.over.push(stored);
        self.at = now();
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let Some(steps) = self.0.take() else { return };
        let Steps { processing, over, claimed, outcome, is_forfeit, .. } = *steps;
        if is_forfeit || (claimed.is_some() && outcome.is_none()) {
            return;
        }
        // Until the last step is told of, too.
        let _pending = processing.handle().pending_span();
        processing.end(|mut span| {
            if let Some(claimed) = claimed {
                let Claim { task_id, token } = claimed.claim;
                span = claimed.describe(span);
                if let Some(before) = token.checked_sub(1).filter(|token| *token > 0) {
                    span = span.with_link(attempt_span_id(task_id, before));
                }
            }
            match outcome {
                Some((outcome, Some(error))) => {
                    span.with_attribute("task.outcome", outcome).with_error(&error)
                }
                Some((outcome, None)) => span.with_attribute("task.outcome", outcome),
                None => span,
            }
        });
        over.into_iter().for_each(CompletedSpan::record);
    }
}

/// Notes how an attempt ended, in its span and, unless all went well, in the log.
pub(crate) fn ended(span: &Span, task: &Task, outcome: &Outcome) {
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
