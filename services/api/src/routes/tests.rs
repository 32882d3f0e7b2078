//! Errors that every endpoint handles alike.

mod scopes;

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::testing::documentation::{Operation, document, operations};
use crate::testing::{Answer, Platform, Token};

/// A valid body of each operation that takes one.
fn body((_, path): &Operation) -> Value {
    let claim = json!({"taskId": Uuid::nil(), "claim": 1});
    match path.as_str() {
        "/worker/v1/claims" => {
            json!({"worker": "w", "kinds": [{"name": "echo"}], "max": 1, "waitSeconds": 0})
        }
        "/worker/v1/heartbeats" => json!({"worker": "w", "claims": [claim]}),
        "/worker/v1/outcomes" => {
            let outcome = json!({"taskId": Uuid::nil(), "claim": 1, "result": 1});
            json!({"worker": "w", "outcomes": [outcome]})
        }
        _ => json!({"description": "d", "data": 1, "ttl": 5}),
    }
}

async fn send(platform: &Platform, operation: &Operation, id: &str, token: &Token) -> Answer {
    let path = operation.1.replace("{id}", id);
    let request = platform.request(operation.0.clone(), &path).token(token);
    let request = match operation.0 {
        Method::POST => request.json(&body(operation)),
        _ => request,
    };
    request.send().await
}

fn check(operation: &Operation, answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.problem(), (status, code.to_owned()), "{operation:?}");
}

#[tokio::test]
async fn invalid_tokens_are_rejected_everywhere() {
    let platform = Platform::start().await;
    let (ended, expired) = (platform.auth.sign_in(), platform.auth.sign_in());
    platform.auth.sign_out(&ended).await;
    platform.clock.advance(Duration::from_secs(901));
    let forged = Token { text: "a.b.c".into(), ..ended.clone() };
    for operation in operations() {
        let path = operation.1.replace("{id}", "no-uuid");
        let answer = platform.request(operation.0.clone(), &path).send().await;
        check(&operation, &answer, 401, "token_missing");
        let answer = send(&platform, &operation, "no-uuid", &forged).await;
        check(&operation, &answer, 401, "token_invalid");
        let answer = send(&platform, &operation, "no-uuid", &expired).await;
        check(&operation, &answer, 401, "token_expired");
        let ended = platform.auth.sign_in();
        platform.auth.end_silently(&ended);
        let answer = send(&platform, &operation, "no-uuid", &ended).await;
        check(&operation, &answer, 401, "token_revoked");
    }
    platform.auth.go_down();
    let unseen = platform.auth.sign_in();
    for operation in operations() {
        let answer = send(&platform, &operation, "no-uuid", &unseen).await;
        check(&operation, &answer, 503, "unavailable");
    }
}

/// Authorization is evaluated when the effect happens, not when the header arrives.
#[tokio::test]
async fn token_that_ends_before_the_body_arrives_is_rejected() {
    let platform = Platform::start().await;
    let takes_body = |(method, path): &Operation| {
        !document()["paths"][path][method.as_str().to_lowercase()]["requestBody"].is_null()
    };
    for operation in operations().iter().filter(|operation| takes_body(operation)) {
        let body = body(operation);
        for (end, code) in [
            ("sign out", "token_revoked"),
            ("refresh", "token_revoked"),
            ("expire", "token_expired"),
        ] {
            let token = platform.auth.sign_in_as_admin();
            let delay = async {
                match end {
                    // Also what the deletion of an account does to its sessions.
                    "sign out" => platform.auth.sign_out(&token).await,
                    // Also what a removed role does to the tokens.
                    "refresh" => drop(platform.auth.refresh(&token).await),
                    _ => platform.clock.advance(Duration::from_secs(901)),
                }
            };
            let path = operation.1.replace("{id}", "no-uuid");
            let request = platform.request(operation.0.clone(), &path).token(&token);
            let answer = request.send_delayed(&body, delay).await;
            check(operation, &answer, 401, code);
            let stats = platform.tasks.stats(Some(token.user)).await.expect("a store");
            assert_eq!(stats.queue_depth, 0, "{operation:?} after {end}");
        }
    }
}

#[tokio::test]
async fn foreign_and_missing_tasks_are_not_found() {
    let platform = Platform::start().await;
    let (owner, other) = (platform.auth.sign_in(), platform.auth.sign_in());
    let theirs = platform.submit(&owner).await.to_string();
    let deleted = platform.submit(&other).await;
    platform.tasks.delete(other.user, deleted).await.expect("deleted");
    let ids = [theirs, deleted.to_string(), Uuid::nil().to_string(), "no-uuid".to_owned()];
    for operation in operations().iter().filter(|(_, path)| path.starts_with("/api/tasks/{id}")) {
        for id in &ids {
            let answer = send(&platform, operation, id, &other).await;
            check(operation, &answer, 404, "task_not_found");
        }
    }
}

#[tokio::test]
async fn admin_endpoints_reject_users() {
    let platform = Platform::start().await;
    let user = platform.auth.sign_in();
    let is_for_admins = |path: &str| path.contains("dead-letters") || path.contains("worker/v1");
    for operation in operations().iter().filter(|(_, path)| is_for_admins(path)) {
        let answer = send(&platform, operation, &Uuid::nil().to_string(), &user).await;
        check(operation, &answer, 403, "forbidden");
    }
    let answer = platform.get("/api/dead-letters?limit=0").token(&user).send().await;
    assert_eq!(answer.fields(), ["limit"], "invalid fields are reported before the role");
}

#[tokio::test]
async fn store_outage_is_unavailable_everywhere() {
    let platform = Platform::start().await;
    let admin = platform.auth.sign_in_as_admin();
    let id = platform.submit(&admin).await.to_string();
    platform.break_store().await;
    // A stream of future events needs no store.
    for operation in operations().iter().filter(|(_, path)| path != "/api/events") {
        let answer = send(&platform, operation, &id, &admin).await;
        check(operation, &answer, 503, "unavailable");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let platform = Platform::start().await;
    let answer = platform.get("/api/nothing").send().await;
    assert_eq!(answer.problem(), (404, "not_found".to_owned()));
    let cases = [
        (Method::PATCH, "/api/tasks", "GET,HEAD,POST"),
        (Method::POST, "/api/tasks/x", "GET,HEAD,PUT,DELETE"),
        (Method::DELETE, "/api/stats", "GET,HEAD"),
        (Method::GET, "/api/tasks/x/cancel", "POST"),
    ];
    for (method, path, allowed) in cases {
        let answer = platform.request(method, path).send().await;
        assert_eq!(answer.problem(), (405, "method_not_allowed".to_owned()));
        let sorted = |list: &str| list.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(sorted(answer.header("allow")), sorted(allowed), "{path}");
    }
}

#[tokio::test]
async fn api_documentation_needs_no_token() {
    let platform = Platform::start().await;
    let answer = platform.get("/openapi.json").send().await;
    assert_eq!((answer.status(), answer.json()), (200, document().clone()));
    assert_eq!(platform.get("/docs/").send().await.status(), 200);
}
