//! Every endpoint of both services.

use serde_json::{Value, json};

/// The service that serves an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Auth,
    Api,
}

/// The users that may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Public,
    User,
    Admin,
}

/// An endpoint and a valid body.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    pub service: Service,
    pub method: &'static str,
    pub path: &'static str,
    pub access: Access,
    pub body: Option<Sample>,
}

/// A body with valid fields. The request itself may be rejected.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub value: fn() -> Value,
    /// Optional fields.
    pub optional: &'static [&'static str],
    /// Whether a JSON string is accepted in place of the object.
    pub may_be_missing: bool,
}

impl Endpoint {
    /// The path with this id.
    pub fn path_with(&self, id: &str) -> String {
        self.path.replace("{id}", id)
    }
}

const fn plain(
    service: Service,
    access: Access,
    method: &'static str,
    path: &'static str,
) -> Endpoint {
    Endpoint { service, method, path, access, body: None }
}

const fn with_body(
    endpoint: Endpoint,
    value: fn() -> Value,
    optional: &'static [&'static str],
) -> Endpoint {
    Endpoint { body: Some(Sample { value, optional, may_be_missing: false }), ..endpoint }
}

const fn or_missing_body(endpoint: Endpoint, value: fn() -> Value) -> Endpoint {
    Endpoint { body: Some(Sample { value, optional: &[], may_be_missing: true }), ..endpoint }
}

fn address() -> Value {
    json!({ "email": "nobody@example.com" })
}

fn code() -> Value {
    json!({ "email": "nobody@example.com", "code": "000000" })
}

fn registration() -> Value {
    json!({
        "email": "nobody@example.com",
        "registrationToken": "x",
        "login": "nobody",
        "password": "correct horse battery",
        "passwordConfirm": "correct horse battery",
        "birthDate": "1990-01-31",
        "phoneNumber": "+44 20 7946 0000",
    })
}

fn password() -> Value {
    json!({ "login": "nobody", "password": "correct horse battery" })
}

fn refresh() -> Value {
    json!({ "refreshToken": "unknown" })
}

fn token() -> Value {
    json!({ "token": "unknown" })
}

fn account() -> Value {
    json!({ "login": "nobody", "birthDate": "1990-01-31", "phoneNumber": "+44 20 7946 0000" })
}

fn passwords() -> Value {
    json!({ "password": "not this one", "newPassword": "correct horse battery" })
}

fn reset() -> Value {
    json!({
        "email": "nobody@example.com", "code": "000000", "newPassword": "correct horse battery",
    })
}

fn key() -> Value {
    json!({ "name": "a key", "scopes": ["tasks:read"], "expiresAt": "2099-01-01T00:00:00Z" })
}

fn roles() -> Value {
    json!({ "roles": ["user"] })
}

fn disabled() -> Value {
    json!({ "disabled": true })
}

fn submission() -> Value {
    json!({
        "description": "a test",
        "data": "text",
        "ttl": 60,
        "kind": "echo",
        "queue": "default",
        "maxAttempts": 3,
        "runAt": "2099-01-01T00:00:00Z",
    })
}

fn claims() -> Value {
    json!({
        "worker": "a worker",
        "kinds": [{ "name": "unknown" }],
        "queues": ["unused"],
        "max": 1,
        "waitSeconds": 0,
    })
}

fn heartbeats() -> Value {
    json!({ "worker": "a worker", "claims": [] })
}

fn outcomes() -> Value {
    json!({ "worker": "a worker", "outcomes": [] })
}

use Access::{Admin, Public, User};
use Service::{Api, Auth};

pub const ENDPOINTS: &[Endpoint] = &[
    or_missing_body(plain(Auth, Public, "POST", "/send-verification-code"), address),
    with_body(plain(Auth, Public, "POST", "/verify-email"), code, &[]),
    with_body(
        plain(Auth, Public, "POST", "/register"),
        registration,
        &["registrationToken", "passwordConfirm", "birthDate", "phoneNumber"],
    ),
    with_body(plain(Auth, Public, "POST", "/sign-in"), password, &[]),
    with_body(plain(Auth, Public, "POST", "/refresh"), refresh, &[]),
    or_missing_body(plain(Auth, Public, "POST", "/validate"), token),
    or_missing_body(plain(Auth, Public, "POST", "/password-reset"), address),
    with_body(plain(Auth, Public, "POST", "/password-reset/confirm"), reset, &[]),
    plain(Auth, Public, "GET", "/.well-known/jwks.json"),
    plain(Auth, User, "POST", "/sign-out"),
    plain(Auth, User, "GET", "/users/me"),
    with_body(
        plain(Auth, User, "PUT", "/users/me"),
        account,
        &["login", "birthDate", "phoneNumber"],
    ),
    plain(Auth, User, "DELETE", "/users/me"),
    with_body(plain(Auth, User, "POST", "/users/me/password"), passwords, &[]),
    plain(Auth, User, "GET", "/sessions"),
    plain(Auth, User, "DELETE", "/sessions/{id}"),
    with_body(plain(Auth, User, "POST", "/api-keys"), key, &["expiresAt"]),
    plain(Auth, User, "GET", "/api-keys"),
    plain(Auth, User, "DELETE", "/api-keys/{id}"),
    plain(Auth, Admin, "GET", "/users"),
    with_body(plain(Auth, Admin, "PUT", "/users/{id}/roles"), roles, &[]),
    with_body(plain(Auth, Admin, "PUT", "/users/{id}/disabled"), disabled, &[]),
    plain(Auth, Admin, "GET", "/audit"),
    with_body(
        plain(Api, User, "POST", "/api/tasks"),
        submission,
        &["kind", "queue", "maxAttempts", "runAt"],
    ),
    plain(Api, User, "GET", "/api/tasks"),
    plain(Api, User, "GET", "/api/tasks/{id}"),
    plain(Api, User, "PUT", "/api/tasks/{id}"),
    plain(Api, User, "DELETE", "/api/tasks/{id}"),
    plain(Api, User, "POST", "/api/tasks/{id}/cancel"),
    plain(Api, User, "GET", "/api/tasks/{id}/events"),
    plain(Api, User, "GET", "/api/events"),
    plain(Api, User, "GET", "/api/kinds"),
    plain(Api, User, "GET", "/api/queues"),
    plain(Api, User, "GET", "/api/workers"),
    plain(Api, User, "GET", "/api/stats"),
    plain(Api, Admin, "GET", "/api/dead-letters"),
    plain(Api, Admin, "POST", "/api/dead-letters/{id}/requeue"),
    with_body(plain(Api, Admin, "POST", "/worker/v1/claims"), claims, &["queues"]),
    with_body(plain(Api, Admin, "POST", "/worker/v1/heartbeats"), heartbeats, &[]),
    with_body(plain(Api, Admin, "POST", "/worker/v1/outcomes"), outcomes, &[]),
];
