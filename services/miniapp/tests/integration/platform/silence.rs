//! A database server that accepts connections and then stops responding.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Platform, Program, User, task};
use miniapp_test_support::postgres::Server;
use miniapp_test_support::proxy::Proxy;
use miniapp_types::task::Status;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::platform::support::{new_user, program};

/// How long the server is silent, unless a test checks what happens meanwhile.
const SILENCE: Duration = Duration::from_secs(20);
/// Until a request is refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(13);
const RECOVERS_WITHIN: Duration = Duration::from_secs(15);
/// The number of platforms at a time.
const CONCURRENCY: usize = 3;
/// The time of shutdown without running tasks.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// Responses of the server before the silence: none, parts of the login, all of it, and steps of
/// the migrations and of the first statements.
const STEPS: [u64; 10] = [0, 1, 2, 3, 4, 5, 6, 8, 11, 17];

async fn behind_proxy() -> (Proxy, Program) {
    let (proxy, url) = Server::shared().await.database_behind_proxy().await.expect("a database");
    (proxy, program().set("database.url", url.expose()).set("worker.lease", "5s"))
}

/// Waits until `/readyz` has the status code.
async fn until_ready_is(platform: &Platform, code: u16) {
    eventually(format!("/readyz is {code}"), async || {
        let answer = Answer::try_to(platform.admin_request("/readyz")).await.ok()?;
        (answer.status == code).then_some(())
    })
    .await;
}

async fn stops(platform: Platform, case: &str) {
    let log = platform.log();
    let ended = timeout(STOPS_WITHIN, platform.stop()).await;
    let ended = ended.unwrap_or_else(|_| panic!("{case}: SIGTERM is ignored: {log}"));
    assert_eq!(ended.status.code(), Some(0), "{case}: {}", ended.log);
}

/// Waits until a task is accepted and finishes.
async fn until_works(user: &User) {
    eventually("a task is accepted", async || {
        let answer = user.try_submit(&task("echo", &json!(1))).await.ok()?;
        (answer.status == 201).then_some(answer)
    })
    .await;
    let submitted = user.submit("echo", &json!(2)).await;
    user.until(submitted.task_id, Status::Finished).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn platform_starts_after_the_database_was_silent() {
    let cases = STEPS.map(async |step| {
        let (proxy, program) = behind_proxy().await;
        proxy.silence_after(step);
        let platform = program.launch();
        proxy.until_silent().await;
        eventually(format!("the silence after step {step} is logged"), async || {
            let log = platform.log();
            let reasons = ["no response", "did not respond", "stopped responding", "within 5 s"];
            let is_reason = |line: &str| reasons.iter().any(|reason| line.contains(reason));
            log.lines().any(|line| line.contains("trying again") && is_reason(line)).then_some(())
        })
        .await;
        Answer::to(platform.admin_request("/livez")).await.expect(200);
        Answer::to(platform.admin_request("/readyz")).await.expect(503);

        proxy.heal();
        let healed_at = Instant::now();
        let platform = platform.ready().await;
        assert!(healed_at.elapsed() < RECOVERS_WITHIN, "{step}: {:?}", healed_at.elapsed());
        let user = new_user(&platform).await;
        until_works(&user).await;
        stops(platform, &format!("after step {step}")).await;
    });
    Box::pin(stream::iter(cases).buffer_unordered(CONCURRENCY).collect::<Vec<()>>()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn starting_platform_stops_while_the_database_is_silent() {
    let cases = STEPS.map(async |step| {
        let (proxy, program) = behind_proxy().await;
        proxy.silence_after(step);
        let platform = program.launch();
        proxy.until_silent().await;
        stops(platform, &format!("after step {step}")).await;
    });
    Box::pin(stream::iter(cases).buffer_unordered(CONCURRENCY).collect::<Vec<()>>()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn platform_survives_a_silent_database() {
    // New connections are silent at once, during the login, or after it.
    let cases = [0, 2, 3, 4].map(async |step| {
        let (proxy, program) = behind_proxy().await;
        let platform = program.start().await;
        let user = new_user(&platform).await;
        let running = user.submit("sleep", &json!({ "seconds": 3 })).await.task_id;
        user.until(running, Status::Executing).await;

        proxy.silence_after(step);
        let silent_at = Instant::now();
        let requests = [
            user.api("POST", "/api/tasks").json(&task("echo", &json!(1))),
            user.api("GET", "/api/tasks"),
            user.api("GET", "/api/stats"),
            user.auth("GET", "/sessions"),
            platform
                .auth_request("POST", "/send-verification-code")
                .json(&json!({ "email": "late@example.com" })),
        ];
        let refused = requests.map(async |request| {
            let answer = timeout(REFUSED_WITHIN, Answer::to(request)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{step}: it hangs"));
            assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
            answer.expect(503);
        });
        tokio::join!(join_all(refused), until_ready_is(&platform, 503));
        assert!(silent_at.elapsed() < REFUSED_WITHIN, "{step}: {:?}", silent_at.elapsed());
        sleep(SILENCE.saturating_sub(silent_at.elapsed())).await;
        Answer::to(platform.admin_request("/readyz")).await.expect(503);
        let log = platform.log();
        assert!(log.contains("respon") && !log.contains("panicked"), "{step}: {log}");

        proxy.heal();
        let healed_at = Instant::now();
        until_works(&user).await;
        until_ready_is(&platform, 200).await;
        assert!(healed_at.elapsed() < RECOVERS_WITHIN, "{step}: {:?}", healed_at.elapsed());
        // Mail is sent, too.
        platform.code_for("later@example.com").await;
        user.until(running, Status::Finished).await;
        stops(platform, &format!("after step {step}")).await;
    });
    Box::pin(stream::iter(cases).buffer_unordered(CONCURRENCY).collect::<Vec<()>>()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn platform_with_running_task_stops_while_the_database_is_silent() {
    let (proxy, program) = behind_proxy().await;
    let platform = program.set("worker.grace", "2s").start().await;
    let user = new_user(&platform).await;
    let running = user.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    user.until(running, Status::Executing).await;
    proxy.silence_after(3);
    until_ready_is(&platform, 503).await;
    stops(platform, "a running task").await;
}

/// The connections that were open stay silent, as after a power failure of the server or of a
/// router. New ones work.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn platform_replaces_lost_connections() {
    let (proxy, program) = behind_proxy().await;
    let platform = program.start().await;
    let user = new_user(&platform).await;
    until_works(&user).await;
    proxy.lose();
    let lost_at = Instant::now();
    until_works(&user).await;
    until_ready_is(&platform, 200).await;
    assert!(lost_at.elapsed() < RECOVERS_WITHIN, "{:?}", lost_at.elapsed());
}

/// The server accepts fewer connections than the platform wants.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn platform_works_with_few_connections() {
    let server = Server::alone(&[
        "max_connections=3",
        "superuser_reserved_connections=0",
        "max_wal_senders=0",
    ])
    .await;
    let url = server.database().await.expect("a database");
    let platform = program().set("database.url", url.expose()).start().await;
    let user = new_user(&platform).await;
    let submits = (0..20).map(async |_| {
        eventually("a task is accepted", async || {
            let answer = user.try_submit(&task("echo", &json!(1))).await.ok()?;
            (answer.status == 201).then(|| answer.text("taskId").parse().expect("a UUID"))
        })
        .await
    });
    for id in join_all(submits).await {
        // A read may be rejected, too, while all connections are in use.
        eventually("a task is finished", async || {
            let task = user.client().task(id).await.ok()?;
            (task.status == Status::Finished).then_some(())
        })
        .await;
    }
}
