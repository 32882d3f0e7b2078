//! The table of errors, over every endpoint of both services.

mod bodies;
mod endpoints;
mod paths;
mod tokens;

use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Platform, User};
use miniapp_types::problem::Code;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

use crate::platform::support::{shared, somebody};
use endpoints::{Access, ENDPOINTS, Endpoint, Service};

/// Everybody that a request can come from.
struct Callers {
    user: User,
    admin: User,
}

impl Callers {
    async fn at(platform: &Platform) -> Self {
        let user = somebody(platform).await;
        let mut admin = somebody(platform).await;
        let granted = platform.program().run(&["admin", "grant", &admin.login]).await;
        assert!(granted.status.success(), "{granted:?}");
        admin.sign_in().await;
        Self { user, admin }
    }

    /// Who may ask this; for open endpoints anybody.
    fn for_access(&self, access: Access) -> &User {
        if access == Access::Admin { &self.admin } else { &self.user }
    }
}

/// A request of a caller who may ask it, to the endpoint's path with an id of nothing.
fn request(callers: &Callers, endpoint: &Endpoint) -> reqwest::RequestBuilder {
    let caller = callers.for_access(endpoint.access);
    let path = endpoint.path_with(&uuid::Uuid::new_v4().to_string());
    match endpoint.service {
        Service::Auth => caller.auth(endpoint.method, &path),
        Service::Api => caller.api(endpoint.method, &path),
    }
}

/// Whatever it was told, the platform is well and finds no fault with itself.
async fn is_unmoved(platform: &Platform) {
    Answer::to(platform.ask_admin("/readyz")).await.expect(200);
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

/// The names of the fields at fault.
fn faulty(answer: &Answer) -> Vec<String> {
    answer.problem().errors.into_iter().map(|error| error.field).collect()
}

/// `body` with another value of one field.
fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[field] = value;
    body
}

#[tokio::test]
async fn the_table_names_every_endpoint_that_is_described() {
    let platform = shared().await;
    for (service, request) in [
        (Service::Auth, platform.ask_auth("GET", "/openapi.json")),
        (Service::Api, platform.ask_api("GET", "/openapi.json")),
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
async fn every_code_is_described() {
    let platform = shared().await;
    for request in
        [platform.ask_auth("GET", "/openapi.json"), platform.ask_api("GET", "/openapi.json")]
    {
        let document = Answer::to(request).await.expect(200).json();
        let described = &document["components"]["schemas"]["Code"];
        let described = described["enum"].as_array().or(described["oneOf"].as_array());
        let described = json!(described.expect("codes")).to_string();
        for code in Code::iter() {
            assert!(described.contains(&format!("\"{code}\"")), "{code}: {described}");
        }
    }
}
