//! The task as its owner or an administrator sees it, serialized without parsing its JSON again.

use jiff::Timestamp;
use miniapp_types::task::{Status, TaskError};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::task::Task;

/// Serializes like [`miniapp_types::task::Task`]. `data` and `result` are copied verbatim.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskView<'a> {
    task_id: Uuid,
    kind: &'a str,
    queue: &'a str,
    description: &'a str,
    data: &'a RawValue,
    ttl: u32,
    status: Status,
    status_message: Option<&'a str>,
    progress: f64,
    result: Option<&'a RawValue>,
    error: Option<&'a TaskError>,
    attempt: u32,
    max_attempts: u32,
    generation: u32,
    created_at: Timestamp,
    run_at: Option<Timestamp>,
    execution_started_at: Option<Timestamp>,
    execution_finished_at: Option<Timestamp>,
    worker: Option<&'a str>,
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Uuid>,
}

impl Task {
    /// Returns the serializable view of the task.
    pub fn view(&self) -> TaskView<'_> {
        let Self { spec, state, .. } = self;
        TaskView {
            task_id: self.id,
            kind: &spec.kind,
            queue: spec.queue.as_str(),
            description: &spec.description,
            data: &spec.data,
            ttl: spec.ttl,
            status: state.status,
            status_message: state.message.as_deref(),
            progress: state.progress,
            result: state.result.as_deref(),
            error: state.error.as_ref(),
            attempt: state.attempt,
            max_attempts: spec.max_attempts,
            generation: state.generation,
            created_at: spec.created_at,
            run_at: state.run_at,
            execution_started_at: state.started_at,
            execution_finished_at: state.finished_at,
            worker: state.worker.as_deref(),
            trace_id: spec.trace.trace_id(),
            owner: None,
        }
    }

    /// Returns the view for an administrator, who sees tasks of several owners.
    pub fn view_with_owner(&self) -> TaskView<'_> {
        TaskView { owner: Some(self.owner), ..self.view() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use miniapp_types::trace::TraceContext;

    use super::*;
    use crate::domain::Spec;

    #[test]
    fn view_serializes_like_the_public_task() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let spec = Spec {
            kind: "echo".into(),
            queue: "gpu".parse().expect("a name"),
            description: "\"quoted\"\n".into(),
            data: raw(r#"{"a":[1,null]}"#),
            ttl: 5,
            max_attempts: 3,
            created_at: Timestamp::UNIX_EPOCH,
            trace: TraceContext { traceparent: Some(traceparent.into()), ..Default::default() },
        };
        let mut task = Task::new(Uuid::from_u128(1), Uuid::from_u128(2), spec, None);
        let same = |task: &Task| {
            let view = serde_json::to_value(task.view()).expect("plain data");
            let read: miniapp_types::task::Task =
                serde_json::from_value(view.clone()).expect("read");
            assert_eq!(view, serde_json::to_value(read).expect("plain data"));
        };
        same(&task);
        task.state.result = Some(Arc::from(raw("[true]")));
        task.state.error = Some(TaskError { code: "c".into(), message: "m".into() });
        task.state.worker = Some("w".into());
        task.state.run_at = Some(Timestamp::UNIX_EPOCH);
        task.state.message = Some("half way".into());
        same(&task);
    }
}
