//! Requests with JSON that is easily misunderstood.
//!
//! `faults/` has the cases: two `data` under one `Idempotency-Key`, and bodies of submits.

use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, User, task};
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::platform::support::{new_user, shared_on};

miniapp_test_support::on_all_engines!(
    idempotency_keys_compare_by_value,
    submits_are_accepted_or_rejected_with_reasons,
    data_is_validated_against_the_schema,
    far_times_are_kept,
    restart_accepts_no_body,
    if_match_guards_changes,
);

#[derive(Deserialize)]
struct Pair {
    why: String,
    first: String,
    second: String,
    same: bool,
}

async fn idempotency_keys_compare_by_value(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let pairs: Vec<Pair> = serde_json::from_str(include_str!("faults/idempotency.json")).unwrap();
    let more = [
        ("numbers beyond doubles", "[1e-400]", "[1e-401]", false),
        ("an exponent of zero", "[0e5]", "[0]", true),
        (
            "the last digit of many",
            "[123456789012345678901234567890]",
            "[123456789012345678901234567891]",
            false,
        ),
        ("whole numbers", "[100]", "[1.00E+2]", true),
        ("a name and its escape", r#"{"\u0061":1}"#, r#"{"a":1}"#, true),
        ("null and no member", r#"{"a":null}"#, "{}", false),
        ("nesting", "[[1],2]", "[[1,2]]", false),
    ];
    let more = more.map(|(why, first, second, same)| {
        let [why, first, second] = [why, first, second].map(str::to_owned);
        Pair { why, first, second, same }
    });
    for Pair { why, first, second, same } in pairs.into_iter().chain(more) {
        let key = uuid::Uuid::new_v4().to_string();
        let submit = async |data: &str| {
            let body = format!(r#"{{"description":"d","kind":"echo","data":{data},"ttl":5}}"#);
            Answer::to(submission(&user, body).header("idempotency-key", &key)).await
        };
        let id = submit(&first).await.expect(201).text("taskId");
        let again = submit(&second).await;
        if same {
            assert_eq!(again.expect(200).text("taskId"), id, "{why}");
        } else {
            again.expect_problem(Code::IdempotencyKeyReused);
        }
        assert_eq!(submit(&first).await.expect(200).text("taskId"), id, "{why}");
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submit {
    name: String,
    body: Option<String>,
    body_hex: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    /// The status, or a sentence about several.
    status: Value,
    code: Option<String>,
}

async fn submits_are_accepted_or_rejected_with_reasons(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let cases: Vec<Submit> = serde_json::from_str(include_str!("faults/submits.json")).unwrap();
    for case in cases {
        let name = &case.name;
        let body = match (case.body, case.body_hex) {
            (Some(text), _) => text.into_bytes(),
            (None, hex) => bytes(&hex.expect("a body")),
        };
        let mut request = submission(&user, body);
        for (name, value) in &case.headers {
            request = request.header(name, value);
        }
        let answer = Answer::to(request).await;
        match case.status.as_u64() {
            Some(status) => {
                assert_eq!(u64::from(answer.status.as_u16()), status, "{name}: {answer:?}");
            }
            None => assert!([201, 422].contains(&answer.status.as_u16()), "{name}: {answer:?}"),
        }
        if let Some(code) = case.code {
            assert_eq!(answer.problem().code.to_string(), code, "{name}");
        }
        if answer.status == 415 {
            assert_eq!(answer.header("accept-encoding"), "identity", "{name}");
        }
        if answer.status == 201 {
            // The client reads it back, alone and in a page.
            let id = answer.text("taskId").parse().expect("an id");
            user.task(id).await;
            assert!(user.tasks().await.iter().any(|task| task.task_id == id), "{name}");
        }
    }
    // The deepest data that is accepted can be read back as a result, too.
    for (depth, status) in [(100, 201), (101, 422)] {
        let data = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!(r#"{{"description":"d","kind":"echo","data":{data},"ttl":5}}"#);
        let answer = Answer::to(submission(&user, body)).await.expect(status);
        if status == 201 {
            let id = answer.text("taskId").parse().expect("an id");
            user.until(id, Status::Finished).await;
            assert!(user.tasks().await.iter().any(|task| task.task_id == id));
        }
    }
}

async fn data_is_validated_against_the_schema(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    for (kind, data, expected) in [
        ("hash", json!({ "rounds": "many" }), &["data.rounds"][..]),
        ("hash", json!({ "rounds": 0 }), &["data.rounds"]),
        ("hash", json!({}), &["data.rounds"]),
        ("hash", json!("text"), &["data"]),
        ("sleep", json!({ "seconds": 1, "minutes": 2 }), &["data.minutes"]),
        ("http", json!({ "url": "ftp://example.com", "method": 7 }), &["data.method", "data.url"]),
        ("http", json!({ "url": "http://x/", "headers": { "a": 1 } }), &["data.headers.a"]),
    ] {
        let answer = user.try_submit(&task(kind, &data)).await.expect("an answer");
        let problem = answer.problem();
        assert_eq!(problem.code, Code::InvalidFields, "{kind} {data}");
        let mut fields: Vec<_> = problem.errors.into_iter().map(|error| error.field).collect();
        fields.sort();
        assert_eq!(fields, expected, "{kind} {data}");
    }
    let mut body = task("hash", &json!({ "rounds": "many" }));
    body["ttl"] = json!(0);
    let problem = user.try_submit(&body).await.expect("an answer").problem();
    let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["ttl", "data.rounds"], "reported together");
    for (kind, data) in [
        ("hash", json!({ "rounds": 1.0 })),
        ("flaky", json!({ "failures": 0.0 })),
        ("simulate", json!({ "seed": "any" })),
        ("echo", json!([null])),
    ] {
        user.submit(kind, &data).await;
    }
    let whole = user.submit("hash", &json!({ "rounds": 2.0 })).await;
    user.until(whole.task_id, Status::Finished).await;
}

async fn far_times_are_kept(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let mut body = task("echo", &json!(1));
    for at in ["9999-12-31T23:59:59Z", "9999-12-30T00:00:00Z", "2500-01-01T00:00:00+23:59"] {
        body["runAt"] = json!(at);
        let submitted = user.try_submit(&body).await.expect("an answer").expect(201);
        let id = submitted.text("taskId").parse().expect("an id");
        let task = user.task(id).await;
        assert_eq!(task.status, Status::Awaiting, "{at}");
        assert_eq!(json!(task.run_at), submitted.json()["runAt"], "{at}");
    }
    let now = user.submit("echo", &json!(2)).await;
    user.until(now.task_id, Status::Finished).await;
    let path = "/api/tasks?status=awaiting";
    let waiting = Answer::to(user.api("GET", path)).await.expect(200).json();
    assert_eq!(waiting["tasks"].as_array().map(Vec::len), Some(3));
}

async fn restart_accepts_no_body(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let id = finished(&user).await;
    let path = format!("/api/tasks/{id}");
    for body in [r#"{"ttl":5}"#, "[]", "null", "7", "\"text\"", "{", "x", "{} {}"] {
        let request = user.api("PUT", &path).header("content-type", "application/json").body(body);
        let answer = Answer::to(request).await;
        assert_eq!(answer.problem().code, Code::InvalidFields, "{body}");
    }
    let request = user.api("PUT", &path).header("content-encoding", "gzip").body("{}");
    Answer::to(request).await.expect_problem(Code::UnsupportedMediaType);
    assert_eq!(user.task(id).await.generation, 1);
    for (generation, body) in (2..).zip(["", "{}", " { } ", "\u{feff}{}"]) {
        let request = user.api("PUT", &path).body(body);
        let answer = Answer::to(request).await.expect(200);
        assert_eq!(answer.json()["generation"], generation, "{body:?}");
        user.until(id, Status::Finished).await;
    }
}

async fn if_match_guards_changes(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let id = finished(&user).await;
    let path = format!("/api/tasks/{id}");
    let etag = async || {
        let answer = Answer::to(user.api("GET", &path)).await.expect(200);
        answer.header("etag").to_owned()
    };
    let first = etag().await;
    let restart =
        async |tags: &str| Answer::to(user.api("PUT", &path).header("if-match", tags)).await;
    for tags in ["\"0\"", "\"x\"", "x", "", "\"0\", \"1\"", &format!("W/{first}")] {
        restart(tags).await.expect_problem(Code::VersionConflict);
    }
    assert_eq!(user.task(id).await.generation, 1);
    restart(&format!("\"0\", {first}")).await.expect(200);
    user.until(id, Status::Finished).await;
    restart(&first).await.expect_problem(Code::VersionConflict);
    restart("*").await.expect(200);
    user.until(id, Status::Finished).await;

    // A change that is impossible in any version is refused for that (RFC 9110, 13.2.1).
    let cancel = format!("{path}/cancel");
    let answer = Answer::to(user.api("POST", &cancel).header("if-match", "\"0\"")).await;
    answer.expect_problem(Code::TaskAlreadyFinished);
    let waiting = user.try_submit(&later()).await.expect("an answer").expect(201);
    let cancel = format!("/api/tasks/{}/cancel", waiting.text("taskId"));
    let canceled =
        async |tag: &str| Answer::to(user.api("POST", &cancel).header("if-match", tag)).await;
    canceled("\"9\"").await.expect_problem(Code::VersionConflict);
    canceled(waiting.header("etag")).await.expect(202);

    let delete =
        async |tag: &str| Answer::to(user.api("DELETE", &path).header("if-match", tag)).await;
    delete(&first).await.expect_problem(Code::VersionConflict);
    delete(&etag().await).await.expect(204);
    delete("*").await.expect_problem(Code::TaskNotFound);
    concurrent_changes_succeed_once(&user).await;
}

/// Changes in one transaction see each other.
async fn concurrent_changes_succeed_once(user: &User) {
    for _ in 0..5 {
        let id = finished(user).await;
        let path = format!("/api/tasks/{id}");
        let tag = Answer::to(user.api("GET", &path)).await.expect(200).header("etag").to_owned();
        let restarts = (0..8).map(|_| Answer::to(user.api("PUT", &path).header("if-match", &tag)));
        let answers = futures_util::future::join_all(restarts).await;
        let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(succeeded, 1, "{answers:?}");
    }
}

fn later() -> Value {
    let mut body = task("echo", &json!(1));
    body["runAt"] = json!("2100-01-01T00:00:00Z");
    body
}

async fn finished(user: &User) -> uuid::Uuid {
    let id = user.submit("echo", &json!(1)).await.task_id;
    user.until(id, Status::Finished).await;
    id
}

fn submission(user: &User, body: impl Into<reqwest::Body>) -> RequestBuilder {
    user.api("POST", "/api/tasks").header("content-type", "application/json").body(body)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}
