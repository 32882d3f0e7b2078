//! Errors at every endpoint of both services.

mod bodies;
mod endpoints;
mod paths;
mod tokens;

use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Platform, User};
use miniapp_types::problem::Code;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

use crate::platform::support::{new_user, shared};
use endpoints::{Access, ENDPOINTS, Endpoint, Service};

/// A user of each kind.
struct Callers {
    user: User,
    admin: User,
}

impl Callers {
    async fn at(platform: &Platform) -> Self {
        let user = new_user(platform).await;
        let mut admin = new_user(platform).await;
        let granted = platform.program().run(&["admin", "grant", &admin.login]).await;
        assert!(granted.status.success(), "{granted:?}");
        admin.sign_in().await;
        Self { user, admin }
    }

    /// A user that may call this endpoint.
    fn for_access(&self, access: Access) -> &User {
        if access == Access::Admin { &self.admin } else { &self.user }
    }
}

/// A permitted request to the endpoint, with an id that does not exist.
fn request(callers: &Callers, endpoint: &Endpoint) -> reqwest::RequestBuilder {
    let caller = callers.for_access(endpoint.access);
    let path = endpoint.path_with(&uuid::Uuid::new_v4().to_string());
    match endpoint.service {
        Service::Auth => caller.auth(endpoint.method, &path),
        Service::Api => caller.api(endpoint.method, &path),
    }
}

/// Checks that the platform is ready and has logged no internal error.
async fn is_unmoved(platform: &Platform) {
    Answer::to(platform.admin_request("/readyz")).await.expect(200);
    let log = platform.log();
    let faults: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"level\":\"ERROR\"") || line.contains("panicked"))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn code(answer: &Answer) -> Option<Code> {
    answer.status.is_client_error().then(|| answer.problem().code)
}

/// The names of the invalid fields.
fn faulty(answer: &Answer) -> Vec<String> {
    answer.problem().errors.into_iter().map(|error| error.field).collect()
}

/// `body` with another value in one field.
fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[field] = value;
    body
}

#[tokio::test]
async fn endpoints_cover_the_api_description() {
    let platform = shared().await;
    for (service, request) in [
        (Service::Auth, platform.auth_request("GET", "/openapi.json")),
        (Service::Api, platform.api_request("GET", "/openapi.json")),
    ] {
        let document = Answer::to(request).await.expect(200).json();
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        let mut described = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            let methods = item.as_object().expect("methods").keys();
            described.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
        }
        let mut named: Vec<_> = ENDPOINTS
            .iter()
            .filter(|endpoint| endpoint.service == service)
            .map(|endpoint| (endpoint.method.to_owned(), endpoint.path.to_owned()))
            .collect();
        described.sort();
        named.sort();
        assert_eq!(described, named);
    }
}

#[tokio::test]
async fn problem_codes_are_documented() {
    let platform = shared().await;
    for request in [
        platform.auth_request("GET", "/openapi.json"),
        platform.api_request("GET", "/openapi.json"),
    ] {
        let document = Answer::to(request).await.expect(200).json();
        let code = &document["components"]["schemas"]["Problem"]["properties"]["code"];
        let described = code["x-extensible-enum"].as_array().expect("codes");
        for code in Code::iter() {
            assert!(described.contains(&json!(code)), "{code}: {described:?}");
        }
    }
}
