//! `GET /users`: all accounts.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_accounts::audit::Action;
use miniapp_http::Query;
use miniapp_types::account::AccountPage;
use miniapp_types::page::Page;
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedUser, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::Forbidden];

/// List accounts
///
/// All accounts, newest first. For admins.
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "list_users",
    tag = "admin",
    params(Page),
    responses((status = 200, description = "A page of accounts", body = AccountPage))
)]
pub(super) async fn list_accounts(
    State(accounts): State<Accounts>,
    AuthenticatedUser(caller): AuthenticatedUser,
    ClientInfo(client): ClientInfo,
    Query(page): Query<Page>,
) -> Result<Json<AccountPage>, ApiError> {
    accounts.require_admin(&caller, Action::ListAccounts, None, &client).await?;
    Ok(Json(accounts.list(page).await?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::App;

    #[tokio::test]
    async fn admin_lists_accounts_in_pages() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        let mut all = Vec::new();
        for login in ["root", "ada", "bob"] {
            all.insert(0, app.register(login).await);
        }
        let token = app.sign_in("root").await.access;
        app.get("/users", &token).await.is(200, json!({"users": all, "nextCursor": null}));
        let first = app.get("/users?limit=2", &token).await.json();
        assert_eq!(first["users"], json!(all[..2]));
        let cursor = first["nextCursor"].as_str().expect("a cursor");
        let rest = app.get(&format!("/users?limit=2&cursor={cursor}"), &token).await;
        rest.is(200, json!({"users": all[2..], "nextCursor": null}));
        app.get("/users?limit=0&cursor=x&y=1", &token).await.has_errors(&["limit", "cursor", "y"]);
    }

    #[tokio::test]
    async fn other_roles_are_forbidden() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        app.get("/users", &token).await.is_problem(403, "forbidden");
        app.get("/users?limit=0", &token).await.has_errors(&["limit"]);
    }
}
