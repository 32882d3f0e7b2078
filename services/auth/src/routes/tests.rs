//! Errors that all endpoints have in common.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::testing::{App, PASSWORD};

/// An endpoint with a valid body and its required fields.
struct Endpoint {
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    required: &'static [&'static str],
    requires_token: bool,
}

fn endpoints() -> Vec<Endpoint> {
    let code = json!({"email": "a@example.com", "code": "123456"});
    let reset = json!({"email": "a@example.com", "code": "123456", "newPassword": PASSWORD});
    let register = json!({"email": "a@example.com", "login": "ada", "password": PASSWORD});
    let sign_in = json!({"login": "ada", "password": PASSWORD});
    let password = json!({"password": PASSWORD, "newPassword": PASSWORD});
    let roles = "/users/01900000-0000-7000-8000-000000000001/roles";
    let disabled = "/users/01900000-0000-7000-8000-000000000001/disabled";
    let session = "/sessions/01900000-0000-7000-8000-000000000001";
    let email = json!({"email": "a@example.com"});
    let key = json!({"name": "n", "scopes": ["tasks:read"]});
    let endpoint = |method, path, body, required, requires_token| Endpoint {
        method,
        path,
        body,
        required,
        requires_token,
    };
    let open = |path, body, required| endpoint("POST", path, Some(body), required, false);
    let bare = |method, path| endpoint(method, path, None, &[], true);
    vec![
        open("/send-verification-code", email.clone(), &["email"]),
        open("/verify-email", code, &["email", "code"]),
        open("/register", register, &["email", "login", "password"]),
        open("/sign-in", sign_in, &["login", "password"]),
        open("/refresh", json!({"refreshToken": "x"}), &["refreshToken"]),
        open("/validate", json!({"token": "x"}), &["token"]),
        open("/password-reset", email, &["email"]),
        open("/password-reset/confirm", reset, &["email", "code", "newPassword"]),
        bare("POST", "/sign-out"),
        bare("GET", "/users/me"),
        endpoint("PUT", "/users/me", Some(json!({})), &[], true),
        bare("DELETE", "/users/me"),
        endpoint("POST", "/users/me/password", Some(password), &["password", "newPassword"], true),
        bare("GET", "/sessions"),
        bare("DELETE", session),
        endpoint("POST", "/api-keys", Some(key), &["name", "scopes"], true),
        bare("GET", "/api-keys"),
        bare("DELETE", "/api-keys/01900000-0000-7000-8000-000000000001"),
        bare("GET", "/users"),
        endpoint("PUT", roles, Some(json!({"roles": ["user"]})), &["roles"], true),
        endpoint("PUT", disabled, Some(json!({"disabled": true})), &["disabled"], true),
        bare("GET", "/audit"),
    ]
}

/// A request with any body and content type.
fn request(
    endpoint: &Endpoint,
    token: &str,
    content_type: &str,
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(endpoint.method).uri(endpoint.path);
    if endpoint.requires_token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if !content_type.is_empty() {
        request = request.header(CONTENT_TYPE, content_type);
    }
    request.body(body.into()).expect("a request")
}

#[tokio::test]
async fn unreadable_bodies_are_rejected() {
    let app = App::new().await;
    app.register("ada").await;
    let token = app.sign_in("ada").await.access;
    let deep = "[".repeat(10_000);
    let large = format!("{{\"email\": \"{}\"}}", "a".repeat(1 << 20));
    let malformed: [&[u8]; 10] = [
        b"",
        b"{",
        b"{\"email\": \"a",
        b"[]",
        b"5",
        b"null",
        b"true",
        b"not json",
        b"{\"email\": \"\xff\"}",
        deep.as_bytes(),
    ];
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.body.is_some()) {
        for body in malformed {
            let response = app
                .send_request(request(endpoint, &token, "application/json", body.to_vec()))
                .await;
            response.is_problem(400, "malformed_body");
        }
        for content_type in ["", "text/plain", "application/x-www-form-urlencoded"] {
            let response = app.send_request(request(endpoint, &token, content_type, "{}")).await;
            response.is_problem(415, "unsupported_media_type");
        }
        let response =
            app.send_request(request(endpoint, &token, "application/json", large.clone())).await;
        response.is_problem(413, "body_too_large");
    }
}

