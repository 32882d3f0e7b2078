//! `GET /audit`: the audit log.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_accounts::audit::Action;
use miniapp_http::Query;
use miniapp_types::account::AuditPage;
use miniapp_types::page::Page;
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedUser, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::Forbidden];

/// Read the audit log
///
/// Successful and rejected actions on accounts within the last year, newest first. For
/// admins.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "list_audit_entries",
    tag = "admin",
    params(Page),
    responses((status = 200, description = "A page of entries", body = AuditPage))
)]
pub(super) async fn audit(
    State(accounts): State<Accounts>,
    AuthenticatedUser(caller): AuthenticatedUser,
    ClientInfo(client): ClientInfo,
    Query(page): Query<Page>,
) -> Result<Json<AuditPage>, ApiError> {
    accounts.require_admin(&caller, Action::ReadAudit, None, &client).await?;
    Ok(Json(accounts.audit_log(page).await?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::testing::{App, Session};

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

    #[tokio::test]
    async fn repeated_requests_are_recorded_together() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        app.register("ada").await;
        let (root, ada) = (app.sign_in("root").await, app.sign_in("ada").await);
        for _ in 0..120 {
            app.get("/users", &ada.access).await.is_problem(403, "forbidden");
            let path = format!("/users/{}/roles", uuid::Uuid::new_v4());
            let refused = app.put(&path, &ada.access, json!({"roles": ["admin"]})).await;
            refused.is_problem(403, "forbidden");
            app.put("/users/me", &ada.access, json!({"phoneNumber": null})).await;
        }
        let page = app.get("/audit?limit=200", &root.access).await.json();
        let entries = page["entries"].as_array().expect("entries");
        for action in ["list_accounts", "set_roles", "update_account"] {
            let of_action = entries.iter().filter(|entry| entry["action"] == action);
            let counts: Vec<&Value> = of_action.map(|entry| &entry["count"]).collect();
            let expected = [&[json!(90)][..], &vec![json!(1); 10]].concat();
            assert_eq!(counts, expected.iter().collect::<Vec<_>>(), "{action}");
        }
    }

    /// Returns the newest entries, oldest first: action, outcome, login, login of the actor and new
    /// roles.
    async fn newest(app: &App, root: &Session, count: usize) -> Vec<Value> {
        let page = app.get(&format!("/audit?limit={count}"), &root.access).await.json();
        let entries = page["entries"].as_array().expect("entries").iter().rev();
        let summary = |entry: &Value| {
            json!([
                entry["action"],
                entry["outcome"],
                entry["login"],
                entry["actorLogin"],
                entry["rolesAfter"]
            ])
        };
        entries.map(summary).collect()
    }

    #[tokio::test]
    async fn administration_is_recorded_with_actor_and_target() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        let (account, ada) = (app.register("root").await, app.register("ada").await);
        let (root, session) = (app.sign_in("root").await, app.sign_in("ada").await);
        let path = |account: &Value, what: &str| {
            format!("/users/{}/{what}", account["userId"].as_str().expect("an id"))
        };
        // Refused requests of a user.
        app.get("/users", &session.access).await.is_problem(403, "forbidden");
        app.get("/audit", &session.access).await.is_problem(403, "forbidden");
        let roles = json!({"roles": ["user", "admin"]});
        app.put(&path(&account, "roles"), &session.access, roles.clone()).await;
        app.put(&path(&account, "disabled"), &session.access, json!({"disabled": true})).await;
        // Refused and successful requests of the admin.
        app.put(&path(&account, "roles"), &root.access, json!({"roles": ["user"]})).await;
        app.put(&path(&account, "disabled"), &root.access, json!({"disabled": true})).await;
        app.send("DELETE", "/users/me", Some(&root.access), None).await;
        let unknown = format!("/users/{}/disabled", uuid::Uuid::nil());
        app.put(&unknown, &root.access, json!({"disabled": true})).await;
        app.put(&path(&ada, "roles"), &root.access, roles).await;
        app.put(&path(&ada, "disabled"), &root.access, json!({"disabled": true})).await;
        app.put(&path(&ada, "disabled"), &root.access, json!({"disabled": false})).await;
        let expected = [
            json!(["list_accounts", "forbidden", null, "ada", null]),
            json!(["read_audit", "forbidden", null, "ada", null]),
            json!(["set_roles", "forbidden", null, "ada", null]),
            json!(["disable_account", "forbidden", null, "ada", null]),
            json!(["set_roles", "last_admin", "root", "root", ["user"]]),
            json!(["disable_account", "last_admin", "root", "root", null]),
            json!(["delete_account", "last_admin", "root", "root", null]),
            json!(["disable_account", "user_not_found", null, "root", null]),
            json!(["set_roles", "ok", "ada", "root", ["user", "admin"]]),
            json!(["disable_account", "ok", "ada", "root", null]),
            json!(["enable_account", "ok", "ada", "root", null]),
        ];
        assert_eq!(newest(&app, &root, expected.len()).await, expected);
        let page = app.get("/audit?limit=11", &root.access).await.json();
        for entry in page["entries"].as_array().expect("entries") {
            let (id, actor) = match entry["actorLogin"].as_str() {
                Some("ada") => (session.id, &ada),
                _ => (root.id, &account),
            };
            assert_eq!((&entry["sessionId"], &entry["actorId"]), (&json!(id), &actor["userId"]));
        }
        let change = &page["entries"][2];
        assert_eq!((&change["userId"], &change["rolesBefore"]), (&ada["userId"], &json!(["user"])));
    }

    #[tokio::test]
    async fn sessions_and_codes_are_recorded_with_their_account() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        app.register("ada").await;
        let root = app.sign_in("root").await;
        let first = app.sign_in("ada").await;
        let second = app.refresh(&first).await;
        let used = json!({"refreshToken": first.refresh});
        assert_eq!(app.post("/refresh", used.clone()).await.status, 200);
        app.clock.advance(Duration::from_secs(10));
        app.post("/refresh", used).await.is_problem(401, "token_reused");
        let ended = json!({"refreshToken": second.refresh});
        app.post("/refresh", ended).await.is_problem(401, "token_revoked");
        let third = app.sign_in("ada").await;
        app.send("POST", "/sign-out", Some(&third.access), None).await;
        app.post("/password-reset", json!("ada@example.com")).await;
        let page = app.get("/audit?limit=8", &root.access).await.json();
        let entries = page["entries"].as_array().expect("entries").iter().rev();
        let summary = |entry: &Value| {
            json!([entry["action"], entry["outcome"], entry["actorLogin"], entry["sessionId"]])
        };
        let expected = [
            json!(["sign_in", "ok", "ada", first.id]),
            json!(["refresh", "ok", "ada", first.id]),
            json!(["reissue_tokens", "ok", "ada", first.id]),
            json!(["refresh", "token_reused", null, first.id]),
            json!(["refresh", "token_revoked", null, first.id]),
            json!(["sign_in", "ok", "ada", third.id]),
            json!(["sign_out", "ok", "ada", third.id]),
            json!(["request_password_reset", "ok", null, null]),
        ];
        assert_eq!(entries.clone().map(summary).collect::<Vec<_>>(), expected);
        assert!(entries.clone().all(|entry| entry["login"] == "ada"), "{page}");
    }
}
