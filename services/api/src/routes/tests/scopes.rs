//! Scopes of API keys.

use std::time::Duration;

use http::Method;
use miniapp_types::account::Scope;
use miniapp_types::task::EventType;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;
use uuid::Uuid;

use super::{check, send};
use crate::testing::documentation::{Operation, document, operations};
use crate::testing::{Answer, Platform, Token};

/// A stream without an end.
const FEED: &str = "/api/events";
const ADMIN: &[&str] = &["user", "admin"];

/// The scope that the OpenAPI description names for an operation.
fn scope_of((method, path): &Operation) -> Scope {
    let operation = &document()["paths"][path][method.as_str().to_lowercase()];
    let scope = operation["security"][0]["bearer"][0].as_str().expect("a scope");
    assert_eq!(operation["security"], json!([{"bearer": [scope]}]), "{method} {path}");
    let description = operation["description"].as_str().expect("a description");
    assert!(description.ends_with(&format!("\n\nScope: `{scope}`")), "{description}");
    scope.parse().expect("a known scope")
}

fn names(scopes: impl Iterator<Item = Scope>) -> Vec<&'static str> {
    scopes.map(Scope::name).collect()
}

async fn send_to_nothing(platform: &Platform, operation: &Operation, key: &Token) -> Answer {
    send(platform, operation, &Uuid::nil().to_string(), key).await
}

#[tokio::test]
async fn every_operation_requires_its_scope() {
    let platform = Platform::start().await;
    for operation in operations() {
        let scope = scope_of(&operation);
        let others = names(Scope::iter().filter(|other| *other != scope));
        let key = platform.auth.create_key(ADMIN, &others);
        let answer = send_to_nothing(&platform, &operation, &key).await;
        check(&operation, &answer, 403, "scope_missing");
        assert!(answer.header("www-authenticate").ends_with(&format!("scope=\"{scope}\"")));
        // Without reading the body.
        let (method, path) = &operation;
        let invalid = format!("{}?limit=x", path.replace("{id}", "no-uuid"));
        let request = platform.request(method.clone(), &invalid).token(&key);
        let answer = request.body("text/plain", "{").send().await;
        check(&operation, &answer, 403, "scope_missing");

        if path == FEED {
            continue;
        }
        let key = platform.auth.create_key(ADMIN, &[scope.name()]);
        let answer = send_to_nothing(&platform, &operation, &key).await;
        assert!(!matches!(answer.status(), 401 | 403 | 500), "{operation:?}: {answer:?}");
    }
}

#[tokio::test]
async fn scopes_of_admins_require_the_role() {
    let platform = Platform::start().await;
    let all = names(Scope::iter());
    for operation in operations().into_iter().filter(|(_, path)| path != FEED) {
        let is_for_admins = scope_of(&operation).requires_admin();
        let key = platform.auth.create_key(&["user"], &all);
        for token in [key, platform.auth.sign_in()] {
            let answer = send_to_nothing(&platform, &operation, &token).await;
            if is_for_admins {
                check(&operation, &answer, 403, "forbidden");
            } else {
                assert!(!matches!(answer.status(), 401 | 403 | 500), "{operation:?}: {answer:?}");
            }
        }
    }
}

/// The roles count when a request has an effect.
#[tokio::test]
async fn demoted_admin_loses_scopes() {
    let platform = Platform::start().await;
    let key = platform.auth.create_key(ADMIN, &["admin:read", "tasks:read"]);
    let list = async || platform.get("/api/dead-letters").token(&key).send().await.status();
    assert_eq!(list().await, 200);
    platform.auth.set_roles(&key, &["user"]).await;
    crate::testing::eventually("forbidden", async || list().await == 403).await;
    assert_eq!(platform.get("/api/tasks").token(&key).send().await.status(), 200);
}

#[tokio::test]
async fn key_of_an_admin_reads_all_only_with_the_scope() {
    let platform = Platform::start().await;
    platform.submit(&platform.auth.sign_in()).await;
    let without = platform.auth.create_key(ADMIN, &["tasks:read", "admin:write"]);
    let with = platform.auth.create_key(ADMIN, &["tasks:read", "admin:read"]);
    for (key, depth, status) in [(&without, 0, 403), (&with, 1, 200)] {
        let stats = platform.get("/api/stats").token(key).send().await.json();
        assert_eq!(stats["queueDepth"], depth);
        let answer = platform.get("/api/tasks?owner=*").token(key).send().await;
        assert_eq!(answer.status(), status, "{answer:?}");
        let own = platform.get("/api/tasks").token(key).send().await.json();
        assert_eq!(own["tasks"], json!([]));
    }
}

