//! What holds for every endpoint, from the table of errors.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::testing::{Answer, Platform, Token};

/// A method and a path of the description, with `{id}` in it.
type Operation = (Method, String);

fn document() -> Value {
    serde_json::to_value(crate::openapi()).expect("JSON")
}

fn operations() -> Vec<Operation> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.clone()));
        }
    }
    assert_eq!(operations.len(), 13);
    operations
}

/// The codes that the description promises for an operation.
fn promised((method, path): &Operation) -> BTreeSet<(u16, String)> {
    let document = document();
    let responses = &document["paths"][path][method.as_str().to_lowercase()]["responses"];
    let mut codes = BTreeSet::new();
    for (status, response) in responses.as_object().expect("responses") {
        let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
        let Some(names) = schema["properties"]["code"]["enum"].as_array() else { continue };
        for name in names {
            let name = name.as_str().expect("a name").to_owned();
            codes.insert((status.parse().expect("a status"), name));
        }
    }
    codes
}

async fn ask(platform: &Platform, operation: &Operation, id: &str, token: &Token) -> Answer {
    let path = operation.1.replace("{id}", id);
    let asking = platform.request(operation.0.clone(), &path).token(token);
    let asking = match operation.0 {
        Method::POST => asking.json(&json!({"description": "d", "data": 1, "ttl": 5})),
        _ => asking,
    };
    asking.send().await
}

fn check(operation: &Operation, answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.problem(), (status, code.to_owned()), "{operation:?}");
    let promised = promised(operation);
    assert!(promised.contains(&(status, code.to_owned())), "{operation:?}: {code}");
}

#[tokio::test]
async fn without_a_good_token_nothing_is_told() {
    let platform = Platform::start().await;
    let (ended, expired) = (platform.auth.sign_in(), platform.auth.sign_in());
    platform.auth.sign_out(&ended).await;
    platform.clock.advance(std::time::Duration::from_secs(901));
    let forged = Token { text: "a.b.c".into(), ..ended.clone() };
    for operation in operations() {
        let path = operation.1.replace("{id}", "no-uuid");
        let answer = platform.request(operation.0.clone(), &path).send().await;
        check(&operation, &answer, 401, "token_missing");
        let answer = ask(&platform, &operation, "no-uuid", &forged).await;
        check(&operation, &answer, 401, "token_invalid");
        let answer = ask(&platform, &operation, "no-uuid", &expired).await;
        check(&operation, &answer, 401, "token_expired");
        let ended = platform.auth.sign_in();
        platform.auth.end_in_silence(&ended);
        let answer = ask(&platform, &operation, "no-uuid", &ended).await;
        check(&operation, &answer, 401, "token_revoked");
    }
    platform.auth.go_down();
    let unseen = platform.auth.sign_in();
    for operation in operations() {
        let answer = ask(&platform, &operation, "no-uuid", &unseen).await;
        check(&operation, &answer, 503, "unavailable");
    }
}

#[tokio::test]
async fn a_task_of_someone_else_is_like_none() {
    let platform = Platform::start().await;
    let (owner, other) = (platform.auth.sign_in(), platform.auth.sign_in());
    let theirs = platform.submit(&owner).await.to_string();
    let deleted = platform.submit(&other).await;
    platform.tasks.delete(other.user, deleted).await.expect("deleted");
    let ids = [theirs, deleted.to_string(), Uuid::nil().to_string(), "no-uuid".to_owned()];
    for operation in operations().iter().filter(|(_, path)| path.starts_with("/api/tasks/{id}")) {
        for id in &ids {
            let answer = ask(&platform, operation, id, &other).await;
            check(operation, &answer, 404, "task_not_found");
        }
    }
}

#[tokio::test]
async fn what_is_for_admins_is_refused_to_others() {
    let platform = Platform::start().await;
    let user = platform.auth.sign_in();
    for operation in operations().iter().filter(|(_, path)| path.contains("dead-letters")) {
        let answer = ask(&platform, operation, &Uuid::nil().to_string(), &user).await;
        check(operation, &answer, 403, "forbidden");
    }
    let answer = platform.get("/api/dead-letters?limit=0").token(&user).send().await;
    assert_eq!(answer.fields(), ["limit"], "faults come before the role");
}

#[tokio::test]
async fn without_the_store_nothing_is_half_done() {
    let platform = Platform::start().await;
    let admin = platform.auth.sign_in_as_admin();
    let id = platform.submit(&admin).await.to_string();
    platform.break_store().await;
    // A stream of what is to come needs no store.
    for operation in operations().iter().filter(|(_, path)| path != "/api/events") {
        let answer = ask(&platform, operation, &id, &admin).await;
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
async fn the_documents_need_no_token() {
    let platform = Platform::start().await;
    let answer = platform.get("/openapi.json").send().await;
    assert_eq!((answer.status(), answer.json()), (200, document()));
    assert_eq!(platform.get("/docs/").send().await.status(), 200);
}
