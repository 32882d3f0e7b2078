//! The protocol of workers over HTTP, on each database and broker.

use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, Platform, User, task};
use miniapp_types::task::{EventType, Status};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::platform::support::program_on;

miniapp_test_support::on_all_engines!(
    silent_worker_does_not_delay_a_cancel,
    silent_worker_does_not_delay_the_end_of_the_ttl,
    claim_without_heartbeats_is_lost,
    claim_survives_a_restart_of_the_platform,
    revoked_token_ends_a_waiting_call,
);

async fn start(engines: Engines, lease: &str) -> (Platform, User, User) {
    let program = program_on(engines).await;
    let program = program
        .set("auth.admin_email", "admin@example.com")
        .set("worker.replicas", 0)
        .set("worker.lease", lease);
    let platform = program.start().await;
    let (admin, user) = (platform.sign_up("admin").await, platform.sign_up("grace").await);
    (platform, admin, user)
}

async fn post(admin: &User, path: &str, body: &Value) -> Answer {
    Answer::to(admin.api("POST", &format!("/worker/v1/{path}")).json(body)).await
}

async fn claim(admin: &User) -> Value {
    let kinds = json!([{ "name": "echo" }]);
    let body = json!({ "worker": "w", "kinds": kinds, "max": 1, "waitSeconds": 20 });
    post(admin, "claims", &body).await.expect(200).json()["claims"][0].clone()
}

async fn beat(admin: &User, claim: &Value) -> Value {
    let claim = json!({ "taskId": claim["taskId"], "claim": claim["claim"] });
    let answer = post(admin, "heartbeats", &json!({ "worker": "w", "claims": [claim] })).await;
    answer.expect(200).json()["claims"][0].clone()
}

async fn settle(admin: &User, claim: &Value, name: &str, value: Value) -> Value {
    let mut outcome = json!({ "taskId": claim["taskId"], "claim": claim["claim"] });
    outcome[name] = value;
    let answer = post(admin, "outcomes", &json!({ "worker": "w", "outcomes": [outcome] })).await;
    answer.expect(200).json()["outcomes"][0]["refusal"].clone()
}

/// Submits a task with a ttl in seconds, and claims it.
async fn submit(admin: &User, user: &User, ttl: u32) -> (Uuid, Value) {
    let mut body = task("echo", &json!({ "a": 1 }));
    body["ttl"] = json!(ttl);
    let answer = user.try_submit(&body).await.expect("an answer").expect(201);
    let id = answer.text("taskId").parse().expect("a UUID");
    (id, claim(admin).await)
}

async fn silent_worker_does_not_delay_a_cancel(engines: Engines) {
    let (_platform, admin, user) = start(engines, "4s").await;
    let (id, claim) = submit(&admin, &user, 3600).await;
    user.client().cancel(id).await.expect("canceled");
    assert_eq!(beat(&admin, &claim).await["stop"], "canceled");
    let task = user.until(id, Status::Canceled).await;
    let message = "Canceled by its owner; its worker had vanished";
    assert_eq!(task.status_message.as_deref(), Some(message));
    assert_eq!(beat(&admin, &claim).await["stop"], "canceled");
    assert_eq!(settle(&admin, &claim, "result", json!(1)).await, "already_ended");
    assert_eq!(settle(&admin, &claim, "stopped", json!(true)).await, Value::Null);
}

async fn silent_worker_does_not_delay_the_end_of_the_ttl(engines: Engines) {
    let (_platform, admin, user) = start(engines, "4s").await;
    let (id, claim) = submit(&admin, &user, 1).await;
    eventually("the end of the ttl is reported", async || {
        (beat(&admin, &claim).await["stop"] == "expired").then_some(())
    })
    .await;
    let task = user.until(id, Status::Canceled).await;
    assert_eq!(task.status_message.as_deref(), Some("TTL is shorter than the execution time"));
    assert_eq!(beat(&admin, &claim).await["stop"], "expired");
    assert_eq!(settle(&admin, &claim, "result", json!(1)).await, "already_ended");
    assert_eq!(settle(&admin, &claim, "stopped", json!(true)).await, Value::Null);
}

async fn claim_without_heartbeats_is_lost(engines: Engines) {
    let (_platform, admin, user) = start(engines, "2s").await;
    let (id, first) = submit(&admin, &user, 60).await;
    let second = claim(&admin).await;
    assert_eq!((&second["taskId"], &second["attempt"]), (&first["taskId"], &json!(2)));
    assert_eq!(second["idempotencyKey"], first["idempotencyKey"]);
    assert_eq!(beat(&admin, &first).await["stop"], "lost");
    assert_eq!(settle(&admin, &first, "result", json!("first")).await, "lost");
    assert_eq!(settle(&admin, &second, "result", json!("second")).await, Value::Null);
    let task = user.until(id, Status::Finished).await;
    assert_eq!(task.result, Some(json!("second")));
    assert!(user.event_types(id).await.contains(&EventType::LeaseLost));
}

async fn claim_survives_a_restart_of_the_platform(engines: Engines) {
    let (platform, admin, user) = start(engines, "5m").await;
    let (id, claim) = submit(&admin, &user, 3600).await;
    let platform = platform.kill().await.start().await;
    let (admin, user) = (admin.at(&platform.api()), user.at(&platform.api()));
    // Waiting tasks are dispatched after the leases of the earlier run were expired.
    let (_, other) = submit(&admin, &user, 3600).await;
    assert_ne!(other["taskId"], claim["taskId"]);
    assert_eq!(beat(&admin, &claim).await["stop"], Value::Null);
    assert_eq!(settle(&admin, &claim, "result", json!(1)).await, Value::Null);
    let task = user.until(id, Status::Finished).await;
    assert_eq!(task.attempt, 1);
    assert!(!user.event_types(id).await.contains(&EventType::LeaseLost));
}

async fn revoked_token_ends_a_waiting_call(engines: Engines) {
    let (_platform, admin, user) = start(engines, "1m").await;
    let calling = async {
        let kinds = json!([{ "name": "echo" }]);
        let body = json!({ "worker": "w", "kinds": kinds, "max": 1, "waitSeconds": 30 });
        post(&admin, "claims", &body).await.expect(401);
    };
    let revoking = async {
        let listed = async || {
            let workers = user.client().workers().await.expect("workers").workers;
            (!workers.is_empty()).then_some(())
        };
        eventually("the worker is listed", listed).await;
        Answer::to(admin.auth("POST", "/sign-out")).await.expect(204);
        user.submit("echo", &json!(1)).await.task_id
    };
    let ((), id) = tokio::join!(calling, revoking);
    let task = user.until(id, Status::Awaiting).await;
    assert_eq!(task.attempt, 0);
}
