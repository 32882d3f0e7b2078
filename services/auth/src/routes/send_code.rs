//! `POST /send-verification-code`: sends a code to an address.

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

/// Request a verification code
///
/// Sends six digits to the address. The response is the same whether or not it has an
/// account; the owner of an account gets a mail about it. The body may also be the address
/// alone, as a JSON string.
#[utoipa::path(
    post,
    path = "/send-verification-code",
    operation_id = "send_verification_code",
    tag = "sign-up",
    security(()),
    request_body = SendCode,
    responses((status = 202, description = "A code will be sent", body = CodeSent))
)]
pub(super) async fn send_code(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    Body(Addressee(email)): Body<Addressee>,
) -> Result<(StatusCode, Json<CodeSent>), ApiError> {
    let sent = accounts.send_verification_code(email, &caller).await?;
    Ok((StatusCode::ACCEPTED, Json(sent)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn code_is_sent_with_cooldown() {
        let app = App::new().await;
        let path = "/send-verification-code";
        let sent = app.post(path, json!({"email": "Ada@Example.com"})).await;
        sent.is(202, json!({"expiresIn": 600, "retryAfter": 60}));
        // The local part as it was typed.
        let mail = app.mail_to("Ada@example.com").await;
        assert!(mail.code().is_some(), "{mail:?}");

        app.clock.advance(Duration::from_millis(1500));
        let early = app.post(path, json!("ada@example.com")).await;
        early.is_problem(429, "too_many_requests");
        assert_eq!(early.header("retry-after"), "59");
        app.clock.advance(Duration::from_millis(58_500));
        app.post(path, json!("ada@example.com"))
            .await
            .is(202, json!({"expiresIn": 600, "retryAfter": 60}));
    }

    #[tokio::test]
    async fn registered_address_gets_same_response_without_code() {
        let app = App::new().await;
        app.register("ada").await;
        app.clock.advance(Duration::from_mins(1));
        let path = "/send-verification-code";
        let known = app.post(path, json!({"email": "ADA@example.com"})).await;
        let unknown = app.post(path, json!({"email": "bob@example.com"})).await;
        assert_eq!((known.status, known.json()), (unknown.status, unknown.json()));
        let mail = app.mail_to("ada@example.com").await;
        assert_eq!(mail.code(), None);
        assert!(mail.subject.contains("already"), "{mail:?}");
        app.post(path, json!("ada@example.com")).await.is_problem(429, "too_many_requests");
    }

    #[tokio::test]
    async fn spellings_of_an_address_share_their_cooldown() {
        let app = App::new().await;
        let path = "/send-verification-code";
        assert_eq!(app.post(path, json!("ada@bücher.example")).await.status, 202);
        let mail = app.mail_to("ada@xn--bcher-kva.example").await;
        for spelling in [
            "ada@xn--bcher-kva.example",
            "ADA@BÜCHER.example",
            "ada@ｂücher.ｅｘａｍｐｌｅ",
            "ada@bu\u{308}cher.example",
        ] {
            let early = app.post(path, json!(spelling)).await;
            early.is_problem(429, "too_many_requests");
        }
        // Each spelling verifies it.
        let code = mail.code().expect("a code");
        let body = json!({"email": "Ada@xn--bcher-kva.example", "code": code});
        assert_eq!(app.post("/verify-email", body).await.status, 200);
    }

    #[tokio::test]
    async fn unmailable_addresses_are_rejected() {
        let dotless = json!("ada@localhost");
        let app = App::new().await;
        for address in ["ada@127.0.0.1", "ada@exa_mple.com", "ada@example.com."] {
            app.post("/send-verification-code", json!(address)).await.has_errors(&["email"]);
        }
        // Mail stays in the platform.
        assert_eq!(app.post("/send-verification-code", dotless.clone()).await.status, 202);

        let app = App::with(&[("MINIAPP__MAIL__URL", "smtp://127.0.0.1:1")]).await;
        for path in ["/send-verification-code", "/password-reset"] {
            app.post(path, dotless.clone()).await.has_errors(&["email"]);
        }
        let code = json!({"email": "ada@localhost", "code": "123456"});
        app.post("/verify-email", code).await.has_errors(&["email"]);
        let sent = app.post("/send-verification-code", json!("ada@localhost.example")).await;
        assert_eq!(sent.status, 202);
    }

    #[tokio::test]
    async fn codes_per_day_are_limited() {
        let app = App::new().await;
        for _ in 0..20 {
            let sent = app.post("/send-verification-code", json!("ada@example.com")).await;
            assert_eq!(sent.status, 202);
            app.clock.advance(Duration::from_mins(1));
        }
        let more = app.post("/send-verification-code", json!("ada@example.com")).await;
        more.is_problem(429, "too_many_requests");
        assert_eq!(more.header("retry-after"), (24 * 3600 - 20 * 60).to_string());
    }
}
