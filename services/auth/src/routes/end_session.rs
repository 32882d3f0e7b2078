//! `DELETE /sessions/{id}`: ends one of the caller's sessions.

use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_http::Id;
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedUser, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::SessionNotFound];

/// End a session
///
/// Its tokens become invalid at once.
#[utoipa::path(
    delete,
    path = "/sessions/{id}",
    tag = "tokens",
    params(("id" = Uuid, Path, description = "The session's id")),
    responses((status = 204, description = "The session has ended"))
)]
pub(super) async fn end_session(
    State(accounts): State<Accounts>,
    AuthenticatedUser(owner): AuthenticatedUser,
    ClientInfo(caller): ClientInfo,
    id: Id,
) -> Result<StatusCode, ApiError> {
    accounts.end_session(&owner, id.or(Code::SessionNotFound)?, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use miniapp_broker::Topic;
    use uuid::Uuid;

    use crate::testing::App;

    #[tokio::test]
    async fn only_own_sessions_can_be_ended() {
        let app = App::new().await;
        app.register("ada").await;
        app.register("bob").await;
        let (mine, other) = (app.sign_in("ada").await, app.sign_in_as("ada", "other").await);
        let foreign = app.sign_in("bob").await;
        let mut events = app.subscribe(Topic::Sessions).await;
        let end = async |id: String| {
            app.send("DELETE", &format!("/sessions/{id}"), Some(&mine.access), None).await
        };
        assert_eq!(end(other.id.to_string()).await.status, 204);
        assert_eq!(events.next().await, (other.id, None));
        app.get("/users/me", &other.access).await.is_problem(401, "token_revoked");
        for id in
            [other.id.to_string(), foreign.id.to_string(), Uuid::nil().to_string(), "1".to_owned()]
        {
            end(id).await.is_problem(404, "session_not_found");
        }
        assert_eq!(app.get("/users/me", &foreign.access).await.status, 200);
        assert_eq!(end(mine.id.to_string()).await.status, 204);
        app.get("/users/me", &mine.access).await.is_problem(401, "token_revoked");
    }
}
