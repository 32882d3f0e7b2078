//! The protocol of workers over HTTP.

mod grants;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_broker::{Broker as _, Queue};
use miniapp_types::task::EventType::{self, CancelRequested, Canceled, Created, Started};
use miniapp_types::task::Status;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::testing::{Answer, Platform, Token, eventually};

struct Fixture {
    platform: Platform,
    token: Token,
    admin: Token,
}

impl Fixture {
    async fn start() -> Self {
        let platform = Platform::start().await;
        let (token, admin) = (platform.auth.sign_in(), platform.auth.sign_in_as_admin());
        Self { platform, token, admin }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let path = format!("/worker/v1/{path}");
        self.platform.post(&path).token(&self.admin).json(body).send().await
    }

    async fn claim_as(&self, worker: &str, max: u32, wait: u32) -> Vec<Value> {
        let answer = self.post("claims", &claims(worker, &["echo"], max, wait)).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.json()["claims"].as_array().expect("claims").clone()
    }

    async fn claim(&self) -> Value {
        self.claim_as("w", 10, 20).await.remove(0)
    }

    async fn submit(&self) -> Uuid {
        self.platform.submit(&self.token).await
    }

    /// Submits a task and waits for its message.
    async fn submit_and_publish(&self) -> Uuid {
        let id = self.submit().await;
        eventually("its message is published", async || {
            self.platform.broker.depth(Queue::Tasks).await.expect("a broker") == 1
        })
        .await;
        id
    }

    async fn task(&self, id: Uuid) -> miniapp_tasks::Task {
        self.platform.tasks.find(id).await.expect("a store").expect("a task")
    }

    /// Sends an outcome and returns its `refusal`, null if it is accepted.
    async fn settle(&self, claim: &Value, outcome: &Value) -> Value {
        let body = json!({ "worker": "w", "outcomes": [merged(claim, outcome)] });
        let answer = self.post("outcomes", &body).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let settled = answer.json()["outcomes"][0].clone();
        assert_eq!(settled["taskId"], claim["taskId"]);
        assert_eq!(settled["accepted"], json!(settled["refusal"].is_null()));
        settled["refusal"].clone()
    }

    /// Sends a heartbeat and returns the state of the claim.
    async fn beat(&self, claim: &Value, report: &Value) -> Value {
        let body = json!({ "worker": "w", "claims": [merged(claim, report)] });
        let answer = self.post("heartbeats", &body).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.json()["claims"][0].clone()
    }

    async fn cancel(&self, id: Uuid) {
        let path = format!("/api/tasks/{id}/cancel");
        let answer = self.platform.post(&path).token(&self.token).send().await;
        assert_eq!(answer.status(), 202);
    }
}

fn claims(worker: &str, kinds: &[&str], max: u32, wait: u32) -> Value {
    let kinds: Vec<Value> = kinds.iter().map(|name| json!({ "name": name })).collect();
    json!({ "worker": worker, "kinds": kinds, "max": max, "waitSeconds": wait })
}

fn merged(claim: &Value, more: &Value) -> Value {
    let mut merged = json!({ "taskId": claim["taskId"], "claim": claim["claim"] });
    for (name, value) in more.as_object().expect("an object") {
        merged[name] = value.clone();
    }
    merged
}

fn id_of(claim: &Value) -> Uuid {
    claim["taskId"].as_str().expect("an id").parse().expect("a UUID")
}

