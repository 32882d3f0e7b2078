//! `GET /sessions`: the caller's sessions.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_types::account::Sessions;

use crate::error::ApiError;
use crate::token::AuthenticatedUser;

/// List sessions
///
/// Active sessions, newest first.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "tokens",
    responses((status = 200, description = "The sessions", body = Sessions))
)]
pub(super) async fn list_sessions(
    State(accounts): State<Accounts>,
    AuthenticatedUser(owner): AuthenticatedUser,
) -> Result<Json<Sessions>, ApiError> {
    Ok(Json(accounts.sessions(&owner).await?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn active_sessions_are_listed_and_current_one_is_marked() {
        let app = App::new().await;
        app.register("ada").await;
        app.register("bob").await;
        app.sign_in("bob").await;
        let first = app.sign_in("ada").await;
        app.clock.advance(Duration::from_secs(10));
        let second = app.sign_in_as("ada", "console").await;
        let third = app.sign_in_as("ada", "cli").await;
        app.send("POST", "/sign-out", Some(&third.access), None).await;
        app.clock.advance(Duration::from_secs(10));
        let first = app.refresh(&first).await;
        let session = |id, client, created: &str, used: &str, expires: &str, current| {
            json!({
                "id": id, "client": client, "createdAt": created, "lastUsedAt": used, "expiresAt": expires,
                "ip": null, "userAgent": "tests", "current": current,
            })
        };
        let (zero, ten, twenty) =
            ("2030-01-01T00:00:00Z", "2030-01-01T00:00:10Z", "2030-01-01T00:00:20Z");
        let expected = json!({"sessions": [
            session(second.id, "console", ten, ten, "2030-01-31T00:00:10Z", false),
            session(first.id, "default", zero, twenty, "2030-01-31T00:00:20Z", true),
        ]});
        app.get("/sessions", &first.access).await.is(200, expected);
    }
}
