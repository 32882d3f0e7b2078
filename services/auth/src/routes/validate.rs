//! `POST /validate`: checks an access token or an API key.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_http::Body;
use miniapp_http::openapi::{BODY, TOKEN};
use miniapp_types::account::{TokenInfo, Validate};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::ClientInfo;

/// The problems with their statuses. The token is the subject of the request, not its
/// credential, so an invalid one is a bad request here.
pub(super) fn problems() -> impl Iterator<Item = (u16, Code)> {
    let usual = BODY.iter().chain(&[Code::Unavailable, Code::Internal]);
    let usual = usual.map(|code| (code.status(), *code));
    let about = TOKEN.iter().filter(|code| **code != Code::TokenMissing);
    usual.chain(about.map(|code| (400, *code)))
}

/// Check a token
///
/// Checks the signature, the expiry and the session of an access token. Also checks API keys, and
/// records their use. The body may also be the token alone, as a JSON string.
#[utoipa::path(
    post,
    path = "/validate",
    operation_id = "validate_token",
    tag = "tokens",
    security(()),
    request_body = Validate,
    responses((status = 200, description = "The owner of the token", body = TokenInfo))
)]
pub(super) async fn validate(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    Body(body): Body<Validate>,
) -> Result<Json<TokenInfo>, ApiError> {
    let info = accounts.introspect(body.token.expose(), &caller).await.map_err(|error| {
        let is_token_error = error.code().is_some();
        let problem = ApiError::from(error).into_problem();
        if is_token_error { problem.status(StatusCode::BAD_REQUEST) } else { problem }
    });
    Ok(Json(info?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn valid_token_returns_its_owner() {
        let app = App::new().await;
        let account = app.register("ada").await;
        let session = app.sign_in("ada").await;
        let expected = json!({
            "active": true,
            "sub": account["userId"],
            "login": "ada",
            "roles": ["user"],
            "exp": 1_893_456_000 + 900,
            "sessionId": session.id,
        });
        for body in [json!({"token": session.access}), json!(session.access)] {
            app.post("/validate", body).await.is(200, expected.clone());
        }
    }

    #[tokio::test]
    async fn invalid_token_is_a_bad_request() {
        let app = App::new().await;
        app.register("ada").await;
        let session = app.sign_in("ada").await;
        let (head, signature) = session.access.rsplit_once('.').expect("a signature");
        let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
        for token in ["x", "a.b.c", &*session.refresh, &*forged] {
            let response = app.post("/validate", json!({ "token": token })).await;
            response.is_problem(400, "token_invalid");
            assert_eq!(response.header("www-authenticate"), "");
        }
        let newer = app.sign_in("ada").await;
        app.post("/validate", json!(session.access)).await.is_problem(400, "token_revoked");
        app.clock.advance(Duration::from_mins(15));
        app.post("/validate", json!(newer.access)).await.is_problem(400, "token_expired");
        app.post("/validate", json!("")).await.has_errors(&["token"]);
    }

    #[tokio::test]
    async fn valid_key_returns_its_owner_and_scopes() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        let account = app.register("root").await;
        let token = app.sign_in("root").await.access;
        let key = app.create_key(&token, &["worker", "tasks:read"]).await;
        let mut expected = json!({
            "active": true,
            "sub": account["userId"],
            "login": "root",
            "roles": ["user", "admin"],
            "apiKey": {"id": key.id, "scopes": ["tasks:read", "worker"], "epoch": 1},
        });
        for body in [json!({"token": key.text}), json!(key.text)] {
            app.post("/validate", body).await.is(200, expected.clone());
        }
        let body = json!({
            "name": "n", "scopes": ["tasks:read"], "expiresAt": "2030-01-01T00:00:07.9Z",
        });
        let expiring = app.send("POST", "/api-keys", Some(&token), Some(body)).await.json();
        let validate = async || app.post("/validate", json!({"token": expiring["key"]})).await;
        expected["apiKey"] = json!({"id": expiring["id"], "scopes": ["tasks:read"], "epoch": 1});
        expected["exp"] = json!(1_893_456_007);
        app.clock.advance(Duration::from_secs(6));
        validate().await.is(200, expected);
        app.clock.advance(Duration::from_secs(1));
        validate().await.is_problem(400, "token_expired");
        let path = format!("/api-keys/{}", expiring["id"].as_str().expect("an id"));
        assert_eq!(app.send("DELETE", &path, Some(&token), None).await.status, 204);
        validate().await.is_problem(400, "token_revoked");
    }

    #[tokio::test]
    async fn invalid_key_is_a_bad_request() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        let key = app.create_key(&token, &["tasks:read"]).await.text;
        let unknown = miniapp_token::generate_api_key().expect("a key");
        for key in [
            "mak_",
            &key[..key.len() - 1],
            &*key.to_lowercase(),
            &*format!("{key}0"),
            &*format!(" {key}"),
            unknown.expose(),
        ] {
            let response = app.post("/validate", json!({"token": key})).await;
            response.is_problem(400, "token_invalid");
        }
    }

    #[tokio::test]
    async fn key_ends_with_its_account() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        let ada = app.register("ada").await;
        let bob = app.register("bob").await;
        let root = app.sign_in("root").await.access;
        let disabled = async |account: &serde_json::Value, disabled: bool| {
            let path = format!("/users/{}/disabled", account["userId"].as_str().expect("an id"));
            app.put(&path, &root, json!({"disabled": disabled})).await
        };
        let mut events = app.subscribe(miniapp_broker::Topic::Sessions).await;
        for (login, account) in [("ada", &ada), ("bob", &bob)] {
            let session = app.sign_in(login).await;
            assert_eq!(events.next().await, (session.id, Some(1)));
            let key = app.create_key(&session.access, &["tasks:read"]).await;
            if login == "ada" {
                assert_eq!(disabled(account, true).await.status, 200);
            } else {
                let deleted = app.send("DELETE", "/users/me", Some(&session.access), None).await;
                assert_eq!(deleted.status, 204);
            }
            // Announced at once.
            let ended = [events.next().await, events.next().await];
            assert_eq!(ended, [(session.id, None), (key.id, None)]);
            let validate = async || app.post("/validate", json!({"token": key.text})).await;
            validate().await.is_problem(400, "token_revoked");
            if login == "ada" {
                assert_eq!(disabled(account, false).await.status, 200);
                validate().await.is_problem(400, "token_revoked");
            }
        }
    }

    #[tokio::test]
    async fn change_of_roles_reaches_keys_at_once() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        let ada = app.register("ada").await;
        let root = app.sign_in("root").await.access;
        let path = format!("/users/{}/roles", ada["userId"].as_str().expect("an id"));
        let key = app.create_key(&app.sign_in("ada").await.access, &["tasks:read"]).await;
        let mut events = app.subscribe(miniapp_broker::Topic::Sessions).await;
        for (epoch, roles) in [(2, json!(["user", "admin"])), (3, json!(["user"]))] {
            assert_eq!(app.put(&path, &root, json!({"roles": roles})).await.status, 200);
            assert_eq!(events.next().await.1, Some(epoch), "the session");
            assert_eq!(events.next().await, (key.id, Some(epoch)));
            let info = app.post("/validate", json!({"token": key.text})).await.json();
            assert_eq!((&info["roles"], &info["apiKey"]["epoch"]), (&roles, &json!(epoch)));
        }
    }
}
