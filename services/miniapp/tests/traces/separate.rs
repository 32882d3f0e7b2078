//! The services as processes of their own, on PostgreSQL and RabbitMQ.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::platform::{Program, Separate};
use miniapp_test_support::postgres::Server as Postgres;
use miniapp_test_support::rabbit::Server as Rabbit;
use miniapp_types::task::Status;
use serde_json::json;

use crate::checks::expect_stories;
use crate::support::{Names, Stories, is_told, trace_of, traced};

pub const NAMES: Names =
    Names { shared: &["api", "worker"], broker: "rabbitmq", database: "postgresql" };

/// The program on servers of its own, which sends its spans to `collector`. `None`: only
/// embedded engines are to be tested.
pub async fn program(collector: &str) -> Option<Program> {
    if miniapp_test_support::only_embedded() {
        return None;
    }
    let database = Postgres::shared().await.expect("servers are tested").database().await;
    let host = Rabbit::shared().await.expect("servers are tested").host().await;
    let program = traced(collector)
        .set("database.url", database.expect("a database").expose())
        .set("broker.url", host.expect("a virtual host").expose());
    Some(program)
}

#[tokio::test]
async fn one_trace_goes_through_all_processes() {
    let collector = Collector::start().await;
    let Some(program) = program(&collector.url()).await else { return };
    let platform = Separate::start(&program, 1, 2).await;
    let user = platform.sign_up("ada").await;
    let stories = Stories::happen(&user).await;
    expect_stories(&stories, &collector, NAMES).await;
}

#[tokio::test]
async fn a_trace_survives_its_worker() {
    let collector = Collector::start().await;
    let Some(program) = program(&collector.url()).await else { return };
    let program = program.set("worker.lease", "2s");
    let mut platform = Separate::start(&program, 1, 1).await;
    let user = platform.sign_up("ada").await;
    let task = user.submit("sleep", &json!({ "seconds": 1 })).await;
    user.until(task.task_id, Status::Executing).await;
    platform.workers[0].kill().await;
    platform.workers[0].start_again().await;
    let task = user.until(task.task_id, Status::Finished).await;
    let trace = collector.trace_when(trace_of(&task), |trace| is_told(trace, 1)).await;
    crate::checks::expect_lost_attempt(&trace, &task);
}