#[tokio::test]
async fn key_works_like_a_token_of_its_owner() {
    let platform = Platform::start().await;
    let key = platform.auth.create_key(&["user"], &["tasks:read", "tasks:write"]);
    let id = platform.submit(&key).await;
    let path = format!("/api/tasks/{id}");
    assert_eq!(platform.get(&path).token(&key).send().await.status(), 200);
    let stranger = platform.auth.create_key(ADMIN, &["tasks:read", "admin:read"]);
    let answer = platform.get(&path).token(&stranger).send().await;
    assert_eq!(answer.problem(), (404, "task_not_found".to_owned()));
    let answer = platform.request(Method::DELETE, &path).token(&key).send().await;
    assert_eq!(answer.status(), 204);
}

#[tokio::test]
async fn key_is_accepted_in_the_header_alone() {
    let platform = Platform::start().await;
    let key = platform.auth.create_key(&["user"], &["tasks:read"]);
    let status = async |path: &str, header: Option<(&str, &str)>| {
        let request = platform.get(path);
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        request.send().await.status()
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme}  {} ", key.text);
        assert_eq!(status("/api/tasks", Some(("AuthoriZation", &value))).await, 200, "{value}");
    }
    let path = format!("/api/tasks?access_token={}", key.text);
    assert_eq!(status(&path, None).await, 401);
    for (name, value) in [
        ("authorization", key.text.clone()),
        ("authorization", format!("Basic {}", key.text)),
        ("authorization", format!("Bearer{}", key.text)),
        ("authorization", format!("Bearer {}", key.text.to_uppercase())),
        ("authorization", format!("Bearer {0},{0}", key.text)),
        ("x-api-key", key.text.clone()),
        ("cookie", format!("token={}", key.text)),
    ] {
        assert_eq!(status("/api/tasks", Some((name, &value))).await, 401, "{name}: {value}");
    }
    let value = format!("Bearer {}", key.text);
    let twice = platform.get("/api/tasks").header("authorization", &value).token(&key);
    assert_eq!(twice.send().await.problem(), (401, "token_invalid".to_owned()));
}

#[tokio::test]
async fn key_that_ends_before_the_body_arrives_is_rejected() {
    let platform = Platform::start().await;
    let body = json!({"description": "d", "data": 1, "ttl": 5});
    for (end, code) in [("revoke", "token_revoked"), ("expire", "token_expired")] {
        let key = platform.auth.create_expiring_key(&["user"], &["tasks:write"], Some(60));
        let delay = async {
            match end {
                "revoke" => platform.auth.revoke_key(&key).await,
                _ => platform.clock.advance(Duration::from_mins(1)),
            }
            let is_known = async || {
                let path = "/api/tasks?limit=1";
                platform.get(path).token(&key).send().await.status() == 401
            };
            crate::testing::eventually("the end is known", is_known).await;
        };
        let request = platform.post("/api/tasks").token(&key);
        let answer = request.send_delayed(&body, delay).await;
        assert_eq!(answer.problem(), (401, code.to_owned()));
        let stats = platform.tasks.stats(Some(key.user)).await.expect("a store");
        assert_eq!(stats.queue_depth, 0, "after {end}");
    }
}

#[tokio::test]
async fn stream_ends_with_its_key() {
    let platform = Platform::start().await;
    for end in ["revoke", "revoke silently", "expire"] {
        let scopes = ["tasks:read", "tasks:write"];
        let key = platform.auth.create_expiring_key(&["user"], &scopes, Some(60));
        let mut events = platform.get("/api/events").token(&key).stream().await;
        platform.submit(&key).await;
        assert_eq!(events.next().await.expect("an event").kind, EventType::Created);
        match end {
            "revoke" => platform.auth.revoke_key(&key).await,
            "revoke silently" => {
                platform.broker.pause();
                platform.auth.revoke_key_silently(&key);
            }
            _ => platform.clock.advance(Duration::from_mins(1)),
        }
        assert!(events.next().await.is_none(), "after {end}");
        platform.broker.resume();
    }
}

/// A stream of an admin goes on when the role is removed: it has the events of own tasks only.
#[tokio::test]
async fn stream_outlives_a_change_of_roles() {
    let platform = Platform::start().await;
    let key = platform.auth.create_key(ADMIN, &["tasks:read", "tasks:write", "admin:read"]);
    let mut events = platform.get("/api/events").token(&key).stream().await;
    platform.auth.set_roles(&key, &["user"]).await;
    let is_demoted = async || {
        let answer = platform.get("/api/tasks?owner=*").token(&key).send().await;
        answer.status() == 403
    };
    crate::testing::eventually("demoted", is_demoted).await;
    crate::testing::skip(Duration::from_secs(1)).await;
    platform.submit(&key).await;
    assert_eq!(events.next().await.expect("an event").kind, EventType::Created);
}

#[tokio::test]
async fn problem_names_the_missing_scope() {
    let platform = Platform::start().await;
    let key = platform.auth.create_key(&["user"], &["tasks:read"]);
    let answer = platform.post("/api/tasks").token(&key).json(&Value::Null).send().await;
    assert_eq!(answer.problem(), (403, "scope_missing".to_owned()));
    assert_eq!(answer.json()["detail"], "the API key lacks the scope tasks:write");
}
