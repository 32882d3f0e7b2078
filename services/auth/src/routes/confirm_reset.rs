//! `POST /password-reset/confirm`: sets a new password with a code.

use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_accounts::requests::ResetConfirmation;
use miniapp_types::account::ConfirmReset;
use miniapp_types::problem::Code;

use crate::body::ValidatedBody;
use crate::error::ApiError;
use crate::token::ClientInfo;

pub(super) const PROBLEMS: &[Code] =
    &[Code::CodeInvalid, Code::AccountDisabled, Code::TooManyRequests];

/// Set a new password
///
/// Requires the code from the mail. Ends all sessions of the account.
#[utoipa::path(
    post,
    path = "/password-reset/confirm",
    operation_id = "confirm_password_reset",
    tag = "account",
    security(()),
    request_body = ConfirmReset,
    responses((status = 204, description = "The password was set"))
)]
pub(super) async fn confirm_reset(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    ValidatedBody(confirmation): ValidatedBody<ResetConfirmation>,
) -> Result<StatusCode, ApiError> {
    accounts.confirm_reset(confirmation, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::testing::{App, PASSWORD};

    const NEW: &str = "another horse altogether";
    const PATH: &str = "/password-reset/confirm";

    fn body(email: &str, code: &str, new: &str) -> Value {
        json!({"email": email, "code": code, "newPassword": new})
    }

    async fn reset_code(app: &App) -> String {
        app.post("/password-reset", json!("ada@example.com")).await;
        app.mail_to("ada@example.com").await.code().expect("a code").to_owned()
    }

    #[tokio::test]
    async fn reset_sets_password_and_ends_sessions() {
        let app = App::new().await;
        app.register("ada").await;
        let session = app.sign_in("ada").await;
        let code = reset_code(&app).await;
        let reset = app.post(PATH, body("ada@example.com", &code, NEW)).await;
        assert_eq!(reset.status, 204);
        let mail = app.mail_to("ada@example.com").await;
        assert_eq!(mail.subject, "Your MiniApp password was reset");
        app.get("/users/me", &session.access).await.is_problem(401, "token_revoked");
        for (password, status) in [(PASSWORD, 401), (NEW, 200)] {
            let sign_in = json!({"login": "ada", "password": password});
            assert_eq!(app.post("/sign-in", sign_in).await.status, status);
        }
        let again = app.post(PATH, body("ada@example.com", &code, NEW)).await;
        again.is_problem(400, "code_invalid");
    }

    #[tokio::test]
    async fn code_has_eight_characters_in_any_case() {
        let app = App::new().await;
        app.register("ada").await;
        let code = reset_code(&app).await;
        assert!(code.len() == 8 && code.bytes().all(|b| b.is_ascii_alphanumeric()), "{code}");
        let typed = format!(" {}-{} ", &code[..4], &code[4..]).to_lowercase();
        assert_eq!(app.post(PATH, body("ada@example.com", &typed, NEW)).await.status, 204);
    }

    /// Not to another spelling, which may be the mailbox of someone else.
    #[tokio::test]
    async fn code_is_mailed_to_the_verified_mailbox() {
        let app = App::new().await;
        app.register_at("ada", "Ada@example.com").await;
        let before = app.mails().await.len();
        app.post("/password-reset", json!("aDA@example.com")).await;
        let mails = app.mails().await;
        assert_eq!((mails.len(), mails[0].to.as_str()), (before + 1, "Ada@example.com"));
        let code = mails[0].code().expect("a code");
        assert_eq!(app.post(PATH, body("ADA@example.com", code, NEW)).await.status, 204);
        assert_eq!(app.mails().await[0].to, "Ada@example.com");
    }

    #[tokio::test]
    async fn reset_lifts_lock_in_all_networks() {
        let app = App::new().await;
        app.register("ada").await;
        let networks = [[192, 0, 2, 1], [192, 0, 2, 2]];
        let sign_in = async |peer, password| {
            let body = json!({"login": "ada", "password": password});
            app.post_from(peer, "/sign-in", body).await.status
        };
        for peer in networks {
            for _ in 0..10 {
                assert_eq!(sign_in(peer, "wrong").await, 401);
            }
            assert_eq!(sign_in(peer, PASSWORD).await, 429);
        }
        let code = reset_code(&app).await;
        assert_eq!(app.post(PATH, body("ada@example.com", &code, NEW)).await.status, 204);
        for peer in networks {
            assert_eq!(sign_in(peer, NEW).await, 200);
        }
    }

    /// For addresses with and without an account alike.
    #[tokio::test]
    async fn wrong_codes_are_limited_per_address_and_day() {
        let app = App::new().await;
        app.register("ada").await;
        for address in ["ada@example.com", "nobody@example.com"] {
            for attempt in 0..20 {
                if attempt % 5 == 0 {
                    app.clock.advance(Duration::from_mins(1));
                    let sent = app.post("/password-reset", json!(address)).await;
                    assert_eq!(sent.status, 202);
                }
                let wrong = app.post(PATH, body(address, "0000000U", NEW)).await;
                wrong.is_problem(400, "code_invalid");
            }
            app.clock.advance(Duration::from_mins(1));
            app.post("/password-reset", json!(address)).await;
            let code = match address {
                "ada@example.com" => app.mail_to(address).await.code().expect("a code").to_owned(),
                _ => "01234567".to_owned(),
            };
            let limited = app.post(PATH, body(address, &code, NEW)).await;
            limited.is_problem(429, "too_many_requests");
            let verification = json!({"email": address, "code": "123456"});
            app.post("/verify-email", verification).await.is_problem(429, "too_many_requests");
        }
        app.clock.advance(Duration::from_hours(24));
        let code = reset_code(&app).await;
        assert_eq!(app.post(PATH, body("ada@example.com", &code, NEW)).await.status, 204);
    }

    #[tokio::test]
    async fn code_must_match_purpose_and_address() {
        let app = App::new().await;
        app.register("ada").await;
        let other = app.code_for("bob@example.com").await;
        reset_code(&app).await;
        for (email, code) in [
            ("bob@example.com", &*other),
            ("ada@example.com", "wrong"),
            ("nobody@example.com", "123456"),
        ] {
            app.post(PATH, body(email, code, NEW)).await.is_problem(400, "code_invalid");
        }
    }

    #[tokio::test]
    async fn rejected_password_keeps_code_valid() {
        let app = App::new().await;
        app.register("lovelace").await;
        app.post("/password-reset", json!("lovelace@example.com")).await;
        let mail = app.mail_to("lovelace@example.com").await;
        let code = mail.code().expect("a code");
        for new in ["short", "my Lovelace, my own"] {
            let rejected = app.post(PATH, body("lovelace@example.com", code, new)).await;
            rejected.has_errors(&["newPassword"]);
        }
        assert_eq!(app.post(PATH, body("lovelace@example.com", code, NEW)).await.status, 204);
    }
}
