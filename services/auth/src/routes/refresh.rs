//! `POST /refresh`: issues a session's next tokens.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_http::Body;
use miniapp_types::account::{Refresh, Tokens};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::ClientInfo;

pub(super) const PROBLEMS: &[Code] = &[
    Code::TokenInvalid,
    Code::TokenExpired,
    Code::TokenRevoked,
    Code::TokenReused,
    Code::TooManyRequests,
];

/// Refresh the tokens
///
/// Invalidates the session's previous tokens. A refresh token works once; using it again ends the
/// session. But for a few seconds, and until the new refresh token is used, it returns that one
/// again with another access token: the first answer may have been lost.
#[utoipa::path(
    post,
    path = "/refresh",
    operation_id = "refresh_tokens",
    tag = "tokens",
    security(()),
    request_body = Refresh,
    responses((status = 200, description = "The next tokens", body = Tokens))
)]
pub(super) async fn refresh(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    Body(body): Body<Refresh>,
) -> Result<Json<Tokens>, ApiError> {
    Ok(Json(accounts.refresh(&body.refresh_token, &caller).await?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miniapp_broker::Topic;
    use miniapp_runtime::clock::Clock as _;
    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn refresh_invalidates_previous_tokens() {
        let app = App::new().await;
        app.register("ada").await;
        let first = app.sign_in("ada").await;
        let second = app.refresh(&first).await;
        app.get("/users/me", &first.access).await.is_problem(401, "token_revoked");
        assert_eq!(app.get("/users/me", &second.access).await.status, 200);
        app.refresh(&second).await;
    }

    /// The answer may have been lost, or another tab has used the token, too.
    #[tokio::test]
    async fn unused_successor_is_issued_again() {
        let app = App::new().await;
        app.register("ada").await;
        let first = app.sign_in("ada").await;
        let second = app.refresh(&first).await;
        app.clock.advance(Duration::from_secs(9));
        let again = app.post("/refresh", json!({"refreshToken": first.refresh})).await.json();
        assert_eq!(again["refreshToken"], second.refresh);
        assert_ne!(again["authToken"], second.access);
        assert_eq!(
            (&again["expiresIn"], &again["refreshExpiresIn"]),
            (&json!(900), &json!(2_591_991))
        );
        let access = again["authToken"].as_str().expect("a token");
        for token in [access, &second.access] {
            assert_eq!(app.get("/users/me", token).await.status, 200);
        }
        app.get("/users/me", &first.access).await.is_problem(401, "token_revoked");
        app.clock.advance(Duration::from_secs(891));
        app.get("/users/me", &second.access).await.is_problem(401, "token_expired");
        assert_eq!(app.get("/users/me", access).await.status, 200);
        app.refresh(&second).await;
    }

    #[tokio::test]
    async fn grace_can_be_disabled() {
        let app = App::with(&[("MINIAPP__AUTH__REFRESH_GRACE", "0")]).await;
        app.register("ada").await;
        let first = app.sign_in("ada").await;
        app.refresh(&first).await;
        let used = json!({"refreshToken": first.refresh});
        app.post("/refresh", used).await.is_problem(401, "token_reused");
    }

    /// Although the new token is unused.
    #[tokio::test]
    async fn grace_ends_when_the_clock_is_set_back() {
        let app = App::new().await;
        app.register("ada").await;
        let first = app.sign_in("ada").await;
        app.clock.advance(Duration::from_mins(5));
        app.refresh(&first).await;
        app.clock.set(app.clock.now() - Duration::from_secs(5));
        let used = json!({"refreshToken": first.refresh});
        app.post("/refresh", used).await.is_problem(401, "token_reused");
    }

    #[tokio::test]
    async fn reused_token_ends_session() {
        let app = App::new().await;
        app.register("ada").await;
        let first = app.sign_in("ada").await;
        let second = app.refresh(&first).await;
        app.clock.advance(Duration::from_secs(10));
        let mut events = app.subscribe(Topic::Sessions).await;
        let used = json!({"refreshToken": first.refresh});
        app.post("/refresh", used.clone()).await.is_problem(401, "token_reused");
        assert_eq!(events.next().await, (second.id, None));
        app.get("/users/me", &second.access).await.is_problem(401, "token_revoked");
        let newest = json!({"refreshToken": second.refresh});
        app.post("/refresh", newest).await.is_problem(401, "token_revoked");
        app.post("/refresh", used).await.is_problem(401, "token_reused");
    }

    /// However often the tokens of a session are used again.
    #[tokio::test]
    async fn owner_gets_a_mail_about_reuse_once() {
        let app = App::new().await;
        app.register("ada").await;
        let first = app.sign_in("ada").await;
        let second = app.refresh(&first).await;
        app.refresh(&second).await;
        app.clock.advance(Duration::from_secs(10));
        let before = app.mails().await.len();
        for session in [&first, &second, &first] {
            let used = json!({"refreshToken": session.refresh});
            app.post("/refresh", used).await.is_problem(401, "token_reused");
        }
        let mails = app.mails().await;
        assert_eq!(mails.len(), before + 1);
        assert_eq!(mails[0].to, "ada@example.com");
        assert_eq!(mails[0].subject, "A MiniApp session of yours was ended");
    }

    #[tokio::test]
    async fn rejected_tokens_have_distinct_codes() {
        let app = App::new().await;
        app.register("ada").await;
        app.post("/refresh", json!({"refreshToken": "x"})).await.is_problem(401, "token_invalid");
        let session = app.sign_in("ada").await;
        let access = json!({"refreshToken": session.access});
        app.post("/refresh", access).await.is_problem(401, "token_invalid");
        app.clock.advance(Duration::from_hours(24 * 30));
        let old = json!({"refreshToken": session.refresh});
        app.post("/refresh", old).await.is_problem(401, "token_expired");
    }

    #[tokio::test]
    async fn session_changes_are_published() {
        let app = App::new().await;
        app.register("ada").await;
        let mut events = app.subscribe(Topic::Sessions).await;
        let first = app.sign_in("ada").await;
        assert_eq!(events.next().await, (first.id, Some(1)));
        app.refresh(&first).await;
        assert_eq!(events.next().await, (first.id, Some(2)));
        let second = app.sign_in("ada").await;
        assert_eq!(events.next().await, (second.id, Some(1)));
        assert_eq!(events.next().await, (first.id, None));
    }
}
