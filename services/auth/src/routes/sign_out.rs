//! `POST /sign-out`: ends the session.

use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;

use crate::error::ApiError;
use crate::token::{AuthenticatedUser, ClientInfo};

/// Sign out
///
/// The session's tokens become invalid at once.
#[utoipa::path(
    post,
    path = "/sign-out",
    tag = "tokens",
    responses((status = 204, description = "The session has ended"))
)]
pub(super) async fn sign_out(
    State(accounts): State<Accounts>,
    AuthenticatedUser(owner): AuthenticatedUser,
    ClientInfo(caller): ClientInfo,
) -> Result<StatusCode, ApiError> {
    accounts.sign_out(&owner, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use miniapp_broker::Topic;
    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn sign_out_invalidates_tokens() {
        let app = App::new().await;
        app.register("ada").await;
        let session = app.sign_in("ada").await;
        let mut events = app.subscribe(Topic::Sessions).await;
        let response = app.send("POST", "/sign-out", Some(&session.access), None).await;
        assert_eq!((response.status, response.body.len()), (204, 0));
        assert_eq!(events.next().await, (session.id, None));
        app.get("/users/me", &session.access).await.is_problem(401, "token_revoked");
        let refresh = json!({"refreshToken": session.refresh});
        app.post("/refresh", refresh).await.is_problem(401, "token_revoked");
    }
}
