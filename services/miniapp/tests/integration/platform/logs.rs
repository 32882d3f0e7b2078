//! Log lines: one per request, with its trace id.

use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{Platform, Program};
use miniapp_types::task::Status;
use serde_json::{Value, json};
use uuid::Uuid;

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_miniapp"))
}

/// Waits for log lines that match `is_wanted` and returns them.
async fn lines(platform: &Platform, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually(what, async || {
        let log = platform.log();
        let lines = log.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<Value> = lines.filter(&is_wanted).collect();
        (!lines.is_empty()).then_some(lines)
    })
    .await
}

fn assert_in_trace(line: &Value, trace: &str) {
    assert_eq!(line["trace_id"], trace, "{line}");
    let span = line["span_id"].as_str().unwrap_or_default();
    assert!(span.len() == 16 && span.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
}

/// Also if the trace is not sampled.
#[tokio::test]
async fn log_lines_have_trace_ids() {
    for sampler in ["always_on", "always_off"] {
        let platform = program().set("telemetry.sampler", sampler).start().await;
        let path = format!("/api/tasks/{}", Uuid::new_v4());
        let answer = Answer::to(platform.api_request("GET", &path)).await.expect(401);
        let about = lines(&platform, "the request is logged", |line| line["path"] == path).await;
        assert_eq!(about.len(), 1, "one request, one line: {about:?}");
        assert_in_trace(&about[0], answer.header("x-trace-id"));
        assert_eq!(about[0]["level"], "INFO");
        assert_eq!((&about[0]["method"], &about[0]["status"]), (&json!("GET"), &json!(401)));
        assert_eq!(about[0]["code"], "token_missing");

        let user = platform.sign_up("ada").await;
        let task = user.submit("flaky", &json!({ "failures": 1 })).await;
        user.until(task.task_id, Status::Finished).await;
        let id = task.task_id.to_string();
        let failed = |line: &Value| {
            line["message"] == "attempt failed" && line["task.id"].as_str() == Some(&id)
        };
        let about = lines(&platform, "the failure is logged", failed).await;
        assert_in_trace(&about[0], task.trace_id.as_deref().expect("a trace"));
    }
}

#[tokio::test]
async fn refused_admin_requests_are_logged() {
    let platform = program().start().await;
    let user = platform.sign_up("ada").await;
    let id = user.client().account().await.expect("an account").user_id.to_string();
    for request in [
        user.api("GET", "/api/dead-letters"),
        user.api("GET", "/api/tasks?owner=*"),
        user.auth("GET", "/users"),
    ] {
        let trace = Answer::to(request).await.expect(403).header("x-trace-id").to_owned();
        let is_wanted =
            |line: &Value| line["message"] == "request refused" && line["trace_id"] == trace;
        let about = lines(&platform, "the refusal is logged", is_wanted).await;
        let actor = about[0].get("actor.id").or(about[0].get("user.id"));
        assert_eq!(actor, Some(&json!(id)), "{about:?}");
        assert_eq!((&about[0]["level"], &about[0]["code"]), (&json!("WARN"), &json!("forbidden")));
    }
}

#[tokio::test]
async fn failed_mail_is_logged_with_trace_of_its_request() {
    // This port has no listener.
    let program = program().set("mail.url", "smtp://127.0.0.1:1?tls=none");
    let platform = program.set("telemetry.sampler", "always_off").start().await;
    let body = json!({ "email": "ada@example.com" });
    let response = platform.post_auth("/send-verification-code", &body).await.expect(202);
    let again = |line: &Value| line["message"] == "outbox message failed; retrying";
    let about = lines(&platform, "the failure is logged", again).await;
    assert_in_trace(&about[0], response.header("x-trace-id"));
}

#[tokio::test]
async fn request_line_contains_cause_of_internal_error() {
    let platform = program().start().await;
    let user = platform.sign_up("ada").await;
    // Every statement of the store fails from here on.
    let file = platform.program().data_dir().join("miniapp.db");
    let database = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut database = sqlx::ConnectOptions::connect(&database).await.expect("the file");
    let drop = sqlx::query("ALTER TABLE task_kinds RENAME TO gone");
    sqlx::Executor::execute(&mut database, drop).await.expect("renamed");
    let answer = Answer::to(user.api("GET", "/api/kinds")).await;
    assert!(answer.status.is_server_error(), "{answer:?}");
    let about = lines(&platform, "it is logged", |line| line["path"] == "/api/kinds").await;
    let [line] = about.as_slice() else { panic!("one request, one line: {about:?}") };
    assert_in_trace(line, answer.header("x-trace-id"));
    assert!(["WARN", "ERROR"].contains(&line["level"].as_str().unwrap_or_default()), "{line}");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("task_kinds")), "{line}");
    assert!(!String::from_utf8_lossy(&answer.body).contains("task_kinds"), "{answer:?}");
}

#[tokio::test]
async fn log_level_can_be_changed_at_run_time() {
    let platform = program().set("log.format", "text").start().await;
    let put = async |filter: &'static str| {
        let request = client().put(format!("{}/log-level", platform.admin())).body(filter);
        Answer::to(request).await
    };
    let ask = async |name: &str| {
        Answer::to(platform.api_request("GET", &format!("/{name}"))).await.expect(404);
    };
    ask("first").await;
    eventually("a line", async || platform.log().contains("path=/first").then_some(())).await;
    put("warn").await.expect(200);
    ask("second").await;
    put("info").await.expect(200);
    ask("third").await;
    eventually("a line", async || platform.log().contains("path=/third").then_some(())).await;
    let log = platform.log();
    assert!(!log.contains("path=/second"), "{log}");
    let line = log.lines().find(|line| line.contains("path=/third")).expect("a line");
    assert!(line.contains(" INFO ") && line.contains("trace_id="), "{line}");
    put("nonsense=nonsense").await.expect(400);
}
