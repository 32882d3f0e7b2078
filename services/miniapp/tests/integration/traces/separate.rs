//! Traces across processes, with PostgreSQL and RabbitMQ.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::platform::{Program, Separate};
use miniapp_test_support::postgres::Server as Postgres;
use miniapp_test_support::rabbit::Server as Rabbit;
use miniapp_types::task::Status;
use serde_json::json;

use crate::traces::checks::expect_traces;
use crate::traces::support::{Names, TracedTasks, has_attempts, trace_of, traced};

pub const NAMES: Names =
    Names { shared: &["api", "worker"], broker: "rabbitmq", database: "postgresql" };

/// Returns the program on PostgreSQL and RabbitMQ, which sends its spans to `collector`.
pub async fn program(collector: &str) -> Program {
    let database = Postgres::shared().await.database().await.expect("a database");
    let host = Rabbit::shared().await.host().await.expect("a virtual host");
    traced(collector).set("database.url", database.expose()).set("broker.url", host.expose())
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn trace_spans_all_processes() {
    let collector = Collector::start().await;
    let program = program(&collector.url()).await;
    let platform = Separate::start(&program, 1, 2).await;
    let user = platform.sign_up("ada").await;
    let tasks = TracedTasks::run(&user).await;
    expect_traces(&tasks, &collector, NAMES).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn trace_continues_after_worker_is_killed() {
    let collector = Collector::start().await;
    let program = program(&collector.url()).await;
    let program = program.set("worker.lease", "2s");
    let mut platform = Separate::start(&program, 1, 1).await;
    let user = platform.sign_up("ada").await;
    let task = user.submit("sleep", &json!({ "seconds": 1 })).await;
    user.until(task.task_id, Status::Executing).await;
    platform.workers[0].kill().await;
    platform.workers[0].start_again().await;
    let task = user.until(task.task_id, Status::Finished).await;
    let trace = collector.trace_when(trace_of(&task), |trace| has_attempts(trace, 1)).await;
    crate::traces::checks::expect_lost_attempt(&trace, &task);
}
