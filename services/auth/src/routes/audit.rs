//! `GET /audit`: the audit log.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_http::{Query, require_admin};
use miniapp_types::account::AuditPage;
use miniapp_types::page::Page;
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::AuthenticatedUser;

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::Forbidden];

/// Read the audit log
///
/// Successful and rejected actions on accounts within the last year, newest first. For
/// admins.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "admin",
    params(Page),
    responses((status = 200, description = "A page of entries", body = AuditPage))
)]
pub(super) async fn audit(
    State(accounts): State<Accounts>,
    bearer: AuthenticatedUser,
    Query(page): Query<Page>,
) -> Result<Json<AuditPage>, ApiError> {
    require_admin(bearer.is_admin())?;
    Ok(Json(accounts.audit_log(page).await?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::App;

    #[tokio::test]
    async fn log_contains_successes_and_rejections() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        let root = app.register("root").await;
        app.post("/sign-in", json!({"login": "root", "password": "wrong"})).await;
        app.post("/sign-in", json!({"login": "nobody", "password": "wrong"})).await;
        let token = app.sign_in("root").await.access;
        let page = app.get("/audit", &token).await.json();
        let entries = page["entries"].as_array().expect("entries");
        let summary =
            |entry: &Value| format!("{} {} {}", entry["action"], entry["outcome"], entry["login"]);
        let lines: Vec<String> = entries.iter().map(|e| summary(e).replace('"', "")).collect();
        assert_eq!(
            lines,
            [
                "sign_in ok root",
                "sign_in credentials_invalid null",
                "sign_in credentials_invalid root",
                "register ok root",
                "verify_email ok null",
                "send_code ok null",
            ]
        );
        assert_eq!(entries[0]["userId"], root["userId"]);
        let first = app.get("/audit?limit=1", &token).await.json();
        assert_eq!(first["entries"], json!(entries[..1]));
        let cursor = first["nextCursor"].as_str().expect("a cursor");
        let rest = app.get(&format!("/audit?cursor={cursor}"), &token).await;
        rest.is(200, json!({"entries": entries[1..], "nextCursor": null}));
    }

    #[tokio::test]
    async fn other_roles_are_forbidden() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        app.get("/audit", &token).await.is_problem(403, "forbidden");
    }
}
