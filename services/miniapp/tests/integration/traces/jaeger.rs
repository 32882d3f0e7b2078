//! Traces in the real Jaeger.

use miniapp_test_support::eventually;
use miniapp_test_support::jaeger::Jaeger;
use miniapp_test_support::platform::Separate;
use miniapp_test_support::traces::Trace;
use miniapp_types::task::Status;
use serde_json::json;

use crate::traces::checks::{attempts, expect_lost_attempt, expect_trace};
use crate::traces::separate::{NAMES, program};
use crate::traces::support::{TracedTasks, has_attempts, trace_of};

/// Waits for this number of attempts and returns the trace by both of Jaeger's query APIs.
async fn traces(jaeger: &Jaeger, id: &str, attempts: usize) -> [Trace; 2] {
    eventually(&format!("the trace {id} is whole"), async || {
        let trace = jaeger.trace(id).await;
        (trace.is_tree() && has_attempts(&trace, attempts)).then_some(())
    })
    .await;
    [jaeger.trace(id).await, jaeger.trace_of_old(id).await]
}

#[tokio::test]
#[ignore = "needs PostgreSQL, RabbitMQ and Jaeger"]
async fn jaeger_shows_traces_and_finds_them_by_task() {
    let jaeger = Jaeger::start().await;
    let program = program(&jaeger.otlp()).await;
    let mut platform = Separate::start(&program.set("worker.lease", "2s"), 1, 2).await;
    let user = platform.sign_up("ada").await;
    let tasks = TracedTasks::run(&user).await;
    for (name, task) in tasks.all() {
        let id = task.task_id.to_string();
        for trace in traces(&jaeger, trace_of(task), attempts(name)).await {
            expect_trace(name, &tasks, &trace, NAMES);
        }
        for service in ["api", "worker"] {
            let found = jaeger.search(service, "task.id", &id).await;
            assert!(found.iter().any(|found| found == trace_of(task)), "{name} by {service}");
        }
    }

    let task = user.submit("sleep", &json!({ "seconds": 1 })).await;
    let running = user.until(task.task_id, Status::Executing).await;
    let holder = running.worker.expect("a worker");
    for worker in &mut platform.workers {
        if worker.log().contains(&format!("\"worker\":\"{holder}\"")) {
            worker.kill().await;
        }
    }
    let task = user.until(task.task_id, Status::Finished).await;
    for trace in traces(&jaeger, trace_of(&task), 1).await {
        expect_lost_attempt(&trace, &task);
    }
}