#[tokio::test]
async fn claimed_task_is_finished() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let claim = fixture.claim().await;
    assert_eq!(id_of(&claim), id);
    for (field, value) in [
        ("kind", json!("echo")),
        ("data", json!({"a": 1})),
        ("attempt", json!(1)),
        ("maxAttempts", json!(3)),
        ("generation", json!(1)),
        ("ttl", json!(5)),
        ("deadline", json!("2030-01-01T00:00:05Z")),
        ("leaseUntil", json!("2030-01-01T00:00:15Z")),
    ] {
        assert_eq!(claim[field], value, "{field}");
    }
    assert_ne!(claim["attemptId"], claim["idempotencyKey"]);
    let beat = fixture.beat(&claim, &json!({"progress": 0.5, "message": "half"})).await;
    assert_eq!(beat["stop"], Value::Null);
    let task = fixture.task(id).await;
    assert_eq!((task.state.progress, task.state.message.as_deref()), (0.5, Some("half")));

    let outcome = json!({ "result": {"z": 1.50, "a": [null]} });
    for _ in 0..2 {
        assert_eq!(fixture.settle(&claim, &outcome).await, Value::Null, "also repeated");
    }
    assert_eq!(fixture.settle(&claim, &json!({"result": 2})).await, "already_ended");
    assert_eq!(fixture.settle(&claim, &json!({"stopped": true})).await, "already_ended");
    let task = fixture.task(id).await;
    assert_eq!(task.state.result.expect("a result").get(), r#"{"a":[null],"z":1.5}"#);
    let beat = fixture.beat(&claim, &json!({})).await;
    assert_eq!((&beat["stop"], &beat["leaseUntil"]), (&json!("lost"), &Value::Null));
}

#[tokio::test]
async fn waiting_call_is_woken_by_a_submit() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.claim_as("w", 1, 0).await, Vec::<Value>::new());
    let (claims, id) = tokio::join!(fixture.claim_as("w", 5, 30), async {
        eventually("it calls", async || {
            fixture.platform.tasks.workers().await.expect("a store").len() == 1
        })
        .await;
        fixture.submit().await
    });
    assert_eq!(claims.iter().map(id_of).collect::<Vec<_>>(), [id]);
    // The message is acknowledged although the task runs: it does not return.
    fixture.platform.stop_background().await;
    let depth = fixture.platform.broker.depth(Queue::Tasks).await.expect("a broker");
    assert_eq!(depth, 0);
}

#[tokio::test]
async fn errors_retry_or_fail_the_task() {
    let fixture = Fixture::start().await;
    for (retry, status) in [(true, Status::Awaiting), (false, Status::Failed)] {
        let id = fixture.submit().await;
        let claim = fixture.claim().await;
        let long = "m".repeat(600);
        let error = json!({"error": {"code": "broken", "message": long, "retry": retry}});
        assert_eq!(fixture.settle(&claim, &error).await, Value::Null);
        let state = fixture.task(id).await.state;
        let error = state.error.expect("an error");
        assert_eq!(
            (state.status, error.code.as_str(), error.message.len()),
            (status, "broken", 503)
        );
        let other = json!({"error": {"code": "other", "message": "", "retry": retry}});
        assert_ne!(fixture.settle(&claim, &other).await, Value::Null);
    }
    let id = fixture.submit().await;
    let claim = fixture.claim().await;
    let error = json!({"code": "busy", "message": "", "retry": true, "retryInSeconds": 77});
    assert_eq!(fixture.settle(&claim, &json!({ "error": error })).await, Value::Null);
    let state = fixture.task(id).await.state;
    let expected: Timestamp = "2030-01-01T00:01:17Z".parse().expect("a time");
    assert!(
        state.run_at.expect("a time").duration_since(expected).abs() < SignedDuration::from_secs(1)
    );
}

#[tokio::test]
async fn released_task_does_not_count_the_attempt() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let first = fixture.claim().await;
    assert_eq!(fixture.settle(&first, &json!({"released": true})).await, Value::Null);
    assert_eq!(fixture.task(id).await.state.attempt, 0);
    let second = fixture.claim().await;
    assert_eq!(second["attempt"], 1);
    assert_eq!(first["idempotencyKey"], second["idempotencyKey"]);
    assert_ne!(first["attemptId"], second["attemptId"]);
    assert_eq!(fixture.settle(&first, &json!({"released": true})).await, Value::Null, "repeated");
    assert_eq!(fixture.settle(&first, &json!({"result": 1})).await, "already_ended");
    assert_eq!(fixture.task(id).await.state.status, Status::Executing);
}

