//! `PUT /users/me`: changes the caller's account.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_accounts::operations::AccountChanges;
use miniapp_http::Body;
use miniapp_types::account::{Account, UpdateAccount};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedBody, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::LoginTaken];

/// Change the account
///
/// Omitted fields stay unchanged; null clears the date of birth or the phone number. Tokens
/// carry a new login from the next refresh on.
#[utoipa::path(
    put,
    path = "/users/me",
    tag = "account",
    request_body = UpdateAccount,
    responses((status = 200, description = "The account", body = Account))
)]
pub(super) async fn update_account(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    request: AuthenticatedBody<Body<AccountChanges>>,
) -> Result<Json<Account>, ApiError> {
    let AuthenticatedBody { user, body: Body(changes) } = request;
    Ok(Json(accounts.update(&user.0, changes, &caller).await?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{App, PASSWORD};

    #[tokio::test]
    async fn only_given_fields_change() {
        let app = App::new().await;
        let mut account = app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        let steps = [
            (json!({"birthDate": "1990-01-31"}), ("birthDate", json!("1990-01-31"))),
            (json!({"phoneNumber": "+1 555 0100"}), ("phoneNumber", json!("+1 555 0100"))),
            (json!({"birthDate": null}), ("birthDate", json!(null))),
            (json!({"login": "Countess"}), ("login", json!("Countess"))),
            (json!({}), ("login", json!("Countess"))),
        ];
        for (change, (field, value)) in steps {
            account[field] = value;
            app.put("/users/me", &token, change).await.is(200, account.clone());
        }
        app.get("/users/me", &token).await.is(200, account);
        let by_old = json!({"login": "ada", "password": PASSWORD});
        app.post("/sign-in", by_old).await.is_problem(401, "credentials_invalid");
        app.sign_in("countess").await;
    }

    #[tokio::test]
    async fn login_of_another_account_is_taken() {
        let app = App::new().await;
        app.register("ada").await;
        app.register("bob").await;
        let token = app.sign_in("ada").await.access;
        for login in ["bob", "BOB", "b0b"] {
            let response = app.put("/users/me", &token, json!({ "login": login })).await;
            response.is_problem(409, "login_taken");
        }
        app.put("/users/me", &token, json!({"birthDate": "2030-02-01"}))
            .await
            .has_errors(&["birthDate"]);
    }
}
