//! `POST /password-reset`: sends a reset code.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_accounts::requests::Addressee;
use miniapp_http::Body;
use miniapp_types::account::{CodeSent, SendCode};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::ClientInfo;

pub(super) const PROBLEMS: &[Code] = &[Code::TooManyRequests];

/// Request a password reset
///
/// Sends a code of eight letters and digits to the address if it has an account. The response
/// is the same in either case.
#[utoipa::path(
    post,
    path = "/password-reset",
    operation_id = "request_password_reset",
    tag = "account",
    security(()),
    request_body = SendCode,
    responses((status = 202, description = "A code will be sent if there is an account", body = CodeSent))
)]
pub(super) async fn request_reset(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    Body(Addressee(email)): Body<Addressee>,
) -> Result<(StatusCode, Json<CodeSent>), ApiError> {
    let sent = accounts.request_reset(email, &caller).await?;
    Ok((StatusCode::ACCEPTED, Json(sent)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn only_registered_address_gets_code_with_same_response() {
        let app = App::new().await;
        app.register("ada").await;
        let known = app.post("/password-reset", json!({"email": "Ada@example.com"})).await;
        let unknown = app.post("/password-reset", json!({"email": "bob@example.com"})).await;
        known.is(202, json!({"expiresIn": 600, "retryAfter": 60}));
        unknown.is(202, json!({"expiresIn": 600, "retryAfter": 60}));
        assert!(app.mail_to("ada@example.com").await.code().is_some());
        assert!(app.mails().await.iter().all(|mail| mail.to != "bob@example.com"));
        for email in ["ada@example.com", "bob@example.com"] {
            let again = app.post("/password-reset", json!(email)).await;
            again.is_problem(429, "too_many_requests");
        }
    }
}