#[tokio::test]
async fn cancel_is_reported_and_shortens_the_lease() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let claim = fixture.claim().await;
    assert_eq!(fixture.settle(&claim, &json!({"stopped": true})).await, "not_stopped");
    fixture.cancel(id).await;
    fixture.platform.clock.advance(Duration::from_secs(3));
    for _ in 0..2 {
        let beat = fixture.beat(&claim, &json!({"progress": 0.9})).await;
        assert_eq!(beat["stop"], "canceled");
        assert_eq!(beat["leaseUntil"], "2030-01-01T00:00:08Z", "not extended again");
        fixture.platform.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(fixture.settle(&claim, &json!({"stopped": true})).await, Value::Null);
    let task = fixture.task(id).await;
    assert_eq!(task.state.status, Status::Canceled);
    assert_eq!(task.state.message.as_deref(), Some("Canceled by its owner"));
    let beat = fixture.beat(&claim, &json!({})).await;
    assert_eq!(beat["stop"], "canceled");
}

#[tokio::test]
async fn end_of_the_ttl_is_reported_and_shortens_the_lease() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let claim = fixture.claim().await;
    fixture.platform.clock.advance(Duration::from_secs(6));
    for _ in 0..2 {
        let beat = fixture.beat(&claim, &json!({})).await;
        assert_eq!(beat["stop"], "expired");
        let until: Timestamp =
            beat["leaseUntil"].as_str().expect("a time").parse().expect("a time");
        assert_eq!(until.to_string(), "2030-01-01T00:00:11Z");
        fixture.platform.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(fixture.settle(&claim, &json!({"stopped": true})).await, Value::Null);
    let task = fixture.task(id).await;
    assert_eq!(task.state.status, Status::Canceled);
    assert_eq!(task.state.message.as_deref(), Some("TTL is shorter than the execution time"));
    let events = fixture.platform.tasks.timeline(fixture.token.user, id, 0).await;
    let events = events.expect("a store").expect("a task");
    let types: Vec<EventType> = events.events.iter().map(|event| event.kind).collect();
    assert_eq!(types, [Created, Started, CancelRequested, Canceled]);
}

#[tokio::test]
async fn worker_may_stop_at_the_ttl_before_a_heartbeat() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let claim = fixture.claim().await;
    fixture.platform.clock.advance(Duration::from_secs(6));
    assert_eq!(fixture.settle(&claim, &json!({"stopped": true})).await, Value::Null);
    assert_eq!(fixture.task(id).await.state.status, Status::Canceled);
}

#[tokio::test]
async fn claim_of_another_replica_is_known_from_the_store() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let held = fixture.platform.claim(&fixture.token, id).await;
    let claim = json!({"taskId": id, "claim": held.token});
    assert_eq!(fixture.beat(&claim, &json!({})).await["stop"], Value::Null);
    fixture.platform.clock.advance(Duration::from_secs(6));
    assert_eq!(fixture.beat(&claim, &json!({})).await["stop"], "expired");
    let unknown = json!({"taskId": Uuid::new_v4(), "claim": 1});
    assert_eq!(fixture.beat(&unknown, &json!({})).await["stop"], "lost");
    assert_eq!(fixture.settle(&unknown, &json!({"result": 1})).await, "lost");
    assert_eq!(fixture.settle(&claim, &json!({"result": 1})).await, Value::Null);
}

