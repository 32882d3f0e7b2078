//! What a trace shows of a worker.

use broker::Message;
use kit::trace;
use tasks::Task;
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::outcome::Outcome;

/// The processing of a message, in the message's trace. Nothing where that isn't recorded.
pub(crate) fn process(message: &Message) -> Span {
    if !trace::is_sampled(&message.trace) {
        return Span::none();
    }
    let span = info_span!(
        "process tasks:run",
        otel.kind = "consumer",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = "tasks:run",
        messaging.message.id = %message.id,
        messaging.message.conversation_id = message.conversation.map(tracing::field::display),
    );
    trace::set_parent(&span, &message.trace);
    span
}

/// An attempt, within the span that is current.
pub(crate) fn attempt(task: &Task) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!(
        "attempt",
        otel.name = format!("run {}", task.spec.kind),
        otel.status_code = Empty,
        task.id = %task.id,
        task.kind = task.spec.kind,
        task.attempt = task.state.attempt,
        task.generation = task.state.generation,
        task.outcome = Empty,
        error.type = Empty,
    )
}

/// Notes how an attempt ended, in its span and, unless all went well, in the log.
pub(crate) fn ended(span: &Span, task: &Task, outcome: &Outcome) {
    let (kind, attempt) = (task.spec.kind.as_str(), task.state.attempt);
    let name = outcome.name();
    span.record("task.outcome", name);
    let Some(error) = outcome.error() else {
        tracing::debug!(task.id = %task.id, kind, attempt, outcome = name, "an attempt ended");
        return;
    };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.code.as_str());
    tracing::info!(task.id = %task.id, kind, attempt, error = error.code, "an attempt failed");
}
