//! `PUT /users/{id}/roles`: sets the roles of an account.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_accounts::audit::Action;
use miniapp_http::{Body, Id};
use miniapp_types::account::{Account, SetRoles};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedBody, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::Forbidden, Code::UserNotFound, Code::LastAdmin];

/// Set roles
///
/// Invalidates the account's access tokens at once; a refresh issues tokens with the new
/// roles. One enabled admin must remain. For admins.
#[utoipa::path(
    put,
    path = "/users/{id}/roles",
    operation_id = "set_user_roles",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The account's id")),
    request_body = SetRoles,
    responses((status = 200, description = "The account", body = Account))
)]
pub(super) async fn set_roles(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    id: Id,
    request: AuthenticatedBody<Body<SetRoles>>,
) -> Result<Json<Account>, ApiError> {
    let AuthenticatedBody { user, body: Body(SetRoles { roles }) } = request;
    let id = id.or(Code::UserNotFound);
    let target = id.as_ref().ok().copied();
    accounts.require_admin(&user.0, Action::SetRoles, target, &caller).await?;
    let id = id?;
    Ok(Json(accounts.set_roles(&user.0, id, &roles, &caller).await?))
}

#[cfg(test)]
mod tests {
    use miniapp_broker::Topic;
    use serde_json::json;
    use uuid::Uuid;

    use crate::testing::App;

    #[tokio::test]
    async fn change_takes_effect_at_once() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        let mut ada = app.register("ada").await;
        let root = app.sign_in("root").await.access;
        let session = app.sign_in("ada").await;
        let mut events = app.subscribe(Topic::Sessions).await;
        let path = format!("/users/{}/roles", ada["userId"].as_str().expect("an id"));
        ada["roles"] = json!(["user", "admin"]);
        let set = app.put(&path, &root, json!({"roles": ["admin", "user", "admin"]})).await;
        set.is(200, ada);
        app.get("/users/me", &session.access).await.is_problem(401, "token_revoked");
        // Published at once, not through the outbox.
        assert_eq!(events.next().await, (session.id, Some(2)));
        let session = app.refresh(&session).await;
        assert_eq!(app.get("/users", &session.access).await.status, 200);

        app.put(&path, &root, json!({"roles": ["user"]})).await;
        let session = app.refresh(&session).await;
        app.get("/users", &session.access).await.is_problem(403, "forbidden");
    }

    #[tokio::test]
    async fn body_is_checked_before_role_and_role_before_account() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        app.register("ada").await;
        let (root, ada) = (app.sign_in("root").await.access, app.sign_in("ada").await.access);
        let unknown = format!("/users/{}/roles", Uuid::nil());
        app.put(&unknown, &ada, json!({"roles": ["king"]})).await.has_errors(&["roles[0]"]);
        app.put(&unknown, &ada, json!({"roles": ["user"]})).await.is_problem(403, "forbidden");
        for path in [&*unknown, "/users/1/roles", "/users/me/roles"] {
            let response = app.put(path, &root, json!({"roles": ["user"]})).await;
            response.is_problem(404, "user_not_found");
        }
    }
}