#[tokio::test]
async fn batch_is_claimed_and_settled_together() {
    let fixture = Fixture::start().await;
    for _ in 0..30 {
        fixture.submit().await;
    }
    let mut claimed = Vec::new();
    while claimed.len() < 30 {
        claimed.extend(fixture.claim_as("w", 20, 20).await);
    }
    let outcomes: Vec<Value> =
        claimed.iter().map(|claim| merged(claim, &json!({"result": null}))).collect();
    let answer = fixture.post("outcomes", &json!({"worker": "w", "outcomes": outcomes})).await;
    let settled = answer.json();
    let settled = settled["outcomes"].as_array().expect("outcomes");
    assert!(
        settled.len() == 30 && settled.iter().all(|one| one["accepted"] == true),
        "{settled:?}"
    );
    for claim in claimed {
        assert_eq!(fixture.task(id_of(&claim)).await.state.status, Status::Finished);
    }
}

#[tokio::test]
async fn tasks_of_other_kinds_stay_for_their_workers() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let body = claims("other", &["resize"], 10, 1);
    assert_eq!(fixture.post("claims", &body).await.json()["claims"], json!([]));
    let state = fixture.task(id).await.state;
    assert_eq!((state.status, state.attempt), (Status::Awaiting, 0));
    assert_eq!(id_of(&fixture.claim().await), id);
}

#[tokio::test]
async fn call_that_ends_early_loses_no_task() {
    let fixture = Fixture::start().await;
    {
        let mut call = std::pin::pin!(fixture.claim_as("w", 1, 30));
        let gone = tokio::time::timeout(Duration::from_millis(200), call.as_mut()).await;
        assert!(gone.is_err());
    }
    let id = fixture.submit().await;
    assert_eq!(id_of(&fixture.claim().await), id);
    assert_eq!(fixture.task(id).await.state.attempt, 1);
}

#[tokio::test]
async fn worker_and_its_kinds_are_listed_while_it_calls() {
    let fixture = Fixture::start().await;
    let schema = json!({"type": "object"});
    let kind = json!({"name": "resize", "description": "Scales.", "dataSchema": schema, "queue": "images"});
    let body = json!({"worker": "w", "kinds": [kind], "max": 7, "waitSeconds": 0});
    fixture.post("claims", &body).await;
    let listed = fixture.platform.get("/api/workers").token(&fixture.token).send().await.json();
    let worker = &listed["workers"][0];
    for (field, value) in [
        ("name", json!("w")),
        ("kinds", json!(["resize"])),
        ("running", json!(0)),
        ("capacity", json!(7)),
    ] {
        assert_eq!(worker[field], value, "{field}");
    }
    let kinds = fixture.platform.get("/api/kinds").token(&fixture.token).send().await.json();
    assert_eq!(kinds["kinds"][0]["dataSchema"], schema);
    fixture.platform.clock.advance(Duration::from_mins(1));
    let listed = fixture.platform.get("/api/workers").token(&fixture.token).send().await.json();
    assert_eq!(listed["workers"], json!([]));
}

