//! `POST /validate`: checks an access token.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_http::Body;
use miniapp_http::openapi::{BODY, TOKEN};
use miniapp_types::account::{TokenInfo, Validate};
use miniapp_types::problem::Code;

use crate::error::ApiError;

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
/// Checks the signature, the expiry and the session. The body may also be the token alone,
/// as a JSON string.
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
    Body(body): Body<Validate>,
) -> Result<Json<TokenInfo>, ApiError> {
    let info = accounts.introspect(body.token.expose()).await.map_err(|error| {
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
}
