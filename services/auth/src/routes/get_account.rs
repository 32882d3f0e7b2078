//! `GET /users/me`: the caller's account.

use axum::Json;
use miniapp_types::account::Account;

use crate::token::AuthenticatedUser;

/// Get the account
#[utoipa::path(
    get,
    path = "/users/me",
    tag = "account",
    responses((status = 200, description = "The account", body = Account))
)]
pub(super) async fn get_account(AuthenticatedUser(owner): AuthenticatedUser) -> Json<Account> {
    Json(owner.account)
}

#[cfg(test)]
mod tests {
    use crate::testing::App;

    #[tokio::test]
    async fn returns_the_registered_account() {
        let app = App::new().await;
        let account = app.register("ada").await;
        app.register("bob").await;
        let session = app.sign_in("ada").await;
        app.get("/users/me", &session.access).await.is(200, account);
    }
}
