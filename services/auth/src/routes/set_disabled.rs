//! `PUT /users/{id}/disabled`: disables or enables an account.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_accounts::audit::Action;
use miniapp_http::{Body, Id};
use miniapp_types::account::{Account, SetDisabled};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedBody, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::Forbidden, Code::UserNotFound, Code::LastAdmin];

/// Disable or enable an account
///
/// Disabling ends the account's sessions at once. It cannot sign in or reset its password until it
/// is enabled; its tasks continue. One enabled admin must remain. For admins.
#[utoipa::path(
    put,
    path = "/users/{id}/disabled",
    operation_id = "set_user_disabled",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The account's id")),
    request_body = SetDisabled,
    responses((status = 200, description = "The account", body = Account))
)]
pub(super) async fn set_disabled(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    id: Id,
    request: AuthenticatedBody<Body<SetDisabled>>,
) -> Result<Json<Account>, ApiError> {
    let AuthenticatedBody { user, body: Body(SetDisabled { disabled }) } = request;
    let id = id.or(Code::UserNotFound);
    let target = id.as_ref().ok().copied();
    let action = if disabled { Action::DisableAccount } else { Action::EnableAccount };
    accounts.require_admin(&user.0, action, target, &caller).await?;
    Ok(Json(accounts.set_disabled(&user.0, id?, disabled, &caller).await?))
}

#[cfg(test)]
mod tests {
    use miniapp_broker::Topic;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use crate::testing::{App, PASSWORD};

    async fn app() -> App {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        app.register("root").await;
        app
    }

    fn path(account: &Value) -> String {
        format!("/users/{}/disabled", account["userId"].as_str().expect("an id"))
    }

    async fn sign_in(app: &App, password: &str) -> crate::testing::TestResponse {
        app.post("/sign-in", json!({"login": "ada", "password": password})).await
    }

    #[tokio::test]
    async fn disabled_account_ends_at_once() {
        let app = app().await;
        let mut ada = app.register("ada").await;
        let root = app.sign_in("root").await.access;
        let session = app.sign_in("ada").await;
        let mut events = app.subscribe(Topic::Sessions).await;
        ada["disabled"] = json!(true);
        let disable = json!({"disabled": true});
        app.put(&path(&ada), &root, disable.clone()).await.is(200, ada.clone());
        // Published at once, not through the outbox.
        assert_eq!(events.next().await, (session.id, None));
        app.get("/users/me", &session.access).await.is_problem(401, "token_revoked");
        app.post("/validate", json!(session.access)).await.is_problem(400, "token_revoked");
        let refresh = json!({"refreshToken": session.refresh});
        app.post("/refresh", refresh).await.is_problem(401, "token_revoked");
        assert_eq!(app.get("/users?limit=1", &root).await.json()["users"][0], ada);
        app.put(&path(&ada), &root, disable).await.is(200, ada.clone());
        ada["disabled"] = json!(false);
        app.put(&path(&ada), &root, json!({"disabled": false})).await.is(200, ada.clone());
        app.get("/users/me", &session.access).await.is_problem(401, "token_revoked");
        let session = app.sign_in("ada").await;
        app.get("/users/me", &session.access).await.is(200, ada);
    }

    #[tokio::test]
    async fn only_the_right_password_reveals_it() {
        let app = app().await;
        let ada = app.register("ada").await;
        let root = app.sign_in("root").await.access;
        app.put(&path(&ada), &root, json!({"disabled": true})).await;
        for _ in 0..9 {
            let wrong = sign_in(&app, "wrong").await;
            let problem = wrong.is_problem(401, "credentials_invalid");
            let unknown = json!({"login": "nobody", "password": "wrong"});
            let unknown = app.post("/sign-in", unknown).await;
            let unknown = unknown.is_problem(401, "credentials_invalid");
            assert_eq!((problem.title, problem.detail), (unknown.title, unknown.detail));
        }
        sign_in(&app, PASSWORD).await.is_problem(403, "account_disabled");
        // It does not clear the failures.
        sign_in(&app, "wrong").await.is_problem(401, "credentials_invalid");
        sign_in(&app, PASSWORD).await.is_problem(429, "too_many_requests");
    }

