//! The broker is down, out of resources, silent or late. Tasks wait and continue on their own.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{Separate, User};
use miniapp_types::task::{EventType, Status};
use serde_json::{Value, json};

use crate::separate::support::{Broker, alone, new_user, readiness, shared};

/// The number of tasks that wait during the long outage.
const WAITING: usize = 20_000;
/// How long nothing may happen.
const OUTAGE: Duration = Duration::from_secs(30);
/// The workers have to receive all tasks within this time after the outage. A debug build runs them
/// several times slower on the same cores.
const DISPATCHED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 15 });

/// Submits `count` tasks, some concurrently. Returns the slowest response time.
async fn submit(user: &User, count: usize) -> Duration {
    let submitters = (0..32).map(async |submitter| {
        let mut slowest = Duration::ZERO;
        for number in (submitter..count).step_by(32) {
            let started = Instant::now();
            user.submit("echo", &json!(number)).await;
            slowest = slowest.max(started.elapsed());
        }
        slowest
    });
    join_all(submitters).await.into_iter().max().expect("some")
}

async fn counts(user: &User) -> Value {
    Answer::to(user.api("GET", "/api/stats")).await.expect(200).json()["byStatus"].clone()
}

async fn all_finish(user: &User, count: usize) {
    eventually("all tasks have finished", async || {
        (counts(user).await["Finished"] == count).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn broker_outage_loses_no_waiting_tasks() {
    let broker = alone().await;
    let platform = broker.platform().await;
    let user = new_user(&platform).await.remove(0);
    broker.server.stop().await.expect("its end");
    let began = Instant::now();
    let slowest = submit(&user, WAITING).await;
    assert!(slowest < Duration::from_secs(2), "an answer took {slowest:?}");
    let submitted = began.elapsed();
    tokio::time::sleep(OUTAGE.saturating_sub(submitted)).await;
    assert_eq!(counts(&user).await["Awaiting"], WAITING);

    broker.server.resume().await.expect("its return");
    let since = Instant::now();
    eventually("all are dispatched", async || (counts(&user).await["Awaiting"] == 0).then_some(()))
        .await;
    let took = since.elapsed();
    println!("{WAITING} submitted in {submitted:?}, the slowest in {slowest:?}; run in {took:?}");
    assert!(took < DISPATCHED, "took {took:?}");
    all_finish(&user, WAITING).await;
}

/// The server accepts no messages, whichever resource is exhausted.
async fn takes_no_messages(broker: &Broker<impl Sized>, short: impl AsyncFn(bool), of: &str) {
    let platform = broker.platform().await;
    let user = new_user(&platform).await.remove(0);
    short(true).await;
    // The server reports the alarm in response to the first publish after it.
    submit(&user, 50).await;
    eventually("it is logged", async || {
        let log = platform.apis[0].log();
        let mut lines = log.lines().filter(|line| line.contains("blocked publishing"));
        lines.any(|line| line.contains(of)).then_some(())
    })
    .await;
    let began = Instant::now();
    submit(&user, 50).await;
    assert!(began.elapsed() < Duration::from_secs(5), "submits wait for the broker");
    // The server notifies only connections that publish, which an API does continuously.
    eventually("the APIs report it and still answer", async || {
        let reports = join_all(platform.apis.iter().map(readiness)).await;
        let is_degraded =
            |reports: &Answer| reports.status == 200 && reports.json()["status"] == "degraded";
        reports.iter().all(is_degraded).then_some(())
    })
    .await;
    short(false).await;
    all_finish(&user, 100).await;
    eventually("the APIs are well again", async || {
        let reports = join_all(platform.apis.iter().map(readiness)).await;
        reports.iter().all(|reports| reports.json()["status"] == "ok").then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn tasks_wait_while_broker_is_out_of_memory() {
    let broker = alone().await;
    let starve =
        async |is_short| broker.server.starve(is_short).await.expect("the command succeeds");
    takes_no_messages(&broker, starve, "memory").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn tasks_wait_while_broker_is_out_of_disk() {
    let broker = alone().await;
    let fill =
        async |is_short| broker.server.fill_disk(is_short).await.expect("the command succeeds");
    takes_no_messages(&broker, fill, "disk").await;
}

/// RabbitMQ ends the consumer of a delivery that is not acknowledged for half an hour.
#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn running_tasks_hold_no_messages() {
    let broker = alone().await;
    let platform = broker.platform().await;
    let user = new_user(&platform).await.remove(0);
    let long = (0..5).map(async |_| user.submit("sleep", &json!({ "seconds": 600 })).await.task_id);
    let long = join_all(long).await;
    for task in &long {
        user.until(*task, Status::Executing).await;
    }
    eventually("no message is unacknowledged", async || {
        let held = broker.server.unacknowledged(&broker.url).await.expect("the counts");
        (held == 0).then_some(())
    })
    .await;
    for task in &long {
        let types = user.event_types(*task).await;
        assert_eq!(types, [EventType::Created, EventType::Started], "a task did not run on");
        user.client().cancel(*task).await.expect("a running task");
        user.until(*task, Status::Canceled).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn services_reconnect_after_connections_are_closed() {
    let broker = shared().await;
    let platform = broker.platform().await;
    let user = new_user(&platform).await.remove(0);
    let (_, host) = broker.url.rest().rsplit_once('/').expect("a virtual host");
    let api = format!("http://127.0.0.1:{}/api", broker.server.management_port());
    let list = async || {
        let request = client().get(format!("{api}/vhosts/{host}/connections"));
        let list = Answer::to(request.basic_auth("guest", Some("guest"))).await.expect(200).json();
        list.as_array().expect("a list").clone()
    };
    let mut count = 0;
    for _ in 0..3 {
        let open = eventually("all are connected", async || {
            let open = list().await;
            (open.len() >= 2 * 5).then_some(open)
        })
        .await;
        let submitting = submit(&user, 200);
        let closing = join_all(open.iter().map(|connection| {
            let name = connection["name"].as_str().expect("a name").replace(' ', "%20");
            let name = name.replace('>', "%3E");
            let close = client().delete(format!("{api}/connections/{name}"));
            Answer::to(close.basic_auth("guest", Some("guest")).header("x-reason", "a test"))
        }));
        tokio::join!(submitting, closing);
        count += 200;
    }
    all_finish(&user, count).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn services_wait_for_broker_at_start() {
    let broker = alone().await;
    broker.server.stop().await.expect("its end");
    let mut platform = Separate::launch(&broker.program(), 2, 3);
    for service in platform.services() {
        eventually("the service is unready", async || {
            let response = Answer::try_to(service.admin_request("/readyz")).await.ok()?;
            (response.status == 503).then_some(())
        })
        .await;
    }
    broker.server.resume().await.expect("its return");
    for service in platform.services() {
        service.until_ready().await;
        assert_eq!(readiness(service).await.json()["status"], "ok");
    }
    let user = new_user(&platform).await.remove(1);
    let task = user.submit("echo", &json!(1)).await;
    user.until(task.task_id, Status::Finished).await;
}