#[tokio::test]
async fn workers_of_one_name_are_listed_as_two() {
    let fixture = Fixture::start().await;
    let names = async || {
        let listed = fixture.platform.get("/api/workers").token(&fixture.token).send().await.json();
        let workers = listed["workers"].as_array().expect("workers").clone();
        workers
            .iter()
            .map(|one| one["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    let both = async {
        eventually("both are listed", async || names().await == ["w", "w-2"]).await;
        fixture.submit().await;
        fixture.submit().await;
    };
    tokio::join!(fixture.claim_as("w", 1, 30), fixture.claim_as("w", 1, 30), both);
}

#[tokio::test]
async fn worker_needs_an_admin() {
    let fixture = Fixture::start().await;
    for (path, body) in [
        ("claims", claims("w", &["echo"], 1, 0)),
        ("heartbeats", json!({"worker": "w", "claims": []})),
        ("outcomes", json!({"worker": "w", "outcomes": []})),
    ] {
        let request = fixture.platform.post(&format!("/worker/v1/{path}"));
        let answer = request.token(&fixture.token).json(&body).send().await;
        assert_eq!(answer.problem().0, 403, "{path}");
    }
}

#[tokio::test]
async fn every_field_error_is_reported() {
    let fixture = Fixture::start().await;
    let long = "k".repeat(65);
    let kinds = json!([
        {"name": "Echo"}, {"name": "a b"}, {"name": long}, {"name": ""}, 7,
        {"name": "ok", "queue": "No", "dataSchema": 1, "more": 1},
    ]);
    let body =
        json!({"worker": "", "kinds": kinds, "queues": ["a", "B"], "max": 101, "waitSeconds": 31});
    let answer = fixture.post("claims", &body).await;
    let expected = [
        "worker",
        "kinds[0].name",
        "kinds[1].name",
        "kinds[2].name",
        "kinds[3].name",
        "kinds[4]",
        "kinds[5].dataSchema",
        "kinds[5].queue",
        "kinds[5].more",
        "queues[1]",
        "max",
        "waitSeconds",
    ];
    assert_eq!(answer.fields(), expected);
    let body = json!({"worker": "w", "kinds": [], "max": 0, "waitSeconds": 0});
    assert_eq!(fixture.post("claims", &body).await.fields(), ["kinds", "max"]);
    let schema = json!({"type": "nonsense"});
    let kind = json!({"name": "k", "dataSchema": schema});
    let body = json!({"worker": "w", "kinds": [kind], "max": 1, "waitSeconds": 0});
    assert_eq!(fixture.post("claims", &body).await.fields(), ["kinds[0].dataSchema"]);

    let claim = json!({"taskId": "x", "claim": 0, "progress": 2, "message": 1});
    let answer = fixture.post("heartbeats", &json!({"worker": "w", "claims": [claim]})).await;
    let expected =
        ["claims[0].taskId", "claims[0].claim", "claims[0].progress", "claims[0].message"];
    assert_eq!(answer.fields(), expected);

    let id = Uuid::new_v4();
    let error = json!({"code": "", "message": "m", "retry": 1, "retryInSeconds": -1});
    let outcomes = json!([
        {"taskId": id, "claim": 1},
        {"taskId": id, "claim": 1, "result": null, "stopped": true},
        {"taskId": id, "claim": 1, "error": error},
    ]);
    let answer = fixture.post("outcomes", &json!({"worker": "w", "outcomes": outcomes})).await;
    let expected = [
        "outcomes[0]",
        "outcomes[1]",
        "outcomes[2].error.code",
        "outcomes[2].error.retry",
        "outcomes[2].error.retryInSeconds",
    ];
    assert_eq!(answer.fields(), expected);
}

#[tokio::test]
async fn results_have_the_size_of_every_result() {
    let fixture = Fixture::start().await;
    let id = fixture.submit().await;
    let claim = fixture.claim().await;
    let of_size = |size: usize| json!({"result": "x".repeat(size - 2)});
    for size in [512 * 1024 + 1, 10 << 20] {
        let body = json!({"worker": "w", "outcomes": [merged(&claim, &of_size(size))]});
        let answer = fixture.post("outcomes", &body).await;
        assert_eq!(answer.problem(), (413, "body_too_large".to_owned()));
    }
    assert_eq!(fixture.task(id).await.state.status, Status::Executing);
    assert_eq!(fixture.settle(&claim, &of_size(512 * 1024)).await, Value::Null);
}

#[tokio::test]
async fn many_calls_wait_and_each_task_goes_to_one() {
    let fixture = Fixture::start().await;
    let calls = (0..1000).map(|number| {
        let fixture = &fixture;
        async move { fixture.claim_as(&format!("w{number}"), 1, 30).await }
    });
    let submit = async {
        for _ in 0..1000 {
            fixture.submit().await;
        }
    };
    let (claims, ()) = tokio::join!(futures_util::future::join_all(calls), submit);
    let ids: std::collections::HashSet<Uuid> = claims.iter().flatten().map(id_of).collect();
    assert_eq!(ids.len(), 1000);
}
