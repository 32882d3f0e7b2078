//! What a trace shows of a task's way between the services: waits, messages, commits.

use std::cell::Cell;
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

use crate::Task;
use crate::engine::{DueTask, StoreError};
use crate::writer::Write;

/// The id of the span of the attempt that holds the `claim`th claim on a task. It can be
/// told by whoever makes the attempt, by the next one, which links to it, and by whoever
/// finds out that it is lost.
pub fn attempt_span_id(task_id: Uuid, claim: u64) -> SpanId {
    derived_span_id(task_id, claim)
}

tokio::task_local! {
    /// With how many requests the latest change of the running code was committed.
    static BATCH: Cell<usize>;
}

/// Does `work`, and tells how many requests were committed together with its last change: 0
/// if it made none.
pub async fn in_batch<T>(work: impl Future<Output = T>) -> (T, usize) {
    let counted = async { (work.await, BATCH.with(Cell::get)) };
    BATCH.scope(Cell::new(0), counted).await
}

/// A change of the running code was committed with so many requests `together`.
pub(crate) fn note_batch(together: usize) {
    // Fails where nobody asked.
    let _ = BATCH.try_with(|batch| batch.set(together));
}

/// A change of a task on its way to the store, for a request that is recorded.
pub(crate) struct Committing {
    parent: SpanHandle,
    from: SystemTime,
    operation: &'static str,
}

impl Committing {
    /// Begins where the running code belongs to a span that is recorded.
    pub fn begin(write: &Write) -> Option<Self> {
        let operation = match write {
            Write::Submit(..) => "INSERT",
            Write::Apply { .. } => "UPDATE",
        };
        Some(Self { parent: SpanHandle::current()?, from: now(), operation })
    }

    /// The store has answered, to so many requests `together`.
    pub fn end(self, system: &'static str, together: usize, error: Option<&str>) {
        let Self { parent, from, operation } = self;
        let span = stored(operation, &parent, from, system)
            .with_optional_attribute("db.operation.batch.size", i64::try_from(together).ok());
        match error {
            Some(error) => span.with_error(error),
            None => span,
        }
        .record();
    }
}

/// What the store answers to a query, which a request that is recorded tells of.
pub(crate) async fn reading<T>(
    system: &'static str,
    query: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let Some(parent) = SpanHandle::current() else { return query.await };
    let from = now();
    let answer = query.await;
    let span = stored("SELECT", &parent, from, system);
    if answer.is_err() { span.with_error("store") } else { span }.record();
    answer
}

/// A call of the store that ended now.
fn stored(
    operation: &'static str,
    parent: &SpanHandle,
    from: SystemTime,
    system: &'static str,
) -> CompletedSpan {
    CompletedSpan::new(&format!("{operation} tasks"), SpanKind::Client, parent, from, now())
        .with_attribute("db.system.name", system)
        .with_attribute("db.operation.name", operation)
        .with_attribute("db.collection.name", "tasks")
}

/// Messages of the relay on their way to the broker, those whose traces are recorded.
pub(crate) struct Dispatching {
    times: Option<SpanClock>,
    /// Each with its place among the messages.
    publishing: Vec<(usize, PublishSpan)>,
}

impl Dispatching {
    /// Begins with messages that are about to be published, each in its task's trace.
    pub fn begin(clock: &dyn Clock, system: &'static str, messages: &mut [Message]) -> Self {
        let publishing: Vec<_> = messages
            .iter_mut()
            .enumerate()
            .filter_map(|(place, message)| {
                Some((place, PublishSpan::start(system, Queue::Tasks, message)?))
            })
            .collect();
        let times = (!publishing.is_empty()).then(|| SpanClock::new(clock));
        Self { times, publishing }
    }

    /// The broker has answered.
    pub fn end<'d>(
        self,
        dues: impl Iterator<Item = &'d DueTask>,
        answers: &[Result<(), BrokerError>],
    ) {
        let Some(times) = self.times else { return };
        let mut publishing = self.publishing.into_iter().peekable();
        for (place, (due, answer)) in dues.zip(answers).enumerate() {
            let Some((_, publishing)) = publishing.next_if(|(its, _)| *its == place) else {
                continue;
            };
            let described = |span: CompletedSpan| {
                span.with_attribute("task.id", due.id)
                    .with_attribute("task.generation", due.generation)
            };
            waits(due, times, &publishing, described);
            publishing.end(answer, described);
        }
    }
}

/// Where the time went between the commit that made a task due and the message about it.
fn waits(
    due: &DueTask,
    times: SpanClock,
    publishing: &PublishSpan,
    described: impl Fn(CompletedSpan) -> CompletedSpan,
) {
    let (parent, end) = (publishing.parent(), publishing.started_at());
    let (since, at) = (times.to_span_time(due.since).min(end), times.to_span_time(due.at).min(end));
    if due.at > due.since {
        let name = if due.attempt > 0 { "wait for retry" } else { "wait until due" };
        described(CompletedSpan::internal(name, parent, since, at)).record();
    }
    described(CompletedSpan::internal("wait in outbox", parent, since.max(at), end)).record();
}

/// What those who watch a task need, to tell how its events got to them. Events are told of
/// as they commit.
pub(crate) fn event_trace(task: &Task) -> Option<EventTrace> {
    let traceparent = &task.spec.trace.traceparent;
    let traceparent = traceparent.as_ref().filter(|_| is_sampled(&task.spec.trace))?;
    let committed_at = Timestamp::try_from(now()).ok()?;
    Some(EventTrace { traceparent: traceparent.clone(), committed_at })
}

/// An attempt whose worker has vanished: what it would have told, in what is known of it.
pub(crate) fn attempt_lost(task: &Task, clock: &dyn Clock) {
    let Some(parent) = SpanHandle::from_context(&task.spec.trace) else { return };
    let times = SpanClock::new(clock);
    let from = task.state.started_at.map_or(times.now(), |at| times.to_span_time(at));
    CompletedSpan::internal("attempt lost", &parent, from, times.now())
        .with_id(attempt_span_id(task.id, task.state.claim))
        .with_attribute("task.id", task.id)
        .with_attribute("task.kind", &task.spec.kind)
        .with_attribute("task.generation", task.state.generation)
        .with_attribute("task.attempt", task.state.attempt)
        .with_optional_attribute("task.worker", task.state.worker.as_deref())
        .with_error("lease_lost")
        .record();
}
