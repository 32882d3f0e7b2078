//! A database without free connections, with a locked table, or in standby.

use std::collections::HashSet;

use futures_util::future::join_all;
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;
use miniapp_test_support::platform::{Separate, User, task};
use miniapp_test_support::postgres::Server;
use miniapp_types::task::Status;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::separate::support::{
    expect_all_unready, expect_all_working, expect_finished_once, new_user, readiness, shared,
};

/// Submits a task, which is rejected with a problem document.
async fn is_refused(user: &User) {
    eventually("a task is refused", async || {
        let answer = user.try_submit(&task("echo", &json!(1))).await.expect("an answer");
        if answer.status == 201 {
            return None;
        }
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        answer.expect(503);
        Some(())
    })
    .await;
}

/// Submits a task as soon as tasks are accepted again.
async fn is_accepted(user: &User) -> Uuid {
    eventually("a task is accepted", async || {
        let answer = user.try_submit(&task("echo", &json!(1))).await.expect("an answer");
        (answer.status == 201).then(|| answer.text("taskId").parse().expect("a UUID"))
    })
    .await
}

/// Submits tasks that take some seconds, and waits until they are running.
async fn running(user: &User, count: usize) -> Vec<Uuid> {
    let submits = (0..count).map(async |_| user.submit("sleep", &json!({ "seconds": 4 })).await);
    let tasks: Vec<Uuid> = join_all(submits).await.into_iter().map(|task| task.task_id).collect();
    for task in &tasks {
        user.until(*task, Status::Executing).await;
    }
    tasks
}

fn name_of(url: &EngineUrl) -> String {
    url.rest().rsplit('/').next().expect("a name").to_owned()
}

/// Takes all `connections` of the server, including those of the services that use `database`.
async fn crowd(server: &Server, database: &str, connections: usize) -> Vec<PgConnection> {
    let mut held = vec![server.connect("postgres").await.expect("a connection")];
    let expel = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    // A new connection is not in the view at once, so connections are counted.
    eventually("all other connections are closed", async || {
        while let Ok(connection) = server.connect("postgres").await {
            held.push(connection);
        }
        held[0].execute(AssertSqlSafe(expel.clone())).await.expect("the command succeeds");
        (held.len() == connections).then_some(())
    })
    .await;
    held
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn services_wait_for_database_connections() {
    const WRONG: &str = "too many clients";
    const SETTING: &str = "MINIAPP__DATABASE__URL";
    let broker = shared().await;
    let connections = 40;
    let most = format!("max_connections={connections}");
    let settings = [most.as_str(), "superuser_reserved_connections=0"];
    let server = Server::alone(&settings).await;
    let url = server.database().await.expect("a database");
    let program = || {
        let program = broker.program().set("database.url", url.expose());
        program.set_secret("one for all, for-development-only").set("worker.lease", "3s")
    };
    let mut platform = Separate::start(&program(), 1, 1).await;
    let user = new_user(&platform).await.remove(0);
    let tasks = running(&user, 5).await;

    let held = crowd(&server, &name_of(&url), connections).await;
    is_refused(&user).await;
    expect_all_unready(&mut platform, SETTING, WRONG).await;
    // A service that starts now waits as well.
    let mut late = Separate::launch(&program(), 1, 1);
    expect_all_unready(&mut late, SETTING, WRONG).await;

    drop(held);
    expect_all_working(&mut platform).await;
    expect_all_working(&mut late).await;
    expect_finished_once(&user, &tasks).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn services_survive_standby_until_promotion() {
    let broker = shared().await;
    let server = Server::alone(&[]).await;
    let url = server.database().await.expect("a database");
    let program = broker.program().set("database.url", url.expose()).set("worker.lease", "3s");
    let mut platform = Separate::start(&program, 1, 2).await;
    let user = new_user(&platform).await.remove(0);
    let mut tasks = running(&user, 5).await;

    server.stand_by().await.expect("a standby");
    is_refused(&user).await;
    expect_all_unready(&mut platform, "", "the database is read-only; is it a standby?").await;
    // Reads still work.
    user.task(tasks[0]).await;

    server.execute("postgres", "SELECT pg_promote()").await.expect("a promotion");
    tasks.push(is_accepted(&user).await);
    expect_all_working(&mut platform).await;
    expect_finished_once(&user, &tasks).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn services_survive_locked_table() {
    let broker = shared().await;
    let server = Server::alone(&[]).await;
    let url = server.database().await.expect("a database");
    let program = broker.program().set("database.url", url.expose()).set("worker.lease", "3s");
    let mut platform = Separate::start(&program, 1, 1).await;
    let user = new_user(&platform).await.remove(0);
    let mut tasks = running(&user, 5).await;

    let mut somebody_else = server.connect(&name_of(&url)).await.expect("a connection");
    let mut locking = somebody_else.begin().await.expect("a transaction");
    locking.execute("LOCK TABLE tasks IN EXCLUSIVE MODE").await.expect("a lock");
    is_refused(&user).await;
    platform.apis[0].until_logged("lock timeout").await;
    // Reads still work, so the services stay ready.
    user.task(tasks[0]).await;
    eventually("the API says that it is degraded", async || {
        let ready = readiness(&platform.apis[0]).await.expect(200);
        (ready.text("status") == "degraded").then_some(())
    })
    .await;

    locking.rollback().await.expect("its end");
    tasks.push(is_accepted(&user).await);
    expect_all_working(&mut platform).await;
    expect_finished_once(&user, &tasks).await;
}

/// A worker renews all its leases with one statement.
#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn leases_of_a_worker_are_renewed_by_one_statement() {
    const LEASES: usize = 32;
    const RENEWALS: usize = 3;
    const HELD: &str = "SELECT lease_until, count(*) FROM tasks WHERE status = 1 GROUP BY 1";
    let broker = shared().await;
    let server = Server::alone(&["log_statement=mod"]).await;
    let url = server.database().await.expect("a database");
    let program = broker.program().set("database.url", url.expose()).set("worker.lease", "3s");
    let platform = Separate::start(&program, 1, 1).await;
    let user = new_user(&platform).await.remove(0);
    let sleep = json!({ "seconds": 50 });
    let tasks = join_all((0..LEASES).map(|_| user.submit("sleep", &sleep))).await;
    for task in &tasks {
        user.until(task.task_id, Status::Executing).await;
    }
    let renewals = || {
        let log = std::fs::read_to_string(server.directory().join("log")).expect("a log");
        log.matches("UPDATE tasks SET lease_until").count()
    };
    let before = renewals();
    let mut connection = server.connect(&name_of(&url)).await.expect("a connection");
    let mut seen = HashSet::new();
    eventually("all leases have been renewed some times", async || {
        let held: Vec<(i64, i64)> =
            sqlx::query_as(HELD).fetch_all(&mut connection).await.expect("leases");
        if let [(until, count)] = held[..] {
            assert_eq!(count, i64::try_from(LEASES).expect("few"));
            seen.insert(until);
        }
        (seen.len() > RENEWALS).then_some(())
    })
    .await;
    let statements = renewals() - before;
    // One renewal may precede the window, and one may be in progress.
    assert!((RENEWALS..=seen.len() + 1).contains(&statements), "{statements} for {seen:?}");
    for task in tasks {
        user.client().cancel(task.task_id).await.expect("a running task");
    }
}