#[tokio::test]
async fn field_errors_are_reported_at_once() {
    let app = App::new().await;
    app.register("ada").await;
    let token = app.sign_in("ada").await.access;
    for endpoint in endpoints() {
        let Endpoint { method, path, body, required, requires_token } = endpoint;
        let Some(body) = body else { continue };
        let token = requires_token.then_some(token.as_str());
        let send = async |body: Value| app.send(method, path, token, Some(body)).await;
        if !required.is_empty() {
            send(json!({})).await.has_errors(required);
        }
        for wrong in [json!(7), json!({"a": 1}), json!("nul\0"), json!("x".repeat(10_000))] {
            let all = required.iter().map(|field| ((*field).to_owned(), wrong.clone())).collect();
            if !required.is_empty() {
                send(Value::Object(all)).await.has_errors(required);
            }
        }
        let mut unknown = body.clone();
        unknown["unknown"] = json!(1);
        send(unknown).await.has_errors(&["unknown"]);
    }
}

#[tokio::test]
async fn invalid_tokens_are_rejected_with_reason() {
    let app = App::new().await;
    app.register("ada").await;
    let revoked = app.sign_in("ada").await.access;
    let active = app.sign_in("ada").await.access;
    let forged = format!("{}x", &active[..active.len() - 1]);
    let assert_rejected = async |endpoint: &Endpoint, token: Option<&str>, code: &str| {
        let response = app.send(endpoint.method, endpoint.path, token, endpoint.body.clone()).await;
        response.is_problem(401, code);
        let challenge = response.header("www-authenticate");
        let expected = if token.is_none() { "Bearer" } else { "Bearer error=\"invalid_token\"" };
        assert_eq!(challenge, expected);
    };
    let endpoints: Vec<Endpoint> = endpoints().into_iter().filter(|e| e.requires_token).collect();
    for endpoint in &endpoints {
        assert_rejected(endpoint, None, "token_missing").await;
        for token in ["", "x", "a.b.c", &*forged, &*"x".repeat(10_000)] {
            assert_rejected(endpoint, Some(token), "token_invalid").await;
        }
        assert_rejected(endpoint, Some(&revoked), "token_revoked").await;
    }
    app.clock.advance(Duration::from_mins(15));
    for endpoint in &endpoints {
        assert_rejected(endpoint, Some(&active), "token_expired").await;
    }
}

/// Authorization is evaluated when the effect happens, not when the header arrives.
#[tokio::test]
async fn token_that_ends_before_the_body_arrives_is_rejected() {
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.requires_token) {
        let Endpoint { method, path, body: Some(body), .. } = endpoint else { continue };
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        let root = app.register("root").await;
        let target = app.register("ada").await;
        // An admin who remains, and repairs the account of root after each case.
        let other = app.register("other").await;
        let id = |account: &Value| account["userId"].as_str().expect("an id").to_owned();
        let path = path.replace("01900000-0000-7000-8000-000000000001", &id(&target));
        let own_roles = format!("/users/{}/roles", id(&root));
        let own_disabled = format!("/users/{}/disabled", id(&root));
        let admin = json!({"roles": ["user", "admin"]});
        let token = app.sign_in("root").await.access;
        let other_roles = format!("/users/{}/roles", id(&other));
        assert_eq!(app.put(&other_roles, &token, admin.clone()).await.status, 200);
        let promote = async || {
            let token = app.sign_in("other").await.access;
            assert_eq!(app.put(&own_roles, &token, admin.clone()).await.status, 200);
        };
        // Each ends the access token, and leaves the account for the next case.
        for (end, code) in [
            ("sign out", "token_revoked"),
            ("refresh", "token_revoked"),
            ("expire", "token_expired"),
            ("demote", "token_revoked"),
            ("disable", "token_revoked"),
            ("delete", "token_revoked"),
        ] {
            let session = app.sign_in("root").await;
            let token = &session.access;
            let delay = async {
                let status = match end {
                    "sign out" => app.send("POST", "/sign-out", Some(token), None).await.status,
                    "refresh" => {
                        app.post("/refresh", json!({"refreshToken": session.refresh})).await.status
                    }
                    "expire" => {
                        app.clock.advance(Duration::from_mins(15));
                        200
                    }
                    "disable" => {
                        let token = app.sign_in("other").await.access;
                        let disabled = async |disabled: bool| {
                            let body = json!({ "disabled": disabled });
                            app.put(&own_disabled, &token, body).await.status
                        };
                        assert_eq!(disabled(true).await, 200);
                        // Enabling it does not revive its sessions.
                        disabled(false).await
                    }
                    "demote" => app.put(&own_roles, token, json!({"roles": ["user"]})).await.status,
                    _ => app.send("DELETE", "/users/me", Some(token), None).await.status,
                };
                assert!(status < 300, "{end}: {status}");
            };
            let response = app.send_delayed(method, &path, token, body, delay).await;
            response.is_problem(401, code);
            if end == "demote" {
                promote().await;
            }
        }
        // Also not after a new sign-in, and nothing was changed.
        assert_eq!(target, app.get("/users/me", &app.sign_in("ada").await.access).await.json());
    }
}

