//! `POST /validate`: says whether a token is valid.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_http::Body;
use miniapp_http::openapi::{BODY, TOKEN};
use miniapp_types::account::{TokenInfo, Validate};
use miniapp_types::problem::Code;

use crate::error::ApiError;

/// The problems with their statuses: the token is what is asked about, not what allows
/// to ask, so what would be 401 elsewhere is a bad request here.
pub(super) fn problems() -> impl Iterator<Item = (u16, Code)> {
    let usual = BODY.iter().chain(&[Code::Unavailable, Code::Internal]);
    let usual = usual.map(|code| (code.status(), *code));
    let about = TOKEN.iter().filter(|code| **code != Code::TokenMissing);
    usual.chain(about.map(|code| (400, *code)))
}

/// Check a token
///
/// By its signature, its time and its session, as of now. Instead of the object the token
/// may come alone, as a JSON string.
#[utoipa::path(
    post,
    path = "/validate",
    tag = "tokens",
    security(()),
    request_body = Validate,
    responses((status = 200, description = "Who holds the token", body = TokenInfo))
)]
pub(super) async fn validate(
    State(accounts): State<Accounts>,
    Body(body): Body<Validate>,
) -> Result<Json<TokenInfo>, ApiError> {
    let told = accounts.introspect(body.token.expose()).await.map_err(|error| {
        let is_about_the_token = error.code().is_some();
        let problem = ApiError::from(error).into_problem();
        if is_about_the_token { problem.status(StatusCode::BAD_REQUEST) } else { problem }
    });
    Ok(Json(told?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn a_valid_token_says_who_holds_it() {
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
    async fn an_invalid_token_is_a_bad_request_that_says_why() {
        let app = App::new().await;
        app.register("ada").await;
        let session = app.sign_in("ada").await;
        let (head, signature) = session.access.rsplit_once('.').expect("a signature");
        let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
        for token in ["x", "a.b.c", &*session.refresh, &*forged] {
            let answer = app.post("/validate", json!({ "token": token })).await;
            answer.is_problem(400, "token_invalid");
            assert_eq!(answer.header("www-authenticate"), "");
        }
        let newer = app.sign_in("ada").await;
        app.post("/validate", json!(session.access)).await.is_problem(400, "token_revoked");
        app.clock.advance(Duration::from_mins(15));
        app.post("/validate", json!(newer.access)).await.is_problem(400, "token_expired");
        app.post("/validate", json!("")).await.has_faults(&["token"]);
    }
}
