//! Unknown paths, methods and ids.

use std::collections::{BTreeMap, BTreeSet};

use miniapp_test_support::http::{Answer, client, method};
use miniapp_types::problem::Code;

use super::endpoints::{ENDPOINTS, Service};
use super::{Callers, code, is_unmoved, request};
use crate::platform::support::shared;

#[tokio::test]
async fn unknown_path_is_not_found() {
    let platform = shared().await;
    for path in [
        "/",
        "/api",
        "/api/",
        "/nowhere",
        "/api/tasks/",
        "/api/tasks/a/b/c",
        "/users/",
        "//",
        "/%00",
        "/..%2f..%2fetc%2fpasswd",
        "/docs/nowhere",
        "/readyz",
        "/metrics",
        "/%ff%fe",
    ] {
        for request in [platform.auth_request("GET", path), platform.api_request("GET", path)] {
            let answer = Answer::to(request).await;
            assert_eq!(code(&answer), Some(Code::NotFound), "{answer:?}");
        }
    }
    let long = format!("/{}", "a".repeat(8000));
    Answer::to(platform.api_request("GET", &long)).await.expect_problem(Code::NotFound);
    is_unmoved(&platform).await;
}

#[tokio::test]
async fn wrong_method_is_rejected_with_allowed_ones() {
    let platform = shared().await;
    let mut methods: BTreeMap<(String, &str), BTreeSet<&str>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let url = match endpoint.service {
            Service::Auth => platform.auth(),
            Service::Api => platform.api(),
        };
        methods.entry((url, endpoint.path)).or_default().insert(endpoint.method);
    }
    for ((url, path), allowed) in methods {
        let path = path.replace("{id}", &uuid::Uuid::nil().to_string());
        for name in ["GET", "POST", "PUT", "DELETE", "PATCH", "BREW"] {
            if allowed.contains(name) {
                continue;
            }
            let answer = Answer::to(client().request(method(name), format!("{url}{path}"))).await;
            assert_eq!(code(&answer), Some(Code::MethodNotAllowed), "{answer:?}");
            let allow: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
            assert!(allow.is_superset(&allowed), "{answer:?}");
            assert!(!allow.contains(name), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn unknown_id_is_not_found() {
    let platform = shared().await;
    let callers = Callers::at(&platform).await;
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.path.contains("{id}")) {
        let caller = callers.for_access(endpoint.access);
        for id in ["nothing", "1", "%00", "%ff", "%F0%9F%A6%80", "00000000-0000-0000-0000", "{id}"]
        {
            let path = endpoint.path_with(id);
            let request = match endpoint.service {
                Service::Auth => caller.auth(endpoint.method, &path),
                Service::Api => caller.api(endpoint.method, &path),
            };
            let request = match endpoint.body {
                Some(sample) => request.json(&(sample.value)()),
                None => request,
            };
            let answer = Answer::to(request).await.expect(404);
            answer.problem();
        }
        let request = match endpoint.body {
            Some(sample) => request(&callers, endpoint).json(&(sample.value)()),
            None => request(&callers, endpoint),
        };
        let answer = Answer::to(request).await.expect(404);
        let known =
            [Code::TaskNotFound, Code::SessionNotFound, Code::ApiKeyNotFound, Code::UserNotFound];
        assert!(known.contains(&answer.problem().code), "{answer:?}");
    }
    is_unmoved(&platform).await;
}