/// A key gives access to the API, not to the account.
#[tokio::test]
async fn api_keys_are_rejected() {
    let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
    let account = app.register("root").await;
    let token = app.sign_in("root").await.access;
    let all =
        ["tasks:read", "tasks:write", "schedules:write", "worker", "admin:read", "admin:write"];
    let key = app.create_key(&token, &all).await.text;
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.requires_token) {
        let body = endpoint.body.clone();
        for key in [key.clone(), format!(" {key} ")] {
            let response = app.send(endpoint.method, endpoint.path, Some(&key), body.clone()).await;
            response.is_problem(401, "token_invalid");
        }
        let path = format!("{}?access_token={key}", endpoint.path);
        let response = app.send(endpoint.method, &path, None, body).await;
        response.is_problem(401, "token_missing");
    }
    app.post("/refresh", json!({"refreshToken": key})).await.is_problem(401, "token_invalid");
    app.get("/users/me", &token).await.is(200, account);
}

/// A demoted admin does not become an admin again with a request that was on its way.
#[tokio::test]
async fn demoted_admin_cannot_complete_a_delayed_promotion() {
    let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
    app.register("root").await;
    let ada = app.register("ada").await;
    let roles = format!("/users/{}/roles", ada["userId"].as_str().expect("an id"));
    let root = app.sign_in("root").await.access;
    app.put(&roles, &root, json!({"roles": ["user", "admin"]})).await;
    let token = app.sign_in("ada").await.access;
    let promotion = json!({"roles": ["user", "admin"]});
    let demotion = async {
        assert_eq!(app.put(&roles, &root, json!({"roles": ["user"]})).await.status, 200);
    };
    let response = app.send_delayed("PUT", &roles, &token, &promotion, demotion).await;
    response.is_problem(401, "token_revoked");
    let token = app.sign_in("ada").await.access;
    assert_eq!(app.get("/users/me", &token).await.json()["roles"], json!(["user"]));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_rejected() {
    let app = App::new().await;
    for path in ["/nothing", "/users/me/", "/register/x", "/sessions/1/2"] {
        app.send("GET", path, None, None).await.is_problem(404, "not_found");
    }
    for Endpoint { path, .. } in endpoints() {
        let response = app.send("PATCH", path, None, None).await;
        response.is_problem(405, "method_not_allowed");
        assert!(!response.header("allow").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn public_endpoints_are_rate_limited_by_address() {
    let app = App::with(&[("MINIAPP__LIMITS__PER_IP", "7")]).await;
    let peer = [192, 0, 2, 1];
    let open: Vec<Endpoint> = endpoints().into_iter().filter(|e| !e.requires_token).collect();
    for Endpoint { path, body, .. } in &open {
        let body = body.clone().expect("a body");
        let response = app.post_from(peer, path, body).await;
        assert_ne!(response.status, 429, "{path}");
    }
    for Endpoint { path, body, .. } in &open {
        let body = body.clone().expect("a body");
        let response = app.post_from(peer, path, body.clone()).await;
        if *path == "/validate" {
            // The API validates the tokens of all its clients.
            response.is_problem(400, "token_invalid");
        } else {
            response.is_problem(429, "too_many_requests");
        }
        let other = app.post_from([192, 0, 2, 2], path, body).await;
        assert!(
            other.status != 429 || *path == "/send-verification-code" || *path == "/password-reset"
        );
    }
}

#[tokio::test]
async fn session_records_client_address() {
    let app = App::new().await;
    app.register("ada").await;
    let body = json!({"login": "ada", "password": PASSWORD});
    let signed_in = app.post_from([192, 0, 2, 1], "/sign-in", body).await.json();
    let token = signed_in["authToken"].as_str().expect("a token");
    let sessions = app.get("/sessions", token).await.json();
    assert_eq!(sessions["sessions"][0]["ip"], "192.0.2.1");
}
