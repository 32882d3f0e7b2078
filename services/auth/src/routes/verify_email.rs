//! `POST /verify-email`: verifies an address with a code.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_accounts::requests::Verification;
use miniapp_http::Body;
use miniapp_types::account::{EmailVerified, VerifyEmail};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::registration_cookie::SetRegistrationCookie;
use crate::token::ClientInfo;

pub(super) const PROBLEMS: &[Code] = &[Code::CodeInvalid, Code::TooManyRequests];

/// Verify an address
///
/// A code is valid for ten minutes and five attempts. A verified address allows one
/// registration, by the client that has the token. The token is also set as the cookie
/// `registration`.
#[utoipa::path(
    post,
    path = "/verify-email",
    tag = "sign-up",
    security(()),
    request_body = VerifyEmail,
    responses((
        status = 200,
        description = "The address is verified",
        body = EmailVerified,
        headers(("Set-Cookie" = String, description = "The token, for `POST /register`"))
    ))
)]
pub(super) async fn verify_email(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    Body(verification): Body<Verification>,
) -> Result<(SetRegistrationCookie, Json<EmailVerified>), ApiError> {
    let verified = accounts.verify_email(verification, &caller).await?;
    let cookie = SetRegistrationCookie::new(&verified.registration_token);
    Ok((cookie, Json(verified)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::App;

    const ADDRESS: &str = "ada@example.com";

    #[tokio::test]
    async fn code_works_once() {
        let app = App::new().await;
        let code = app.code_for(ADDRESS).await;
        let body = json!({"email": "ADA@example.com", "code": format!(" {code} ")});
        let verified = app.post("/verify-email", body.clone()).await;
        let expected = json!({
            "email": ADDRESS,
            "verifiedUntil": "2030-01-01T01:00:00Z",
            "registrationToken": verified.json()["registrationToken"],
        });
        verified.is(200, expected);
        app.post("/verify-email", body).await.is_problem(400, "code_invalid");
    }

    #[tokio::test]
    async fn wrong_unknown_and_expired_codes_are_indistinguishable() {
        let app = App::new().await;
        let code = app.code_for(ADDRESS).await;
        let verify = async |email: &str, code: &str| {
            app.post("/verify-email", json!({"email": email, "code": code})).await
        };
        for (email, code) in
            [(ADDRESS, "x"), ("bob@example.com", &*code), (ADDRESS, "\u{661}23456")]
        {
            verify(email, code).await.is_problem(400, "code_invalid");
        }
        app.clock.advance(Duration::from_mins(10));
        verify(ADDRESS, &code).await.is_problem(400, "code_invalid");
    }

    #[tokio::test]
    async fn five_wrong_attempts_invalidate_code() {
        let app = App::new().await;
        let code = app.code_for(ADDRESS).await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for code in [wrong; 5].into_iter().chain([&*code]) {
            let tried = app.post("/verify-email", json!({"email": ADDRESS, "code": code})).await;
            tried.is_problem(400, "code_invalid");
        }
    }
}
