//! From registration to a finished task.

use std::collections::BTreeMap;

use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, task};
use miniapp_types::problem::Code;
use miniapp_types::task::{EventType, Status, Task};
use serde_json::{Value, json};

use crate::platform::support::{new_user, shared_on};

miniapp_test_support::on_all_engines!(
    new_account_runs_tasks_of_every_kind,
    tasks_have_a_queue,
    running_task_is_canceled_and_restarted,
    task_is_canceled_after_its_ttl,
    tasks_are_visible_to_their_owner_only,
    event_stream_ends_with_the_task,
    idempotency_key_returns_same_task,
);

async fn new_account_runs_tasks_of_every_kind(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let inputs = BTreeMap::from([
        ("echo", json!({ "hello": ["world", 1.5, null] })),
        ("flaky", json!({ "failures": 1 })),
        ("hash", json!({ "rounds": 1000 })),
        ("http", json!({ "url": format!("{}/livez", platform.admin()) })),
        // With this seed the task ends before its ttl.
        ("simulate", json!({ "seed": 13 })),
        ("sleep", json!({ "seconds": 0.1 })),
    ]);
    let mut submitted = BTreeMap::new();
    for (kind, data) in &inputs {
        let mut body = task(kind, data);
        body["ttl"] = json!(if *kind == "simulate" { 1 } else { 60 });
        let answer = user.try_submit(&body).await.expect("an answer").expect(201);
        let task: Task = serde_json::from_slice(&answer.body).expect("a task");
        assert_eq!(answer.header("location"), format!("/api/tasks/{}", task.task_id));
        submitted.insert(*kind, task);
    }

    let kinds = user.client().kinds().await.expect("kinds");
    let names: Vec<&str> = kinds.kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, inputs.keys().copied().collect::<Vec<_>>(), "all of them are tried here");

    for (kind, data) in &inputs {
        let task = user.until(submitted[kind].task_id, Status::Finished).await;
        let result = task.result.expect("a result");
        match *kind {
            "echo" => assert_eq!(result, *data),
            "flaky" => assert_eq!((task.attempt, &result["attempt"]), (2, &json!(2))),
            "hash" => assert_eq!(result.as_str().expect("hexadecimal digits").len(), 64),
            "http" => {
                assert_eq!((&result["status"], &result["body"]), (&json!(200), &json!("ok\n")));
            }
            _ => assert!(result.is_object(), "{result}"),
        }
        let types = user.event_types(task.task_id).await;
        assert_eq!((types[0], types.last()), (EventType::Created, Some(&EventType::Finished)));
    }
}

async fn tasks_have_a_queue(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let longest = "q".repeat(64);
    for queue in ["default", "gpu-2", "a.b_c", &longest] {
        let mut body = task("echo", &json!(1));
        body["queue"] = json!(queue);
        let submitted = user.try_submit(&body).await.expect("an answer").expect(201).json();
        assert_eq!(submitted["queue"], *queue);
        let id = submitted["taskId"].as_str().and_then(|id| id.parse().ok()).expect("a UUID");
        assert_eq!(user.until(id, Status::Finished).await.queue.as_str(), queue);
    }
    let too_long = "q".repeat(65);
    for field in ["queue", "kind"] {
        for name in ["", "Echo", "a b", "a/b", &too_long] {
            let mut body = task("echo", &json!(1));
            body[field] = json!(name);
            let answer = user.try_submit(&body).await.expect("an answer");
            let problem = answer.expect_problem(Code::InvalidFields).problem();
            assert_eq!(problem.errors[0].field, field, "{name:?}");
        }
    }
}

async fn running_task_is_canceled_and_restarted(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let id = user.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    user.until(id, Status::Executing).await;
    Answer::to(user.api("POST", &format!("/api/tasks/{id}/cancel"))).await.expect(202);
    let task = user.until(id, Status::Canceled).await;
    assert_eq!((task.attempt, task.generation), (1, 1));
    let cancel = user.api("POST", &format!("/api/tasks/{id}/cancel"));
    Answer::to(cancel).await.expect_problem(Code::TaskAlreadyFinished);

    let restarted = Answer::to(user.api("PUT", &format!("/api/tasks/{id}"))).await.expect(200);
    assert_eq!(restarted.json()["generation"], 2);
    user.until(id, Status::Executing).await;
    let restart = user.api("PUT", &format!("/api/tasks/{id}"));
    Answer::to(restart).await.expect_problem(Code::TaskNotFinished);

    // Deleting a running task cancels it first.
    Answer::to(user.api("DELETE", &format!("/api/tasks/{id}"))).await.expect(204);
    let gone = user.api("GET", &format!("/api/tasks/{id}"));
    Answer::to(gone).await.expect_problem(Code::TaskNotFound);
    assert!(user.tasks().await.is_empty());
}

async fn task_is_canceled_after_its_ttl(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let mut body = task("sleep", &json!({ "seconds": 600 }));
    body["ttl"] = json!(1);
    let answer = user.try_submit(&body).await.expect("an answer").expect(201);
    let id = answer.text("taskId").parse().expect("a UUID");
    let task = user.until(id, Status::Canceled).await;
    let message = task.status_message.expect("a message");
    assert_eq!(message, "TTL is shorter than the execution time");
}

async fn tasks_are_visible_to_their_owner_only(engines: Engines) {
    let platform = shared_on(engines).await;
    let (owner, other) = (new_user(&platform).await, new_user(&platform).await);
    let id = owner.submit("echo", &json!(1)).await.task_id;
    let path = format!("/api/tasks/{id}");
    for (method, path) in [
        ("GET", path.clone()),
        ("PUT", path.clone()),
        ("DELETE", path.clone()),
        ("GET", format!("{path}/events")),
        ("POST", format!("{path}/cancel")),
    ] {
        Answer::to(other.api(method, &path)).await.expect_problem(Code::TaskNotFound);
    }
    assert!(other.tasks().await.is_empty());
    owner.until(id, Status::Finished).await;
}

async fn event_stream_ends_with_the_task(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let id = user.submit("sleep", &json!({ "seconds": 0.2 })).await.task_id;
    let stream = user.api("GET", &format!("/api/tasks/{id}/events"));
    let stream = Answer::to(stream.header("accept", "text/event-stream")).await.expect(200);
    let text = String::from_utf8_lossy(&stream.body).into_owned();
    let events: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|event| Some(event.get("type")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(events, ["created", "started", "finished"], "{text}");
}

async fn idempotency_key_returns_same_task(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let submit = async |body: &Value| {
        let request = user.api("POST", "/api/tasks").header("idempotency-key", "once").json(body);
        Answer::to(request).await
    };
    let body = task("echo", &json!(1));
    // At the same time, like a client that retries after a timeout.
    let (one, two) = tokio::join!(submit(&body), submit(&body));
    assert_eq!(one.text("taskId"), two.text("taskId"));
    assert_eq!(one.status.as_u16() + two.status.as_u16(), 201 + 200);
    submit(&task("echo", &json!(2))).await.expect_problem(Code::IdempotencyKeyReused);
    assert_eq!(user.tasks().await.len(), 1);
}