    #[tokio::test]
    async fn password_cannot_be_reset() {
        let app = app().await;
        let ada = app.register("ada").await;
        let root = app.sign_in("root").await.access;
        app.post("/password-reset", json!("ada@example.com")).await;
        let code = app.mail_to("ada@example.com").await.code().expect("a code").to_owned();
        app.put(&path(&ada), &root, json!({"disabled": true})).await;
        let confirm = |code: &str| {
            let new = "another horse altogether";
            json!({"email": "ada@example.com", "code": code, "newPassword": new})
        };
        let wrong = app.post("/password-reset/confirm", confirm("0000000U")).await;
        wrong.is_problem(400, "code_invalid");
        let right = app.post("/password-reset/confirm", confirm(&code)).await;
        right.is_problem(403, "account_disabled");
        app.clock.advance(std::time::Duration::from_mins(1));
        let requested = app.post("/password-reset", json!("ada@example.com")).await;
        assert_eq!(requested.status, 202);
        let mail = app.mail_to("ada@example.com").await;
        assert_eq!(mail.code(), None);
        assert!(mail.subject.contains("disabled"), "{mail:?}");
        // Neither the reset nor its request changed anything.
        sign_in(&app, PASSWORD).await.is_problem(403, "account_disabled");
    }

    #[tokio::test]
    async fn last_admin_remains() {
        let app = app().await;
        let ada = app.register("ada").await;
        let session = app.sign_in("root").await;
        let root = app.get("/users/me", &session.access).await.json();
        let roles = |account: &Value| path(account).replace("disabled", "roles");
        let (user, admin) = (json!({"roles": ["user"]}), json!({"roles": ["user", "admin"]}));
        let disable = json!({"disabled": true});
        let attempts = async |token: &str| {
            let deleted = app.send("DELETE", "/users/me", Some(token), None).await;
            deleted.is_problem(409, "last_admin");
            app.put(&path(&root), token, disable.clone()).await.is_problem(409, "last_admin");
            app.put(&roles(&root), token, user.clone()).await.is_problem(409, "last_admin");
        };
        attempts(&session.access).await;
        app.get("/users/me", &session.access).await.is(200, root.clone());
        // An admin who is disabled does not count.
        app.put(&roles(&ada), &session.access, admin).await;
        app.put(&path(&ada), &session.access, disable.clone()).await;
        attempts(&session.access).await;
        app.put(&path(&ada), &session.access, json!({"disabled": false})).await;
        let token = app.sign_in("ada").await.access;
        assert_eq!(app.put(&path(&root), &token, disable).await.status, 200);
        app.send("DELETE", "/users/me", Some(&token), None).await.is_problem(409, "last_admin");
        let again = json!({"login": "root", "password": PASSWORD});
        app.post("/sign-in", again).await.is_problem(403, "account_disabled");
    }

    #[tokio::test]
    async fn body_is_checked_before_role_and_role_before_account() {
        let app = app().await;
        app.register("ada").await;
        let (root, ada) = (app.sign_in("root").await.access, app.sign_in("ada").await.access);
        let unknown = format!("/users/{}/disabled", Uuid::nil());
        for wrong in [json!({}), json!({"disabled": "true"}), json!({"disabled": 1})] {
            app.put(&unknown, &ada, wrong).await.has_errors(&["disabled"]);
        }
        app.put(&unknown, &ada, json!({"disabled": true})).await.is_problem(403, "forbidden");
        for path in [&*unknown, "/users/1/disabled", "/users/me/disabled"] {
            let response = app.put(path, &root, json!({"disabled": true})).await;
            response.is_problem(404, "user_not_found");
        }
    }
}
