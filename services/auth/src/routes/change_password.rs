//! `POST /users/me/password`: sets a new password.

use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_accounts::requests::NewPassword;
use miniapp_types::account::ChangePassword;
use miniapp_types::problem::Code;

use crate::body::ValidatedBody;
use crate::error::ApiError;
use crate::token::{AuthenticatedBody, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::PasswordWrong, Code::TooManyRequests];

/// Change the password
///
/// Ends every other session of the account.
#[utoipa::path(
    post,
    path = "/users/me/password",
    tag = "account",
    request_body = ChangePassword,
    responses((status = 204, description = "The password was changed"))
)]
pub(super) async fn change_password(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    request: AuthenticatedBody<ValidatedBody<NewPassword>>,
) -> Result<StatusCode, ApiError> {
    let AuthenticatedBody { user, body: ValidatedBody(passwords) } = request;
    accounts.change_password(&user.0, passwords, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{App, PASSWORD};

    const PATH: &str = "/users/me/password";
    const NEW: &str = "another horse altogether";

    fn body(password: &str, new: &str) -> Value {
        json!({"password": password, "newPassword": new})
    }

    #[tokio::test]
    async fn change_sets_password_and_ends_other_sessions() {
        let app = App::new().await;
        app.register("ada").await;
        let other = app.sign_in_as("ada", "other").await;
        let mine = app.sign_in("ada").await;
        let changed = app.send("POST", PATH, Some(&mine.access), Some(body(PASSWORD, NEW))).await;
        assert_eq!(changed.status, 204);
        assert_eq!(app.get("/users/me", &mine.access).await.status, 200);
        app.get("/users/me", &other.access).await.is_problem(401, "token_revoked");
        for (password, status) in [(PASSWORD, 401), (NEW, 200)] {
            let sign_in = json!({"login": "ada", "password": password});
            assert_eq!(app.post("/sign-in", sign_in).await.status, status);
        }
        let notice = app.mail_to("ada@example.com").await;
        assert!(notice.subject.contains("was changed"), "{notice:?}");
    }

    #[tokio::test]
    async fn change_requires_old_password() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        for _ in 0..10 {
            let wrong = app.send("POST", PATH, Some(&token), Some(body("wrong", NEW))).await;
            wrong.is_problem(403, "password_wrong");
        }
        let more = app.send("POST", PATH, Some(&token), Some(body(PASSWORD, NEW))).await;
        more.is_problem(429, "too_many_requests");
    }

    #[tokio::test]
    async fn strangers_cannot_prevent_change() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        for login in ["ada", "ada@example.com"] {
            for _ in 0..10 {
                app.post("/sign-in", json!({"login": login, "password": "wrong"})).await;
            }
        }
        let changed = app.send("POST", PATH, Some(&token), Some(body(PASSWORD, NEW))).await;
        assert_eq!(changed.status, 204);
    }

    #[tokio::test]
    async fn weak_password_is_rejected() {
        let app = App::new().await;
        app.register("lovelace").await;
        let token = app.sign_in("lovelace").await.access;
        for new in ["short", "password123", "my Lovelace, my own", "x lovelace@example.com"] {
            let rejected = app.send("POST", PATH, Some(&token), Some(body("wrong", new))).await;
            rejected.has_errors(&["newPassword"]);
        }
    }
}
