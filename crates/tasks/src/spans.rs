//! Spans between the services: time in the outbox, published messages, database writes.

use std::time::SystemTime;

use jiff::Timestamp;
use miniapp_broker::spans::PublishSpan;
use miniapp_broker::{BrokerError, Message, Queue};
use miniapp_runtime::clock::Clock;
use miniapp_telemetry::trace::{
    CompletedSpan, SpanClock, SpanHandle, SpanId, SpanKind, derived_span_id, is_sampled, now,
};
use miniapp_types::message::EventTrace;
use uuid::Uuid;

use crate::domain::Task;
use crate::engine::{DueTask, StoreError};

/// Returns the span id of the attempt with the fencing token `claim`.
///
/// It is derived, so that the worker that runs the attempt, the next attempt, which links to
/// it, and the reaper, which records it if the worker vanished, agree on it.
pub fn attempt_span_id(task_id: Uuid, claim: u64) -> SpanId {
    derived_span_id(task_id, claim)
}

/// The span of a batched write, from the request's point of view.
pub(crate) struct WriteSpan {
    parent: SpanHandle,
    started_at: SystemTime,
    operation: &'static str,
}

impl WriteSpan {
    /// Starts a span if the current one is recorded.
    pub fn start(operation: &'static str) -> Option<Self> {
        Some(Self { parent: SpanHandle::current()?, started_at: now(), operation })
    }

    pub fn end(self, system: &'static str, batch_size: usize, error: Option<&str>) {
        let Self { parent, started_at, operation } = self;
        let span = database_span(operation, &parent, started_at, system)
            .with_optional_attribute("db.operation.batch.size", i64::try_from(batch_size).ok());
        match error {
            Some(error) => span.with_error(error.to_owned()),
            None => span,
        }
        .record();
    }
}

/// Awaits a query and records its span if the current one is recorded.
pub(crate) async fn traced_read<T>(
    system: &'static str,
    query: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let Some(parent) = SpanHandle::current() else { return query.await };
    let started_at = now();
    let result = query.await;
    let span = database_span("SELECT", &parent, started_at, system);
    if result.is_err() { span.with_error("store") } else { span }.record();
    result
}

fn database_span(
    operation: &'static str,
    parent: &SpanHandle,
    started_at: SystemTime,
    system: &'static str,
) -> CompletedSpan {
    CompletedSpan::new(format!("{operation} tasks"), SpanKind::Client, parent, started_at, now())
        .with_attribute("db.system.name", system)
        .with_attribute("db.operation.name", operation)
        .with_attribute("db.collection.name", "tasks")
}

/// The spans of a batch of messages that the relay publishes.
pub(crate) struct DispatchSpans {
    clock: Option<SpanClock>,
    /// Spans of the sampled messages, with the message's index.
    spans: Vec<(usize, PublishSpan)>,
}

impl DispatchSpans {
    /// Starts a span for each sampled message and adds its context to the message.
    pub fn start(
        clock: &dyn Clock,
        system: &'static str,
        queue: Queue,
        messages: &mut [Message],
    ) -> Self {
        let spans: Vec<_> = messages
            .iter_mut()
            .enumerate()
            .filter_map(|(index, message)| {
                Some((index, PublishSpan::start(system, queue, message)?))
            })
            .collect();
        let clock = (!spans.is_empty()).then(|| SpanClock::new(clock));
        Self { clock, spans }
    }

    pub fn end<'d>(
        self,
        due_tasks: impl Iterator<Item = &'d DueTask>,
        results: &[Result<(), BrokerError>],
    ) {
        let Some(clock) = self.clock else { return };
        let mut spans = self.spans.into_iter().peekable();
        for (index, (due, result)) in due_tasks.zip(results).enumerate() {
            let Some((_, span)) = spans.next_if(|(sampled, _)| *sampled == index) else {
                continue;
            };
            let with_task = |span: CompletedSpan| {
                span.with_attribute("task.id", due.id.to_string())
                    .with_attribute("task.generation", i64::from(due.generation))
            };
            record_waits(due, clock, &span, with_task);
            span.end(result, with_task);
        }
    }
}

/// Records how long a task waited for its start time and then in the outbox.
fn record_waits(
    due: &DueTask,
    clock: SpanClock,
    publish: &PublishSpan,
    with_task: impl Fn(CompletedSpan) -> CompletedSpan,
) {
    let (parent, end) = (publish.parent(), publish.started_at());
    let (since, at) = (clock.to_span_time(due.since).min(end), clock.to_span_time(due.at).min(end));
    if due.at > due.since {
        let name = if due.attempt > 0 { "wait for retry" } else { "wait until due" };
        with_task(CompletedSpan::internal(name, parent, since, at)).record();
    }
    with_task(CompletedSpan::internal("wait in outbox", parent, since.max(at), end)).record();
}

/// Returns the trace context of an event, for subscribers that record its delivery. Called
/// right after the commit.
pub(crate) fn event_trace(task: &Task) -> Option<EventTrace> {
    let traceparent = &task.spec.trace.traceparent;
    let traceparent = traceparent.as_ref().filter(|_| is_sampled(&task.spec.trace))?;
    let committed_at = Timestamp::try_from(now()).ok()?;
    Some(EventTrace { traceparent: traceparent.clone(), committed_at })
}

/// Records the span of an attempt whose worker vanished, because the worker cannot.
pub(crate) fn record_lost_attempt(task: &Task, clock: &dyn Clock) {
    let Some(span) = attempt_span("attempt lost".to_owned(), task, task.state.claim, clock) else {
        return;
    };
    span.with_error("lease_lost").record();
}

/// Records the span of an attempt that a worker without spans has ended. `task` is its state after
/// the outcome, `error` the code of a failure.
pub fn record_attempt(
    task: &Task,
    claim: u64,
    outcome: &'static str,
    error: Option<&str>,
    clock: &dyn Clock,
) {
    let Some(span) = attempt_span(format!("run {}", task.spec.kind), task, claim, clock) else {
        return;
    };
    let span = span.with_attribute("task.outcome", outcome);
    match error {
        Some(error) => span.with_error(error.to_owned()),
        None => span,
    }
    .record();
}

/// Returns the span of the attempt that ends now.
fn attempt_span(name: String, task: &Task, claim: u64, clock: &dyn Clock) -> Option<CompletedSpan> {
    let parent = SpanHandle::from_context(&task.spec.trace)?;
    let clock = SpanClock::new(clock);
    let started_at = task.state.started_at.map_or(clock.now(), |at| clock.to_span_time(at));
    let span = CompletedSpan::internal(name, &parent, started_at, clock.now())
        .with_id(attempt_span_id(task.id, claim))
        .with_attribute("task.id", task.id.to_string())
        .with_attribute("task.kind", task.spec.kind.clone())
        .with_attribute("task.generation", i64::from(task.state.generation))
        .with_attribute("task.attempt", i64::from(task.state.attempt))
        .with_optional_attribute("task.worker", task.state.worker.clone());
    let previous = claim.checked_sub(1).filter(|previous| *previous > 0);
    Some(match previous {
        Some(previous) => span.with_link(attempt_span_id(task.id, previous)),
        None => span,
    })
}
