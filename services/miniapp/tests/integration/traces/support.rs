//! Programs that export spans, and tasks with every outcome.

use jiff::SignedDuration;
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_test_support::platform::{Program, User, task};
use miniapp_test_support::traces::{Span, Trace};
use miniapp_types::task::{Status, Task};
use serde_json::{Value, json};
use uuid::Uuid;

/// The program, exporting its spans to `collector` within 50 ms.
pub fn traced(collector: &str) -> Program {
    sending(Program::new(env!("CARGO_BIN_EXE_miniapp")), collector)
}

/// The same program, exporting its spans.
pub fn sending(program: Program, collector: &str) -> Program {
    program
        .set_variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .set_variable("OTEL_BSP_SCHEDULE_DELAY", 50)
}

/// A task per kind of history that a trace has to show.
pub struct TracedTasks {
    /// Finished in the first attempt.
    pub plain: Task,
    /// Finished after two failures.
    pub retried: Task,
    /// Canceled while it was running.
    pub canceled: Task,
    /// Exceeded its ttl.
    pub expired: Task,
    /// Waited until its `runAt`.
    pub delayed: Task,
}

impl TracedTasks {
    /// Runs all of them at the same time.
    pub async fn run(user: &User) -> Self {
        let run_at = SystemClock.now() + SignedDuration::from_millis(1500);
        let with = |kind: &str, data: Value, change: Value| {
            let mut body = task(kind, &data);
            let changes = change.as_object().cloned().unwrap_or_default();
            body.as_object_mut().expect("an object").extend(changes);
            body
        };
        // The first task opens connections and fills caches, which is not tested here.
        let first = user.submit("echo", &json!(1)).await;
        user.until(first.task_id, Status::Finished).await;
        let canceled = submitted(user, with("sleep", json!({ "seconds": 60 }), json!({}))).await;
        let retried = submitted(user, with("flaky", json!({ "failures": 2 }), json!({}))).await;
        let expired =
            submitted(user, with("sleep", json!({ "seconds": 60 }), json!({ "ttl": 1 }))).await;
        let delayed = submitted(user, with("echo", json!(1), json!({ "runAt": run_at }))).await;
        let plain = submitted(user, with("sleep", json!({ "seconds": 0.2 }), json!({}))).await;
        user.until(canceled, Status::Executing).await;
        user.client().cancel(canceled).await.expect("a running task");
        Self {
            plain: user.until(plain, Status::Finished).await,
            canceled: user.until(canceled, Status::Canceled).await,
            expired: user.until(expired, Status::Canceled).await,
            delayed: user.until(delayed, Status::Finished).await,
            retried: user.until(retried, Status::Finished).await,
        }
    }

    /// The tasks by name.
    pub fn all(&self) -> [(&'static str, &Task); 5] {
        [
            ("plain", &self.plain),
            ("retried", &self.retried),
            ("canceled", &self.canceled),
            ("expired", &self.expired),
            ("delayed", &self.delayed),
        ]
    }
}

async fn submitted(user: &User, body: Value) -> Uuid {
    let answer = user.try_submit(&body).await.expect("an answer").expect(201);
    answer.text("taskId").parse().expect("a UUID")
}

/// The trace id of a task.
pub fn trace_of(task: &Task) -> &str {
    task.trace_id.as_deref().expect("a trace")
}

/// Whether the trace has this number of complete attempts. Duplicate messages do not count.
pub fn has_attempts(trace: &Trace, attempts: usize) -> bool {
    let processes = trace.named("process tasks:run:tasks");
    let is_attempt = |process: &&Span| process.attribute("task.outcome") != "stale";
    let is_over =
        |process: &&Span| trace.children(process).any(|step| step.name == "commit outcome");
    processes.filter(is_attempt).filter(is_over).count() == attempts
}

/// Names in the spans of a platform.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Services that may own the span of a commit or message that a request of the API caused.
    pub shared: &'static [&'static str],
    pub broker: &'static str,
    pub database: &'static str,
}
