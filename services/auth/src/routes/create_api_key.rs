//! `POST /api-keys`: creates an API key.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_http::Body;
use miniapp_types::account::{CreateApiKey, NewApiKey};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedBody, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::Forbidden, Code::ApiKeyLimit];

/// Create an API key
///
/// The response is the only place where the key is shown: it is stored as a hash. A script or worker
/// sends it to the API as a bearer token. Auth accepts keys only in `POST /validate`. The scopes
/// `worker`, `admin:read` and `admin:write` require the role `admin`, also when the key is used.
#[utoipa::path(
    post,
    path = "/api-keys",
    tag = "keys",
    request_body = CreateApiKey,
    responses((status = 201, description = "The key", body = NewApiKey))
)]
pub(super) async fn create_api_key(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    request: AuthenticatedBody<Body<CreateApiKey>>,
) -> Result<(StatusCode, Json<NewApiKey>), ApiError> {
    let AuthenticatedBody { user, body: Body(request) } = request;
    let created = accounts.create_api_key(&user.0, request, &caller).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miniapp_token::check_api_key;
    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn key_is_shown_once() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        let body = json!({
            "name": "ci \u{2713}", "scopes": ["tasks:write", "tasks:read"],
            "expiresAt": "2031-01-31T12:00:00Z",
        });
        let created = app.send("POST", "/api-keys", Some(&token), Some(body)).await;
        assert_eq!(created.status, 201, "{created:?}");
        let mut created = created.json();
        let key = created.as_object_mut().expect("an object").remove("key").expect("a key");
        let key = key.as_str().expect("text");
        check_api_key(key).expect("a key");
        assert_eq!(created["prefix"], key[..12]);
        assert_eq!(created["name"], "ci \u{2713}");
        assert_eq!(created["scopes"], json!(["tasks:read", "tasks:write"]));
        assert_eq!(created["expiresAt"], "2031-01-31T12:00:00Z");
        assert_eq!(created["createdAt"], "2030-01-01T00:00:00Z");
        assert_eq!(created["lastUsedAt"], json!(null));
        let listed = app.get("/api-keys", &token).await;
        assert!(!String::from_utf8_lossy(&listed.body).contains(key));
        listed.is(200, json!({"apiKeys": [created]}));
    }

    #[tokio::test]
    async fn body_is_validated() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        let create = async |body| app.send("POST", "/api-keys", Some(&token), Some(body)).await;
        let body = json!({"name": "", "scopes": ["king"], "expiresAt": 5, "x": 1});
        create(body).await.has_errors(&["name", "scopes[0]", "expiresAt", "x"]);
        for past in ["2030-01-01T00:00:00Z", "1999-12-31T00:00:00Z"] {
            let body = json!({"name": "n", "scopes": ["tasks:read"], "expiresAt": past});
            create(body).await.has_errors(&["expiresAt"]);
        }
    }

    #[tokio::test]
    async fn scopes_of_admins_require_the_role() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        app.register("ada").await;
        let (root, ada) = (app.sign_in("root").await.access, app.sign_in("ada").await.access);
        for scope in ["worker", "admin:read", "admin:write"] {
            let body = json!({"name": "n", "scopes": ["tasks:read", scope]});
            let create =
                async |token| app.send("POST", "/api-keys", Some(token), Some(body.clone())).await;
            create(&*ada).await.is_problem(403, "forbidden");
            assert_eq!(create(&*root).await.status, 201, "{scope}");
        }
        // Body faults are reported first.
        let body = json!({"name": "", "scopes": ["worker"]});
        let rejected = app.send("POST", "/api-keys", Some(&ada), Some(body)).await;
        rejected.has_errors(&["name"]);
        app.get("/api-keys", &ada).await.is(200, json!({"apiKeys": []}));
    }

    #[tokio::test]
    async fn number_of_keys_is_limited() {
        let app = App::with(&[("MINIAPP__AUTH__API_KEYS_PER_USER", "2")]).await;
        app.register("ada").await;
        app.register("bob").await;
        let ada = app.sign_in("ada").await.access;
        let first = app.create_key(&ada, &["tasks:read"]).await;
        app.create_key(&ada, &["tasks:read"]).await;
        let body = json!({"name": "n", "scopes": ["tasks:read"]});
        let create =
            async |token| app.send("POST", "/api-keys", Some(token), Some(body.clone())).await;
        create(&*ada).await.is_problem(409, "api_key_limit");
        let path = format!("/api-keys/{}", first.id);
        assert_eq!(app.send("DELETE", &path, Some(&ada), None).await.status, 204);
        assert_eq!(create(&*ada).await.status, 201);
        assert_eq!(create(&*app.sign_in("bob").await.access).await.status, 201);
    }

    /// Revoked keys stay stored, so their number needs a limit, too.
    #[tokio::test]
    async fn creation_of_keys_is_limited_over_time() {
        let settings =
            [("MINIAPP__AUTH__API_KEYS_PER_USER", "1000"), ("MINIAPP__AUTH__ACCESS_TTL", "1d")];
        let app = App::with(&settings).await;
        app.register("ada").await;
        let ada = app.sign_in("ada").await.access;
        for _ in 0..200 {
            app.create_key(&ada, &["tasks:read"]).await;
        }
        let body = json!({"name": "n", "scopes": ["tasks:read"]});
        app.clock.advance(Duration::from_hours(23));
        let limited = app.send("POST", "/api-keys", Some(&ada), Some(body.clone())).await;
        limited.is_problem(429, "too_many_requests");
        assert_eq!(limited.header("retry-after"), "3600");
        app.clock.advance(Duration::from_hours(1));
        let ada = app.sign_in("ada").await.access;
        assert_eq!(app.send("POST", "/api-keys", Some(&ada), Some(body)).await.status, 201);
    }
}
